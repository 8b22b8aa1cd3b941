import t from 'tap';
import type { LinkShape } from '../../src/lab/lab-api.js';
import { LinkQueue, SLOT_BYTES } from '../../src/lab/link-queue.js';

const STAGE_SLOTS = 4;

/** A queue with a clock: packets carry a number in their first byte. */
function makeLink(shape: Partial<LinkShape>, seed = 1) {
  const whole: LinkShape = { rateBitsPerSec: 0, delayMs: 0, jitterMs: 0, lossRatio: 0, queuePackets: 100, ...shape };
  const queue = new LinkQueue({ shape: whole, seed, stageSlots: STAGE_SLOTS });
  const arrivals: { number: number; atMs: number; length: number }[] = [];
  let number = 0;
  const send = (length: number, nowMs: number) => {
    const slot = number % STAGE_SLOTS;
    queue.arena.fill(number & 0xff, slot * SLOT_BYTES, slot * SLOT_BYTES + length);
    queue.accept(slot, length, nowMs);
    number += 1;
  };
  /** Wakes when the queue says so, and only then. */
  const runUntil = (endMs: number) => {
    for (let nowMs = queue.nextDueMs(); nowMs <= endMs; nowMs = queue.nextDueMs()) {
      queue.deliverDue(nowMs, (arena, offset, length) => {
        if (arena[offset] !== arena[offset + length - 1]) throw new Error(`packet ${arena[offset]} is mixed with another`);
        arrivals.push({ number: arena[offset]!, atMs: nowMs, length });
      });
    }
  };
  return { queue, arrivals, send, runUntil };
}

t.test('a packet arrives after its serialisation and the delay, also when several wait', async (t) => {
  // 1000 bytes at 8 Mbit/s: 1 ms each.
  const link = makeLink({ rateBitsPerSec: 8e6, delayMs: 10 });
  for (let i = 0; i < 3; i++) link.send(1000, 0);
  link.send(1000, 20);
  link.runUntil(100);
  t.strictSame(
    link.arrivals.map(({ number, atMs }) => [number, Math.round(atMs * 1000) / 1000]),
    [
      [0, 11],
      [1, 12],
      [2, 13],
      [3, 31],
    ],
  );
  t.equal(link.queue.deliveredBytes, 4000);
  t.equal(link.queue.queuedPackets, 0);
});

t.test("the link layer's header takes its part of the rate, and is in no counter", async (t) => {
  // 986 + 14 bytes at 8 Mbit/s: 1 ms each.
  const link = makeLink({ rateBitsPerSec: 8e6, frameHeaderBytes: 14 });
  for (let i = 0; i < 3; i++) link.send(986, 0);
  link.runUntil(100);
  t.strictSame(
    link.arrivals.map(({ atMs }) => Math.round(atMs * 1000) / 1000),
    [1, 2, 3],
  );
  t.equal(link.queue.deliveredBytes, 3 * 986);
});

t.test('a late wake-up costs no capacity', async (t) => {
  const link = makeLink({ rateBitsPerSec: 8e6 });
  for (let i = 0; i < 5; i++) link.send(1000, 0);
  let delivered = 0;
  link.queue.deliverDue(50, () => delivered++);
  t.equal(delivered, 5);
  link.send(1000, 50);
  t.equal(link.queue.nextDueMs(), 51);
});

t.test('the tail is dropped when queue and flight hold as many packets as they may', async (t) => {
  const link = makeLink({ rateBitsPerSec: 8e6, delayMs: 5, queuePackets: 10 });
  for (let i = 0; i < 15; i++) link.send(1000, 0);
  t.equal(link.queue.queuedPackets, 10);
  t.equal(link.queue.droppedPackets, 5);
  link.runUntil(100);
  t.strictSame(
    link.arrivals.map(({ number }) => number),
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
  );
});

t.test('a change of rate holds for what waits', async (t) => {
  const link = makeLink({ rateBitsPerSec: 8e3 });
  for (let i = 0; i < 4; i++) link.send(1000, 0);
  link.runUntil(1000);
  t.equal(link.arrivals.length, 1);
  link.queue.setShape({ rateBitsPerSec: 8e6, queuePackets: 300 }, 1000);
  link.runUntil(1003.5);
  t.strictSame(
    link.arrivals.map(({ atMs }) => Math.round(atMs)),
    [1000, 1001, 1002, 1003],
  );
});

t.test('a queue that grows keeps its packets', async (t) => {
  const link = makeLink({ delayMs: 10, queuePackets: 5 });
  for (let i = 0; i < 5; i++) link.send(100 + i, i);
  link.runUntil(12);
  for (let i = 5; i < 8; i++) link.send(100 + i, 12.5);
  link.queue.setShape({ queuePackets: 50 }, 12.5);
  for (let i = 8; i < 30; i++) link.send(100 + i, 12.5);
  link.runUntil(100);
  t.strictSame(
    link.arrivals.map(({ number, length }) => [number, length]),
    Array.from({ length: 30 }, (_, i) => [i, 100 + i]),
  );
});

t.test('jitter varies the delay and reorders nothing', async (t) => {
  const link = makeLink({ delayMs: 20, jitterMs: 5, queuePackets: 2000 });
  for (let i = 0; i < 200; i++) link.send(100, i * 10);
  link.runUntil(1e6);
  const delays = link.arrivals.map(({ atMs }, i) => atMs - i * 10);
  t.strictSame(
    link.arrivals.map(({ number }) => number),
    Array.from({ length: 200 }, (_, i) => i),
  );
  const mean = delays.reduce((sum, delay) => sum + delay, 0) / delays.length;
  const deviation = Math.sqrt(delays.reduce((sum, delay) => sum + (delay - mean) ** 2, 0) / delays.length);
  t.ok(Math.abs(mean - 20) < 2, `mean ${mean}`);
  t.ok(deviation > 3 && deviation < 7, `standard deviation ${deviation}`);
});

t.test('random loss has the ratio asked for, and the seed decides which packets', async (t) => {
  const lossesOf = (seed: number) => {
    const link = makeLink({ lossRatio: 0.1 }, seed);
    for (let i = 0; i < 5000; i++) {
      link.send(60, i);
      link.runUntil(i);
    }
    t.equal(link.arrivals.length + link.queue.lostPackets, 5000);
    return { lost: link.queue.lostPackets, order: link.arrivals.map(({ number }) => number) };
  };
  const [one, again, other] = [lossesOf(7), lossesOf(7), lossesOf(8)];
  t.ok(one.lost > 400 && one.lost < 600, `${one.lost} of 5000`);
  t.strictSame(one, again);
  t.notSame(one.order, other.order);
});

t.test('a blackhole swallows what is under way and what comes, until it is lifted', async (t) => {
  const link = makeLink({ rateBitsPerSec: 8e6, delayMs: 10, queuePackets: 5 });
  for (let i = 0; i < 4; i++) link.send(1000, 0);
  link.queue.setBlackhole(true);
  t.equal(link.queue.queuedPackets, 0);
  link.send(1000, 1);
  t.equal(link.queue.nextDueMs(), Number.POSITIVE_INFINITY);
  t.equal(link.queue.lostPackets, 5);
  link.queue.setBlackhole(false);
  for (let i = 0; i < 5; i++) link.send(1000, 2);
  link.runUntil(100);
  t.strictSame(
    link.arrivals.map(({ number }) => number),
    [5, 6, 7, 8, 9],
  );
});
