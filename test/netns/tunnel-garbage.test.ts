/** A stranger throws random datagrams and changed real ones at the server's port, while a peer's transfer runs: no answer, no harm, no growth. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { SERVER_PUBLIC_ADDRESS, WEB_ADDRESS } from '../../src/lab/topology.js';
import { runTraffic, startTraffic, startTrafficServer, TRAFFIC_PORT } from '../../src/lab/traffic.js';
import { readCapture } from '../interop/read-capture.js';
import { inside } from './tunnel-remote.js';
import { createTunnelRig, type TunnelRig } from './tunnel-rig.js';

const LINKS = [
  { rateBitsPerSec: 50e6, delayMs: 5 },
  { rateBitsPerSec: 30e6, delayMs: 10 },
];
const PORT = 5180;
const COUNT = 200_000;
const IP_UDP_BYTES = 28;
const MIB = 2 ** 20;

t.setTimeout(120_000);

/** Payloads of what client and server said to each other from the first handshake on. */
async function captureRealDatagrams(rig: TunnelRig): Promise<Buffer[]> {
  const file = join(rig.lab.folder, 'outer.pcap');
  const args = ['netns', 'exec', rig.lab.server.namespace, 'tcpdump', '-i', 'any', '--immediate-mode', '-U', '-s', '0', '-w', file];
  const dump = spawn('ip', [...args, 'udp', 'port', String(PORT)], { stdio: ['ignore', 'ignore', 'pipe'] });
  await once(dump.stderr, 'data');
  await rig.up('client');
  await runTraffic(rig.lab.client, { op: 'upload', host: WEB_ADDRESS, port: TRAFFIC_PORT, bytes: 200_000 });
  await runTraffic(rig.lab.client, { op: 'udp-echo', host: WEB_ADDRESS, port: TRAFFIC_PORT, count: 5 });
  await sleep(500);
  dump.kill('SIGINT');
  await once(dump, 'close');
  return readCapture(readFileSync(file)).map(({ bytes }) => Buffer.from(bytes.subarray(IP_UDP_BYTES)));
}

/** Packets that the server's kernel saw from the stranger, and sent to it. */
async function counted(rig: TunnelRig): Promise<{ thrown: number; answered: number }> {
  const { stdout } = await rig.lab.server.run('nft', ['-j', 'list', 'table', 'inet', 't']);
  const rules = (JSON.parse(stdout).nftables as { rule?: { expr: { counter?: { packets: number } }[] } }[]).flatMap((entry) =>
    entry.rule === undefined ? [] : [entry.rule.expr.find((expr) => expr.counter !== undefined)?.counter?.packets ?? 0],
  );
  return { thrown: rules[0]!, answered: rules[1]! };
}

t.test(`${COUNT} random and mutated datagrams`, async (t) => {
  const rig = await createTunnelRig({ links: LINKS, up: false });
  t.teardown(() => rig.close());
  const { client, server, web } = rig.lab;
  await startTrafficServer(web);
  await web.run('ip', ['route', 'add', `${SERVER_PUBLIC_ADDRESS}/32`, 'via', '198.51.100.1']);
  await rig.up('server');
  const real = await captureRealDatagrams(rig);
  t.ok(real.length > 200, `${real.length} real datagrams, handshakes among them`);
  const file = join(rig.lab.folder, 'real.json');
  writeFileSync(file, JSON.stringify(real.slice(0, 300).map((bytes) => bytes.toString('base64'))));
  await server.run('nft', ['-f', '-'], {
    input: `table inet t {
      chain i { type filter hook input priority 0; ip saddr ${WEB_ADDRESS} udp dport ${PORT} counter; }
      chain o { type filter hook output priority 0; ip daddr ${WEB_ADDRESS} udp sport ${PORT} counter; }
      chain o2 { type filter hook output priority 0; ip daddr ${WEB_ADDRESS} icmp type destination-unreachable counter; }
    }`,
  });
  const { pid } = await rig.status('server');
  const before = await rig.residentBytes('server');

  const download = startTraffic(client, { op: 'download', host: WEB_ADDRESS, port: TRAFFIC_PORT });
  const attack = inside(
    web,
    async ({ file, host, port, count }) => {
      const { readFileSync } = await import('node:fs');
      const { createSocket } = await import('node:dgram');
      const real = (JSON.parse(readFileSync(file, 'utf8')) as string[]).map((text) => Buffer.from(text, 'base64'));
      let state = 12_345;
      const random = (below: number) => {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
        return Math.floor((state / 2 ** 32) * below);
      };
      const noise = (bytes: number) => {
        const out = Buffer.alloc(bytes);
        for (let i = 0; i < bytes; i++) out[i] = random(256);
        return out;
      };
      const make = (i: number): Buffer => {
        const kind = i % 4;
        if (kind === 0) return noise(random(i % 40 === 0 ? 1400 : 200));
        const source = real[random(real.length)]!;
        // Cut short, or with a tail.
        if (kind === 1) return random(2) === 0 ? source.subarray(0, random(source.length)) : Buffer.concat([source, noise(1 + random(40))]);
        const changed = Buffer.from(source);
        // One bit anywhere, or some bytes, mostly of the header.
        if (kind === 2) changed[random(changed.length)]! ^= 1 << random(8);
        else for (let n = 1 + random(8); n > 0; n--) changed[random(Math.min(changed.length, random(2) === 0 ? 16 : 200))]! = random(256);
        return changed.equals(source) ? noise(32) : changed;
      };
      const socket = createSocket('udp4');
      let answers = 0;
      socket.on('message', () => answers++);
      await new Promise<void>((resolve) => socket.connect(port, host, resolve));
      socket.on('error', () => answers++);
      for (let i = 0; i < count; ) {
        const until = Math.min(count, i + 100);
        const sent: Promise<void>[] = [];
        for (; i < until; i++) sent.push(new Promise((resolve) => socket.send(make(i), () => resolve())));
        await Promise.all(sent);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      await new Promise((resolve) => setTimeout(resolve, 1500));
      return answers;
    },
    { file, host: SERVER_PUBLIC_ADDRESS, port: PORT, count: COUNT },
  );
  t.equal(await attack.result, 0, 'the stranger heard nothing');
  download.stop();
  const { error, bytes, longestGapMs } = await download.result;
  t.equal(error, undefined, 'the download beside it is whole');
  t.comment(`${((bytes ?? 0) / 1e6).toFixed(0)} MB meanwhile, longest gap ${longestGapMs?.toFixed(0)} ms`);
  t.ok(bytes! > 5e6, 'and went on all the time');

  const { thrown, answered } = await counted(rig);
  t.equal(thrown, COUNT, 'all of them arrived at the host');
  t.equal(answered, 0, 'and nothing left it for the stranger');
  const status = await rig.status('server');
  t.equal(status.pid, pid, 'the same process lives');
  t.equal(status.peers[0]!.state, 'up', 'and has its peer');
  const names = ['malformed', 'mac1Invalid', 'badTag', 'replayed', 'unknown', 'initiationRepeated', 'initiationReplayed'];
  const refused = names.map((name) => status.counters[name] ?? 0);
  t.comment(`refused: ${names.map((name, i) => `${name} ${refused[i]}`).join(', ')}`);
  t.ok(refused.reduce((sum, count) => sum + count, 0) > COUNT / 2, 'most were looked at, and refused');
  const grown = ((await rig.residentBytes('server')) - before) / MIB;
  t.comment(`resident memory grew by ${grown.toFixed(0)} MiB`);
  t.ok(grown < 60, 'memory does not grow');
  await runTraffic(client, { op: 'upload', host: WEB_ADDRESS, port: TRAFFIC_PORT, bytes: 2_000_000 });
  await rig.mptunnel('client', 'down', 'mpt0');
  await rig.up('client');
  await runTraffic(client, { op: 'upload', host: WEB_ADDRESS, port: TRAFFIC_PORT, bytes: 100_000 });
  t.pass('the tunnel goes on, and comes up again');
});
