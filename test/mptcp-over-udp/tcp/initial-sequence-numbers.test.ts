import t from 'tap';
import { InitialSequenceNumbers } from '../../../src/mptcp-over-udp/tcp/initial-sequence-numbers.js';
import { tupleOf } from '../../sim/two-sites.js';

t.test('RFC 6528: of one four-tuple they count up by 250 a millisecond, others begin elsewhere, and each secret has its own', async (t) => {
  const numbers = new InitialSequenceNumbers((count) => new Uint8Array(count).fill(7));
  const tuple = tupleOf('10.1.0.5', 40_000, '10.2.0.7', 80);
  const first = numbers.next(tuple, 1_000);
  for (const laterMs of [1, 60_000, 10_000_000])
    t.equal((numbers.next(tuple, 1_000 + laterMs) - first) >>> 0, laterMs * 250, `${laterMs} ms`);
  const others = [
    tupleOf('10.1.0.5', 40_001, '10.2.0.7', 80),
    tupleOf('10.1.0.5', 40_000, '10.2.0.7', 81),
    tupleOf('10.1.0.6', 40_000, '10.2.0.7', 80),
  ].map((other) => numbers.next(other, 1_000));
  const secret = new InitialSequenceNumbers((count) => new Uint8Array(count).fill(8)).next(tuple, 1_000);
  t.equal(new Set([first, secret, ...others]).size, 5);
});
