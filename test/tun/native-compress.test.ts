import t from 'tap';
import * as native from '../../src/tun/native.js';
import { FIRST, headerOf, MAX_DATAGRAM_BYTES, roundTrip, type Segment, sameAll, sameBytes, withWire } from './native-compress-wire.js';
import { addressRecord, inOwnNamespace, pattern } from './native-harness.js';

const CHANGES: Record<string, Partial<Segment>> = {
  nothing: {},
  'sequence number': { seq: 1000 + 70_000, ssn: 1 + 70_000, dsn: FIRST.dsn + 70_000n },
  'sequence number far ahead': { seq: 1000 + 0x7000_0000, ssn: 1 + 0x7000_0000, dsn: FIRST.dsn + 0x7000_0000n },
  'sequence number behind': { seq: 900, ssn: 0xffff_ff9d, dsn: FIRST.dsn - 100n },
  'a place within the mapping': { seq: 1000 + 1234, dataLength: 5000 },
  'acknowledgment number, DATA_ACK and sequence number': {
    seq: 1000 + 1400,
    ssn: 1401,
    dsn: FIRST.dsn + 1400n,
    ack: 99,
    dataAck: FIRST.dataAck + 22,
  },
  'acknowledgment number': { ack: 77 + 100_000 },
  'acknowledgment number, and DATA_ACK likewise': { ack: 77 + 100_000, dataAck: FIRST.dataAck + 100_000 },
  'DATA_ACK alone': { dataAck: FIRST.dataAck + 99_999 },
  'DATA_ACK far ahead': { dataAck: FIRST.dataAck + 0x6000_0000 },
  window: { window: 65_535 },
  'PSH flag': { flags: 0x18 },
  'FIN flag': { flags: 0x11 },
  'FIN and PSH flags': { flags: 0x19 },
  'ECE and CWR flags': { flags: 0xd0 },
  'URG flag': { flags: 0x30 },
  'timestamps by 1 byte': { tsVal: 5200, tsEcr: 6100 },
  'timestamps by 2 bytes': { tsVal: 5000 + 60_000, tsEcr: 6000 + 300 },
  'timestamps by 4 bytes': { tsVal: 5000 + 0x5000_0000, tsEcr: 5000 },
  'DSN elsewhere': { seq: 4000, ssn: 3001, dsn: FIRST.dsn + 5_000_000n },
  'DSN far elsewhere': { seq: 4000, ssn: 3001, dsn: FIRST.dsn + 0x7000_0000n },
  'DSN beyond all reach': { seq: 4000, ssn: 3001, dsn: FIRST.dsn + 0x7_0000_0000n },
  'hop limit': { hopLimit: 63 },
  'traffic class': { trafficClass: 0xb8 },
};
const SIZES: readonly [payloadBytes: number, segmentBytes: number][] = [
  [0, 0],
  [1, 1400],
  [1400, 1400],
  [14_000, 1400],
  [14_001, 1400],
  [60_000, 1443],
  [1443 * 16, 1443],
  [1443 * 17, 1443],
];
const SHAPES = ['plain', 'times', 'ack', 'map', 'map-8', 'map-4', 'map-only', 'map-bare', 'fin'] as const;

function testFields(): void {
  for (const family of [4, 6] as const) {
    for (const shape of SHAPES) {
      t.test(`IPv${family}, options "${shape}": whatever differs from the base comes out as it went in`, async (t) => {
        await withWire(async (wire) => {
          const base = { ...FIRST, family, shape };
          await wire.settle(base);
          for (const [name, change] of Object.entries(CHANGES)) {
            for (const [payloadBytes, segmentBytes] of SIZES) {
              const dataLength = change.dataLength ?? (payloadBytes <= 60_000 ? payloadBytes : 1400);
              const segment = { ...base, dataLength, ...change };
              await roundTrip(t, wire, segment, payloadBytes, segmentBytes, `${name}, ${payloadBytes} bytes in ${segmentBytes}`);
              if (name === 'nothing') t.ok(wire.compressed, 'its header went compressed');
            }
          }
          t.equal(wire.n.receiveCounters(wire.table).unknownBase, 0);
        });
      });
    }
  }
}

function testWholeHeaders(): void {
  const strange: Record<string, Partial<Segment>> = {
    SYN: { flags: 0x02, shape: 'times' },
    'SYN/ACK': { flags: 0x12, shape: 'times' },
    RST: { flags: 0x14, shape: 'ack' },
    SACK: { shape: 'sack' },
    ADD_ADDR: { shape: 'add-addr' },
    MP_PRIO: { shape: 'mp-prio' },
    'DSS with checksum': { shape: 'checksum' },
  };
  for (const [name, change] of Object.entries(strange)) {
    t.test(`${name}: the header goes whole`, async (t) => {
      await withWire(async (wire) => {
        const segment = { ...FIRST, ...change };
        for (let i = 0; i < 12; i++) await roundTrip(t, wire, { ...segment, seq: 1000 + i }, 1000, 1000, 'bytes');
        t.equal((await wire.bases()).length, 0, 'no base is offered');
        t.notOk(wire.compressed);
      });
    });
  }
}

function testSizes(): void {
  t.test('a download in one subflow: 7 bytes instead of 76', async (t) => {
    await withWire(async (wire) => {
      await wire.settle(FIRST);
      const dataLength = 8 * 1443;
      const moved = { seq: 1000 + 3_000_000, ssn: 3_000_001, dsn: FIRST.dsn + 3_000_000n };
      await roundTrip(t, wire, { ...FIRST, ...moved, tsVal: 5100, tsEcr: 6090, dataLength }, dataLength, 1443, 'bytes');
      t.equal(wire.headerBytes, 7);
      t.equal(wire.cut[native.CUT_SEGMENT_BYTES], 1443);
      await roundTrip(
        t,
        wire,
        { ...FIRST, ...moved, tsVal: 5100, tsEcr: 6090, dataLength, flags: 0x18 },
        dataLength,
        1443,
        'PSH at the end',
      );
      t.equal(wire.headerBytes, 7);
      const shorter = 8 * 1440;
      await roundTrip(
        t,
        wire,
        { ...FIRST, ...moved, dsn: FIRST.dsn + 9_000_000n, dataLength: shorter },
        shorter,
        1440,
        'DSN of several paths',
      );
      t.equal(wire.headerBytes, 10);
      await roundTrip(t, wire, { ...FIRST, ...moved, tsVal: 5900, dataLength: shorter }, shorter, 1440, 'an old base');
      t.equal(wire.headerBytes, 9);
      const acked = { ack: FIRST.ack + 50_000, dataAck: FIRST.dataAck + 50_000 };
      await roundTrip(
        t,
        wire,
        { ...FIRST, ...moved, ...acked, dataLength: shorter },
        shorter,
        1440,
        'the other direction carries data too',
      );
      t.equal(wire.headerBytes, 9);
    });
  });

  t.test('without timestamps, as in the tunnel: 5 bytes instead of 64', async (t) => {
    await withWire(async (wire) => {
      const first: Segment = { ...FIRST, shape: 'map-bare' };
      await wire.settle(first);
      const moved = { seq: 1000 + 3_000_000, ssn: 3_000_001, dsn: FIRST.dsn + 3_000_000n };
      const dataLength = 8 * 1446;
      await roundTrip(t, wire, { ...first, ...moved, dataLength }, dataLength, 1446, 'bytes');
      t.equal(wire.headerBytes, 5);
      await roundTrip(t, wire, { ...first, ...moved, dataLength: 40 * 1444 }, 40 * 1444, 1444, 'many segments');
      t.equal(wire.headerBytes, 7);
      await roundTrip(t, wire, { ...first, ...moved, dataLength: 40_000 }, 40_000, 1444, 'a shorter one at the end');
      t.equal(wire.headerBytes, 7);
    });
  });

  t.test('the acknowledgements of a download: 9 bytes instead of 60', async (t) => {
    await withWire(async (wire) => {
      const first: Segment = { ...FIRST, shape: 'ack' };
      await wire.settle(first);
      const ack = first.ack + 1_000_000;
      await roundTrip(t, wire, { ...first, ack, dataAck: first.dataAck + 1_000_000, tsVal: 5100, tsEcr: 6090 }, 0, 0, 'bytes');
      t.equal(wire.headerBytes, 8);
      await roundTrip(t, wire, { ...first, ack, dataAck: first.dataAck + 2_000_000, tsVal: 5100, tsEcr: 6090 }, 0, 0, 'of several paths');
      t.equal(wire.headerBytes, 11);
    });
  });

  t.test('no datagram is larger than the path carries, whatever the segments were told to be', async (t) => {
    await withWire(async (wire) => {
      for (const settled of [false, true]) {
        if (settled) await wire.settle({ ...FIRST });
        for (const segmentBytes of [1400, 1443, 1444, 1445, 1472, 9000]) {
          for (const count of [1, 2, 16, 17]) {
            for (const tsVal of [5000, 5900, 900_000]) {
              const dataLength = Math.min(count * segmentBytes, 65_000);
              const flying = await wire.seal({ ...FIRST, tsVal, dataLength }, dataLength, segmentBytes);
              t.ok(flying.every(({ bytes }) => bytes.length <= MAX_DATAGRAM_BYTES));
              sameAll(t, await wire.deliver(flying), flying, `${count} times ${segmentBytes}`);
            }
          }
        }
      }
    });
  });
}

function testAgreement(): void {
  t.test('headers go whole until the peer has confirmed a base, and a lost base is sent again', async (t) => {
    await withWire(async (wire) => {
      const send = async (i: number) => {
        await roundTrip(
          t,
          wire,
          { ...FIRST, seq: 1000 + 1400 * i, ssn: 1 + 1400 * i, dsn: FIRST.dsn + BigInt(1400 * i) },
          1400,
          1400,
          `segment ${i}`,
        );
        return wire.compressed;
      };
      for (let i = 0; i < 8; i++) t.equal(await send(i), false);
      const lost = await wire.bases();
      t.equal(lost.length, 1, 'after eight segments a base is due');
      t.equal((await wire.bases()).length, 0, 'and not again at once');
      t.equal(await send(8), false);
      wire.nowMs += 11;
      const second = await wire.bases();
      t.equal(second.length, 1, 'it is repeated after its time');
      await wire.deliver(second);
      t.equal(await send(9), false, 'it is there, but not confirmed');
      const { id, serial } = wire.confirmations[0]!;
      wire.n.confirmBase(wire.sender, id, serial + 1);
      wire.n.confirmBase(wire.sender, id + 1, serial);
      wire.n.confirmBase(wire.sender, 0xffff, serial);
      t.equal(await send(10), false, 'the confirmation of another base says nothing');
      wire.confirm();
      t.equal(await send(11), true);
      await wire.deliver(lost);
      t.equal(await send(12), true, 'the first copy comes late and changes nothing');
    });
  });

  t.test('a repetition that begins within its mapping makes no base: places are told from the base on', async (t) => {
    await withWire(async (wire) => {
      // Mappings of two segments.
      const at = (bytes: number, from = bytes): Segment => ({
        ...FIRST,
        seq: 1000 + bytes,
        ssn: 1 + from,
        dsn: FIRST.dsn + BigInt(from),
        dataLength: 2800,
      });
      for (let i = 0; i < 2; i++) await roundTrip(t, wire, at(2800 * i), 2800, 1400, `mapping ${i}`);
      for (let i = 0; i < 4; i++) await roundTrip(t, wire, at(1400, 0), 1400, 1400, 'the second half of the first one again');
      t.equal((await wire.bases()).length, 0, 'not the header of a repetition');
      await roundTrip(t, wire, at(2800 * 3), 2800, 1400, 'new data');
      await wire.deliver(await wire.bases());
      wire.confirm();
      for (const again of [at(1400, 0), at(2800 * 3 + 1400, 2800 * 3)]) {
        await roundTrip(t, wire, again, 1400, 1400, 'a repetition');
        t.ok(wire.compressed);
      }
      await roundTrip(t, wire, at(2800 * 4), 2800, 1400, 'new data');
      t.ok(wire.compressed);
    });
  });

  t.test('a base that is never confirmed is given up', async (t) => {
    await withWire(async (wire) => {
      let count = 0;
      for (let i = 0; i < 500; i++) {
        await wire.seal({ ...FIRST, seq: 1000 + i, ssn: 1 + i });
        wire.nowMs += 100;
        count += (await wire.bases()).length;
      }
      t.equal(count, 6);
      t.equal(wire.cut[native.CUT_PENDING_BASES], 0);
    });
  });

  t.test('a base that the receiver does not have: the segment is dropped, named, and the next ones go whole', async (t) => {
    await withWire(async (wire) => {
      const bases = [];
      for (let i = 0; i < 8; i++) await wire.seal({ ...FIRST });
      bases.push(...(await wire.bases()));
      // The peer confirms and forgets.
      wire.n.confirmBase(wire.sender, 0, 1);
      const flying = await wire.seal(FIRST, 5600, 1400);
      t.ok(wire.compressed);
      t.strictSame(await wire.deliver(flying), []);
      t.strictSame(wire.lost, [0, 0, 0, 0]);
      t.equal(wire.n.receiveCounters(wire.table).unknownBase, 4);
      wire.n.loseBase(wire.sender, 0);
      await roundTrip(t, wire, FIRST, 5600, 1400, 'whole headers');
      t.notOk(wire.compressed);
      const again = await wire.bases();
      t.equal(again.length, 1, 'another base is offered at once');
      await wire.deliver(again);
      wire.confirm();
      await roundTrip(t, wire, FIRST, 5600, 1400, 'compressed again');
      t.ok(wire.compressed);
      t.strictSame(await wire.deliver(flying), [], 'what named the old base is not read by the new one');
    });
  });

  t.test('more flows than there are bases: all bytes arrive, most flows are compressed', async (t) => {
    await withWire(async (wire) => {
      let compressed = 0;
      for (let round = 0; round < 12; round++) {
        compressed = 0;
        for (let flow = 0; flow < 400; flow++) {
          const segment = { ...FIRST, port: 1000 + flow, seq: round * 1400, ssn: round * 1400, tsVal: round, dataLength: 1400 };
          const flying = await wire.seal(segment);
          const found = await wire.deliver(flying);
          if (!sameBytes(found, flying)) t.fail(`flow ${flow} in round ${round}`);
          if (wire.compressed) compressed++;
        }
        await wire.deliver(await wire.bases());
        wire.confirm();
        wire.nowMs += 100;
      }
      t.ok(compressed > 150, `${compressed} of 400 flows`);
      t.ok(compressed <= 256);
    });
  });

  t.test('sequence numbers, timestamps and DSNs wrap around', async (t) => {
    await withWire(async (wire) => {
      const base: Segment = {
        ...FIRST,
        seq: 0xffff_f000,
        ack: 0xffff_ff00,
        ssn: 0xffff_0000,
        tsVal: 0xffff_fff0,
        tsEcr: 0xffff_ffff,
        dsn: 0xffff_ffff_ffff_f000n,
        dataAck: 0xffff_ff00,
      };
      for (const shape of ['map', 'map-8', 'map-4'] as const) {
        await wire.settle({ ...base, shape });
        for (let i = 0; i < 4; i++) {
          const step = i * 2800;
          const segment: Segment = {
            ...base,
            shape,
            seq: (base.seq + step) % 2 ** 32,
            ssn: (base.ssn + step) % 2 ** 32,
            ack: (base.ack + 200 * i) % 2 ** 32,
            // The helper makes 8 bytes of it without a carry.
            dataAck: shape === 'map-8' ? base.dataAck : (base.dataAck + 200 * i) % 2 ** 32,
            tsVal: (base.tsVal + 10 * i) % 2 ** 32,
            tsEcr: i,
            dsn: BigInt.asUintN(64, base.dsn + BigInt(step)),
            dataLength: 2800,
          };
          await roundTrip(t, wire, segment, 2800, 1400, `${shape}, ${i}`);
          t.ok(wire.compressed);
        }
      }
    });
  });

  t.test('the base is renewed before a difference outgrows its field, and nothing goes whole', async (t) => {
    await withWire(async (wire) => {
      await wire.settle(FIRST);
      let whole = 0;
      let seq = FIRST.seq;
      let longest = 0;
      for (let i = 0; i < 1000; i++) {
        seq = (seq + 60_000) % 2 ** 32;
        const ssn = (seq - FIRST.seq + 1) >>> 0;
        const segment = { ...FIRST, seq, ssn, dsn: FIRST.dsn + BigInt(ssn - 1), tsVal: 5000 + 12 * i, dataLength: 10_000 };
        const flying = await wire.seal(segment, 10_000, 1250);
        const found = await wire.deliver(flying);
        if (!sameBytes(found, flying)) t.fail(`step ${i}`);
        if (!wire.compressed) whole++;
        longest = Math.max(longest, wire.headerBytes);
        await wire.deliver(await wire.bases());
        wire.confirm();
        wire.nowMs += 12;
      }
      t.equal(whole, 0);
      t.ok(longest <= 9, `${longest} bytes at most`);
    });
  });
}

function testPacketNumbers(): void {
  t.test('of the packet number 2 bytes are sent while little is unacknowledged, 3 while more is', async (t) => {
    await withWire(async (wire) => {
      const { n, sender } = wire;
      await wire.settle(FIRST);
      const header = headerOf(FIRST);
      // Into the void: nobody has heard of these.
      const waste = (datagrams: number) => {
        n.senderSetTarget(sender, wire.tx, addressRecord('127.0.0.1', n.udpPort(wire.tx)));
        for (let left = datagrams; left > 0; left -= 1000)
          n.sealSegments(sender, native.TYPE_STREAM, header, header.length, pattern(1000), 0, Math.min(left, 1000), 1);
        n.udpFlush(wire.tx);
        n.senderSetTarget(sender, wire.tx, wire.middleAddress);
      };
      const send = async (message: string) => {
        await roundTrip(t, wire, { ...FIRST, seq: 1000 + wire.sent, ssn: 1 + wire.sent }, 1400, 1400, message);
        return wire.compressed ? wire.cut[native.CUT_OVERHEAD_BYTES]! - native.AEAD_TAG_BYTES : 0;
      };
      const few = await send('few');
      n.senderAcked(sender, n.senderPacketNumber(sender) - 1);
      waste(16_000);
      t.equal(await send('16,000 unacknowledged'), few);
      waste(1000);
      t.equal(await send('17,000'), few + 1);
      n.senderAcked(sender, n.senderPacketNumber(sender) + 5);
      t.equal(await send('what was never sent is not acknowledged'), few + 1);
      waste(50_000);
      t.equal(await send('67,000'), few + 1, 'the receiver finds it beyond 65,536 too');
      n.senderAcked(sender, n.senderPacketNumber(sender) - 1);
      t.equal(await send('acknowledged'), few);
    });
  });
}

if (inOwnNamespace(import.meta.url)) {
  t.setTimeout(120_000);
  testFields();
  testWholeHeaders();
  testSizes();
  testAgreement();
  testPacketNumbers();
}
