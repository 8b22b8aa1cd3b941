import fc from 'fast-check';
import { pack } from 'msgpackr';
import t from 'tap';
import { encodeFrame, FRAME_MAX_BYTES, FrameDecoder } from '../../src/control/control-frames.js';
import { parseRequest } from '../../src/control/control-protocol.js';

function withLength(length: number, body: Uint8Array): Uint8Array {
  const frame = Buffer.alloc(4 + body.length);
  frame.writeUInt32BE(length);
  frame.set(body, 4);
  return frame;
}

t.test('messages come out as they went in, however the stream is cut', async (t) => {
  const message = fc.record({ id: fc.nat(), command: fc.string(), chunk: fc.uint8Array({ maxLength: 300 }) });
  fc.assert(
    fc.property(fc.array(message, { maxLength: 8 }), fc.infiniteStream(fc.integer({ min: 1, max: 50 })), (messages, sizes) => {
      const bytes = Buffer.concat(messages.map((value) => encodeFrame(value)));
      const decoder = new FrameDecoder();
      const out: Record<string, unknown>[] = [];
      for (let at = 0; at < bytes.length; ) {
        const size = sizes.next().value as number;
        const decoded = decoder.push(bytes.subarray(at, at + size));
        if (typeof decoded === 'string') throw new Error(decoded);
        out.push(...decoded);
        at += size;
      }
      t.strictSame(
        out.map(({ id, command, chunk }) => ({ id, command, chunk: Buffer.from(chunk as Uint8Array).toString('hex') })),
        messages.map(({ id, command, chunk }) => ({ id, command, chunk: Buffer.from(chunk).toString('hex') })),
      );
    }),
    { numRuns: 50 },
  );
});

t.test('arbitrary bytes never throw, and what is decoded is a map', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 5 }), (bodies) => {
      const decoder = new FrameDecoder();
      for (const body of bodies) {
        const decoded = decoder.push(withLength(body.length, body));
        if (typeof decoded === 'string') return;
        for (const message of decoded) if (typeof parseRequest(message) === 'object') return;
      }
    }),
    { numRuns: 1000 },
  );
  t.pass();
});

t.test('a length beyond the bound is refused before its bytes are awaited', async (t) => {
  t.type(new FrameDecoder().push(withLength(FRAME_MAX_BYTES + 1, new Uint8Array())), 'string');
  t.type(new FrameDecoder().push(withLength(0xffffffff, new Uint8Array())), 'string');
  t.type(new FrameDecoder().push(withLength(0, new Uint8Array())), 'string');
  t.strictSame(new FrameDecoder().push(withLength(FRAME_MAX_BYTES, new Uint8Array(10))), []);
  t.throws(() => encodeFrame({ chunk: new Uint8Array(FRAME_MAX_BYTES) }), RangeError);
});

t.test('a frame that is no map is a fault', async (t) => {
  for (const value of [1, 'status', [1], null])
    t.equal(new FrameDecoder().push(withLength(pack(value).length, pack(value))), 'frame is no map');
});

t.test('requests are validated', async (t) => {
  t.same(parseRequest({ id: 1, command: 'status', extra: true }), { id: 1, command: 'status' });
  t.same(parseRequest({ id: 1, command: 'capture', count: 0 }), { id: 1, command: 'capture', count: 0 });
  t.equal(parseRequest({ id: -1, command: 'status' }), 'id is no number');
  t.equal(parseRequest({ id: 1, command: 'capture', count: 1.5 }), 'count is no number');
  t.equal(parseRequest({ id: 1, command: 'cancel' }), 'target is no number');
  t.equal(parseRequest({ id: 1, command: 'reboot' }), 'unknown command');
});
