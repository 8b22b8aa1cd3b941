import t from 'tap';
import { createPrng } from './prng.js';
import { SimClock } from './sim-clock.js';
import { SimLink } from './sim-link.js';

t.test('events run in order of time, and of scheduling at one time', async (t) => {
  const clock = new SimClock();
  const seen: string[] = [];
  clock.schedule(5, () => seen.push('c'));
  clock.schedule(1, () => {
    seen.push('a');
    clock.schedule(0, () => seen.push('late runs now'));
  });
  clock.schedule(5, () => seen.push('d'));
  const cancelled = clock.schedule(2, () => seen.push('never'));
  clock.cancel(cancelled);
  clock.runUntil(4);
  t.same(seen, ['a', 'late runs now']);
  t.equal(clock.nowMs, 4);
  t.equal(cancelled.pending, false);
  t.equal(clock.runToRest(100), true);
  t.same(seen, ['a', 'late runs now', 'c', 'd']);
});

t.test('many random events come out sorted', async (t) => {
  const clock = new SimClock();
  const prng = createPrng(7);
  const seen: number[] = [];
  for (let i = 0; i < 5000; i++) clock.schedule(prng.uniform() * 1000, () => seen.push(clock.nowMs));
  clock.runUntil(1000);
  t.equal(seen.length, 5000);
  t.ok(seen.every((value, index) => index === 0 || value >= seen[index - 1]!));
});

t.test('a seed repeats its numbers, another does not; moments are right', async (t) => {
  const a = createPrng(1);
  const b = createPrng(1);
  const c = createPrng(2);
  const first = Array.from({ length: 50 }, () => a.nextU32());
  t.same(
    first,
    Array.from({ length: 50 }, () => b.nextU32()),
  );
  t.notSame(
    first,
    Array.from({ length: 50 }, () => c.nextU32()),
  );
  let sum = 0;
  let squares = 0;
  let uniform = 0;
  for (let i = 0; i < 100_000; i++) {
    const x = a.normal();
    sum += x;
    squares += x * x;
    uniform += a.uniform();
  }
  t.ok(Math.abs(sum / 100_000) < 0.02);
  t.ok(Math.abs(squares / 100_000 - 1) < 0.03);
  t.ok(Math.abs(uniform / 100_000 - 0.5) < 0.01);
});

function link(options: ConstructorParameters<typeof SimLink<number>>[2]) {
  const clock = new SimClock();
  const arrivals: { id: number; atMs: number }[] = [];
  const sim = new SimLink<number>(clock, createPrng(3), options, (id) => arrivals.push({ id, atMs: clock.nowMs }));
  return { clock, sim, arrivals };
}

t.test('a packet takes its transmission time and the delay, the next one waits for it', async (t) => {
  const { clock, sim, arrivals } = link({ rateBitsPerSec: 8e6, delayMs: 10 });
  sim.send(1, 1000);
  sim.send(2, 1000);
  clock.runUntil(100);
  t.same(arrivals, [
    { id: 1, atMs: 11 },
    { id: 2, atMs: 12 },
  ]);
  t.equal(sim.meanQueueDelayMs(), 0.5);
});

t.test('the tail is dropped beyond the queue, which may count what is in flight', async (t) => {
  for (const queueCountsInFlight of [false, true]) {
    const { clock, sim, arrivals } = link({ rateBitsPerSec: 8e6, delayMs: 100, queuePackets: 5, queueCountsInFlight });
    for (let i = 0; i < 8; i++) sim.send(i, 1000);
    clock.runUntil(50);
    const accepted = sim.send(9, 1000);
    clock.runUntil(500);
    t.equal(sim.counters.queueDropPackets, queueCountsInFlight ? 4 : 3);
    t.equal(accepted, !queueCountsInFlight);
    t.equal(arrivals.length, queueCountsInFlight ? 5 : 6);
  }
});

t.test('jitter has its deviation and never reorders', async (t) => {
  const { clock, sim, arrivals } = link({ delayMs: 50, jitterMs: 10 });
  for (let i = 0; i < 4000; i++) clock.schedule(i * 100, () => sim.send(i, 100));
  clock.runUntil(1e6);
  t.ok(arrivals.every((arrival, index) => arrival.id === index));
  const delays = arrivals.map((arrival) => arrival.atMs - arrival.id * 100);
  const mean = delays.reduce((a, b) => a + b, 0) / delays.length;
  const deviation = Math.sqrt(delays.reduce((a, b) => a + (b - mean) ** 2, 0) / delays.length);
  t.ok(Math.abs(mean - 50) < 1, `mean ${mean}`);
  t.ok(Math.abs(deviation - 10) < 0.5, `deviation ${deviation}`);
  const burst = link({ delayMs: 50, jitterMs: 20 });
  for (let i = 0; i < 1000; i++) burst.sim.send(i, 100);
  burst.clock.runUntil(1e6);
  t.ok(burst.arrivals.every((arrival, index) => arrival.id === index));
});

t.test('loss has its ratio, a black hole swallows all, also what is on its way; settings change at run time', async (t) => {
  const { clock, sim, arrivals } = link({ delayMs: 10, lossRatio: 0.1 });
  for (let i = 0; i < 10_000; i++) sim.send(i, 100);
  clock.runUntil(20);
  t.ok(Math.abs(arrivals.length - 9000) < 150, `${arrivals.length}`);
  sim.lossRatio = 0;
  sim.send(1, 100);
  sim.blackhole = true;
  t.equal(sim.send(2, 100), false);
  const before = arrivals.length;
  clock.runUntil(100);
  t.equal(arrivals.length, before);
  sim.blackhole = false;
  sim.delayMs = 1;
  sim.send(3, 100);
  clock.runUntil(101);
  t.equal(arrivals.at(-1)?.id, 3);
  sim.send(4, 100);
  sim.flush();
  clock.runUntil(200);
  t.equal(arrivals.at(-1)?.id, 3);
});

t.test('aggregation hands arrivals over together', async (t) => {
  const { clock, sim, arrivals } = link({ delayMs: 1, aggregationMs: 4 });
  for (let i = 0; i < 8; i++) clock.schedule(i, () => sim.send(i, 100));
  clock.runUntil(20);
  t.same(
    arrivals.map((arrival) => arrival.atMs),
    [4, 4, 4, 4, 8, 8, 8, 8],
  );
});
