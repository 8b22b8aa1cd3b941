/** A sender and a receiver of compressed segments, whatever happens to datagrams between them, and the segments that they carry. */

import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import type { Test } from 'tap';
import * as native from '../../src/tun/native.js';
import { addressRecord, openUdp, pattern, Receiver, tcpHeader } from './native-harness.js';
import { cutTcp, finishPacket } from './native-twins.js';

export const INDEX = 0xfeed1234;
export const MAX_DATAGRAM_BYTES = 1472;
export const PATH = 3;

/** A datagram on its way, and the packet that it carries (undefined: control). */
export interface Flying {
  bytes: Buffer;
  packet: Buffer | undefined;
}

export interface Segment {
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

export const FIRST: Segment = {
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

export function bigEndian(bytes: number, value: number | bigint): Buffer {
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
  const fields = [bigEndian(ackBytes, ackBytes === 8 ? (7n << 32n) + BigInt(s.dataAck) : s.dataAck)];
  if (dsnBytes > 0) fields.push(bigEndian(dsnBytes, s.dsn), bigEndian(4, s.ssn), bigEndian(2, s.dataLength));
  if (checksum) fields.push(bigEndian(2, 0x1234 + s.ssn));
  const body = Buffer.concat(fields);
  return Buffer.concat([Buffer.from([30, 4 + body.length, 0x20, flags]), body]);
}

function options(s: Segment): Buffer {
  const times = Buffer.concat([Buffer.from([1, 1, 8, 10]), bigEndian(4, s.tsVal), bigEndian(4, s.tsEcr)]);
  if (s.shape === 'plain') return Buffer.alloc(0);
  if (s.shape === 'times') return times;
  if (s.shape === 'sack') return Buffer.concat([times, Buffer.from([1, 1, 5, 10]), bigEndian(4, s.ack + 5000), bigEndian(4, s.ack + 9000)]);
  if (s.shape === 'add-addr') return Buffer.concat([times, Buffer.from('1e1030020a0909090011223344556677', 'hex')]);
  if (s.shape === 'mp-prio')
    return Buffer.concat([times, dss({ ...s, shape: 'ack' }), Buffer.from('1e03510100000000', 'hex').subarray(0, 4)]);
  const out = s.shape === 'map-bare' ? dss(s) : Buffer.concat([times, dss(s)]);
  return Buffer.concat([out, Buffer.alloc((4 - (out.length % 4)) % 4, 1)]);
}

export function headerOf(s: Segment): Buffer {
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

export async function withWire(use: (wire: Wire) => Promise<void>): Promise<void> {
  const wire = await Wire.open();
  try {
    await use(wire);
  } finally {
    wire.close();
  }
}

export function sameBytes(found: readonly Buffer[], flying: readonly Flying[]): boolean {
  return found.length === flying.length && found.every((one, i) => one.equals(flying[i]!.packet!));
}

export function sameAll(t: Test, found: readonly Buffer[], flying: readonly Flying[], message: string): void {
  t.strictSame(
    found.map((one) => one.toString('hex')),
    flying.map((one) => one.packet?.toString('hex')),
    message,
  );
}

/** Sends a segment over a settled flow and compares. */
export async function roundTrip(
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
