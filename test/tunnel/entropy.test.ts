/** Random bytes out of a pool. */

import t from 'tap';
import { createEntropy } from '../../src/tunnel/entropy.js';

t.test('pieces are of the size asked for, are the caller’s own, and differ', async (t) => {
  const random = createEntropy();
  const seen = new Set<string>();
  for (let i = 0; i < 2_000; i++) {
    const piece = random(8);
    t.equal(piece.length, 8);
    seen.add(Buffer.from(piece).toString('hex'));
    piece.fill(0);
  }
  t.equal(seen.size, 2_000);
  t.notOk(seen.has('0'.repeat(16)));
});

t.test('a piece may be larger than the pool', async (t) => {
  const random = createEntropy();
  const piece = random(100_000);
  t.equal(piece.length, 100_000);
  t.ok(piece.some((byte) => byte !== 0));
});
