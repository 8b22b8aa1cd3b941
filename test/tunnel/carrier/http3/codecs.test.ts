/** Integers, frames, SETTINGS and header fields of HTTP/3: the RFCs' vectors, round trips, and bytes that mean nothing. */

import fc from 'fast-check';
import t from 'tap';
import { FRAMES, FrameParser, frameBytes } from '../../../../src/tunnel/carrier/http3/frame-parser.js';
import { HTTP3_ERRORS } from '../../../../src/tunnel/carrier/http3/http3-error.js';
import { decodeHuffman } from '../../../../src/tunnel/carrier/http3/huffman.js';
import { requestOf, statusOf } from '../../../../src/tunnel/carrier/http3/message.js';
import { decodeFields, encodeFields, type Field } from '../../../../src/tunnel/carrier/http3/qpack.js';
import { STATIC_TABLE } from '../../../../src/tunnel/carrier/http3/qpack-static-table.js';
import { emitSettings, parseSettings } from '../../../../src/tunnel/carrier/http3/settings.js';
import { emitVarint, VarintReader, varintBytes, varintLength } from '../../../../src/tunnel/carrier/varint.js';

const LIMIT = 8192;
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

t.test('integers are those of RFC 9000, A.1', async (t) => {
  for (const [text, value] of [
    // Beyond 2^53: as near as a number comes.
    ['c2197c5eff14e88c', Number(151_288_809_941_952_652n)],
    ['9d7f3e7d', 494_878_333],
    ['7bbd', 15_293],
    ['25', 37],
    ['4025', 37],
  ] as const) {
    const reader = new VarintReader();
    const bytes = hex(text);
    t.same(
      [...bytes].map((byte) => reader.take(byte)),
      [...bytes].map((_, i) => i === bytes.length - 1),
    );
    t.equal(reader.value, value);
  }
  fc.assert(
    fc.property(fc.maxSafeNat(), (value) => {
      const out = new Uint8Array(12).fill(0xa5);
      const end = emitVarint(out, 2, value);
      const reader = new VarintReader();
      const done = [...out.subarray(2, end)].map((byte) => reader.take(byte));
      return reader.value === value && done.at(-1) === true && end === 2 + varintLength(value) && out[end] === 0xa5;
    }),
  );
  t.throws(() => varintBytes(-1), RangeError);
  t.throws(() => varintBytes(2 ** 53), RangeError);
});

t.test('Huffman codes are those of RFC 7541, Appendix B and C', async (t) => {
  for (const [code, text] of [
    ['f1e3c2e5f23a6ba0ab90f4ff', 'www.example.com'],
    ['a8eb10649cbf', 'no-cache'],
    ['25a849e95ba97d7f', 'custom-key'],
    ['25a849e95bb8e8b4bf', 'custom-value'],
    ['aec3771a4b', 'private'],
    ['d07abe941054d444a8200595040b8166e082a62d1bff', 'Mon, 21 Oct 2013 20:13:21 GMT'],
    ['9d29ad171863c78f0b97c8e9ae82ae43d3', 'https://www.example.com'],
  ] as const) {
    t.equal(Buffer.from(decodeHuffman(hex(code), LIMIT) ?? []).toString('latin1'), text);
  }
  // The last code of each length, and some between.
  for (const [code, bits, symbol] of [
    [0x1ff8, 13, 0],
    [0x7fffd8, 23, 1],
    [0x3ffffffe, 30, 22],
    [0x7fff0, 19, 92],
    [0x7ffd, 15, 96],
    [0xffffffc, 28, 127],
    [0x3fffd7, 22, 146],
    [0xffffef, 24, 159],
    [0x1ffffec, 25, 199],
    [0x7fff2, 19, 208],
    [0x3ffffe7, 26, 213],
    [0xfffed, 20, 226],
    [0x1fffe8, 21, 230],
    [0x3fffeb, 22, 233],
    [0x1ffffef, 25, 235],
    [0xfffff5, 24, 237],
    [0x7ffff4, 23, 239],
    [0xffffffe, 28, 249],
    [0x7fffff0, 27, 254],
    [0x3ffffee, 26, 255],
  ] as const) {
    const padding = (8 - (bits % 8)) % 8;
    const padded = (BigInt(code) << BigInt(padding)) | ((1n << BigInt(padding)) - 1n);
    t.same([...(decodeHuffman(hex(padded.toString(16).padStart((bits + padding) / 4, '0')), LIMIT) ?? [])], [symbol]);
  }
  t.equal(decodeHuffman(hex('ffffffff'), LIMIT), undefined, 'EOS');
  t.equal(decodeHuffman(hex('1fff'), LIMIT), undefined, 'padding of a byte or more');
  t.equal(decodeHuffman(hex('18'), LIMIT), undefined, 'padding of zeroes');
  t.equal(decodeHuffman(hex('f1e3c2e5f23a6ba0ab90f4ff'), 10), undefined, 'longer than the limit');
});

t.test('header fields: the vector of RFC 9204, B.1, and the table', async (t) => {
  t.same(decodeFields(hex('0000 510b 2f69 6e64 6578 2e68 746d 6c'), LIMIT), [[':path', '/index.html']]);
  t.same(Buffer.from(encodeFields([[':path', '/index.html']])), hex('0000 510b 2f69 6e64 6578 2e68 746d 6c'));
  t.equal(STATIC_TABLE.length, 99);
  for (const [index, field] of [
    [0, [':authority', '']],
    [15, [':method', 'CONNECT']],
    [25, [':status', '200']],
    [52, ['content-type', 'text/html; charset=utf-8']],
    [62, ['x-xss-protection', '1; mode=block']],
    [85, ['content-security-policy', "script-src 'none'; object-src 'none'; base-uri 'none'"]],
    [98, ['x-frame-options', 'sameorigin']],
  ] as const) {
    t.same(STATIC_TABLE[index], field);
  }
});

t.test('header fields come back as they were', async () => {
  const text = fc.string({ unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)), maxLength: 40 });
  const field = fc.oneof(fc.tuple(text, text), fc.constantFrom(...STATIC_TABLE), fc.tuple(fc.constantFrom('origin', ':path'), text));
  fc.assert(
    fc.property(fc.array(field, { maxLength: 12 }), (fields) => {
      const decoded = decodeFields(encodeFields(fields as Field[]), 64 * 1024);
      return JSON.stringify(decoded) === JSON.stringify(fields);
    }),
  );
});

t.test('what refers to a dynamic table, is cut off or too large is no header', async (t) => {
  for (const [text, what] of [
    ['0100 c1', 'an insert count'],
    ['0080 c1', 'a base below it'],
    ['0000 80', 'an entry of the dynamic table'],
    ['0000 10', 'one after the base'],
    ['0000 4000', 'a name of the dynamic table'],
    ['0000 0000', 'a name after the base'],
    ['0000 ff24', 'beyond the static table'],
    ['0000 5105', 'a value that is cut off'],
    ['0000 ffffffffffff', 'an integer without an end'],
    ['00', 'no prefix'],
  ] as const) {
    t.equal(decodeFields(hex(text), LIMIT), undefined, what);
  }
  t.same(decodeFields(hex('0000 c1'), LIMIT), [[':path', '/']]);
  const many = encodeFields(Array.from({ length: 300 }, () => [':path', '/'] as const));
  t.equal(decodeFields(many, LIMIT), undefined, 'each counts 32 bytes more than it has');
});

t.test('messages lack nothing and have nothing forbidden', async (t) => {
  const connect: Field[] = [
    [':method', 'CONNECT'],
    [':protocol', 'webtransport'],
    [':scheme', 'https'],
    [':authority', 'a.example'],
    [':path', '/x'],
  ];
  t.same(requestOf([...connect, ['origin', 'https://b.example']]), { method: 'CONNECT', protocol: 'webtransport', path: '/x' });
  for (let i = 0; i < connect.length; i++) {
    if (i !== 1) t.equal(requestOf(connect.filter((_, at) => at !== i)), undefined, `without ${connect[i]![0]}`);
  }
  for (const [name, value] of [
    [':path', '/again'],
    [':status', '200'],
    ['Upper', 'x'],
    ['connection', 'close'],
    ['x', 'a\r\nb'],
  ] as const) {
    t.equal(requestOf([...connect, [name, value]]), undefined, `with ${name}`);
  }
  t.equal(requestOf([['x', 'y'], ...connect]), undefined, 'pseudo-headers come first');
  t.equal(statusOf([[':status', '200']]), 200);
  for (const status of ['20', '2000', '600', 'abc']) t.equal(statusOf([[':status', status]]), undefined);
});

t.test('SETTINGS say what they said, in every draft of WebTransport', async (t) => {
  t.same(parseSettings(emitSettings(LIMIT)), { extendedConnect: true, datagrams: true, webTransport: true });
  for (const id of [0x2b603742, 0xc671706a, 0x14e9cd29, 0x2c7cf000]) {
    t.same(parseSettings(varintBytes(id, 1)), { extendedConnect: false, datagrams: false, webTransport: true });
  }
  // GREASE (RFC 9114, 7.2.4.1).
  t.same(parseSettings(varintBytes(0x21, 7, 0x33, 1)), { extendedConnect: false, datagrams: true, webTransport: false });
  t.equal(parseSettings(varintBytes(0x33, 1, 0x33, 1)), 'H3_SETTINGS_ERROR');
  t.equal(parseSettings(varintBytes(0x04, 1)), 'H3_SETTINGS_ERROR');
  t.equal(parseSettings(varintBytes(0x08, 2)), 'H3_SETTINGS_ERROR');
  t.equal(parseSettings(varintBytes(0x33)), 'H3_FRAME_ERROR');
});

/** In pieces of that many bytes; what came of them. */
function parsed(bytes: Uint8Array, pieceBytes: number): { frames: string[]; data: Buffer; fault: string | undefined } {
  const frames: string[] = [];
  const data: Uint8Array[] = [];
  const parser = new FrameParser(64, {
    onFrame: (type, payload) => {
      frames.push(`${type} ${Buffer.from(payload).toString('hex')}`);
      return undefined;
    },
    onData: (piece) => {
      data.push(piece.slice());
      return undefined;
    },
  });
  let fault: string | undefined;
  for (let at = 0; at < bytes.length && fault === undefined; at += pieceBytes) fault = parser.parse(bytes.subarray(at, at + pieceBytes));
  return { frames, data: Buffer.concat(data), fault };
}

t.test('frames are the same however they are cut; what is unknown is passed over', async (t) => {
  const bytes = Buffer.concat([
    frameBytes(FRAMES.headers, hex('010203')),
    frameBytes(0x21, new Uint8Array(5000)),
    frameBytes(FRAMES.data, Buffer.from('some ')),
    frameBytes(FRAMES.data, new Uint8Array(0)),
    frameBytes(FRAMES.settings, new Uint8Array(0)),
    frameBytes(FRAMES.data, Buffer.from('data')),
  ]);
  for (const pieceBytes of [1, 2, 3, 7, 100, bytes.length]) {
    t.match(parsed(bytes, pieceBytes), { frames: ['1 010203', '4 '], data: Buffer.from('some data'), fault: undefined });
  }
  t.equal(parsed(frameBytes(FRAMES.headers, new Uint8Array(65)), 10).fault, 'H3_EXCESSIVE_LOAD');
  for (const type of [0x02, 0x06, 0x08, 0x09]) t.equal(parsed(frameBytes(type, new Uint8Array(1)), 10).fault, 'H3_FRAME_UNEXPECTED');
});

t.test('bytes that mean nothing end in an error of HTTP/3, or in nothing', async () => {
  const isKnown = (fault: string | undefined): boolean => fault === undefined || fault in HTTP3_ERRORS;
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 1, max: 50 }), (bytes, pieceBytes) => {
      const settings = parseSettings(bytes);
      decodeFields(bytes, LIMIT);
      decodeFields(Buffer.concat([new Uint8Array(2), bytes]), LIMIT);
      decodeHuffman(bytes, LIMIT);
      const [cut, whole] = [parsed(bytes, pieceBytes), parsed(bytes, bytes.length + 1)];
      return (
        isKnown(typeof settings === 'string' ? settings : undefined) && isKnown(cut.fault) && JSON.stringify(cut) === JSON.stringify(whole)
      );
    }),
    { numRuns: 2000 },
  );
});
