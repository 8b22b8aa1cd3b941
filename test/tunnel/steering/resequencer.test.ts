/** Numbered flows on a virtual clock: what is delivered, in which order, and when. */

import fc from 'fast-check';
import t from 'tap';
import type { PeerLink } from '../../../src/tunnel/link.js';
import { MAX_WAIT_MS } from '../../../src/tunnel/steering/received-flow.js';
import { Resequencer, type ResequencerOptions } from '../../../src/tunnel/steering/resequencer.js';

const PEER = { name: 'vps' } as PeerLink;
const OTHER = { name: 'other' } as PeerLink;
const PACKET_BYTES = 8;

interface Flow {
  isRedundant: boolean;
  isSpread?: boolean;
  id: number;
  peer: PeerLink;
}

interface Delivered {
  number: number;
  atMs: number;
}

/** A packet is its own number. */
function rig(options: Partial<ResequencerOptions> = {}, waitMs = 40) {
  const delivered: Delivered[] = [];
  let nowMs = 0;
  const resequencer = new Resequencer({
    deliver: (bytes, offset, length) => {
      t.equal(length, PACKET_BYTES);
      delivered.push({ number: new DataView(bytes.buffer, bytes.byteOffset + offset).getUint32(4), atMs: nowMs });
    },
    waitMs: () => waitMs,
    ...options,
  });
  const buffer = new Uint8Array(64).fill(0xa5);
  const runTimers = (untilMs: number): void => {
    for (let at = resequencer.nextTimeoutMs(); at <= untilMs; at = resequencer.nextTimeoutMs()) {
      nowMs = Math.max(nowMs, at);
      resequencer.handleTimeout(nowMs);
    }
    nowMs = untilMs;
  };
  const arrive = (number: number, atMs: number, path = 0, flow: Flow = { isRedundant: false, id: 7, peer: PEER }): void => {
    runTimers(atMs);
    new DataView(buffer.buffer).setUint32(13, number);
    resequencer.accept(flow.peer, flow.id, number & 0xffff, flow.isRedundant, flow.isSpread ?? false, path, buffer, 9, PACKET_BYTES, atMs);
    buffer.fill(0xa5);
  };
  return { resequencer, delivered, arrive, runTimers, numbers: () => delivered.map(({ number }) => number) };
}

const REDUNDANT = { isRedundant: true, id: 7, peer: PEER };

t.test('a gap that the slower path fills is waited for', async (t) => {
  const { arrive, delivered, resequencer } = rig();
  arrive(100, 0, 0);
  arrive(101, 1, 1);
  arrive(103, 2, 0);
  arrive(104, 3, 0);
  t.strictSame(delivered.length, 2);
  t.equal(resequencer.heldPackets, 2);
  arrive(102, 20, 1);
  t.strictSame(delivered.slice(2), [
    { number: 102, atMs: 20 },
    { number: 103, atMs: 20 },
    { number: 104, atMs: 20 },
  ]);
  t.match(resequencer.counters, { resequencedHeld: 2, resequencedSkipped: 0, resequencedLate: 0 });
});

t.test('a gap that nothing fills is given up after the wait of the packet behind it', async (t) => {
  const { arrive, delivered, runTimers, resequencer } = rig();
  arrive(100, 0, 0);
  arrive(101, 0, 1);
  arrive(104, 5, 0);
  arrive(103, 10, 0);
  arrive(106, 20, 0);
  t.equal(resequencer.nextTimeoutMs(), 45);
  runTimers(100);
  t.strictSame(delivered.slice(2), [
    { number: 103, atMs: 45 },
    { number: 104, atMs: 45 },
    { number: 106, atMs: 60 },
  ]);
  t.equal(resequencer.counters.resequencedSkipped, 2);
  t.equal(resequencer.nextTimeoutMs(), Infinity);
  arrive(102, 110, 1);
  t.equal(delivered.at(-1)!.number, 102, 'what comes later goes at once');
  t.equal(resequencer.counters.resequencedLate, 1);
  arrive(102, 111, 1);
  t.equal(resequencer.counters.resequencedDuplicates, 1, 'but not twice');
});

t.test('what every path has passed is lost: nobody waits', async (t) => {
  const { arrive, delivered, resequencer } = rig();
  arrive(1, 0, 0);
  arrive(3, 1, 0);
  t.strictSame(delivered.at(-1), { number: 3, atMs: 1 }, 'a flow on one path never waits');
  arrive(4, 2, 1);
  arrive(6, 3, 0);
  arrive(7, 4, 0);
  t.equal(resequencer.heldPackets, 2, '5 may be under way on the other path');
  arrive(8, 9, 1);
  t.strictSame(
    delivered.slice(-3),
    [6, 7, 8].map((number) => ({ number, atMs: 9 })),
    'it is not: that path has passed it',
  );
  t.equal(resequencer.counters.resequencedSkipped, 2);
});

t.test('a flow that begins to take a second path says so: what is missing is waited for', async (t) => {
  const { arrive, numbers } = rig();
  const spread: Flow = { isRedundant: false, isSpread: true, id: 7, peer: PEER };
  arrive(1, 0, 0);
  arrive(3, 1, 0, spread);
  arrive(4, 2, 0, spread);
  arrive(2, 20, 1, spread);
  t.strictSame(numbers(), [1, 2, 3, 4]);
});

t.test('a path that went silent is soon waited for no longer', async (t) => {
  const { arrive, delivered } = rig();
  arrive(0, 0, 0);
  arrive(1, 0, 1);
  for (let i = 2; i < 200; i++) arrive(2 * i, 10 * i, 0);
  const late = delivered.filter(({ number, atMs }) => atMs !== 5 * number);
  t.ok(late.length > 20, 'it was waited for');
  t.ok(late.at(-1)!.atMs <= 600, 'for half a second');
});

t.test('late packets show how long to wait: the next gap is waited for that long', async (t) => {
  const { arrive, delivered, resequencer } = rig();
  arrive(0, 0, 0);
  arrive(1, 0, 1);
  arrive(3, 0, 0);
  arrive(2, 60, 1);
  t.equal(resequencer.counters.resequencedLate, 1, 'after 40 ms it had been given up');
  arrive(5, 100, 0);
  arrive(4, 160, 1);
  t.strictSame(delivered.slice(-2), [
    { number: 4, atMs: 160 },
    { number: 5, atMs: 160 },
  ]);
  arrive(7, 200, 0);
  arrive(6, 350, 1);
  t.ok(delivered.at(-2)!.number === 7 && delivered.at(-2)!.atMs <= 200 + MAX_WAIT_MS, 'but not without end');
});

t.test('redundant: the first copy goes at once, in whatever order, the second never', async (t) => {
  const { arrive, numbers, resequencer } = rig();
  for (const [number, atMs, path] of [
    [10, 0, 0],
    [12, 1, 0],
    [10, 20, 1],
    [11, 21, 1],
    [12, 22, 1],
    [13, 23, 1],
    [13, 24, 0],
  ] as const) {
    arrive(number, atMs, path, REDUNDANT);
  }
  t.strictSame(numbers(), [10, 12, 11, 13]);
  t.equal(resequencer.counters.resequencedDuplicates, 3);
  t.equal(resequencer.nextTimeoutMs(), Infinity);
  arrive(9000, 30, 0, REDUNDANT);
  arrive(4000, 31, 1, REDUNDANT);
  t.equal(resequencer.counters.resequencedTooOld, 1, 'older than the window: dropped, it may be a second copy');
});

t.test('numbers go on past 65,535', async (t) => {
  const { arrive, numbers } = rig();
  const sent = Array.from({ length: 40 }, (_, i) => 65_520 + i);
  for (const number of sent) arrive(number, 1, number % 2);
  t.strictSame(numbers(), sent);
});

t.test('flows and peers do not wait for one another', async (t) => {
  const { arrive, numbers, resequencer } = rig();
  const flow = (id: number, peer = PEER) => ({ isRedundant: false, id, peer });
  arrive(1, 0, 0, flow(1));
  arrive(2, 0, 1, flow(1));
  arrive(4, 1, 0, flow(1));
  arrive(50, 2, 0, flow(2));
  arrive(60, 3, 0, flow(1, OTHER));
  t.strictSame(numbers(), [1, 2, 50, 60]);
  t.equal(resequencer.flowCount, 3);
});

t.test('after a silence, or a long row of old numbers, numbering begins anew', async (t) => {
  const { arrive, numbers, resequencer } = rig();
  arrive(40_000, 0, 0, REDUNDANT);
  arrive(39_999, 3000, 0, REDUNDANT);
  arrive(40_000, 3001, 0, REDUNDANT);
  t.strictSame(numbers(), [40_000, 39_999, 40_000], 'a new sender is not taken for a repetition');
  for (let i = 0; i < 300; i++) arrive(20_000 + i, 3002 + i, 0, REDUNDANT);
  t.equal(resequencer.counters.resequencedTooOld, 256);
  t.equal(numbers().at(-1), 20_299, 'nor is it shut out');
});

t.test('buffers are bounded in packets, in bytes of the flow and of all flows: what was held goes, nothing is lost', async (t) => {
  for (const options of [{}, { holdFlowBytes: 100 * PACKET_BYTES }, { holdTotalBytes: 100 * 2048 }]) {
    const { arrive, numbers, resequencer, runTimers } = rig(options);
    arrive(0, 0, 0);
    arrive(1, 0, 1);
    const limit = Object.keys(options).length === 0 ? 2048 : 100;
    for (let i = 0; i < 5000; i++) {
      arrive(3 + 2 * i, 1, 0);
      t.ok(resequencer.heldPackets <= limit);
    }
    t.ok(resequencer.counters.resequencedOverflows > 0);
    arrive(20_000, 2, 1);
    runTimers(1000);
    t.strictSame(
      numbers(),
      [0, 1, ...Array.from({ length: 5000 }, (_, i) => 3 + 2 * i), 20_000].sort((a, b) => a - b),
    );
    t.equal(resequencer.heldPackets, 0);
  }
});

t.test('idle flows are forgotten, the idlest makes room, a peer that goes leaves nothing behind', async (t) => {
  const { arrive, resequencer, numbers } = rig({ maxFlows: 3 });
  for (let id = 0; id < 5; id++) arrive(id, id, 0, { isRedundant: false, id, peer: id % 2 === 0 ? PEER : OTHER });
  t.equal(resequencer.flowCount, 3);
  arrive(5, 6, 1, { isRedundant: false, id: 4, peer: PEER });
  arrive(7, 6, 0, { isRedundant: false, id: 4, peer: PEER });
  t.equal(resequencer.heldPackets, 1);
  resequencer.forgetPeer(PEER);
  t.equal(resequencer.heldPackets, 0);
  t.equal(numbers().at(-1), 7, 'what was held goes on its way');
  t.equal(resequencer.flowCount, 1);
  resequencer.expire(100_000);
  t.equal(resequencer.flowCount, 0);
});

/** Packets sent at their times over paths that keep their order, each with a delay, some lost, some copied by the network. */
interface Sent {
  path: number;
  gapMs: number;
  isLost: boolean;
  isCopied: boolean;
}

const sentPackets = fc.array(
  fc.record({
    path: fc.nat(2),
    gapMs: fc.constantFrom(0, 0, 1, 3, 10),
    isLost: fc.boolean().chain((maybe) => (maybe ? fc.constantFrom(false, false, false, true) : fc.constant(false))),
    isCopied: fc.constantFrom(false, false, false, true),
  }),
  { maxLength: 300 },
);

function arrivalsOf(sent: readonly Sent[], delaysMs: readonly number[]) {
  let atMs = 0;
  const arrivals: { number: number; path: number; atMs: number }[] = [];
  sent.forEach(({ path, gapMs, isLost, isCopied }, number) => {
    atMs += gapMs;
    if (!isLost) arrivals.push({ number, path, atMs: atMs + delaysMs[path]! });
    if (!isLost && isCopied) arrivals.push({ number, path, atMs: atMs + delaysMs[path]! });
  });
  return arrivals.sort((a, b) => a.atMs - b.atMs || a.number - b.number);
}

t.test('each packet that arrived is delivered exactly once, and none waits longer than it may', async (t) => {
  fc.assert(
    fc.property(
      sentPackets,
      fc.array(fc.nat(200), { minLength: 3, maxLength: 3 }),
      fc.nat(150),
      fc.boolean(),
      (sent, delaysMs, waitMs, isRedundant) => {
        const { arrive, delivered, runTimers } = rig({}, waitMs);
        const arrivals = arrivalsOf(sent, delaysMs);
        const arrivedMs = new Map<number, number>();
        for (const { number, path, atMs } of arrivals) {
          if (!arrivedMs.has(number)) arrivedMs.set(number, atMs);
          arrive(number, atMs, path, { isRedundant, id: 7, peer: PEER });
        }
        runTimers(1e6);
        t.strictSame(
          delivered.map(({ number }) => number).sort((a, b) => a - b),
          [...arrivedMs.keys()].sort((a, b) => a - b),
        );
        const limitMs = isRedundant ? 0 : MAX_WAIT_MS;
        for (const { number, atMs } of delivered) if (atMs - arrivedMs.get(number)! > limitMs) t.fail(`${number} waited too long`);
      },
    ),
    { numRuns: 300 },
  );
});

t.test('in order, whenever the wait covers the difference of the delays and every path is in use', async (t) => {
  fc.assert(
    fc.property(sentPackets, fc.array(fc.nat(90), { minLength: 3, maxLength: 3 }), (sent, delaysMs) => {
      // Each path brought a packet before, and none is silent for half a second.
      const known = [0, 1, 2].map((path) => ({ path, gapMs: 100, isLost: false, isCopied: false }));
      const busy = sent.map((one, i) => ({ ...one, gapMs: i === 0 ? 100 : Math.min(one.gapMs, 1) }));
      const all = [...known, ...busy];
      const { arrive, numbers, runTimers } = rig({}, 100);
      for (const { number, path, atMs } of arrivalsOf(all, delaysMs)) arrive(number, atMs, path);
      runTimers(1e6);
      t.strictSame(
        numbers(),
        [...numbers()].sort((a, b) => a - b),
      );
    }),
    { numRuns: 300 },
  );
});
