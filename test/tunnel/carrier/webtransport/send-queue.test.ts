import t from 'tap';
import { CAPSULE_HEADER_BYTES, MAX_DATAGRAM_BYTES } from '../../../../src/tunnel/carrier/webtransport/datagram-capsule.js';
import { MAX_AGE_MS, MAX_QUEUE_BYTES, MAX_WAIT_MS, SendQueue } from '../../../../src/tunnel/carrier/webtransport/send-queue.js';
import { MAX_PENDING_BYTES, MIN_PENDING_BYTES, WritePace } from '../../../../src/tunnel/carrier/webtransport/write-pace.js';

/** `first`, `first` + 1, … fill them. */
function push(queue: SendQueue, lengths: readonly number[], nowMs: number, first = 1): void {
  const bytes = Buffer.concat(lengths.map((length, i) => Buffer.alloc(length, first + i)));
  queue.push(bytes, Int32Array.from(lengths), lengths.length, nowMs);
  bytes.fill(0xa5);
}

/** The first byte of each datagram in a piece. */
function marksOf(piece: Buffer | undefined): number[] {
  const marks: number[] = [];
  for (let at = 0; piece !== undefined && at < piece.length; ) {
    marks.push(piece[at + CAPSULE_HEADER_BYTES]!);
    at += CAPSULE_HEADER_BYTES + (piece.readUInt16BE(at + 1) & 0x3fff);
  }
  return marks;
}

t.test('whole capsules are taken in their order, as many as fit and one at least', async (t) => {
  const queue = new SendQueue();
  push(queue, [100, 100, 100, 1000], 0);
  push(queue, [50], 0, 5);
  t.strictSame(marksOf(queue.take(210, 0)), [1, 2]);
  t.strictSame(marksOf(queue.take(1, 0)), [3]);
  t.strictSame(marksOf(queue.take(5000, 0)), [4], 'one batch at a time');
  t.strictSame(marksOf(queue.take(5000, 0)), [5]);
  t.equal(queue.take(5000, 0), undefined);
  t.equal(queue.queuedBytes, 0);
  t.equal(queue.sentDatagrams, 5);
  t.equal(queue.droppedDatagrams, 0);
});

/** Time passes in steps in which the queue is asked for nothing. */
function pass(queue: SendQueue, fromMs: number, toMs: number): void {
  for (let nowMs = fromMs; nowMs <= toMs; nowMs += 5) queue.push(new Uint8Array(0), new Int32Array(0), 0, nowMs);
}

t.test('what has waited too long is dropped when room comes, and the rest goes', async (t) => {
  const queue = new SendQueue();
  push(queue, [10, 10], 0);
  pass(queue, 0, 20);
  push(queue, [10], 20, 3);
  pass(queue, 20, MAX_WAIT_MS);
  t.strictSame(marksOf(queue.take(1, MAX_WAIT_MS)), [1], 'just in time');
  t.strictSame(marksOf(queue.take(100, MAX_WAIT_MS + 1)), [3]);
  t.equal(queue.droppedDatagrams, 1);
});

t.test('the time in which the process was held up does not count, but for very much of it', async (t) => {
  const queue = new SendQueue();
  push(queue, [10], 0);
  push(queue, [10], 0, 2);
  t.strictSame(marksOf(queue.take(1, MAX_AGE_MS)), [1]);
  t.equal(queue.take(1, MAX_AGE_MS + 1), undefined);
  t.equal(queue.droppedDatagrams, 1);
});

t.test('beyond its bytes the oldest are dropped', async (t) => {
  const queue = new SendQueue();
  const count = 2 * Math.ceil(MAX_QUEUE_BYTES / 1003);
  push(queue, Array(count).fill(1000), 0, 0);
  t.ok(queue.queuedBytes <= MAX_QUEUE_BYTES && queue.queuedBytes > MAX_QUEUE_BYTES - 1003);
  t.equal(queue.droppedDatagrams, count - Math.floor(MAX_QUEUE_BYTES / 1003));
  t.strictSame(marksOf(queue.take(1, 0)), [queue.droppedDatagrams & 0xff]);
});

t.test('what is too long or empty does not go, its neighbours do', async (t) => {
  const queue = new SendQueue();
  push(queue, [MAX_DATAGRAM_BYTES + 1, 7, 0, MAX_DATAGRAM_BYTES, MAX_DATAGRAM_BYTES + 1, 9], 0);
  const taken = [queue.take(9999, 0), queue.take(9999, 0), queue.take(9999, 0)];
  t.strictSame(taken.map(marksOf), [[2], [4], [6]]);
  t.equal(queue.droppedDatagrams, 3);
  t.equal(queue.take(9999, 0), undefined);
});

t.test('a long life of many small batches leaves nothing behind', async (t) => {
  const queue = new SendQueue();
  for (let i = 0; i < 10_000; i++) {
    push(queue, [20, 20], i, i & 0x7f);
    if (queue.take(23, i) === undefined) t.fail('what was pushed just now is there');
    if (i % 3 === 0) queue.take(23, i);
  }
  while (queue.take(9999, 10_000) !== undefined);
  t.equal(queue.queuedBytes, 0);
  t.equal(queue.sentDatagrams + queue.droppedDatagrams, 20_000);
});

/** TCP takes `bytesPerMs`, and is always kept busy. Returns the limit at the end. */
function run(pace: WritePace, bytesPerMs: number, durationMs: number): number {
  for (let nowMs = 0; nowMs < durationMs; nowMs++) {
    while (pace.room > 0) pace.handleWrite(Math.min(pace.room, 1400), nowMs);
    for (let taken = 0; taken < bytesPerMs && pace.pendingBytes > 0; taken += 350)
      pace.handleTaken(Math.min(350, pace.pendingBytes), nowMs + 1);
  }
  return pace.limitBytes;
}

t.test('what lies before TCP is about ten milliseconds of its rate', async (t) => {
  const pace = new WritePace();
  const limit = run(pace, 1250, 2000);
  t.ok(limit > 0.5 * 12_500 && limit < 2 * 12_500, `${limit} bytes at 10 Mbit/s`);
  t.equal(run(new WritePace(), 20, 5000), MIN_PENDING_BYTES);
  t.equal(run(new WritePace(), 100_000, 2000), MAX_PENDING_BYTES);
});
