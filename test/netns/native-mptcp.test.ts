/**
 * A host's own MPTCP through the tunnel: kernel sockets at both ends, captures on both sides of the tunnel. Its options arrive as they were sent, its subflows
 * have a path each, and what `native_mptcp` tells the kernel is taken back.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { LabProcess } from '../../src/lab/lab-api.js';
import type { NamespaceHost } from '../../src/lab/namespaces.js';
import { WEB_ADDRESS } from '../../src/lab/topology.js';
import { parseSegment } from '../../src/mptcp-over-udp/wire/parse-segment.js';
import { createTcpSegment, PSH, SEEN_DSS, SEEN_MP_CAPABLE, SEEN_MP_JOIN } from '../../src/mptcp-over-udp/wire/segment.js';
import { KernelPeer } from '../interop/kernel-peer.js';
import { missingForInterop } from '../interop/kernel-rig.js';
import { readCapture } from '../interop/read-capture.js';
import { crash, createTunnelRig, type TunnelRig, until } from './tunnel-rig.js';

const LINKS = [
  { rateBitsPerSec: 30e6, delayMs: 10, queuePackets: 200 },
  { rateBitsPerSec: 20e6, delayMs: 15, queuePackets: 200 },
];
const BEST_LINK_BITS_PER_SEC = 30e6;
const PATH_ADDRESS = '10.77.0.66';
const PEER_PROGRAM = fileURLToPath(new URL('../../../test/interop/kernel-peer.py', import.meta.url));
const BYTES = 12_000_000;

t.setTimeout(240_000);

let port = 5200;

function peer(host: NamespaceHost, ...args: (string | number)[]): KernelPeer {
  return new KernelPeer(host.spawnPiped('python3', [PEER_PROGRAM, 'mptcp', ...args.map(String)]));
}

/** A connection between the client's kernel and web's, `bytes` one way; resolves when both are done. */
async function transfer(rig: TunnelRig, direction: 'up' | 'down', bytes = BYTES, during: () => Promise<void> = async () => {}) {
  port++;
  const [atWeb, atClient] = direction === 'up' ? ['discard', 'chargen'] : ['chargen', 'discard'];
  const web = peer(rig.lab.web, 'listen', WEB_ADDRESS, port, atWeb, '--size', bytes);
  await web.event('listening');
  const client = peer(rig.lab.client, 'connect', WEB_ADDRESS, port, atClient, '--size', bytes);
  // Not the time that an interpreter takes to start.
  await client.event('connected');
  const startMs = performance.now();
  const [, ...done] = await Promise.all([during(), client.done, web.done]);
  const [sender, receiver] = direction === 'up' ? done : [done[1]!, done[0]!];
  return { sender: sender!, receiver: receiver!, seconds: (performance.now() - startMs) / 1000 };
}

/** On a busy machine with captures running one transfer shows little: it is tried again without them. */
async function bestOf(rig: TunnelRig, direction: 'up' | 'down', firstBitsPerSec: number): Promise<boolean> {
  let best = firstBitsPerSec;
  for (let attempt = 0; attempt < 3 && best <= BEST_LINK_BITS_PER_SEC * 1.15; attempt++) {
    const { seconds } = await transfer(rig, direction);
    best = Math.max(best, (BYTES * 8) / seconds);
  }
  return best > BEST_LINK_BITS_PER_SEC * 1.15;
}

interface KernelState {
  endpoints: { address: string; dev?: string; backup?: boolean }[];
  limits: string;
  addresses: string[];
}

async function kernelState({ client }: TunnelRig['lab']): Promise<KernelState> {
  const run = async (...args: string[]): Promise<string> => (await client.run('ip', args)).stdout;
  const links = JSON.parse(await run('-j', 'addr')) as { ifname: string; addr_info: { local: string }[] }[];
  return {
    endpoints: JSON.parse((await run('-j', 'mptcp', 'endpoint', 'show')) || '[]'),
    limits: (await run('mptcp', 'limits')).trim(),
    addresses: links.filter(({ ifname }) => ifname === 'mpt0').flatMap(({ addr_info: infos }) => infos.map(({ local }) => local)),
  };
}

const endpointsOf = async (rig: TunnelRig): Promise<string[]> => (await kernelState(rig.lab)).endpoints.map(({ address }) => address);

async function nativeRig(): Promise<TunnelRig> {
  const rig = await createTunnelRig({ links: LINKS, up: false });
  const edit = (side: 'client' | 'server', from: string, to: string): void => {
    const text = readFileSync(rig.configFile(side), 'utf8');
    if (!text.includes(from)) throw new Error(`${side}: no ${from}`);
    writeFileSync(rig.configFile(side), text.replace(from, to));
  };
  edit('client', '[interface]\n', `[interface]\nnative_mptcp = true\nnative_mptcp_addresses = ["${PATH_ADDRESS}"]\n`);
  edit('server', '"10.77.0.2/32"', `"10.77.0.2/32", "${PATH_ADDRESS}/32"`);
  return rig;
}

/** Headers of every TCP packet, as lines that a tunnel must not change: all but checksums, what cutting and joining do to lengths, and PSH of all but the last piece. */
function headersIn(file: string): { from: string; seen: number; line: string }[] {
  const segment = createTcpSegment();
  return readCapture(readFileSync(file)).flatMap(({ bytes }) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    // Captured to the end of the headers only: the payload's length does not matter.
    const whole = new Uint8Array(Math.max(bytes.length, view.getUint16(2)));
    whole.set(bytes);
    if (parseSegment(whole, new DataView(whole.buffer), 0, whole.length, false, segment) !== '') return [];
    const { sourceAddressOffset: at, payloadOffset } = segment;
    const tcp = at + 8;
    const hexOf = (from: number, to: number): string => Buffer.from(whole.subarray(from, to)).toString('hex');
    const flags = segment.flags & ~PSH;
    const line = `${hexOf(at, tcp + 13)} ${flags} ${hexOf(tcp + 14, tcp + 16)} ${hexOf(tcp + 18, payloadOffset)}`;
    return [{ from: whole.subarray(at, at + 4).join('.'), seen: segment.mptcp.seen, line }];
  });
}

async function capture(host: NamespaceHost, device: string, file: string): Promise<LabProcess> {
  const process = host.spawn('tcpdump', ['-i', device, '-w', file, '-s', '160', '-U', '--immediate-mode', '-B', '16384', 'tcp']);
  await until('tcpdump listens', async () => readFileSync(process.logFile, 'utf8').includes('listening'), 5000);
  return process;
}

t.test("a host's own MPTCP passes intact, each subflow on its path", { skip: missingForInterop() }, async (t) => {
  const rig = await nativeRig();
  t.teardown(() => rig.close());
  const { lab } = rig;
  // Fewer than are needed: the tunnel has to raise it, and to put it back.
  await lab.client.run('ip', ['mptcp', 'limits', 'set', 'subflows', '0']);
  const before = await kernelState(lab);
  await rig.up('server');
  await rig.up('client');
  await until('the second path has its endpoint', async () => (await endpointsOf(rig)).length === 1, 5000);

  await t.test('the kernel has an address of the device for the second path', async (t) => {
    const state = await kernelState(lab);
    t.match(state.endpoints, [{ address: PATH_ADDRESS, dev: 'mpt0' }]);
    t.ok(state.addresses.includes(PATH_ADDRESS));
    const { stdout } = await lab.client.run('ip', ['route', 'get', WEB_ADDRESS]);
    t.match(stdout, /src 10\.77\.0\.2 /, "what does not ask for it goes from the device's own address");
  });

  for (const direction of ['up', 'down'] as const) {
    await t.test(`${direction}: both links carry it, and headers arrive as they were sent`, async (t) => {
      const files = { client: join(lab.folder, `${direction}-client.pcap`), web: join(lab.folder, `${direction}-web.pcap`) };
      const dumps = [await capture(lab.client, 'mpt0', files.client), await capture(lab.web, 'lan0', files.web)];
      const linksBefore = await Promise.all(lab.links.map((link) => link.counters()));
      const { sender, receiver, seconds } = await transfer(rig, direction);
      const linksAfter = await Promise.all(lab.links.map((link) => link.counters()));
      await sleep(300);
      for (const dump of dumps) dump.kill('SIGINT');
      await Promise.all(dumps.map((dump) => dump.exited));

      t.equal(receiver.read, BYTES);
      t.equal(receiver.read_sha256, sender.write_sha256, 'what arrives is what was sent');
      t.equal(sender.info?.fallback, false, 'MPTCP to the end');
      t.equal(sender.info?.subflows, 1, 'one subflow beside the first');
      const key = direction === 'up' ? 'upBytes' : 'downBytes';
      const carried = linksAfter.map((after, i) => after[key] - linksBefore[i]![key]);
      const bitsPerSec = (BYTES * 8) / seconds;
      t.comment(
        `${(bitsPerSec / 1e6).toFixed(1)} Mbit/s; the links carried ${carried.map((bytes) => (bytes / 1e6).toFixed(1)).join(' + ')} MB`,
      );
      for (const bytes of carried) t.ok(bytes > BYTES * 0.2, 'a good part of it');
      t.ok(await bestOf(rig, direction, bitsPerSec), 'more than the better link alone');

      for (const [from, to] of [['client', 'web'] as const, ['web', 'client'] as const]) {
        const sent = headersIn(files[from]).filter(({ from: address }) => (address === WEB_ADDRESS) === (from === 'web'));
        const arrived = new Set(headersIn(files[to]).map(({ line }) => line));
        const missing = sent.filter(({ line }) => !arrived.has(line));
        for (const [name, bit] of Object.entries({ MP_CAPABLE: SEEN_MP_CAPABLE, MP_JOIN: SEEN_MP_JOIN, DSS: SEEN_DSS }))
          t.ok(
            sent.some(({ seen }) => (seen & bit) !== 0),
            `${from} sends ${name}`,
          );
        t.comment(`${from} to ${to}: ${sent.length} packets, ${missing.length} without their like at the other end`);
        // A full queue on a link drops some; of what was joined for the device only the first piece is compared.
        t.ok(missing.length <= sent.length * 0.05, 'what is sent arrives');
        t.strictSame(
          missing.filter(({ seen }) => (seen & (SEEN_MP_CAPABLE | SEEN_MP_JOIN)) !== 0),
          [],
          'every handshake, byte for byte',
        );
      }
    });
  }

  await t.test('a path that is cut costs no subflow', async (t) => {
    const moved = async (): Promise<number> => (await rig.status('client')).counters.flowsMoved ?? 0;
    const movedBefore = await moved();
    const { sender, receiver } = await transfer(rig, 'up', BYTES, async () => {
      await sleep(1000);
      await lab.links[1]!.blackhole(true);
      await sleep(1500);
      await lab.links[1]!.blackhole(false);
    });
    t.equal(receiver.read_sha256, sender.write_sha256);
    t.equal(sender.info?.subflows, 1, 'both subflows are still there');
    t.ok((await moved()) > movedBefore, 'one of them went over the other path');
  });

  await t.test('paths come and go under a connection', async (t) => {
    const { sender, receiver } = await transfer(rig, 'up', BYTES, async () => {
      await sleep(500);
      // The path that has the address: the first to come up has the device's own.
      for (const name of ['link0', 'link1']) {
        await rig.mptunnel('client', 'path', 'remove', 'mpt0', name);
        await sleep(300);
        const gone = (await endpointsOf(rig)).length === 0;
        await rig.mptunnel('client', 'path', 'add', 'mpt0', name, `interface=wan${name.at(-1)}`);
        if (gone) break;
      }
      await until('the endpoint is there again', async () => (await endpointsOf(rig)).length === 1, 5000);
    });
    t.equal(receiver.read_sha256, sender.write_sha256);
    t.equal(sender.info?.subflows, 1, 'and so is a second subflow');
  });

  await t.test('a backup path is a backup to the kernel', async (t) => {
    for (const name of ['link0', 'link1']) await rig.mptunnel('client', 'set', 'mpt0', 'path', name, 'backup=on');
    await until('it is', async () => (await kernelState(lab)).endpoints[0]?.backup === true, 3000);
    for (const name of ['link0', 'link1']) await rig.mptunnel('client', 'set', 'mpt0', 'path', name, 'backup=off');
    await until('it is no longer', async () => (await kernelState(lab)).endpoints[0]?.backup !== true, 3000);
    t.pass();
  });

  await t.test("plain TCP beside it is the stream plane's, from either address", async (t) => {
    for (const address of ['10.77.0.2', PATH_ADDRESS]) {
      port++;
      const web = new KernelPeer(lab.web.spawnPiped('python3', [PEER_PROGRAM, 'tcp', 'listen', WEB_ADDRESS, String(port), 'echo']));
      await web.event('listening');
      const args = ['tcp', 'connect', WEB_ADDRESS, String(port), 'duplex', '--size', '100000', '--bind', address];
      const client = new KernelPeer(lab.client.spawnPiped('python3', [PEER_PROGRAM, ...args]));
      t.equal((await client.done).read, 100_000, address);
    }
  });

  await t.test('all is taken back, by down', async (t) => {
    await rig.mptunnel('client', 'down', 'mpt0');
    t.strictSame(await kernelState(lab), before);
  });

  await t.test('after a crash: by down, and by the next up', async (t) => {
    const upAndCrash = async (): Promise<void> => {
      await rig.up('client');
      await until('the endpoint is there', async () => (await endpointsOf(rig)).length === 1, 5000);
      await crash(rig, 'client');
      t.strictSame(await endpointsOf(rig), [PATH_ADDRESS], 'a crash leaves it');
    };
    await upAndCrash();
    await rig.mptunnel('client', 'down', 'mpt0');
    t.strictSame(await kernelState(lab), before, 'down');
    await upAndCrash();
    // Somebody else's endpoint is not ours to remove.
    await lab.client.run('ip', ['mptcp', 'endpoint', 'add', '10.90.0.1', 'id', '9', 'subflow']);
    await rig.up('client');
    await until('the endpoint is there', async () => (await endpointsOf(rig)).length === 2, 5000);
    await rig.mptunnel('client', 'down', 'mpt0');
    t.strictSame(await endpointsOf(rig), ['10.90.0.1'], 'the next up and its down');
    await lab.client.run('ip', ['mptcp', 'endpoint', 'delete', 'id', '9']);
    t.strictSame(await kernelState(lab), before);
  });
});
