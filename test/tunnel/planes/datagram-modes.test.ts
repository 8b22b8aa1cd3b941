/** Each mode over two unequal links, 50 Mbit/s with 10 ms and 30 Mbit/s with 30 ms, on a virtual clock. */

import t from 'tap';
import { foldSum, internetChecksum, pseudoHeaderSum } from '../../../src/mptcp-over-udp/wire/checksum.js';
import { patchIpLength } from '../../../src/mptcp-over-udp/wire/ip-header.js';
import type { FlowMode, RuleConfig } from '../../../src/tunnel/config.js';
import {
  type Arrival,
  CLIENT_HOST,
  createTwoPlanes,
  longestGapMs,
  numberedUdp,
  type PathShape,
  type PlaneSide,
  reorderedCount,
  SERVER_HOST,
  type TwoPlanes,
} from '../../sim/two-planes.js';

const FAST: PathShape = { name: 'dsl', rateBitsPerSec: 50e6, delayMs: 10, queuePackets: 300, queueCountsInFlight: true };
const SLOW: PathShape = { name: 'lte', rateBitsPerSec: 30e6, delayMs: 30, queuePackets: 250, queueCountsInFlight: true };
const PATHS = [FAST, SLOW];
/** A path is in doubt after a repetition without an answer; a silence is called after 300 ms at the soonest. */
const CUT_LIMIT_MS = 220;

const ruleOf = (mode: FlowMode, paths?: readonly string[]): RuleConfig => ({
  mode,
  protocols: [17],
  ...(paths === undefined ? {} : { paths }),
});

/** Both sides have measured their paths. */
function settled(options: Parameters<typeof createTwoPlanes>[0]): TwoPlanes {
  const world = createTwoPlanes(options);
  world.run(3000);
  return world;
}

function sentBy(side: PlaneSide): number[] {
  return side.paths.map((path) => path.sentPackets);
}

/** Packets that each path of the side took while `during` ran. */
function sentDuring(side: PlaneSide, during: () => void): number[] {
  const before = sentBy(side);
  during();
  return sentBy(side).map((count, i) => count - before[i]!);
}

/** Every packet of port 5004 that arrives is answered. */
function answerAll(from: PlaneSide): void {
  from.onArrival = ({ number, port }) => from.send(number, { sourcePort: port, port: 40_000 });
}

const numbers = (arrivals: readonly Arrival[]): number[] => arrivals.map(({ number }) => number).sort((a, b) => a - b);
const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

t.test('redundant: silent cuts of either path lose nothing, either way, and nothing comes twice', async (t) => {
  const world = settled({ paths: PATHS, clientRules: [ruleOf('redundant')] });
  const { client, server } = world;
  answerAll(server);
  const { sent } = world.flow(client, { packetsPerSec: 100, seconds: 12 });
  for (const [atMs, path, cut] of [
    [5000, 0, true],
    [8000, 0, false],
    [10_000, 1, true],
    [12_000, 1, false],
  ] as const) {
    world.run(atMs);
    world.cut(path, cut);
  }
  world.run(20_000);
  t.strictSame(numbers(server.arrivals), upTo(sent), 'there');
  t.strictSame(numbers(client.arrivals), upTo(sent), 'and back, as the server does what the client does');
  t.ok(longestGapMs(server.arrivals) <= 10 + 20 + 1, 'the gap is the difference of the delays');
  t.ok(server.plane.counters.resequencedDuplicates > 400);
  t.match(server.plane.flowsByMode(), { redundant: 1, 'min-delay': 0 });
});

t.test('redundant: random loss of 5 % on both paths is felt as their product', async (t) => {
  const world = settled({ paths: PATHS.map((path) => ({ ...path, lossRatio: 0.05 })), clientRules: [ruleOf('redundant')], seed: 3 });
  const { sent } = world.flow(world.client, { packetsPerSec: 200, seconds: 10 });
  world.run(15_000);
  const lost = sent - world.server.arrivals.length;
  t.ok(lost > 0 && lost < sent * 0.006, `${lost} of ${sent}`);
});

t.test('min-delay: a silent cut costs less than 300 ms; the flow comes back when the better path is better for a while', async (t) => {
  const world = settled({ paths: PATHS });
  const { client, server } = world;
  world.flow(client, { packetsPerSec: 200, seconds: 10 });
  t.strictSame(
    sentDuring(client, () => world.run(5000)).map((count) => count > 0),
    [true, false],
  );
  world.cut(0, true);
  world.run(7000);
  t.ok(longestGapMs(server.arrivals) < CUT_LIMIT_MS, `${longestGapMs(server.arrivals).toFixed(0)} ms`);
  world.cut(0, false);
  const [, onSlow] = sentDuring(client, () => world.run(8000));
  t.ok(onSlow! > 100, 'not at once');
  t.strictSame(
    sentDuring(client, () => world.run(11_000)).map((count) => count > 0),
    [true, true],
  );
  t.equal(client.plane.counters.flowsMoved, 2);
});

t.test('min-delay: a flow leaves a path whose queue grows', async (t) => {
  const world = settled({ paths: [{ ...FAST, queuePackets: 1000 }, SLOW] });
  const { client } = world;
  world.flow(client, { packetsPerSec: 100, seconds: 10 });
  world.run(4000);
  // Others send 53 Mbit/s over it: the queue grows by 60 ms a second.
  const path = client.paths[0]!;
  for (let i = 0; i < 40_000; i++) {
    const datagram = { kind: 'other' as const, packetNumber: 0, bytes: new Uint8Array(0), values: [] };
    world.clock.schedule(4000 + i * 0.22, () => path.out.send(datagram, 1456));
  }
  world.run(9000);
  t.strictSame(
    sentDuring(client, () => world.run(10_000)).map((count) => count > 0),
    [false, true],
  );
});

t.test('aggregate: 60 Mbit/s in one flow over 50 + 30, nearly nothing lost or out of order', async (t) => {
  const world = settled({ paths: PATHS, clientRules: [ruleOf('aggregate')] });
  const { client, server } = world;
  const bytes = 1228;
  const packetsPerSec = 60e6 / 8 / bytes;
  const { sent } = world.flow(client, { packetsPerSec, seconds: 6, bytes });
  world.run(11_000);
  const lost = sent - server.arrivals.length;
  const reordered = reorderedCount(server.arrivals);
  const delays = server.arrivals.map(({ delayMs }) => delayMs).sort((a, b) => a - b);
  const at = (share: number): number => delays[Math.floor(share * (delays.length - 1))]!;
  t.comment(
    `${sent} sent, ${lost} lost, ${reordered} out of order, delay ${at(0.5).toFixed(0)} / ${at(0.99).toFixed(0)} / ${at(1).toFixed(0)} ms; by path ${sentBy(client)}`,
  );
  t.ok(lost <= sent * 0.001, `${lost} lost`);
  t.ok(reordered <= sent * 0.0005, `${reordered} out of order`);
  t.ok(at(0.99) < 80, 'no queue is filled');
  t.ok(sentBy(client).every((count) => count > sent * 0.15));
});

t.test('aggregate: a flow that one path carries stays on the better one and waits for nothing', async (t) => {
  const world = settled({ paths: PATHS, clientRules: [ruleOf('aggregate')] });
  const { client, server } = world;
  const { sent } = world.flow(client, { packetsPerSec: 50, seconds: 4 });
  world.run(9000);
  t.strictSame(sentBy(client), [sent, 0]);
  t.ok(server.arrivals.every(({ delayMs }) => delayMs < 11));
});

t.test('aggregate: a silent cut costs a share of the packets for the time that silence needs to be called', async (t) => {
  const world = settled({ paths: PATHS, clientRules: [ruleOf('aggregate')] });
  const { client, server } = world;
  const { sent } = world.flow(client, { packetsPerSec: 2500, seconds: 6, bytes: 1228 });
  world.run(5000);
  world.cut(0, true);
  world.run(12_000);
  const lost = sent - server.arrivals.length;
  t.comment(`${lost} lost`);
  t.ok(lost < 2500 * 0.2, `${lost} lost`);
  t.ok(longestGapMs(server.arrivals) < CUT_LIMIT_MS, `gap ${longestGapMs(server.arrivals).toFixed(0)} ms`);
});

t.test('active-standby: the first in order while it is up, and again when it was back for some seconds', async (t) => {
  const world = settled({ paths: PATHS, clientRules: [ruleOf('active-standby', ['lte', 'dsl'])] });
  const { client, server } = world;
  answerAll(server);
  world.flow(client, { packetsPerSec: 100, seconds: 15 });
  t.strictSame(sentDuring(client, () => world.run(5000))[0], 0);
  t.equal(sentBy(server)[0], 0, 'the server answers on the path on which the flow comes');
  world.cut(1, true);
  world.run(6000);
  t.strictSame(sentDuring(client, () => world.run(8000))[1], 0);
  world.cut(1, false);
  t.equal(sentDuring(client, () => world.run(10_500))[1], 0, 'it must prove itself');
  world.run(12_500);
  t.strictSame(sentDuring(client, () => world.run(15_000))[0], 0);
  t.strictSame(sentDuring(server, () => world.run(16_000))[0], 0);
});

t.test('priority: the lowest number first, the next for what it cannot carry, or when it is down', async (t) => {
  const paths = [
    { ...FAST, priority: 9 },
    { ...SLOW, priority: 1 },
  ];
  const world = settled({ paths, clientRules: [ruleOf('priority')] });
  const { client, server } = world;
  world.flow(client, { packetsPerSec: 1000, seconds: 3, bytes: 1228 });
  world.run(3500);
  t.ok(sentBy(client)[0]! < 200, 'until it is known what the path carries some take the other');
  t.strictSame(
    sentDuring(client, () => world.run(5500)),
    [0, 2000],
    '10 Mbit/s fit',
  );
  world.run(6500);
  const large = sentDuring(client, () => {
    world.flow(client, { packetsPerSec: 4500, seconds: 4, bytes: 1228, port: 5005 });
    world.run(11_000);
  });
  t.ok(large[0]! > 18_000 * 0.2 && large[1]! > 18_000 * 0.5, `45 Mbit/s: ${large}`);
  const arrivals = server.arrivals.filter(({ port }) => port === 5005);
  t.ok(arrivals.length > 18_000 * 0.99, `${18_000 - arrivals.length} lost`);
  t.ok(reorderedCount(arrivals) < 18_000 * 0.01, `${reorderedCount(arrivals)} out of order`);
  world.cut(1, true);
  world.flow(client, { packetsPerSec: 100, seconds: 3, port: 5006 });
  world.run(12_500);
  t.equal(sentDuring(client, () => world.run(14_500))[1], 0);
});

t.test('pin: that path or none; the answers too', async (t) => {
  const world = settled({ paths: PATHS, clientRules: [ruleOf('pin', ['lte'])] });
  const { client, server } = world;
  answerAll(server);
  const { sent } = world.flow(client, { packetsPerSec: 100, seconds: 8 });
  world.run(5000);
  world.cut(1, true);
  world.run(8000);
  t.ok(client.others.length > 0, 'once the path is down the host is told so');
  t.equal(client.others[0]![20], 3);
  world.cut(1, false);
  world.run(15_000);
  t.equal(sentBy(client)[0], 0);
  t.equal(sentBy(server)[0], 0);
  t.ok(client.arrivals.length > sent * 0.5 && client.arrivals.length < sent * 0.7);
  t.equal(client.arrivals.at(-1)!.number, sent - 1, 'it went on');
});

t.test('a backup is used only while no other path is up, unless a rule names it', async (t) => {
  const paths = [{ ...FAST, backup: true }, SLOW];
  const named: RuleConfig = { mode: 'min-delay', ports: [6000, 6000], paths: ['dsl', 'lte'] };
  const world = settled({ paths, clientRules: [named, { mode: 'redundant', ports: [7000, 7000] }] });
  const { client } = world;
  world.flow(client, { packetsPerSec: 100, seconds: 10, port: 5004 });
  world.flow(client, { packetsPerSec: 100, seconds: 1, port: 7000 });
  t.equal(sentDuring(client, () => world.run(5000))[0], 0);
  world.flow(client, { packetsPerSec: 100, seconds: 1, port: 6000 });
  t.equal(sentDuring(client, () => world.run(6500))[0], 100);
  world.cut(1, true);
  world.run(7500);
  t.equal(sentDuring(client, () => world.run(8000))[1], 0);
  world.cut(1, false);
  world.run(12_000);
  t.equal(sentDuring(client, () => world.run(12_900))[0], 0, 'the flow left the backup again');
});

t.test("answers go by the server's own rule, or else as the client sends; a client without a rule does as the server", async (t) => {
  const own = settled({ paths: PATHS, clientRules: [ruleOf('redundant')], serverRules: [ruleOf('pin', ['lte'])] });
  answerAll(own.server);
  own.flow(own.client, { packetsPerSec: 100, seconds: 1 });
  own.run(6000);
  t.strictSame(sentBy(own.client), [100, 100]);
  t.strictSame(sentBy(own.server), [0, 100]);
  const mirrored = settled({ paths: PATHS, serverRules: [ruleOf('redundant')] });
  answerAll(mirrored.server);
  mirrored.flow(mirrored.client, { packetsPerSec: 100, seconds: 1 });
  mirrored.run(6000);
  t.strictSame(sentBy(mirrored.server), [100, 100]);
  t.ok(sentBy(mirrored.client)[1]! > 90, 'from the first answer on');
  t.strictSame(numbers(mirrored.client.arrivals), upTo(100));
  const unruled = settled({ paths: PATHS });
  answerAll(unruled.server);
  unruled.flow(unruled.client, { packetsPerSec: 100, seconds: 1 });
  unruled.run(6000);
  t.strictSame([...sentBy(unruled.client), ...sentBy(unruled.server)], [100, 0, 100, 0]);
});

t.test('a mode that only one side had is not kept alive by the other', async (t) => {
  const world = settled({ paths: PATHS, clientRules: [ruleOf('redundant')] });
  const { client, server } = world;
  answerAll(server);
  client.send(1);
  world.run(4000);
  t.match(server.plane.flowsByMode(), { redundant: 1 });
  // The client was restarted without its rule: its packets say nothing.
  const plain = numberedUdp(CLIENT_HOST, SERVER_HOST, 40_000, 5004, 2, 100);
  server.plane.handlePathPacket(server.peer, server.paths[0]!, plain, 0, plain.length, world.clock.nowMs);
  t.match(server.plane.flowsByMode(), { redundant: 0, 'min-delay': 1 });
});

t.test('datagrams that the TUN gave as one are numbered one by one', async (t) => {
  const datagrams = upTo(5).map((number) => numberedUdp(CLIENT_HOST, SERVER_HOST, 40_000, 5004, number, 128));
  const joined = new Uint8Array(28 + 5 * 100);
  joined.set(datagrams[0]!.subarray(0, 28));
  for (const [i, packet] of datagrams.entries()) joined.set(packet.subarray(28), 28 + i * 100);
  patchIpLength(joined, 0, joined.length);
  for (const [mode, perPath] of [
    ['redundant', [5, 5]],
    ['pin', [0, 5]],
  ] as const) {
    const world = settled({ paths: PATHS, clientRules: [ruleOf(mode, mode === 'pin' ? ['lte'] : undefined)] });
    const { client, server, clock } = world;
    const sent = sentDuring(client, () => {
      client.plane.handleTunPacket(joined.slice(), 0, joined.length, 5, 100, 20, 6, clock.nowMs);
    });
    world.run(4000);
    t.strictSame(sent, perPath);
    t.strictSame(
      server.arrivals.map(({ number }) => number),
      upTo(5),
      mode,
    );
    t.match(server.plane.flowsByMode(), { [mode]: 1 });
  }
});

t.test('a restricted flow is answered on the paths on which it comes', async (t) => {
  const world = settled({ paths: [FAST, SLOW, { ...FAST, name: 'sat' }], clientRules: [ruleOf('redundant', ['lte', 'sat'])] });
  answerAll(world.server);
  world.flow(world.client, { packetsPerSec: 100, seconds: 1 });
  world.run(6000);
  t.strictSame(sentBy(world.client), [0, 100, 100]);
  t.strictSame(sentBy(world.server)[0], 0);
  t.ok(sentBy(world.server)[1]! > 90);
});

t.test('rules: first match wins, by protocol, port, prefix and DSCP; fragments have no ports', async (t) => {
  const clientRules: RuleConfig[] = [
    { mode: 'redundant', protocols: [17], ports: [5004, 5010] },
    { mode: 'pin', paths: ['lte'], dscp: 46 },
    { mode: 'priority', destinations: ['198.51.100.0/25'], sources: ['10.77.0.0/24'], protocols: [17] },
    { mode: 'aggregate' },
  ];
  const { client, clock } = settled({ paths: PATHS, clientRules });
  const send = (change: (packet: Uint8Array) => void, sourcePort = 40_000, port = 53): void => {
    const packet = numberedUdp(CLIENT_HOST, SERVER_HOST, sourcePort, port, 0, 100);
    change(packet);
    client.plane.handleTunPacket(packet, 0, packet.length, 0, 0, 0, 0, clock.nowMs);
  };
  const expect = (counts: Record<string, number>, what: string): void => void t.match(client.plane.flowsByMode(), counts, what);
  send(() => {}, 40_000, 5010);
  expect({ redundant: 1 }, 'destination port');
  send(() => {}, 5004);
  expect({ redundant: 2 }, 'source port');
  send(() => {}, 40_000, 5011);
  expect({ redundant: 2, priority: 1 }, 'beyond the range');
  send((packet) => packet.set([46 << 2], 1), 40_001);
  expect({ pin: 1 }, 'DSCP');
  send((packet) => packet.set([198, 51, 100, 1], 12), 40_002);
  expect({ aggregate: 1, priority: 1 }, 'another source');
  send((packet) => packet.set([0x20, 0], 6), 40_000, 5004);
  expect({ redundant: 2, priority: 2 }, 'a fragment');
});

t.test('a packet with a trailer fits: what is larger is told the smaller size, or cut', async (t) => {
  const { client, server, clock, run } = settled({ paths: PATHS, clientRules: [ruleOf('redundant')] });
  const send = (bytes: number, dontFragment: boolean): void => {
    const packet = numberedUdp(CLIENT_HOST, SERVER_HOST, 40_000, 5004, bytes, bytes);
    if (!dontFragment) packet.set([0, 9, 0, 0], 4);
    client.plane.handleTunPacket(packet, 0, bytes, 0, 0, 0, 0, clock.nowMs);
  };
  send(1396, true);
  send(1397, true);
  t.equal(client.others.length, 1);
  t.equal((client.others[0]![26]! << 8) | client.others[0]![27]!, 1396, 'packet too big names the room that is left');
  send(1400, false);
  run(5000);
  t.strictSame(
    server.arrivals.map(({ number }) => number).filter((number) => number === 1396 || number === 1400),
    [1396, 1400],
  );
  t.equal(client.plane.counters.fragmentedPackets, 1);
});

t.test('a checksum left to the device is completed before the trailer follows', async (t) => {
  const { client, server, clock, run } = settled({ paths: PATHS, clientRules: [ruleOf('aggregate')] });
  const packet = numberedUdp(CLIENT_HOST, SERVER_HOST, 40_000, 5004, 77, 301);
  const pseudo = foldSum(pseudoHeaderSum(packet, 12, 4, 17, 281));
  packet.set([pseudo >>> 8, pseudo], 26);
  let whole = new Uint8Array(0);
  server.onArrival = (_, arrived) => {
    whole = arrived.slice();
  };
  client.plane.handleTunPacket(packet, 0, 301, 0, 0, 20, 6, clock.nowMs);
  run(4000);
  t.equal(whole.length, 301, 'the trailer is gone');
  const summed = new Uint8Array(12 + 281);
  summed.set(whole.subarray(12, 20));
  summed.set([0, 17, 281 >>> 8, 281 & 0xff], 8);
  summed.set(whole.subarray(20), 12);
  t.equal(internetChecksum(summed, 0, summed.length), 0);
});

t.test('a super-packet goes whole on one path, whatever the mode', async (t) => {
  for (const mode of ['redundant', 'aggregate', 'priority'] as const) {
    const { client, clock } = settled({ paths: PATHS, clientRules: [{ mode }] });
    const packet = new Uint8Array(9000);
    packet.set(numberedUdp(CLIENT_HOST, SERVER_HOST, 1, 2, 0, 9000).subarray(0, 24));
    packet.set([6], 9);
    packet.set([0x50], 32);
    client.plane.handleTunPacket(packet, 0, 9000, 1, 1360, 20, 16, clock.nowMs);
    t.strictSame(sentBy(client), [1, 0], mode);
  }
});

t.test('a new session forgets the old numbers', async (t) => {
  const world = settled({ paths: PATHS, clientRules: [ruleOf('redundant')] });
  world.client.send(1);
  world.run(3100);
  t.match(world.server.plane.resequencing, { flows: 1 });
  world.server.plane.handlePeerDown(world.server.peer);
  t.match(world.server.plane.resequencing, { flows: 0 });
});

t.test('rules that are changed hold for flows under way from the next packet on', async (t) => {
  const world = settled({ paths: PATHS, clientRules: [] });
  const { client } = world;
  world.flow(client, { packetsPerSec: 100, seconds: 12 });
  world.run(4000);
  t.match(client.plane.flowsByMode(), { 'min-delay': 1, pin: 0 });
  client.plane.setRules([ruleOf('pin', ['lte'])]);
  t.match(client.plane.flowsByMode(), { 'min-delay': 1, pin: 0 }, 'not before');
  const pinned = sentDuring(client, () => world.run(6000));
  t.match(client.plane.flowsByMode(), { 'min-delay': 0, pin: 1 });
  t.ok(pinned[0]! < 5 && pinned[1]! > 190, `${pinned}`);
  client.plane.setRules([]);
  const back = sentDuring(client, () => world.run(9000));
  t.match(client.plane.flowsByMode(), { 'min-delay': 1, pin: 0 }, 'and without a rule as before');
  t.ok(back[0]! > 150, `${back}`);
});

t.test('a path that costs carries what the cheaper one cannot, and flows of one path keep off it', async (t) => {
  const dear: PathShape = { ...FAST, name: 'lte', cost: 1 };
  const cheap: PathShape = { ...SLOW, name: 'dsl', rateBitsPerSec: 20e6 };
  for (const mode of ['aggregate', 'priority'] as const) {
    const world = settled({ paths: [dear, cheap], clientRules: [ruleOf(mode)] });
    // 8 of 20 Mbit/s, then 32.
    world.flow(world.client, { packetsPerSec: 1000, seconds: 4, bytes: 1000 });
    world.run(7000);
    const [onDear, onCheap] = sentBy(world.client);
    t.ok(onDear! < 0.02 * onCheap!, `${mode}: ${onDear} and ${onCheap} packets, the cheap path is enough`);
    world.flow(world.client, { packetsPerSec: 4000, seconds: 4, bytes: 1000 });
    world.run(12_000);
    const [dearNow, cheapNow] = sentBy(world.client).map((count, i) => count - [onDear!, onCheap!][i]!);
    t.ok(cheapNow! > 0.4 * 16_000, `${mode}: ${cheapNow} on the cheap path`);
    t.ok(dearNow! > 0.25 * 16_000, `${mode}: ${dearNow} spill over`);
  }
  const world = settled({ paths: [dear, cheap] });
  world.flow(world.client, { packetsPerSec: 100, seconds: 2 });
  world.run(6000);
  t.same(sentBy(world.client), [0, 200], 'min-delay: the cheap path, though the dear one is shorter');
  world.cut(1, true);
  world.flow(world.client, { packetsPerSec: 100, seconds: 2 });
  world.run(9000);
  t.ok(sentBy(world.client)[0]! > 170, 'the dear one when the cheap one fails');
  world.cut(1, false);
  world.run(13_000);
  const before = sentBy(world.client);
  world.flow(world.client, { packetsPerSec: 100, seconds: 4 });
  world.run(18_000);
  const [back] = sentBy(world.client).map((count, i) => count - before[i]!);
  t.ok(back! < 150, `and back within the second that it takes: ${back} packets`);
});

t.test('a path with a limit sends no more, holds packets for 50 ms at most, and what it cannot take spills over', async (t) => {
  const rate = 1_250_000;
  const limited: PathShape = { ...FAST, limitBytesPerSec: rate };
  const pinned = settled({ paths: [limited, SLOW], clientRules: [ruleOf('pin', ['dsl'])] });
  pinned.flow(pinned.client, { packetsPerSec: 3000, seconds: 4, bytes: 1000 });
  pinned.run(8000);
  const bytes = pinned.client.paths[0]!.sentPackets * 1056;
  t.ok(bytes <= 4.1 * rate && bytes >= 3.8 * rate, `${((bytes * 8) / 4e6).toFixed(2)} Mbit/s`);
  t.ok(pinned.client.paths[0]!.limitDrops > 6000, `${pinned.client.paths[0]!.limitDrops} dropped`);
  const worst = Math.max(...pinned.server.arrivals.map(({ delayMs }) => delayMs));
  t.ok(worst < 10 + 50 + 5, `at most ${worst.toFixed(1)} ms`);

  const spread = settled({ paths: [limited, SLOW], clientRules: [ruleOf('aggregate')] });
  spread.flow(spread.client, { packetsPerSec: 3500, seconds: 4, bytes: 1000 });
  spread.run(8000);
  const arrived = spread.server.arrivals.length;
  t.comment(`28 Mbit/s over 10 and 30: ${arrived} of 14000 arrived, ${reorderedCount(spread.server.arrivals)} out of order`);
  t.ok(arrived > 13_500, 'both together carry it');
  t.ok(spread.client.paths[0]!.sentPackets * 1056 <= 4.1 * rate, 'within the limit');
});
