import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import * as native from '../../src/tun/native.js';
import { addressRecord, generator, inOwnNamespace, openUdp, pattern, Receiver, tcpHeader } from './native-harness.js';
import { cutTcp, finishPacket, sealDatagram } from './native-twins.js';

const INDEX = 0xfeed1234;
const MAX_DATAGRAM_BYTES = 1472;
const PATH = 3;

/** A datagram on its way, and the packet that it carries (undefined: control). */
interface Flying {
  bytes: Buffer;
  packet: Buffer | undefined;
}

interface Segment {
  family: 4 | 6;
  seq: number;
  ack: number;
  window: number;
  flags: number;
  tsVal: number;
  tsEcr: number;
  dataAck: number;
  dsn: bigint;
  ssn: number;
  dataLength: number;
  /** Which options, in which form. */
  shape:
    | 'plain'
    | 'times'
    | 'ack'
    | 'map'
    | 'map-8'
    | 'map-4'
    | 'map-only'
    | 'map-bare'
    | 'fin'
    | 'checksum'
    | 'sack'
    | 'add-addr'
    | 'mp-prio';
  hopLimit: number;
  trafficClass: number;
  port: number;
}

const FIRST: Segment = {
  family: 4,
  seq: 1000,
  ack: 77,
  window: 512,
  flags: 0x10,
  tsVal: 5000,
  tsEcr: 6000,
  dataAck: 0x11223344,
  dsn: 0x0102030405060708n,
  ssn: 1,
  dataLength: 1400,
  shape: 'map',
  hopLimit: 64,
  trafficClass: 0,
  port: 40_000,
};

function u(bytes: number, value: number | bigint): Buffer {
  const out = Buffer.alloc(8);
  out.writeBigUInt64BE(BigInt.asUintN(bytes * 8, BigInt(value)));
  return out.subarray(8 - bytes);
}

function dss(s: Segment): Buffer {
  const sizes: Record<string, readonly [number, number]> = { ack: [4, 0], 'map-8': [8, 8], 'map-4': [4, 4], 'map-only': [0, 8] };
  const [ackBytes, dsnBytes] = sizes[s.shape] ?? [4, 8];
  const checksum = s.shape === 'checksum';
  const flags =
    (ackBytes === 0 ? 0 : ackBytes === 8 ? 3 : 1) | (dsnBytes === 0 ? 0 : dsnBytes === 8 ? 12 : 4) | (s.shape === 'fin' ? 16 : 0);
  const fields = [u(ackBytes, ackBytes === 8 ? (7n << 32n) + BigInt(s.dataAck) : s.dataAck)];
  if (dsnBytes > 0) fields.push(u(dsnBytes, s.dsn), u(4, s.ssn), u(2, s.dataLength));
  if (checksum) fields.push(u(2, 0x1234 + s.ssn));
  const body = Buffer.concat(fields);
  return Buffer.concat([Buffer.from([30, 4 + body.length, 0x20, flags]), body]);
}

function options(s: Segment): Buffer {
  const times = Buffer.concat([Buffer.from([1, 1, 8, 10]), u(4, s.tsVal), u(4, s.tsEcr)]);
  if (s.shape === 'plain') return Buffer.alloc(0);
  if (s.shape === 'times') return times;
  if (s.shape === 'sack') return Buffer.concat([times, Buffer.from([1, 1, 5, 10]), u(4, s.ack + 5000), u(4, s.ack + 9000)]);
  if (s.shape === 'add-addr') return Buffer.concat([times, Buffer.from('1e1030020a0909090011223344556677', 'hex')]);
  if (s.shape === 'mp-prio')
    return Buffer.concat([times, dss({ ...s, shape: 'ack' }), Buffer.from('1e03510100000000', 'hex').subarray(0, 4)]);
  const out = s.shape === 'map-bare' ? dss(s) : Buffer.concat([times, dss(s)]);
  return Buffer.concat([out, Buffer.alloc((4 - (out.length % 4)) % 4, 1)]);
}

function headerOf(s: Segment): Buffer {
  const header = tcpHeader(s.family, {
    sequenceNumber: s.seq,
    acknowledgmentNumber: s.ack,
    flags: s.flags,
    window: s.window,
    options: options(s),
    trafficClass: s.trafficClass,
    sourcePort: s.port,
  });
  header[s.family === 4 ? 8 : 7] = s.hopLimit;
  return header;
}

/** A sender, a receiver, and whatever happens to datagrams between them. */
class Wire {
  readonly n = native.loadNative();
  readonly tx = openUdp(4, '127.0.0.1');
  readonly rx = openUdp(4, '127.0.0.1');
  readonly table = this.n.createOpenTable();
  readonly sender: native.SenderHandle;
  readonly key = pattern(32, 5);
  readonly receiver = new Receiver();
  readonly #middle: Socket;
  readonly #caught: Buffer[] = [];
  readonly cut = new Int32Array(native.CUT_INTS);
  /** Bases that arrived, as the peer would confirm them. */
  readonly confirmations: { id: number; serial: number }[] = [];
  readonly lost: number[] = [];
  readonly middleAddress: Uint8Array;
  nowMs = 0;
  sent = 0;

  constructor(middle: Socket) {
    this.#middle = middle;
    middle.on('message', (bytes) => this.#caught.push(bytes));
    const { n } = this;
    n.addOpener(this.table, { receiverIndex: INDEX, aead: 'aes-256-gcm', key: this.key, compressed: true });
    const sealer = n.createSealer({ aead: 'aes-256-gcm', key: this.key, receiverIndex: INDEX });
    this.middleAddress = addressRecord('127.0.0.1', middle.address().port);
    this.sender = n.createSender(this.tx, sealer, PATH, this.middleAddress);
    n.senderCompress(this.sender, MAX_DATAGRAM_BYTES);
  }

  static async open(): Promise<Wire> {
    const middle = createSocket('udp4');
    middle.bind(0, '127.0.0.1');
    await once(middle, 'listening');
    middle.setRecvBufferSize(4 << 20);
    return new Wire(middle);
  }

  close(): void {
    this.n.closeOpenTable(this.table);
    this.n.udpClose(this.tx);
    this.n.udpClose(this.rx);
    this.#middle.close();
  }

  async #take(count: number): Promise<Buffer[]> {
    this.n.udpFlush(this.tx);
    for (let i = 0; this.#caught.length < count && i < 1000; i++) await new Promise((resolve) => setImmediate(resolve));
    if (this.#caught.length !== count) throw new Error(`${this.#caught.length} datagrams instead of ${count}`);
    return this.#caught.splice(0);
  }

  /** Seals a super-segment; the datagrams, with the packets that they must come out as. */
  async seal(segment: Segment, payloadBytes = 1400, segmentBytes = 1400): Promise<Flying[]> {
    const header = headerOf(segment);
    const payload = pattern(payloadBytes, segment.seq + 1);
    const made = this.n.sealSegments(this.sender, native.TYPE_STREAM, header, header.length, payload, 0, payloadBytes, segmentBytes);
    this.n.lastCut(this.sender, this.cut);
    const packets = cutTcp(header, payload, Math.max(1, this.cut[native.CUT_SEGMENT_BYTES]!), segment.family === 4 ? 20 : 40);
    const datagrams = await this.#take(made);
    if (packets.length !== made) throw new Error(`${made} datagrams for ${packets.length} segments`);
    this.sent += made;
    return datagrams.map((bytes, i) => ({ bytes, packet: packets[i] }));
  }

  /** Bases that are due, in control datagrams. */
  async bases(repeatMs = 10): Promise<Flying[]> {
    const all: Flying[] = [];
    const out = new Uint8Array(native.BASE_MAX_BYTES + 3);
    for (let i = 0; i < 1000; i++) {
      const length = this.n.nextBase(this.sender, this.nowMs, repeatMs, out, 3);
      if (length === 0) return all;
      this.n.sealPacket(this.sender, native.TYPE_CONTROL, out, 3, length, 0, 0, 0, 0);
      all.push({ bytes: (await this.#take(1))[0]!, packet: undefined });
    }
    throw new Error('bases without end');
  }

  /** Delivers in this order; the stream packets that came out, cut again and with their checksums. */
  async deliver(flying: readonly Flying[]): Promise<Buffer[]> {
    const before = this.n.receiveCounters(this.table);
    const to = addressRecord('127.0.0.1', this.n.udpPort(this.rx));
    for (const { bytes } of flying) {
      if (this.n.udpSendRaw(this.tx, to, bytes, 0, bytes.length) !== bytes.length) throw new Error('send');
    }
    const out: Buffer[] = [];
    const done = () => this.n.receiveCounters(this.table).datagrams - before.datagrams >= flying.length;
    for (const one of this.receiver.until(this.rx, this.table, done)) {
      if (one.kind === native.RX_KIND_UNKNOWN_BASE) this.lost.push(one.segmentBytes);
      else if (one.type === native.TYPE_CONTROL) this.#install(one.bytes, one.packetNumber);
      else out.push(...splitPacket(one.bytes, one.segmentBytes, one.headerLength));
    }
    return out;
  }

  #install(bytes: Buffer, packetNumber: number): void {
    const result = this.n.installBase(this.table, INDEX, PATH, packetNumber, bytes, 0, bytes.length);
    if (result === native.BASE_MALFORMED) throw new Error('malformed base');
    if (result === native.BASE_STORED) this.confirmations.push({ serial: bytes.readUInt32BE(0), id: bytes.readUInt16BE(4) });
  }

  confirm(): void {
    for (const { id, serial } of this.confirmations.splice(0)) this.n.confirmBase(this.sender, id, serial);
  }

  /** Sends until the flow of this segment has a base; the segment to go on with. */
  async settle(segment: Segment): Promise<void> {
    for (let i = 0; i < 12; i++) {
      await this.deliver(await this.seal(segment, segment.shape === 'ack' ? 0 : 1400));
      await this.deliver(await this.bases(0.001));
      this.nowMs += 1000;
      this.confirm();
    }
  }

  get compressed(): boolean {
    return this.cut[native.CUT_COMPRESSED] === 1;
  }

  /** Bytes of compressed header. */
  get headerBytes(): number {
    return this.cut[native.CUT_OVERHEAD_BYTES]! - native.COMPRESSED_HEADER_BYTES - native.AEAD_TAG_BYTES;
  }
}

/** The segments of a received packet, finished: what came compressed has no TCP checksum, and of what was joined it means nothing. */
function splitPacket(bytes: Buffer, segmentBytes: number, headerLength: number): Buffer[] {
  const transport = bytes[0]! >> 4 === 4 ? 20 : 40;
  if (segmentBytes > 0) return cutTcp(bytes.subarray(0, headerLength), bytes.subarray(headerLength), segmentBytes, transport);
  return [finishPacket(Buffer.from(bytes), 6, transport)];
}

async function withWire(use: (wire: Wire) => Promise<void>): Promise<void> {
  const wire = await Wire.open();
  try {
    await use(wire);
  } finally {
    wire.close();
  }
}

function sameBytes(found: readonly Buffer[], flying: readonly Flying[]): boolean {
  return found.length === flying.length && found.every((one, i) => one.equals(flying[i]!.packet!));
}

function sameAll(t: Test, found: readonly Buffer[], flying: readonly Flying[], message: string): void {
  t.strictSame(
    found.map((one) => one.toString('hex')),
    flying.map((one) => one.packet?.toString('hex')),
    message,
  );
}

/** Sends a segment over a settled flow and compares. */
async function roundTrip(
  t: Test,
  wire: Wire,
  segment: Segment,
  payloadBytes: number,
  segmentBytes: number,
  message: string,
): Promise<void> {
  const flying = await wire.seal(segment, payloadBytes, segmentBytes);
  sameAll(t, await wire.deliver(flying), flying, message);
}

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

  t.test('a base that is never confirmed is given up', async (t) => {
    await withWire(async (wire) => {
      let count = 0;
      for (let i = 0; i < 500; i++) {
        await wire.seal({ ...FIRST, seq: i });
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
          u(4, random(2 ** 32)),
          u(2, random(600)),
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
          ? Buffer.from([0xa0 | PATH, 0x12, 0x34, ...u(3, number)])
          : Buffer.from([0x80 | PATH, 0x12, 0x34, ...u(2, number)]);
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
  testFields();
  testWholeHeaders();
  testSizes();
  testAgreement();
  testPacketNumbers();
  testProperty();
  testHostile();
}
