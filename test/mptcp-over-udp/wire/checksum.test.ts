import fc from 'fast-check';
import t from 'tap';
import {
  dssChecksum,
  dssChecksumOfSum,
  finishSum,
  foldSum,
  internetChecksum,
  joinSums,
  sumBytes,
  updateChecksum,
} from '../../../src/mptcp-over-udp/wire/checksum.js';
import { concat, hex } from './packets.js';

/** RFC 1071, 4.1, as it stands there. */
function naiveSum(bytes: Uint8Array): number {
  let sum = 0n;
  for (let i = 0; i < bytes.length; i += 2) sum += BigInt(bytes[i]! << 8) + BigInt(bytes[i + 1] ?? 0);
  while (sum > 0xffffn) sum = (sum & 0xffffn) + (sum >> 16n);
  return Number(sum);
}

t.test('the example of RFC 1071, 3', async (t) => {
  t.equal(foldSum(sumBytes(hex('0001f203f4f5f6f7'), 0, 8, 0)), 0xddf2);
  t.equal(internetChecksum(hex('0001f203f4f5f6f7'), 0, 8), 0x220d);
});

t.test('any bytes, at any offset, agree with the naive sum', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(9), fc.nat(0xffff), (bytes, skip, start) => {
      const offset = Math.min(skip, bytes.length);
      const expected = naiveSum(concat(Uint8Array.of(start >>> 8, start & 0xff), bytes.subarray(offset)));
      return foldSum(sumBytes(bytes, offset, bytes.length - offset, start)) === expected;
    }),
  );
  const long = new Uint8Array(100_001).fill(0xff);
  t.equal(foldSum(sumBytes(long, 0, long.length, 0xffff)), naiveSum(long), '100 KB of ones');
});

t.test('sums of pieces join, also at an odd start', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(60), (bytes, cut) => {
      const at = Math.min(cut, bytes.length);
      const joined = joinSums(sumBytes(bytes, 0, at, 0), at, sumBytes(bytes, at, bytes.length - at, 0));
      return finishSum(joined) === internetChecksum(bytes, 0, bytes.length);
    }),
  );
  t.pass();
});

t.test('a checksum updated as in RFC 1624 is the one of the changed bytes', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 4, maxLength: 20 }), fc.nat(0xffff), (bytes, after) => {
      // A header is never all zero, which is where +0 and -0 differ.
      bytes[2] = 0x45;
      const before = (bytes[0]! << 8) | bytes[1]!;
      const old = internetChecksum(bytes, 0, bytes.length);
      bytes[0] = after >>> 8;
      bytes[1] = after;
      return updateChecksum(old, before, after) === internetChecksum(bytes, 0, bytes.length);
    }),
  );
  t.pass();
});

t.test('the DSS checksum covers the 64-bit DSN, the SSN, the length, a zero word and the payload (RFC 8684, 3.3.1)', async (t) => {
  const payload = hex('68656c6c6f');
  const covered = concat(hex('0102030485060708 80000001 0005 0000'), payload);
  t.equal(
    dssChecksum(0x01020304, 0x85060708, 0x80000001, 5, concat(hex('ff'), payload), 1, 5),
    internetChecksum(covered, 0, covered.length),
  );
  const fin = concat(hex('0102030485060708 80000001 0006 0000'), payload);
  t.equal(
    dssChecksumOfSum(0x01020304, 0x85060708, 0x80000001, 6, sumBytes(payload, 0, 5, 0)),
    internetChecksum(fin, 0, fin.length),
    'a DATA_FIN counts in the length and is no byte',
  );
});
