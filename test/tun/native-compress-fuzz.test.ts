/** Compressed segments over lines that lose, double and reorder, and from peers that send nonsense. */

import fc from 'fast-check';
import t from 'tap';
import * as native from '../../src/tun/native.js';
import { bigEndian, FIRST, type Flying, headerOf, INDEX, PATH, type Segment, withWire } from './native-compress-wire.js';
import { addressRecord, generator, inOwnNamespace, pattern } from './native-harness.js';
import { sealDatagram } from './native-twins.js';

interface Step {
  flow: number;
  kind: number;
  amount: number;
  payloadBytes: number;
  segmentBytes: number;
}

/** A flow's next segment. */
function advance(s: Segment, { kind, amount }: Step): Segment {
  const next = { ...s, tsVal: (s.tsVal + (amount % 7)) >>> 0 };
  const move = (field: 'seq' | 'ack' | 'dataAck' | 'ssn' | 'tsEcr' | 'tsVal', by: number) => {
    next[field] = (next[field] + by) >>> 0;
  };
  switch (kind) {
    case 0:
      move('ack', amount);
      move('dataAck', amount);
      break;
    case 1:
      next.window = amount & 0xffff;
      break;
    case 2:
      move('dataAck', amount * 1000);
      break;
    case 3:
      next.dsn = BigInt.asUintN(64, next.dsn + BigInt(amount) * 3000n);
      break;
    case 4:
      move('seq', -amount);
      move('ssn', -amount);
      break;
    case 5:
      move('seq', amount * 5000);
      break;
    case 6:
      next.flags = [0x10, 0x18, 0x11, 0x19, 0x90, 0x50, 0x14, 0x02][amount & 7]!;
      break;
    case 7:
      next.shape = (['map', 'ack', 'map-8', 'times', 'sack', 'fin', 'map-bare', 'map-only'] as const)[amount & 7]!;
      break;
    case 8:
      next.hopLimit = 60 + (amount & 3);
      break;
    case 9:
      move('tsVal', amount);
      move('tsEcr', amount * 3);
      break;
    default:
      next.flags = 0x10;
      move('tsEcr', amount % 5);
  }
  return next;
}

const step = fc.record({
  flow: fc.integer({ min: 0, max: 3 }),
  kind: fc.oneof({ weight: 2, arbitrary: fc.integer({ min: 0, max: 9 }) }, { weight: 5, arbitrary: fc.constant(10) }),
  amount: fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 100_000 })),
  payloadBytes: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 3000 }), fc.integer({ min: 0, max: 40_000 })),
  segmentBytes: fc.constantFrom(1443, 1400, 536, 1300),
});

function testProperty(): void {
  t.test('whatever is lost, doubled or overtaken: what is delivered is what was sent, byte for byte', async (t) => {
    let compressed = 0;
    let dropped = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 30, maxLength: 120 }), fc.integer({ min: 1 }), async (steps, seed) => {
        await withWire(async (wire) => {
          const random = generator(seed);
          const flows: Segment[] = [0, 1, 2, 3].map((i) => ({
            ...FIRST,
            family: i < 2 ? 4 : 6,
            port: 1000 + i,
            shape: i === 3 ? 'ack' : 'map',
          }));
          let held: Flying[] = [];
          let missing = 0;
          const dropsBefore = () => {
            const { unknownBase, replayed } = wire.n.receiveCounters(wire.table);
            return unknownBase + replayed;
          };
          const flush = async (flying: Flying[]) => {
            const before = dropsBefore();
            const streams = flying.filter(({ packet }) => packet !== undefined);
            const controls = flying.length - streams.length;
            const confirmed = wire.confirmations.length;
            const found = await wire.deliver(flying);
            const gone = dropsBefore() - before;
            let at = 0;
            for (const one of found) {
              while (at < streams.length && !streams[at]!.packet!.equals(one)) at++;
              if (at === streams.length) throw new Error(`a packet that was not sent: ${one.toString('hex')}`);
              at++;
            }
            const installed = wire.confirmations.length - confirmed;
            if (found.length + gone < streams.length || found.length + gone > streams.length + controls - installed) {
              throw new Error(`${found.length} of ${streams.length} delivered, ${gone} dropped, ${controls} control`);
            }
            missing += gone;
          };
          for (const one of steps) {
            const segment = advance(flows[one.flow]!, one);
            const dataLength = Math.min(65_535, one.kind === 2 ? one.amount & 0xffff : one.payloadBytes);
            const flying = await wire.seal({ ...segment, dataLength }, one.payloadBytes, one.segmentBytes);
            if (wire.compressed) compressed++;
            const moved = { ...segment, seq: (segment.seq + one.payloadBytes) >>> 0, ssn: (segment.ssn + one.payloadBytes) >>> 0 };
            flows[one.flow] = { ...moved, dsn: BigInt.asUintN(64, moved.dsn + BigInt(one.payloadBytes)) };
            flying.push(...(await wire.bases()));
            wire.nowMs += random(30);
            const kept = flying.filter(() => random(10) > 0).flatMap((f) => (random(20) === 0 ? [f, f] : [f]));
            for (let i = kept.length - 1; i > 0 && random(3) === 0; i--) {
              const j = random(i + 1);
              [kept[i], kept[j]] = [kept[j]!, kept[i]!];
            }
            if (random(4) === 0) {
              held.push(...kept);
            } else {
              const late = random(2) === 0 ? held.splice(0) : [];
              await flush(random(2) === 0 ? [...late, ...kept] : [...kept, ...late]);
            }
            if (random(3) > 0) wire.confirm();
            else if (random(4) === 0) wire.confirmations.length = 0;
            for (const id of wire.lost.splice(0)) if (id >= 0) wire.n.loseBase(wire.sender, id);
          }
          await flush(held);
          held = [];
          dropped += missing;
        });
      }),
      { numRuns: Number(process.env.MPTUNNEL_FUZZ_RUNS ?? 60) },
    );
    t.ok(compressed > 1000, `${compressed} super-segments went compressed, ${dropped} datagrams dropped`);
  });
}

function testHostile(): void {
  t.test('an authentic peer that sends nonsense: no crash, and what cannot be read is counted', async (t) => {
    await withWire(async (wire) => {
      const random = generator(4711);
      await wire.settle(FIRST);
      const valid = headerOf(FIRST);
      const bases = [valid, headerOf({ ...FIRST, family: 6 }), headerOf({ ...FIRST, shape: 'ack' })];
      let stored = 0;
      for (let i = 0; i < 30_000; i++) {
        const header = Buffer.from(bases[random(3)]!);
        for (let k = random(6); k > 0; k--) header[random(header.length)] = random(256);
        const frame = Buffer.concat([
          bigEndian(4, random(2 ** 32)),
          bigEndian(2, random(600)),
          header.subarray(0, random(5) === 0 ? random(header.length) : header.length),
        ]);
        const result = wire.n.installBase(wire.table, INDEX, PATH, 200 + i, frame, 0, frame.length);
        if (result === native.BASE_STORED) stored++;
      }
      t.ok(stored > 100, `${stored} bases stored`);
      const to = addressRecord('127.0.0.1', wire.n.udpPort(wire.rx));
      for (let i = 0; i < 40_000; i++) {
        const number = 100_000 + i;
        const plaintext = pattern(random(2) === 0 ? random(60) : random(2000), i);
        if (random(2) === 0 && plaintext.length > 0) plaintext[0]! &= 0x7f;
        const isLong = random(2) === 0;
        const head = isLong
          ? Buffer.from([0xa0 | PATH, 0x12, 0x34, ...bigEndian(3, number)])
          : Buffer.from([0x80 | PATH, 0x12, 0x34, ...bigEndian(2, number)]);
        const bytes = sealAs(wire.key, head, number, plaintext);
        wire.n.udpSendRaw(wire.tx, to, bytes, 0, bytes.length);
        if (i % 64 === 0) while (wire.receiver.once(wire.rx, wire.table).length > 0);
      }
      while (wire.receiver.once(wire.rx, wire.table).length > 0);
      const counters = wire.n.receiveCounters(wire.table);
      t.ok(counters.unknownBase > 1000, `${counters.unknownBase} refused`);
      t.ok(counters.badTag === 0, 'all were authentic');
    });
  });

  t.test('offsets and arguments are checked', async (t) => {
    await withWire(async (wire) => {
      const { n, sender, table } = wire;
      t.throws(() => n.nextBase(sender, 0, 1, new Uint8Array(native.BASE_MAX_BYTES), 1), RangeError);
      t.throws(() => n.lastCut(sender, new Int32Array(3)), RangeError);
      t.throws(() => n.senderCompress(sender, 70_000), RangeError);
      t.throws(() => n.installBase(table, INDEX, 32, 0, new Uint8Array(8), 0, 8), RangeError);
      t.throws(() => n.installBase(table, INDEX, 0, 0, new Uint8Array(8), 4, 5), RangeError);
      t.equal(n.installBase(table, INDEX, 0, 0, new Uint8Array(8), 0, 5), native.BASE_MALFORMED);
      t.equal(n.installBase(table, INDEX + 1, 0, 0, new Uint8Array(8), 0, 8), native.BASE_STALE);
      t.throws(
        () => n.addOpener(table, { receiverIndex: 0x1111_1234, aead: 'aes-256-gcm', key: pattern(32), compressed: true }),
        RangeError,
      );
      n.addOpener(table, { receiverIndex: 0x1111_1234, aead: 'aes-256-gcm', key: pattern(32) });
    });
  });
}

function sealAs(key: Uint8Array, header: Buffer, packetNumber: number, plaintext: Uint8Array): Buffer {
  return sealDatagram('aes-256-gcm', key, { type: 0, pathId: PATH, receiverIndex: 0, packetNumber }, plaintext, header);
}

if (inOwnNamespace(import.meta.url)) {
  t.setTimeout(120_000);
  testProperty();
  testHostile();
}
