import t from 'tap';
import { HeaderAllowance } from '../../../src/tunnel/path/header-allowance.js';

const RTT_MS = 640;

/** Super-segments of two datagrams that need so many bytes, over `ms`, and thoughts every 10 ms. Returns all sizes that it had. */
function send(allowance: HeaderAllowance, fromMs: number, ms: number, needs: (atMs: number, index: number) => number): number[] {
  const sizes = [allowance.bytes];
  let index = 0;
  for (let atMs = fromMs; atMs < fromMs + ms; atMs += 10) {
    for (let i = 0; i < 15; i++) allowance.note(needs(atMs, index++), 2);
    allowance.update(atMs, RTT_MS);
    if (allowance.bytes !== sizes.at(-1)) sizes.push(allowance.bytes);
  }
  return sizes;
}

t.test('what most need is allowed for, soon; what few need is not', async (t) => {
  const allowance = new HeaderAllowance();
  t.strictSame(
    send(allowance, 0, 10_000, (_, index) => (index % 200 === 0 ? 8 : 3)),
    [0, 3],
  );
});

t.test('what a change of size makes too long does not cause the next change', async (t) => {
  const allowance = new HeaderAllowance();
  let changedMs = -1;
  const sizes = send(allowance, 0, 20_000, (atMs, index) => {
    if (changedMs < 0 && allowance.bytes > 0) changedMs = atMs;
    // For three round trips every second one is a repetition that was cut for the size before.
    return changedMs >= 0 && atMs < changedMs + 3 * RTT_MS && index % 2 === 0 ? 6 : 3;
  });
  t.strictSame(sizes, [0, 3]);
});

t.test('less is allowed for only when less has been needed for long', async (t) => {
  const allowance = new HeaderAllowance();
  send(allowance, 0, 5_000, () => 3);
  t.strictSame(
    send(allowance, 5_000, 60_000, (atMs) => (atMs % 9_000 < 7_000 ? 0 : 3)),
    [3],
    'not while it is needed now and then',
  );
  t.strictSame(
    send(allowance, 65_000, 15_000, () => 0),
    [3],
  );
  t.strictSame(
    send(allowance, 80_000, 10_000, () => 0),
    [3, 0],
  );
});

t.test('without super-segments nothing changes', async (t) => {
  const allowance = new HeaderAllowance();
  send(allowance, 0, 5_000, () => 3);
  for (let atMs = 5_000; atMs < 120_000; atMs += 100) allowance.update(atMs, RTT_MS);
  t.equal(allowance.bytes, 3);
});
