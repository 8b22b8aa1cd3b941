import fc from 'fast-check';
import t from 'tap';
import * as aead from '../../src/crypto/aead.js';
import * as native from '../../src/tun/native.js';

const bytes = (text: string) => new Uint8Array(Buffer.from(text.replace(/\s/g, ''), 'hex'));
const hex = (value: Uint8Array | undefined) => (value === undefined ? 'undefined' : Buffer.from(value).toString('hex'));
const KEY = Uint8Array.from({ length: 32 }, (_, i) => i);
const AEADS = ['aes-256-gcm', 'chacha20-poly1305'] as const;

t.test('RFC 8439 (2.8.2): ChaCha20-Poly1305', async (t) => {
  const key = bytes('808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f');
  const nonce = bytes('070000004041424344454647');
  const associated = bytes('50515253c0c1c2c3c4c5c6c7');
  const plaintext = Buffer.from(
    "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
  );
  const sealed = aead.seal('chacha20-poly1305', key, nonce, associated, plaintext);
  t.equal(hex(sealed.subarray(0, 16)), 'd31a8d34648e60db7b86afbc53ef7ec2');
  t.equal(hex(sealed.subarray(-16)), '1ae10b594f09e26a7e902ecbd0600691');
  t.equal(hex(aead.open('chacha20-poly1305', key, nonce, associated, sealed)), hex(plaintext));
});

t.test('the GCM specification, test case 14: AES-256, a block of zeros under a zero key', async (t) => {
  const sealed = aead.seal('aes-256-gcm', new Uint8Array(32), new Uint8Array(12), new Uint8Array(0), new Uint8Array(16));
  t.equal(hex(sealed), 'cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919');
});

t.test('the header has the layout and the constants of the data path', async (t) => {
  t.equal(aead.DATA_HEADER_BYTES, native.DATA_HEADER_BYTES);
  t.equal(aead.AEAD_TAG_BYTES, native.AEAD_TAG_BYTES);
  const header = { type: 0x11, pathId: 7, receiverIndex: 0xfedcba98, packetNumber: 0x123456789abc };
  const datagram = aead.sealDatagram('aes-256-gcm', KEY, header, Uint8Array.of(1, 2, 3));
  t.equal(hex(datagram.subarray(0, 12)), '1107fedcba98123456789abc');
  t.equal(datagram.length, 12 + 3 + 16);
  t.equal(hex(aead.dataNonce(7, 0x123456789abc)), '000000070000123456789abc');
});

t.test('a datagram opens to its header and plaintext, and any changed byte is refused', async () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...AEADS),
      fc.uint8Array({ maxLength: 64 }),
      fc.maxSafeNat().map((n) => n % 2 ** 48),
      fc.nat(31),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      (name, plaintext, packetNumber, pathId, at, flip) => {
        const header = { type: 0x10, pathId, receiverIndex: 42, packetNumber };
        const datagram = aead.sealDatagram(name, KEY, header, plaintext);
        const opened = aead.openDatagram(name, KEY, datagram);
        if (typeof opened === 'string' || hex(opened.plaintext) !== hex(plaintext)) return false;
        if (opened.header.packetNumber !== packetNumber || opened.header.pathId !== pathId) return false;
        const index = at % datagram.length;
        datagram[index] = datagram[index]! ^ flip;
        return aead.openDatagram(name, KEY, datagram) === 'bad tag';
      },
    ),
  );
});

t.test('what is too short is a fault, not an exception', async (t) => {
  for (let length = 0; length < 28; length++) t.type(aead.openDatagram('aes-256-gcm', KEY, new Uint8Array(length)), 'string');
  t.equal(aead.open('aes-256-gcm', KEY, new Uint8Array(12), new Uint8Array(0), new Uint8Array(15)), undefined);
});

t.test('a packet number beyond 48 bits is the caller’s bug', async (t) => {
  const header = { type: 0x10, pathId: 0, receiverIndex: 1, packetNumber: 2 ** 48 };
  t.throws(() => aead.sealDatagram('aes-256-gcm', KEY, header, new Uint8Array(1)), RangeError);
});
