/** The modes of datagrams with the real program: links are cut silently under flows of every mode, and one flow is larger than either link. */

import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { WEB_ADDRESS } from '../../src/lab/topology.js';
import { inside, type Say } from './tunnel-remote.js';
import { createTunnelRig } from './tunnel-rig.js';

const LINKS = [
  { rateBitsPerSec: 50e6, delayMs: 10, queuePackets: 300 },
  { rateBitsPerSec: 30e6, delayMs: 30, queuePackets: 250 },
];
const SLOW_RTT_MS = 60;
const PORTS = { redundant: 5001, aggregate: 5002, pin: 5003, standby: 5004, minDelay: 5005 } as const;
const RULES = `
[[rule]]
protocol = "udp"
port = ${PORTS.redundant}
mode = "redundant"
[[rule]]
port = ${PORTS.aggregate}
mode = "aggregate"
[[rule]]
port = ${PORTS.pin}
mode = "pin"
paths = ["link1"]
[[rule]]
port = ${PORTS.standby}
mode = "active-standby"
paths = ["link1", "link0"]
`;
const INTERVAL_MS = 10;
/** Answers that took longer than this came and went over link 1 at least one way. */
const OVER_LINK1_MS = 38;
const AGGREGATE = { port: PORTS.aggregate, bitsPerSec: 60e6, payloadBytes: 1200, seconds: 4 } as const;

t.setTimeout(60_000);

interface Echo {
  number: number;
  sentMs: number;
  rttMs: number;
}
interface EchoFlow {
  sent: number;
  echoes: Echo[];
  duplicates: number;
}
interface SinkReport {
  received: number;
  duplicates: number;
  reordered: number;
  longestGapMs: number;
}

/** Sends back what comes to these ports. */
async function echoPorts({ ports }: { ports: readonly number[] }, say: Say): Promise<void> {
  const { createSocket } = await import('node:dgram');
  for (const port of ports) {
    const socket = createSocket('udp4');
    socket.on('message', (message, from) => socket.send(message, from.port, from.address));
    await new Promise<void>((resolve) => socket.bind(port, resolve));
  }
  say('ready');
  await new Promise(() => {});
}

/** One flow to each port, at the same times; times are since the start. */
async function echoFlows(
  { host, ports, intervalMs, seconds }: { host: string; ports: readonly number[]; intervalMs: number; seconds: number },
  say: Say,
): Promise<Record<number, EchoFlow>> {
  const { createSocket } = await import('node:dgram');
  const flows: Record<number, EchoFlow> = {};
  const startMs = performance.now();
  const senders = ports.map((port) => {
    const flow: EchoFlow = { sent: 0, echoes: [], duplicates: 0 };
    flows[port] = flow;
    const sentMs: number[] = [];
    const seen = new Set<number>();
    const socket = createSocket('udp4');
    // A pinned flow whose path is down is told so.
    socket.on('error', () => undefined);
    socket.on('message', (message) => {
      const number = message.readUInt32BE(0);
      if (seen.has(number)) flow.duplicates++;
      else flow.echoes.push({ number, sentMs: sentMs[number]!, rttMs: performance.now() - startMs - sentMs[number]! });
      seen.add(number);
    });
    return () => {
      const message = Buffer.alloc(172);
      message.writeUInt32BE(flow.sent++, 0);
      sentMs.push(performance.now() - startMs);
      socket.send(message, port, host);
    };
  });
  say('started');
  for (let tick = 0; performance.now() - startMs < seconds * 1000; tick++) {
    for (const send of senders) send();
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, (tick + 1) * intervalMs - (performance.now() - startMs))));
  }
  await new Promise((resolve) => setTimeout(resolve, 500));
  return flows;
}

/** Counts numbered datagrams until none has come for a while. */
async function sink({ port }: { port: number }, say: Say): Promise<SinkReport> {
  const { createSocket } = await import('node:dgram');
  const socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20 });
  const report: SinkReport = { received: 0, duplicates: 0, reordered: 0, longestGapMs: 0 };
  const seen = new Set<number>();
  let highest = -1;
  let lastMs = -1;
  socket.on('message', (message) => {
    const nowMs = performance.now();
    const number = message.readUInt32BE(0);
    if (seen.has(number)) report.duplicates++;
    seen.add(number);
    if (number < highest) report.reordered++;
    highest = Math.max(highest, number);
    if (lastMs >= 0) report.longestGapMs = Math.max(report.longestGapMs, nowMs - lastMs);
    lastMs = nowMs;
  });
  await new Promise<void>((resolve) => socket.bind(port, resolve));
  say('ready');
  while (lastMs < 0 || performance.now() - lastMs < 1000) await new Promise((resolve) => setTimeout(resolve, 100));
  report.received = seen.size;
  return report;
}

/** Datagrams at an even rate; how many. */
async function source({
  host,
  port,
  bitsPerSec,
  payloadBytes,
  seconds,
}: {
  host: string;
  port: number;
  bitsPerSec: number;
  payloadBytes: number;
  seconds: number;
}): Promise<number> {
  const { createSocket } = await import('node:dgram');
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.connect(port, host, resolve));
  const perMs = bitsPerSec / 8 / payloadBytes / 1000;
  const startMs = performance.now();
  let sent = 0;
  let failed = 0;
  while (performance.now() - startMs < seconds * 1000) {
    for (const due = (performance.now() - startMs) * perMs; sent < due; sent++) {
      const message = Buffer.allocUnsafe(payloadBytes);
      message.writeUInt32BE(sent, 0);
      socket.send(message, (error) => {
        if (error !== null) failed++;
      });
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await new Promise((resolve) => setTimeout(resolve, 200));
  return sent - failed;
}

const sentBetween = (flow: EchoFlow, fromMs: number, toMs: number): Echo[] =>
  flow.echoes.filter(({ sentMs }) => sentMs >= fromMs && sentMs < toMs);

function longestGapMs(flow: EchoFlow, fromMs: number, toMs: number): number {
  const arrivals = flow.echoes.map(({ sentMs, rttMs }) => sentMs + rttMs).sort((a, b) => a - b);
  let longest = 0;
  for (let i = 1; i < arrivals.length; i++) {
    if (arrivals[i]! > fromMs && arrivals[i - 1]! < toMs) longest = Math.max(longest, arrivals[i]! - arrivals[i - 1]!);
  }
  return longest;
}

function medianRttMs(echoes: readonly Echo[]): number {
  const sorted = echoes.map(({ rttMs }) => rttMs).sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

t.test('each flow in its mode', async (t) => {
  const rig = await createTunnelRig({ links: LINKS, append: { client: RULES } });
  t.teardown(() => rig.close());
  const { client, web, links } = rig.lab;

  await t.test('silent cuts', async (t) => {
    const ports = [PORTS.redundant, PORTS.pin, PORTS.standby, PORTS.minDelay];
    const server = inside(web, echoPorts, { ports });
    await server.said;
    const run = inside(client, echoFlows, { host: WEB_ADDRESS, ports, intervalMs: INTERVAL_MS, seconds: 14 });
    await run.said;
    const startMs = performance.now();
    const at: number[] = [];
    for (const [afterMs, index, cut] of [
      [2000, 0, true],
      [4000, 0, false],
      [6000, 1, true],
      [8000, 1, false],
    ] as const) {
      await sleep(Math.max(0, startMs + afterMs - performance.now()));
      await links[index]!.blackhole(cut);
      at.push(performance.now() - startMs);
    }
    const [cut0, back0, cut1, back1] = at as [number, number, number, number];
    await sleep(startMs + 12_000 - performance.now());
    const [clientStatus, serverStatus] = [await rig.status('client'), await rig.status('server')];
    const flows = await run.result;
    server.stop();
    const redundant = flows[PORTS.redundant]!;
    const minDelay = flows[PORTS.minDelay]!;
    const pin = flows[PORTS.pin]!;
    const standby = flows[PORTS.standby]!;

    t.comment(
      `redundant: ${redundant.sent - redundant.echoes.length} of ${redundant.sent} lost, longest gap ${longestGapMs(redundant, 0, 1e9).toFixed(0)} ms`,
    );
    t.equal(redundant.echoes.length, redundant.sent, 'redundant: nothing is lost in four changes of the links');
    t.equal(redundant.duplicates, 0, 'redundant: nothing comes twice');

    const gapMs = longestGapMs(minDelay, cut0, back0);
    t.comment(`min-delay: gap ${gapMs.toFixed(0)} ms at the silent cut, bound ${300 + 2 * SLOW_RTT_MS}`);
    t.ok(gapMs <= 300 + 2 * SLOW_RTT_MS, 'min-delay: the gap is 300 ms and two round trips at most');
    t.ok(medianRttMs(sentBetween(minDelay, 0, cut0 - 100)) < OVER_LINK1_MS, 'min-delay: the better path before');
    t.ok(medianRttMs(sentBetween(minDelay, cut1, back1)) < OVER_LINK1_MS, 'min-delay: and again after its return');

    t.ok(medianRttMs(sentBetween(pin, 0, cut1 - 100)) > 2 * OVER_LINK1_MS - 20, 'pin: on the named path, both ways');
    t.equal(sentBetween(pin, cut1 + 100, back1 - 200).length, 0, 'pin: on no other when that is cut');
    t.ok(sentBetween(pin, back1 + 1500, 14_000).length > 300, 'pin: it goes on');

    t.ok(medianRttMs(sentBetween(standby, 0, cut1 - 100)) > OVER_LINK1_MS, 'active-standby: the first of the rule');
    t.ok(medianRttMs(sentBetween(standby, cut1 + 600, back1)) < OVER_LINK1_MS, 'active-standby: the second while that is cut');
    t.ok(medianRttMs(sentBetween(standby, back1, back1 + 2000)) < OVER_LINK1_MS, 'active-standby: not at once back');
    t.ok(medianRttMs(sentBetween(standby, back1 + 4500, 14_000)) > OVER_LINK1_MS, 'active-standby: back after some seconds');

    const { redundant: mirrored, pin: pinned } = serverStatus.datagrams!.flows;
    t.match(clientStatus.datagrams!.flows, { redundant: 1, pin: 1, 'active-standby': 1 }, 'status counts the flows of the client');
    t.match({ mirrored, pinned }, { mirrored: 1, pinned: 1 }, 'and those of the server, which does as the client does');
    t.ok(serverStatus.counters.resequencedDuplicates! > 100, 'second copies are counted');
  });

  await t.test('one flow larger than either link', async (t) => {
    const target = inside(web, sink, { port: PORTS.aggregate });
    await target.said;
    const before = await Promise.all(links.map((link) => link.counters()));
    const sent = await inside(client, source, { host: WEB_ADDRESS, ...AGGREGATE }).result;
    const report = await target.result;
    const after = await Promise.all(links.map((link) => link.counters()));
    const shares = after.map(({ upBytes }, i) => (upBytes - before[i]!.upBytes) / (sent * AGGREGATE.payloadBytes));
    const { counters } = await rig.status('server');
    const { resequencedHeld, resequencedSkipped, resequencedLate, resequencedOverflows } = counters;
    t.comment(
      `aggregate: ${sent} sent, ${sent - report.received} lost, ${report.reordered} out of order, gap ${report.longestGapMs.toFixed(0)} ms, shares ${shares.map((share) => share.toFixed(2))}`,
    );
    t.comment(JSON.stringify({ resequencedHeld, resequencedSkipped, resequencedLate, resequencedOverflows }));
    t.ok(sent > (AGGREGATE.bitsPerSec * AGGREGATE.seconds * 0.9) / 8 / AGGREGATE.payloadBytes, 'the source kept its rate');
    t.ok(report.received > sent * 0.98, 'it is carried, nearly all');
    t.ok(report.reordered < sent * 0.01, 'and nearly all in order');
    t.equal(report.duplicates, 0);
    t.ok(
      shares.every((share) => share > 0.1),
      'over both links',
    );
  });
});
