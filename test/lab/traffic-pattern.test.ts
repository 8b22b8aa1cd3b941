import t from 'tap';
import { findFault, MAX_PATTERN_CHUNK_BYTES, patternAt } from '../../src/lab/traffic-pattern.js';

t.test('right bytes are accepted in pieces of any size and place', async (t) => {
  for (const position of [0, 1, 1_048_572, 1_048_573, 5_000_000_000]) {
    for (const length of [0, 1, 1400, MAX_PATTERN_CHUNK_BYTES]) t.equal(findFault(patternAt(position, length), position), -1);
  }
  const long = Buffer.concat([patternAt(77, MAX_PATTERN_CHUNK_BYTES), patternAt(77 + MAX_PATTERN_CHUNK_BYTES, 1000)]);
  t.equal(findFault(long, 77), -1);
});

t.test('a changed, missing, doubled or swapped piece is found', async (t) => {
  const changed = Buffer.from(patternAt(1000, 5000));
  changed[4321]! ^= 1;
  t.equal(findFault(changed, 1000), 5321);
  t.not(findFault(patternAt(2400, 1400), 1000), -1, 'a segment is missing');
  t.not(findFault(patternAt(1000, 1400), 2400), -1, 'a segment came twice');
  t.not(findFault(Buffer.alloc(1400), 0), -1, 'zeros');
});
