/** The addon's question to nftables, against the kernel: in a network namespace of its own, where this file runs itself. */

import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { loadNative } from '../../src/tun/native.js';

const SELF = fileURLToPath(import.meta.url);
const FAMILY_INET = 1;

if (process.env.MPTUNNEL_TEST_NFT_SET === '1') await askKernel();
else
  t.test(
    'an element is found by its key, what is not there is not',
    { skip: process.getuid?.() === 0 ? false : 'needs root' },
    async (t) => {
      const output = execFileSync('unshare', ['-n', process.execPath, SELF], {
        encoding: 'utf8',
        env: { ...process.env, MPTUNNEL_TEST_NFT_SET: '1', NODE_OPTIONS: '' },
      });
      t.same(JSON.parse(output), {
        there: 1,
        absent: 0,
        expired: 0,
        otherSet: 0,
        otherTable: 0,
        wrongLength: true,
        ipv6: 1,
        written: 1,
        closed: 'the nftables socket is closed',
        tooLong: 'key must have 1 to 64 bytes',
      });
    },
  );

async function askKernel(): Promise<void> {
  const nft = (script: string): string => execFileSync('nft', ['-f', '-'], { input: script, encoding: 'utf8' });
  const tuple = (address: string): string =>
    `type ${address} . ${address} . inet_proto . inet_service . inet_service; flags dynamic,timeout; timeout 1m`;
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
  nft(`table inet t {
    set s { ${tuple('ipv4_addr')}; elements = { 10.77.0.2 . 192.0.2.1 . 17 . 40000 . 53, 10.77.0.2 . 192.0.2.1 . 17 . 40001 . 53 timeout 1ms }; }
    set six { ${tuple('ipv6_addr')}; elements = { fd77::2 . fd98::2 . 6 . 40000 . 443 }; }
    set written { ${tuple('ipv4_addr')}; size 100; }
    chain out { type filter hook postrouting priority 300; udp dport 9 update @written { ip saddr . ip daddr . meta l4proto . th sport . th dport }; }
  }`);
  const { createSocket } = await import('node:dgram');
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(40_009, '127.0.0.1', resolve));
  await new Promise((resolve) => socket.send('x', 9, '127.0.0.1', resolve));
  socket.close();
  const native = loadNative();
  const handle = native.nftOpen();
  const key = (from: number[], to: number[], protocol: number, port: number, toPort: number): Uint8Array =>
    new Uint8Array([...from, ...to, protocol, 0, 0, 0, port >> 8, port & 255, 0, 0, toPort >> 8, toPort & 255, 0, 0]);
  const has = (set: string, bytes: Uint8Array, table = 't'): number => native.nftHasElement(handle, FAMILY_INET, table, set, bytes);
  const fault = (work: () => unknown): string => {
    try {
      work();
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  };
  const [from, to] = [
    [10, 77, 0, 2],
    [192, 0, 2, 1],
  ];
  const six = (start: number[]): number[] => [...start, ...new Array<number>(12).fill(0), 2];
  const there = key(from, to, 17, 40_000, 53);
  const found = {
    there: has('s', there),
    absent: has('s', key(from, to, 17, 40_002, 53)),
    expired: has('s', key(from, to, 17, 40_001, 53)),
    otherSet: has('none', there),
    otherTable: has('s', there, 'none'),
    wrongLength: has('s', there.subarray(0, 8)) < 0,
    ipv6: has('six', key(six([0xfd, 0x77, 0]), six([0xfd, 0x98, 0]), 6, 40_000, 443)),
    written: has('written', key([127, 0, 0, 1], [127, 0, 0, 1], 17, 40_009, 9)),
    tooLong: fault(() => has('s', new Uint8Array(65))),
    closed: '',
  };
  native.nftClose(handle);
  found.closed = fault(() => has('s', there));
  process.stdout.write(JSON.stringify(found));
}
