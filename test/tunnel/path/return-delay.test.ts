import t from 'tap';
import { ReturnDelay } from '../../../src/tunnel/path/return-delay.js';

/** Samples every 10 ms from `fromMs`, `delayMs` on the way, from a clock that is `offsetMs` ahead; the clock wraps as on the wire. */
function feed(delay: ReturnDelay, fromMs: number, count: number, delayMs: (index: number) => number, offsetMs = 5_000): number {
  let nowMs = fromMs;
  for (let i = 0; i < count; i++, nowMs += 10) {
    const sentMs = (nowMs - delayMs(i) + offsetMs) % (2 ** 32 / 10);
    delay.handleSample(sentMs, nowMs);
  }
  return nowMs;
}

t.test('delay above the smallest seen is excess, whatever the clocks say', async (t) => {
  for (const offsetMs of [0, 1e6, 2 ** 32 / 10 - 1_200]) {
    const delay = new ReturnDelay();
    t.equal(delay.excessMs, 0);
    const nowMs = feed(delay, 1_000, 50, () => 20, offsetMs);
    t.ok(Math.abs(delay.excessMs) < 0.01, `none while nothing waits: ${delay.excessMs}`);
    // The peer's clock wraps in here for the last offset.
    feed(delay, nowMs, 100, () => 70, offsetMs);
    t.ok(Math.abs(delay.excessMs - 50) < 0.01, `50 ms of queue: ${delay.excessMs}`);
  }
});

t.test('of the newest sample and the mean the smaller counts', async (t) => {
  const delay = new ReturnDelay();
  let nowMs = feed(delay, 0, 50, () => 20);
  nowMs = feed(delay, nowMs, 1, () => 120);
  t.equal(delay.excessMs, 25, 'one late packet is not yet a queue');
  nowMs = feed(delay, nowMs, 100, () => 120);
  feed(delay, nowMs, 1, () => 21);
  t.ok(delay.excessMs <= 1.01, 'an empty queue is believed at once');
});

t.test('a clock that is set starts anew', async (t) => {
  const delay = new ReturnDelay();
  let nowMs = feed(delay, 0, 50, () => 20);
  nowMs = feed(delay, nowMs, 2, () => 20, 5_000 - 3_600_000);
  t.equal(delay.excessMs, 0);
  feed(delay, nowMs, 100, () => 50, 5_000 - 3_600_000);
  t.ok(Math.abs(delay.excessMs - 30) < 0.01);
});

t.test('clocks that drift apart do not look like a queue for ever', async (t) => {
  const delay = new ReturnDelay();
  // 50 parts in a million for ten minutes: 30 ms.
  feed(delay, 0, 60_000, (i) => 20 + i * 10 * 50e-6);
  t.ok(delay.excessMs < 7, `${delay.excessMs}`);
});
