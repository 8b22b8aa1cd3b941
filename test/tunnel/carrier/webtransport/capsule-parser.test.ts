import fc from 'fast-check';
import t from 'tap';
import { CapsuleParser } from '../../../../src/tunnel/carrier/webtransport/capsule-parser.js';
import {
  capsuleLengthAt,
  capsulesLength,
  closeSessionCapsule,
  emitDatagramCapsule,
  MAX_DATAGRAM_BYTES,
} from '../../../../src/tunnel/carrier/webtransport/datagram-capsule.js';

interface Heard {
  readonly parser: CapsuleParser;
  readonly datagrams: Buffer[];
}

function listen(): Heard {
  const datagrams: Buffer[] = [];
  const parser = new CapsuleParser((bytes, lengths, count) => {
    let at = 0;
    for (let i = 0; i < count; i++) {
      datagrams.push(Buffer.from(bytes.subarray(at, at + lengths[i]!)));
      at += lengths[i]!;
    }
  });
  return { parser, datagrams };
}

/** As another implementation would write it: integers in the shortest form (RFC 9000, 16), or longer. */
function integer(value: number, form: 1 | 2 | 4 | 8): Buffer {
  const out = Buffer.alloc(form);
  if (form === 8) out.writeBigUInt64BE(BigInt(value) | (3n << 62n));
  else out.writeUIntBE(value, 0, form);
  if (form === 2) out[0]! |= 0x40;
  if (form === 4) out[0]! |= 0x80;
  return out;
}

function capsule(type: number, value: Uint8Array, form: 1 | 2 | 4 | 8 = 4): Buffer {
  return Buffer.concat([integer(type, form === 1 ? 1 : 4), integer(value.length, form), value]);
}

function inPieces(stream: Buffer, cuts: readonly number[]): Buffer[] {
  const at = [...new Set(cuts.map((cut) => cut % (stream.length + 1)))].sort((a, b) => a - b);
  return [0, ...at].map((start, i) => stream.subarray(start, at[i] ?? stream.length));
}

t.test('datagrams come out as they went in, however the stream is cut', async () => {
  const anyDatagram = fc.uint8Array({ minLength: 1, maxLength: MAX_DATAGRAM_BYTES });
  fc.assert(
    fc.property(fc.array(anyDatagram, { maxLength: 40 }), fc.array(fc.nat(), { maxLength: 30 }), (datagrams, cuts) => {
      const lengths = Int32Array.from(datagrams, (datagram) => datagram.length);
      const out = Buffer.alloc(capsulesLength(lengths, 0, lengths.length), 0xa5);
      let at = 0;
      for (const datagram of datagrams) {
        const start = at;
        at = emitDatagramCapsule(out, at, datagram, 0, datagram.length);
        if (capsuleLengthAt(out, start) !== at - start) return false;
      }
      const heard = listen();
      for (const piece of inPieces(out, cuts)) if (heard.parser.parse(piece) !== undefined) return false;
      return (
        at === out.length && Buffer.concat(heard.datagrams).equals(Buffer.concat(datagrams)) && heard.datagrams.length === datagrams.length
      );
    }),
  );
});

t.test('more datagrams than there is room for are delivered in several goes', async (t) => {
  const count = 5000;
  const heard = listen();
  const stream = Buffer.concat(Array.from({ length: count }, (_, i) => capsule(0, Buffer.alloc(1 + (i % 700), i))));
  t.equal(heard.parser.parse(stream), undefined);
  t.equal(heard.datagrams.length, count);
  t.ok(heard.datagrams.every((datagram, i) => datagram.length === 1 + (i % 700) && datagram[0] === (i & 0xff)));
});

t.test('every form of integer is read, unknown capsules are passed over', async (t) => {
  const { parser, datagrams } = listen();
  const stream = Buffer.concat([
    capsule(0, Buffer.from('short'), 1),
    capsule(0x190b4d3d, Buffer.alloc(8), 2),
    capsule(0, Buffer.from('two'), 2),
    capsule(0x190b4d38, Buffer.alloc(70_000)),
    capsule(0, Buffer.alloc(0)),
    capsule(0, Buffer.from('eight'), 8),
  ]);
  const faults = [...stream].map((byte) => parser.parse(Uint8Array.of(byte))).filter((fault) => fault !== undefined);
  t.strictSame(faults, []);
  t.strictSame(datagrams.map(String), ['short', 'two', 'eight']);
});

t.test('a datagram longer than ours is passed over and counted, one longer than any is a fault', async (t) => {
  const { parser, datagrams } = listen();
  t.equal(parser.parse(Buffer.concat([capsule(0, Buffer.alloc(MAX_DATAGRAM_BYTES + 1)), capsule(0, Buffer.from('next'))])), undefined);
  t.equal(parser.oversizedDatagrams, 1);
  t.strictSame(datagrams.map(String), ['next']);
  t.equal(listen().parser.parse(integerPair(0, 65_536)), 'datagram-too-long');
  t.equal(listen().parser.parse(integerPair(0x40, 2 ** 50)), 'capsule-too-long');
  t.equal(listen().parser.parse(integerPair(0x2843, 3)), 'close-length');
  t.equal(listen().parser.parse(integerPair(0x2843, 2000)), 'close-length');
});

function integerPair(type: number, length: number): Buffer {
  return Buffer.concat([integer(type, 4), integer(length, 8)]);
}

t.test('WT_CLOSE_SESSION says why, and nothing is read after it', async (t) => {
  const { parser, datagrams } = listen();
  const goodbye = capsule(0x2843, Buffer.concat([Buffer.alloc(4), Buffer.from('moving house')]));
  for (const piece of inPieces(Buffer.concat([goodbye, capsule(0, Buffer.from('late'))]), [3, 9, 15]))
    t.equal(parser.parse(piece), undefined);
  t.equal(parser.closeReason, 'moving house');
  t.strictSame(datagrams, []);
  const short = listen();
  t.equal(short.parser.parse(closeSessionCapsule()), undefined);
  t.equal(short.parser.closeReason, '');
});

t.test('who stops within a delivery hears no more', async (t) => {
  let deliveries = 0;
  const parser: CapsuleParser = new CapsuleParser(() => {
    deliveries++;
    parser.stop();
  });
  parser.parse(Buffer.concat(Array.from({ length: 3000 }, () => capsule(0, Buffer.alloc(100)))));
  t.equal(deliveries, 1);
});

t.test('arbitrary bytes never throw, and end in a fault or nothing', async () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 }), (pieces) => {
      const { parser } = listen();
      for (const piece of pieces) if (parser.parse(piece) !== undefined) return true;
      return true;
    }),
  );
});
