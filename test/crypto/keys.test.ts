import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import nacl from 'tweetnacl';
import { constantTimeEqual, formatKey, generatePresharedKey, generatePrivateKey, KeyError, parseKey } from '../../src/crypto/keys.js';
import { importPrivateKey, importPublicKey, publicKeyOf, sharedSecret } from '../../src/crypto/x25519.js';

const bytes = (hex: string) => new Uint8Array(Buffer.from(hex, 'hex'));
const hex = (value: Uint8Array | undefined) => (value === undefined ? 'undefined' : Buffer.from(value).toString('hex'));

// RFC 7748, 6.1
const ALICE = bytes('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a');
const ALICE_PUBLIC = bytes('8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a');
const BOB = bytes('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb');
const BOB_PUBLIC = bytes('de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f');

t.test('RFC 7748 (6.1): public keys and the shared secret', async (t) => {
  t.equal(hex(publicKeyOf(ALICE)), hex(ALICE_PUBLIC));
  t.equal(hex(publicKeyOf(BOB)), hex(BOB_PUBLIC));
  const secret = '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742';
  t.equal(hex(sharedSecret(importPrivateKey(ALICE), importPublicKey(BOB_PUBLIC))), secret);
  t.equal(hex(sharedSecret(importPrivateKey(BOB), importPublicKey(ALICE_PUBLIC))), secret);
});

t.test('RFC 7748 (5.2): X25519 of a scalar and a point', async (t) => {
  const scalar = bytes('a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4');
  const point = bytes('e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c');
  t.equal(
    hex(sharedSecret(importPrivateKey(scalar), importPublicKey(point))),
    'c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552',
  );
});

t.test('public keys agree with another implementation', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (key) => hex(publicKeyOf(key)) === hex(nacl.scalarMult.base(key))),
    { numRuns: 20 },
  );
});

t.test('an all-zero shared secret is refused', async (t) => {
  const own = importPrivateKey(ALICE);
  const one = new Uint8Array(32);
  one[0] = 1;
  // Points of order 1, 2 (and 4), 8: RFC 7748 (7) and the list in section 4 of the Curve25519 page of D. J. Bernstein.
  const small = [
    new Uint8Array(32),
    one,
    bytes('e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800'),
    bytes('5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157'),
    bytes('ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f'),
    bytes('edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f'),
    bytes('eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f'),
  ];
  for (const point of small) t.equal(sharedSecret(own, importPublicKey(point)), undefined, hex(point));
});

t.test('text form and bytes are each other’s inverse', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (key) => {
      if (key.every((b) => b === 0)) return true;
      const text = formatKey(key);
      return text.length === 44 && hex(parseKey(text, 'key')) === hex(key) && hex(parseKey(`  ${text}\n`, 'key')) === hex(key);
    }),
  );
});

t.test('a text that is not exactly 32 bytes of canonical base64 is refused, naming the key and never showing it', async (t) => {
  const good = formatKey(ALICE);
  const bad = [
    '',
    'abc',
    good.slice(0, 43),
    `${good}=`,
    `${good.slice(0, 42)}B=`,
    `${good.slice(0, 20)}-${good.slice(21)}`,
    `${good.slice(0, 20)} ${good.slice(20)}`,
    'A'.repeat(44),
  ];
  for (const text of bad) {
    try {
      parseKey(text, 'private_key of [interface]');
      t.fail(`accepted ${text}`);
    } catch (error) {
      t.ok(error instanceof KeyError && error.code === 'KEY_FORMAT');
      t.match((error as KeyError).message, /^private_key of \[interface\] is not a key/);
      t.notOk(text.length > 8 && (error as KeyError).message.includes(text.slice(0, 8)));
    }
  }
});

t.test('a key of zeros is refused', async (t) => {
  t.throws(() => parseKey(`${'A'.repeat(43)}=`, 'public_key'), { code: 'KEY_WEAK' });
});

t.test('arbitrary text never throws anything but KeyError', async () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 60 }), (text) => {
      try {
        return parseKey(text, 'key').length === 32;
      } catch (error) {
        return error instanceof KeyError;
      }
    }),
  );
});

t.test('generated private keys are clamped and differ; preshared keys take the bytes as they are', async (t) => {
  const key = generatePrivateKey((count) => new Uint8Array(count).fill(0xff));
  t.equal(key[0], 0xf8);
  t.equal(key[31], 0x7f);
  t.equal(generatePrivateKey((count) => new Uint8Array(count))[31], 0x40);
  t.not(hex(generatePrivateKey(randomBytes)), hex(generatePrivateKey(randomBytes)));
  t.equal(hex(generatePresharedKey((count) => new Uint8Array(count).fill(7))), '07'.repeat(32));
  t.throws(() => generatePrivateKey(() => new Uint8Array(31)), RangeError);
});

t.test('constantTimeEqual compares content and length', async (t) => {
  t.ok(constantTimeEqual(Uint8Array.of(1, 2), Uint8Array.of(1, 2)));
  t.notOk(constantTimeEqual(Uint8Array.of(1, 2), Uint8Array.of(1, 3)));
  t.notOk(constantTimeEqual(Uint8Array.of(1, 2), Uint8Array.of(1, 2, 0)));
});

t.test('keys of another size are the caller’s bug', async (t) => {
  t.throws(() => importPrivateKey(new Uint8Array(31)), RangeError);
  t.throws(() => importPublicKey(new Uint8Array(33)), RangeError);
  t.throws(() => formatKey(new Uint8Array(0)), RangeError);
});
