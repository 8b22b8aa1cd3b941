import fc from 'fast-check';
import { Packr } from 'msgpackr';
import t from 'tap';
import * as frames from '../../../src/tunnel/session/frames.js';
import type { SlowControl } from '../../../src/tunnel/session/slow-control.js';

const TOKEN = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
const hex = (value: Uint8Array) => Buffer.from(value).toString('hex');
const dirty = (length = 1300) => new Uint8Array(length).fill(0xa5);
const plain = (parsed: frames.ControlFrame[] | string) => JSON.parse(JSON.stringify(parsed)) as unknown;

/** What `emit` wrote, its end checked against the bytes behind it. */
function emitted(emit: (out: Uint8Array, offset: number) => number): Uint8Array {
  const out = dirty();
  const end = emit(out, 5);
  if (!out.subarray(0, 5).every((b) => b === 0xa5) || !out.subarray(end).every((b) => b === 0xa5))
    throw new Error('wrote outside of the frame');
  return out.slice(5, end);
}

t.test('the bytes of each fixed frame', async (t) => {
  const bytesOf = (emit: (out: Uint8Array, offset: number) => number) => hex(emitted(emit));
  t.equal(
    bytesOf((out, at) => frames.emitPathChallenge(out, at, TOKEN, 'dsl', true, 1400)),
    '01000f01020304050607080105780364736c',
  );
  t.equal(
    bytesOf((out, at) => frames.emitPathChallenge(out, at, TOKEN, '', false, 0)),
    '01000c010203040506070800000000',
  );
  t.equal(
    bytesOf((out, at) => frames.emitPathResponse(out, at, TOKEN)),
    '0200080102030405060708',
  );
  t.equal(
    bytesOf((out, at) => frames.emitPathProbe(out, at, 7, 0x01020304)),
    '0300080000000701020304',
  );
  t.equal(
    bytesOf((out, at) => frames.emitPathProbeReply(out, at, 7, 0x01020304)),
    '0400080000000701020304',
  );
  t.equal(
    bytesOf((out, at) => frames.emitPathAck(out, at, 0x0102030405, 2.5, 0xa0b0c0d0e0f0, 3, 0x11223344 / 10)),
    '05001800010203040500' + '19a0b0c0d0e0f0000000000003' + '11223344',
  );
  t.equal(
    bytesOf((out, at) => frames.emitClose(out, at, 9)),
    '06000109',
  );
  t.equal(
    bytesOf((out, at) => frames.emitPadding(out, at, 6)),
    '000003000000',
  );
  t.equal(
    bytesOf((out, at) => frames.emitHeaderBaseStored(out, at, 0xa1b2c3d4, 0x01ff)),
    '080006a1b2c3d401ff',
  );
  t.equal(
    bytesOf((out, at) => frames.emitHeaderBaseUnknown(out, at, 0x01ff)),
    '09000201ff',
  );
});

t.test('HEADER_BASE: the body is what the addon wrote behind the place of the frame header', async (t) => {
  const out = dirty();
  out.set([0xa1, 0xb2, 0xc3, 0xd4, 0x01, 0xff, 0x45, 0x00], frames.FRAME_HEADER_BYTES);
  const end = frames.emitHeaderBase(out, 0, 8);
  t.equal(hex(out.subarray(0, end)), '070008a1b2c3d401ff4500');
  t.same(frames.parseFrames(out, 0, end), [
    { type: 'header-base', serial: 0xa1b2c3d4, id: 0x1ff, body: out.slice(frames.FRAME_HEADER_BYTES, end) },
  ]);
  t.match(frames.parseFrames(Uint8Array.of(7, 0, 6, 0, 0, 0, 0, 0, 0)), /too short/);
  t.match(frames.parseFrames(Uint8Array.of(8, 0, 5, 0, 0, 0, 0, 0)), /wrong length/);
  t.match(frames.parseFrames(Uint8Array.of(9, 0, 1, 0)), /wrong length/);
  t.same(frames.parseFrames(Uint8Array.of(8, 0, 6, 0, 0, 0, 7, 0, 9)), [{ type: 'header-base-stored', serial: 7, id: 9 }]);
  t.same(frames.parseFrames(Uint8Array.of(9, 0, 2, 1, 2)), [{ type: 'header-base-unknown', id: 0x102 }]);
});

t.test('a sequence of frames comes back in order', async (t) => {
  const out = dirty();
  let end = frames.emitPathChallenge(out, 0, TOKEN, 'LTE – ü', true, 1280);
  end = frames.emitPathResponse(out, end, TOKEN);
  end = frames.emitPathProbe(out, end, 2 ** 32 + 5, 4_000_000_000);
  end = frames.emitPadding(out, end, 100);
  end = frames.emitPathAck(out, end, 2 ** 48 - 1, 1.23, 2 ** 40, 2 ** 47, 2 ** 32 / 10 + 7.5);
  end = frames.emitClose(out, end, frames.CLOSE_REMOVED);
  const token = { ...TOKEN };
  t.same(plain(frames.parseFrames(out, 0, end)), [
    { type: 'path-challenge', token, name: 'LTE – ü', backup: true, innerMtuBytes: 1280 },
    { type: 'path-response', token },
    { type: 'path-probe', sequence: 5, timeMs: 4_000_000_000 },
    { type: 'path-ack', highestPacketNumber: 2 ** 48 - 1, ackDelayMs: 1.2, datagrams: 2 ** 40, bytes: 2 ** 47, sentMs: 7.5 },
    { type: 'close', reason: frames.CLOSE_REMOVED },
  ]);
});

t.test('slow control comes back as it was said', async (t) => {
  const messages: SlowControl[] = [
    { kind: 'hello', version: 1, software: 'mptunnel 0.1.0' },
    { kind: 'addresses', addresses: ['10.77.0.2/24', 'fd77::2/64'] },
    { kind: 'routes', prefixes: ['198.51.100.0/24'] },
    { kind: 'path-state', pathId: 3, state: 'suspect', priority: 10, backup: false },
    { kind: 'path-state', pathId: 4, state: 'up', priority: 0, backup: true, limitBytesPerSec: 1_250_000.5, cost: 3 },
  ];
  const out = dirty();
  let end = 0;
  for (const message of messages) end = frames.emitSlow(out, end, message);
  t.same(
    plain(frames.parseFrames(out, 0, end)),
    messages.map((message) => ({ type: 'slow', message })),
  );
});

function slowFrame(value: unknown): Uint8Array {
  const body = new Packr({ useRecords: false }).pack(value);
  return Uint8Array.of(frames.FRAME_SLOW, body.length >> 8, body.length & 255, ...body);
}

t.test('unknown frame types and unknown kinds of slow control are skipped', async (t) => {
  const unknown = Uint8Array.of(0x7f, 0, 2, 9, 9);
  const close = Uint8Array.of(6, 0, 1, 0);
  t.same(plain(frames.parseFrames(Uint8Array.of(...unknown, ...slowFrame({ kind: 'from-the-future', x: 1 }), ...close))), [
    { type: 'close', reason: 0 },
  ]);
  t.same(frames.parseFrames(new Uint8Array(0)), []);
});

t.test('unknown fields of slow control are dropped, wrong ones are a fault', async (t) => {
  const known = frames.parseFrames(slowFrame({ kind: 'hello', version: 1, software: 'x', more: [1] }));
  t.same(plain(known), [{ type: 'slow', message: { kind: 'hello', version: 1, software: 'x' } }]);
  const wrong: unknown[] = [
    { kind: 'hello', version: '1', software: 'x' },
    { kind: 'hello', version: 1, software: '\u001b[2J' },
    { kind: 'path-state', pathId: 32, state: 'up', priority: 0, backup: false },
    { kind: 'path-state', pathId: 3, state: 'up', priority: 0, backup: false, limitBytesPerSec: 0 },
    { kind: 'addresses', addresses: ['10.0.0.1/24; reboot'] },
    { kind: 'routes', prefixes: new Array(33).fill('10.0.0.0/8') },
    { kind: 7 },
    { kind: ['hello'] },
    { kindless: true },
    'hello',
    null,
    42,
  ];
  for (const value of wrong) t.type(frames.parseFrames(slowFrame(value)), 'string', JSON.stringify(value));
  const inherited = frames.parseFrames(slowFrame({ kind: 'constructor' }));
  t.same(inherited, [], 'a name of Object.prototype is an unknown kind');
});

t.test('slow control of more than 1200 bytes is refused before it is decoded', async (t) => {
  const out = new Uint8Array(2000);
  const end = frames.emitPadding(out, 0, 1204);
  out[0] = frames.FRAME_SLOW;
  t.equal(frames.parseFrames(out, 0, end), 'slow control is too long');
});

t.test('cut-off frames and wrong body lengths are faults', async (t) => {
  const whole = emitted((out, at) => frames.emitPathChallenge(out, at, TOKEN, 'dsl', false, 0));
  for (let length = 1; length < whole.length; length++) t.type(frames.parseFrames(whole, 0, length), 'string', `${length} bytes`);
  for (const [type, length] of [
    [1, 11],
    [2, 7],
    [2, 9],
    [3, 7],
    [4, 9],
    [5, 19],
    [5, 21],
    [6, 0],
    [6, 2],
  ] as const) {
    t.type(frames.parseFrames(Uint8Array.of(type, 0, length, ...new Uint8Array(length))), 'string', `type ${type}, ${length} bytes`);
  }
  t.type(frames.parseFrames(whole, 0, whole.length + 1), 'string');
  t.type(frames.parseFrames(whole, -1, 4), 'string');
});

t.test('a path name that is too long, no UTF-8, or would act on a terminal is a fault', async (t) => {
  const challenge = (name: Uint8Array) => Uint8Array.of(1, 0, 12 + name.length, ...TOKEN, 0, 0, 0, name.length, ...name);
  t.type(frames.parseFrames(challenge(new Uint8Array(33).fill(0x61))), 'string');
  t.type(frames.parseFrames(challenge(Uint8Array.of(0xff))), 'string');
  t.type(frames.parseFrames(challenge(Uint8Array.of(0x1b, 0x5b))), 'string');
  t.type(frames.parseFrames(challenge(Uint8Array.of(0x61))), 'object');
});

t.test('a name is cut at a whole character and freed of control characters when it is sent', async (t) => {
  t.equal(Buffer.from(frames.encodePathName('ü'.repeat(20))).toString(), 'ü'.repeat(16));
  t.equal(Buffer.from(frames.encodePathName(`${'a'.repeat(30)}😀`)).toString(), 'a'.repeat(30));
  t.equal(Buffer.from(frames.encodePathName('a\u001bb')).toString(), 'a?b');
});

t.test('any name that is sent is accepted', async () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (name) => {
      const parsed = frames.parseFrames(emitted((out, at) => frames.emitPathChallenge(out, at, TOKEN, name, false, 0)));
      return typeof parsed !== 'string' && parsed.length === 1;
    }),
  );
});

t.test('what does not fit is the caller’s bug', async (t) => {
  t.throws(() => frames.emitPathResponse(new Uint8Array(10), 0, TOKEN), RangeError);
  t.throws(() => frames.emitPathResponse(new Uint8Array(20), 10, TOKEN), RangeError);
  t.throws(() => frames.emitPathResponse(new Uint8Array(20), 0, new Uint8Array(7)), RangeError);
  t.throws(() => frames.emitPathAck(new Uint8Array(40), 0, -1, 0, 0, 0, 0), RangeError);
  t.throws(() => frames.emitPathAck(new Uint8Array(40), 0, 0, 0, 2 ** 48, 0, 0), RangeError);
  t.throws(() => frames.emitSlow(dirty(), 0, { kind: 'hello', version: 0, software: '' }), TypeError);
  t.throws(() => frames.emitPathChallenge(dirty(), 0, TOKEN, '', false, 65536), RangeError);
  t.throws(() => frames.emitPadding(dirty(), 0, 2), RangeError);
});

t.test('a long acknowledgement delay is capped, a negative one is zero', async (t) => {
  const delayOf = (ms: number) => {
    const parsed = frames.parseFrames(emitted((out, at) => frames.emitPathAck(out, at, 1, ms, 1, 1, 0)));
    return typeof parsed === 'string' ? parsed : (parsed[0] as frames.PathAckFrame).ackDelayMs;
  };
  t.equal(delayOf(1e9), 6553.5);
  t.equal(delayOf(-1), 0);
});

t.test('arbitrary bytes never throw, and leave the decoder able to read', async (t) => {
  const noise = fc.uint8Array({ maxLength: 200 });
  const slow = fc.uint8Array({ maxLength: 200 }).map((body) => Uint8Array.of(frames.FRAME_SLOW, 0, body.length, ...body));
  const typed = fc.tuple(fc.nat(7), fc.uint8Array({ maxLength: 30 })).map(([type, body]) => Uint8Array.of(type, 0, body.length, ...body));
  const good = slowFrame({ kind: 'hello', version: 1, software: 'x' });
  fc.assert(
    fc.property(fc.oneof(noise, slow, typed), (bytes) => {
      const parsed = frames.parseFrames(bytes);
      return (typeof parsed === 'string' || Array.isArray(parsed)) && Array.isArray(frames.parseFrames(good));
    }),
    { numRuns: 3000 },
  );
  t.pass('no exception');
});
