import { createHash } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { blake2s, blake2sHash, blake2sInto } from '../../src/crypto/blake2s.js';

const hex = (value: Uint8Array) => Buffer.from(value).toString('hex');
const ascending = (count: number) => Uint8Array.from({ length: count }, (_, i) => i & 255);

t.test('RFC 7693 appendix B: BLAKE2s-256 of "abc"', async (t) => {
  t.equal(hex(blake2sHash(Buffer.from('abc'))), '508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982');
});

/** RFC 7693 appendix E: SELFTEST_SEQ. */
function selftestSequence(length: number, seed: number): Uint8Array {
  let a = Math.imul(0xdead4bad, seed) >>> 0;
  let b = 1;
  return Uint8Array.from({ length }, () => {
    const sum = (a + b) >>> 0;
    a = b;
    b = sum;
    return sum >>> 24;
  });
}

t.test('RFC 7693 appendix E: the self test over keyed and unkeyed hashes of many lengths', async (t) => {
  const all: number[] = [];
  for (const outLength of [16, 20, 28, 32]) {
    for (const inLength of [0, 3, 64, 65, 255, 1024]) {
      const message = selftestSequence(inLength, inLength);
      all.push(...blake2s(outLength, new Uint8Array(0), message));
      all.push(...blake2s(outLength, selftestSequence(outLength, outLength), message));
    }
  }
  t.equal(hex(blake2sHash(Uint8Array.from(all))), '6a411f08ce25adcdfb02aba641451cec53c598b24f4fc787fbdc88797f4c1dfe');
});

t.test('the unkeyed hash equals that of node:crypto for any message', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (message) => {
      return hex(blake2sHash(message)) === createHash('blake2s256').update(message).digest('hex');
    }),
  );
});

t.test('only the bytes named are read and written', async (t) => {
  const out = new Uint8Array(40).fill(0xa5);
  const message = ascending(200);
  blake2sInto(out, 4, 16, ascending(32), message, 100);
  t.equal(hex(out.subarray(4, 20)), hex(blake2s(16, ascending(32), message.subarray(0, 100))));
  t.ok(out.subarray(0, 4).every((b) => b === 0xa5) && out.subarray(20).every((b) => b === 0xa5));
});

t.test('wrong arguments are the caller’s bug', async (t) => {
  t.throws(() => blake2s(16, new Uint8Array(33), new Uint8Array(0)), RangeError);
  t.throws(() => blake2s(0, new Uint8Array(32), new Uint8Array(0)), RangeError);
  t.throws(() => blake2s(33, new Uint8Array(32), new Uint8Array(0)), RangeError);
  t.throws(() => blake2sInto(new Uint8Array(15), 0, 16, new Uint8Array(32), new Uint8Array(0), 0), RangeError);
  t.throws(() => blake2sInto(new Uint8Array(16), 0, 16, new Uint8Array(32), new Uint8Array(4), 5), RangeError);
});
