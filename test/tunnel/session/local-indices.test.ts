import fc from 'fast-check';
import t from 'tap';
import { LocalIndices } from '../../../src/tunnel/session/local-indices.js';
import type { Peer } from '../../../src/tunnel/session/peer.js';

/** Few lower halves, so that they meet. */
const index = fc
  .record({ upper: fc.integer({ min: 0x7ffe, max: 0x8001 }), lower: fc.constantFrom(0, 1, 0xffff) })
  .map(({ upper, lower }) => upper * 0x1_0000 + lower);
const step = fc.record({ index, add: fc.boolean() });

t.test('whether a lower half is taken is what a search through all indices would find', async () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.array(index, { minLength: 8, maxLength: 8 }), (steps, asked) => {
      const indices = new LocalIndices();
      const naive = new Map<number, Peer>();
      for (const { index, add } of steps) {
        const peer = { id: naive.size } as Peer;
        if (add) {
          indices.set(index, peer);
          naive.set(index, peer);
        } else {
          indices.delete(index);
          naive.delete(index);
        }
        if (indices.size !== naive.size) return false;
        for (const one of asked) {
          if (indices.get(one) !== naive.get(one) || indices.has(one) !== naive.has(one)) return false;
          const others = [...naive.keys()].filter((other) => other !== one && other % 0x1_0000 === one % 0x1_0000);
          if (indices.isShortUnique(one) !== (others.length === 0)) return false;
        }
      }
      return true;
    }),
  );
});
