/** Limits and budgets of paths with the real program: the server obeys the client, a short queue stays short, and no change touches a connection. Needs root. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { WEB_ADDRESS } from '../../src/lab/topology.js';
import { runTraffic, startTraffic, startTrafficServer, TRAFFIC_PORT, type TrafficRun } from '../../src/lab/traffic.js';
import type { PathStatus } from '../../src/tunnel/status.js';
import { inside, type Say } from './tunnel-remote.js';
import { createTunnelRig, SERVER_ADDRESS, type TunnelRig, until } from './tunnel-rig.js';

const LINKS = [
  { rateBitsPerSec: 40e6, delayMs: 15, queuePackets: 400 },
  { rateBitsPerSec: 40e6, delayMs: 5, queuePackets: 400 },
];
const PINNED_PORT = 5003;
const PATHS = `[[path]]
name = "link0"
interface = "wan0"

[[path]]
name = "link1"
interface = "wan1"
limit_down = "10 Mbit/s"
`;
/** What answers goes where it came from: both directions of these are link 1's. */
const RULES = `
[[rule]]
protocol = "icmp"
mode = "pin"
paths = ["link1"]

[[rule]]
port = ${PINNED_PORT}
mode = "pin"
paths = ["link1"]
`;
const LINK1_RTT_MS = 10;
const WINDOW_MS = 3000;
const WINDOWS = 25;
const FILLED = 0.85;
/** A burst of a few packets at the edge of a window. */
const TOLERANCE = 1.02;

t.setTimeout(400_000);

/** Bits per second of IP packets on a link within `ms`. */
async function rateOf(rig: TunnelRig, direction: 'up' | 'down', link: number, ms: number): Promise<number> {
  const bytes = async () => (await rig.lab.links[link]!.counters())[direction === 'up' ? 'upBytes' : 'downBytes'];
  const [before, startMs] = [await bytes(), performance.now()];
  await sleep(ms);
  return (((await bytes()) - before) * 8000) / (performance.now() - startMs);
}

/** Rates of both links, again and again until they are as wanted: a machine at work may need a while. None of link 1 may be above `limit`. */
async function watch(t: Test, rig: TunnelRig, direction: 'up' | 'down', limit: number, leastFree: number): Promise<void> {
  let [free, limited] = [0, 0];
  for (let i = 0; i < WINDOWS && (limited < FILLED * limit || free < leastFree); i++) {
    [free, limited] = await Promise.all([rateOf(rig, direction, 0, WINDOW_MS), rateOf(rig, direction, 1, WINDOW_MS)]);
    if (limited > TOLERANCE * limit) break;
  }
  t.comment(`${direction}: ${megabits(free)} Mbit/s beside ${megabits(limited)} Mbit/s`);
  t.ok(limited <= TOLERANCE * limit, `within ${megabits(limit)} Mbit/s`);
  t.ok(limited >= FILLED * limit, 'and nearly all of it');
  t.ok(free >= leastFree, 'the other path is as it was');
}

async function pathOf(rig: TunnelRig, side: 'client' | 'server', name: string): Promise<PathStatus> {
  return (await rig.status(side)).peers[0]!.paths.find((path) => path.name === name)!;
}

function download(rig: TunnelRig): TrafficRun {
  return startTraffic(rig.lab.client, { op: 'download', host: WEB_ADDRESS, port: TRAFFIC_PORT, silenceMs: 20_000 }, () => {});
}

/** Round trips of pings over link 1, sorted. */
async function pings(rig: TunnelRig): Promise<number[]> {
  const { stdout } = await rig.lab.client.run('ping', ['-c', '60', '-i', '0.05', '-W', '2', SERVER_ADDRESS], { timeoutMs: 30_000 });
  return [...stdout.matchAll(/time=([\d.]+) ms/g)].map((match) => Number(match[1])).sort((a, b) => a - b);
}

const megabits = (bitsPerSec: number): string => (bitsPerSec / 1e6).toFixed(2);

t.test('a download keeps to limit_down on the path that has one, whose queue is short; changes do not touch it', async (t) => {
  const rig = await createTunnelRig({ links: LINKS, paths: PATHS, append: { client: RULES } });
  t.teardown(() => rig.close());
  await startTrafficServer(rig.lab.web);
  await until('the server knows', async () => (await pathOf(rig, 'server', 'link1'))?.limitUpBytesPerSec === 1_250_000, 10_000);
  const run = download(rig);
  await watch(t, rig, 'down', 10e6, 25e6);

  const rtts = await pings(rig);
  const median = rtts[rtts.length >> 1]!;
  t.comment(`pings over it under load: median ${median} ms, 90 % below ${rtts[Math.floor(rtts.length * 0.9)]} ms, of ${rtts.length}`);
  t.ok(rtts.length >= 57, 'none is lost');
  // Filled, the link's own queue would hold 120 ms; a machine at work adds some of its own.
  t.ok(median < LINK1_RTT_MS + 30, 'the queue is short');

  t.match(await rig.mptunnel('client', 'status', 'mpt0'), { stdout: /link1 is limited to 10 Mbit\/s down/ });
  await rig.mptunnel('client', 'set', 'mpt0', 'path', 'link1', 'limit_down=3 Mbit/s');
  await sleep(1000);
  await watch(t, rig, 'down', 3e6, 20e6);
  await rig.mptunnel('client', 'set', 'mpt0', 'path', 'link1', 'limit_down=off');
  await until('without it the path fills', async () => (await rateOf(rig, 'down', 1, 1000)) > 20e6, 90_000);

  const file = rig.configFile('client');
  writeFileSync(file, readFileSync(file, 'utf8').replace('"10 Mbit/s"', '"5 Mbit/s"'));
  process.kill((await rig.status('client')).pid, 'SIGHUP');
  await until('SIGHUP sets that of the file', async () => (await pathOf(rig, 'server', 'link1')).limitUpBytesPerSec === 625_000, 5000);
  await sleep(1000);
  await watch(t, rig, 'down', 5e6, 20e6);
  run.stop();
  t.equal((await run.result).error, undefined, 'the connection survived, every byte is right');
});

t.test('an upload keeps to limit_up', async (t) => {
  const rig = await createTunnelRig({ links: LINKS, paths: PATHS.replace('limit_down', 'limit_up') });
  t.teardown(() => rig.close());
  await startTrafficServer(rig.lab.web);
  const run = startTraffic(rig.lab.client, { op: 'upload', host: WEB_ADDRESS, port: TRAFFIC_PORT, silenceMs: 20_000 }, () => {});
  await watch(t, rig, 'up', 10e6, 25e6);
  run.stop();
  t.equal((await run.result).error, undefined);
});

t.test('a path that costs carries no pages, though it is the nearer, and a part of what is too much for the cheap one', async (t) => {
  const rig = await createTunnelRig({ links: LINKS, paths: PATHS.replace('limit_down = "10 Mbit/s"', 'cost = 1') });
  t.teardown(() => rig.close());
  await startTrafficServer(rig.lab.web);
  await until('the server knows', async () => (await pathOf(rig, 'server', 'link1'))?.cost === 1, 10_000);
  const down = async (link: number) => (await rig.lab.links[link]!.counters()).downBytes;
  const [cheapBefore, dearBefore] = [await down(0), await down(1)];
  for (let i = 0; i < 8; i++) await runTraffic(rig.lab.client, { op: 'download', host: WEB_ADDRESS, port: TRAFFIC_PORT, bytes: 100_000 });
  const [cheap, dear] = [(await down(0)) - cheapBefore, (await down(1)) - dearBefore];
  t.comment(`eight pages of 100 kB: ${cheap} bytes on the cheap path, ${dear} on the dear one`);
  t.ok(dear < 0.15 * cheap, 'no more than subflows and probes');
  const run = download(rig);
  await until('a large download fills both', async () => (await rateOf(rig, 'down', 1, 1000)) > 15e6, 60_000);
  t.ok((await rateOf(rig, 'down', 0, 2000)) > 15e6, 'the cheap one too');
  run.stop();
  t.equal((await run.result).error, undefined);
});

/** Answers the first datagram with a flood of numbered ones, as fast as told. */
async function flooder(
  { address, port, packetsPerSec, seconds }: { address: string; port: number; packetsPerSec: number; seconds: number },
  say: Say,
): Promise<number> {
  const { createSocket } = await import('node:dgram');
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(port, address, resolve));
  say('ready');
  const from = await new Promise<{ address: string; port: number }>((resolve) => socket.once('message', (_, sender) => resolve(sender)));
  const [startMs, total] = [performance.now(), packetsPerSec * seconds];
  let sent = 0;
  while (sent < total) {
    const due = Math.min(total, ((performance.now() - startMs) * packetsPerSec) / 1000);
    for (; sent < due; sent++) {
      const message = Buffer.alloc(1200);
      message.writeDoubleBE(Date.now(), 0);
      socket.send(message, from.port, from.address);
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return sent;
}

/** Asks for it; what came, and how long it was on its way beyond the shortest. */
async function flooded({
  host,
  port,
}: {
  host: string;
  port: number;
}): Promise<{ received: number; medianExtraMs: number; spanMs: number }> {
  const { createSocket } = await import('node:dgram');
  const socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20 });
  const delays: number[] = [];
  let firstMs = -1;
  let lastMs = -1;
  socket.on('message', (message) => {
    lastMs = performance.now();
    if (firstMs < 0) firstMs = lastMs;
    delays.push(Date.now() - message.readDoubleBE(0));
  });
  socket.send('go', port, host);
  const startMs = performance.now();
  while (performance.now() - startMs < 2000 || performance.now() - lastMs < 1000) await new Promise((resolve) => setTimeout(resolve, 100));
  delays.sort((a, b) => a - b);
  return { received: delays.length, medianExtraMs: delays[delays.length >> 1]! - delays[0]!, spanMs: lastMs - firstMs };
}

t.test('datagrams that the server sends obey it too: what is beyond waits for 50 ms at most, and is dropped', async (t) => {
  const rig = await createTunnelRig({ links: LINKS, paths: PATHS, append: { client: RULES } });
  t.teardown(() => rig.close());
  await until('the server knows', async () => (await pathOf(rig, 'server', 'link1'))?.limitUpBytesPerSec === 1_250_000, 10_000);
  const server = inside(rig.lab.server, flooder, { address: SERVER_ADDRESS, port: PINNED_PORT, packetsPerSec: 2500, seconds: 4 });
  await server.said;
  const { received, medianExtraMs, spanMs } = await inside(rig.lab.client, flooded, { host: SERVER_ADDRESS, port: PINNED_PORT }).result;
  const sent = await server.result;
  // Inner packet, seal, outer IP and UDP.
  const rate = (received * (1228 + 32 + 28) * 8000) / spanMs;
  t.comment(`${received} of ${sent} came, ${megabits(rate)} Mbit/s, median ${medianExtraMs} ms beyond the shortest`);
  t.ok(rate <= 10.3e6 && rate >= 9e6, 'the limit');
  t.ok(medianExtraMs <= 60, 'a short queue');
  t.ok((await rig.status('server')).counters.txLimitDrops! > 1000, 'and what was dropped is counted');
});

t.test('a spent budget makes a path a backup on both sides, or turns it off, and outlives the daemon', async (t) => {
  const state = mkdtempSync(join(tmpdir(), 'mptunnel-state-'));
  t.teardown(() => rmSync(state, { recursive: true, force: true }));
  const rig = await createTunnelRig({
    links: LINKS,
    paths: PATHS.replace('limit_down = "10 Mbit/s"', 'budget = "4 MB/month"'),
    environment: { MPTUNNEL_STATE_DIR: state },
  });
  t.teardown(() => rig.close());
  await startTrafficServer(rig.lab.web);
  const get = () => runTraffic(rig.lab.client, { op: 'download', host: WEB_ADDRESS, port: TRAFFIC_PORT, bytes: 15e6 });
  await get();
  await until('the server takes it for a backup', async () => (await pathOf(rig, 'server', 'link1')).backup, 5000);
  const { budget, backup } = await pathOf(rig, 'client', 'link1');
  t.match({ budget, backup }, { budget: { bytes: 4e6, period: 'month', state: 'spent' }, backup: true });
  const file = join(state, 'mpt0.budgets.json');
  await until('the file says so', async () => JSON.parse(readFileSync(file, 'utf8')).paths.link1.usedBytes >= 4e6, 10_000);
  const downBytes = (await rig.lab.links[1]!.counters()).downBytes;
  await get();
  const share = ((await rig.lab.links[1]!.counters()).downBytes - downBytes) / 15e6;
  t.ok(share < 0.03, `the backup has ${(100 * share).toFixed(1)} % of the next download`);

  process.kill((await rig.status('client')).pid, 'SIGKILL');
  const counted = JSON.parse(readFileSync(file, 'utf8')).paths.link1.usedBytes as number;
  await rig.up('client');
  const again = await pathOf(rig, 'client', 'link1');
  t.match(again.budget, { state: 'spent' }, 'after a crash');
  t.ok(again.budget!.usedBytes >= counted);
  t.match(await rig.mptunnel('client', 'status', 'mpt0'), { stdout: /link1 has used .* of 4 MB\/month: spent until/ });

  await rig.mptunnel('client', 'set', 'mpt0', 'path', 'link1', 'budget_spent=off');
  await until('off: the path is down', async () => (await pathOf(rig, 'client', 'link1')).state === 'down', 5000);
  t.equal((await pathOf(rig, 'client', 'link1')).stateReason, 'its budget is spent');
  await rig.mptunnel('client', 'set', 'mpt0', 'path', 'link1', 'budget=4 GB/month');
  const free = async (): Promise<boolean> => {
    const path = await pathOf(rig, 'client', 'link1');
    return path.state === 'up' && !path.backup;
  };
  await until('more budget: it is back', free, 10_000);
  await get();
});
