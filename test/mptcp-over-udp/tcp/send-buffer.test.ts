import fc from 'fast-check';
import t from 'tap';
import { BlockPool } from '../../../src/mptcp-over-udp/tcp/payload-block.js';
import { type Piece, SendBuffer } from '../../../src/mptcp-over-udp/tcp/send-buffer.js';

function bytesFrom(first: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (first + i) * 31 + ((first + i) >> 8));
}

t.test('segments at the end of a block are whole while more follows', async (t) => {
  const pool = new BlockPool();
  const buffer = new SendBuffer(pool);
  const total = 500_000;
  for (let at = 0; at < total; at += 50_000) buffer.append(bytesFrom(at, 50_000), 0, 50_000);
  const piece: Piece = { block: undefined, offset: 0, length: 0 };
  let done = 0;
  let short = 0;
  while (buffer.take(8 * 1446, piece, 1446) > 0) {
    const { block, offset, length } = piece;
    if (!Buffer.from(block!.bytes.subarray(offset, offset + length)).equals(Buffer.from(bytesFrom(done, length)))) t.fail('other bytes');
    if (length % 1446 !== 0) short++;
    done += length;
    pool.release(block!);
  }
  t.equal(done, total);
  t.equal(short, 1, 'the last one of all');
  t.equal(pool.inUseBytes, 0);
});

t.test('whatever is appended, taken, looked at and discarded: the bytes stay in order, and all blocks come back', async (t) => {
  const step = fc.record({
    append: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 5000 }), fc.integer({ min: 1, max: 150_000 })),
    take: fc.integer({ min: 0, max: 70_000 }),
    segmentBytes: fc.constantFrom(0, 100, 1446, 1536, 9000),
    discard: fc.oneof({ weight: 5, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 3000 })),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const pool = new BlockPool();
      const buffer = new SendBuffer(pool);
      const held: { piece: Piece; at: number }[] = [];
      let written = 0;
      let read = 0;
      const check = (piece: Piece, at: number) => {
        const found = Buffer.from(piece.block!.bytes.subarray(piece.offset, piece.offset + piece.length));
        if (!found.equals(Buffer.from(bytesFrom(at, piece.length)))) throw new Error(`other bytes at ${at}`);
      };
      for (const { append, take, segmentBytes, discard } of steps) {
        if (append > 0) buffer.append(bytesFrom(written, append), 0, append);
        written += append;
        const peeked = buffer.peek(300);
        if (!Buffer.from(peeked).equals(Buffer.from(bytesFrom(read, peeked.length)))) throw new Error('peek');
        const piece: Piece = { block: undefined, offset: 0, length: 0 };
        if (buffer.take(take, piece, segmentBytes) > 0) {
          check(piece, read);
          held.push({ piece, at: read });
          read += piece.length;
        }
        const dropped = Math.min(discard, buffer.queuedBytes);
        buffer.discard(discard);
        read += dropped;
        if (buffer.queuedBytes !== written - read) throw new Error('queuedBytes');
      }
      // What was taken earlier is untouched by what moved since.
      for (const { piece, at } of held) {
        check(piece, at);
        pool.release(piece.block!);
      }
      buffer.clear();
      if (pool.inUseBytes !== 0) throw new Error('blocks are kept');
    }),
  );
  t.pass();
});
