import fc from 'fast-check';
import t from 'tap';
import { fastestRegular, onlyBackupsUsable } from '../../../src/mptcp-over-udp/scheduler/candidates.js';
import type { Candidate } from '../../../src/mptcp-over-udp/scheduler/scheduler.js';

const CANDIDATES = fc.array(
  fc.record({ usable: fc.boolean(), heldBack: fc.boolean(), rttMs: fc.integer({ min: 0, max: 20 }), id: fc.nat() }),
  { maxLength: 6 },
);

t.test('the fastest regular one is usable, not held back, and of several as fast the first', async () => {
  fc.assert(
    fc.property(CANDIDATES, (subflows) => {
      const regular = subflows.filter(({ usable, heldBack }) => usable && !heldBack);
      const first: Candidate | undefined = [...regular].sort((a, b) => a.rttMs - b.rttMs)[0];
      return fastestRegular(subflows) === first && onlyBackupsUsable(subflows) === (first === undefined);
    }),
  );
});
