import fc from 'fast-check';
import t from 'tap';
import { ReplayWindow } from '../../src/crypto/replay-window.js';

t.test('a packet number is accepted once', async (t) => {
  const window = new ReplayWindow(128);
  t.equal(window.highest, -1);
  for (const n of [0, 1, 5, 3, 2, 4]) t.ok(window.accept(n), `first ${n}`);
  for (const n of [0, 1, 2, 3, 4, 5]) t.notOk(window.accept(n), `again ${n}`);
  t.equal(window.highest, 5);
});

t.test('numbers older than the window are refused, the oldest inside it is not', async (t) => {
  const window = new ReplayWindow(128);
  t.equal(window.windowPackets, 96);
  t.ok(window.accept(1000));
  t.ok(window.accept(1000 - 95));
  t.notOk(window.accept(1000 - 96));
  t.notOk(window.accept(0));
});

t.test('a jump over the whole ring forgets everything before it', async (t) => {
  const window = new ReplayWindow(64);
  for (let n = 0; n < 64; n++) t.ok(window.accept(n));
  t.ok(window.accept(64 * 1000));
  t.ok(window.accept(64 * 1000 - 31));
  t.notOk(window.accept(64 * 1000 - 32));
});

t.test('numbers up to 2^48 - 1 work, others are refused', async (t) => {
  const window = new ReplayWindow();
  t.ok(window.accept(2 ** 48 - 2));
  t.ok(window.accept(2 ** 48 - 1));
  t.notOk(window.accept(2 ** 48 - 1));
  for (const n of [-1, 2 ** 48, Number.NaN, Number.POSITIVE_INFINITY]) t.notOk(window.accept(n), String(n));
  t.ok(window.accept(2 ** 48 - 3));
});

t.test('a ring that is no power of two is refused', async (t) => {
  for (const bits of [0, 32, 100, 64.5, -64]) t.throws(() => new ReplayWindow(bits), RangeError, String(bits));
});

/** The naive twin: remembers every number. */
class NaiveWindow {
  readonly #seen = new Set<number>();
  #highest = -1;
  readonly #windowPackets: number;
  constructor(windowPackets: number) {
    this.#windowPackets = windowPackets;
  }
  accept(n: number): boolean {
    if (n > this.#highest) this.#highest = n;
    else if (this.#highest - n >= this.#windowPackets) return false;
    if (this.#seen.has(n)) return false;
    this.#seen.add(n);
    return true;
  }
}

t.test('agrees with a naive twin over any walk of numbers', async () => {
  const step = fc.oneof(
    { weight: 8, arbitrary: fc.integer({ min: -20, max: 20 }) },
    { weight: 3, arbitrary: fc.integer({ min: -300, max: 300 }) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 5000 }) },
  );
  fc.assert(
    fc.property(
      fc.constantFrom(64, 128, 256),
      fc.constantFrom(0, 2 ** 32 - 50, 2 ** 40),
      fc.array(step, { maxLength: 200 }),
      (bits, start, steps) => {
        const window = new ReplayWindow(bits);
        const twin = new NaiveWindow(window.windowPackets);
        let at = start;
        for (const by of steps) {
          at = Math.max(0, at + by);
          if (window.accept(at) !== twin.accept(at)) return false;
        }
        return true;
      },
    ),
    { numRuns: 500 },
  );
});
