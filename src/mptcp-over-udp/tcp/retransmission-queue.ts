/**
 * What was sent and is not cumulatively acknowledged, in sequence order. One record stands for one (super-)segment as it was sent; it is split
 * where an acknowledgement, a SACK block or a retransmission touches a part of it. Offsets count from the initial sequence number.
 */

import type { RateRecord } from '../congestion/delivery-rate.js';
import type { BlockPool, PayloadBlock } from './payload-block.js';

/** A DSS mapping (RFC 8684, 3.3.1): `length` bytes at data offset `dsn` travel at subflow offset `ssn`. Immutable once sent. */
export interface DssMapping {
  readonly dsn: number;
  readonly ssn: number;
  /** 0: the infinite mapping (RFC 8684, 3.7). */
  readonly length: number;
  /** DSS checksum, 0 when none is in use. */
  readonly checksum: number;
}

export class SegmentRecord implements RateRecord {
  /** [start, end) in sequence space; a FIN takes one. */
  start = 0;
  end = 0;
  payloadBytes = 0;
  isFin = false;
  block: PayloadBlock | undefined = undefined;
  blockOffset = 0;
  mapping: DssMapping | undefined = undefined;
  transmitCount = 0;
  sacked = false;
  lost = false;
  inFlight = false;
  sentMs = 0;
  deliveredAtSend = 0;
  deliveredTimeAtSendMs = 0;
  firstSentAtSendMs = 0;
  appLimitedAtSend = false;
  lostAtSendBytes = 0;
  previous: SegmentRecord | undefined = undefined;
  next: SegmentRecord | undefined = undefined;
  /** Neighbours in order of transmission, among what is in flight. */
  earlier: SegmentRecord | undefined = undefined;
  later: SegmentRecord | undefined = undefined;
}

const KEEP_RECORDS = 4_096;
/** Shared by all connections: records are plain storage. */
const freeRecords: SegmentRecord[] = [];

export class RetransmissionQueue {
  head: SegmentRecord | undefined = undefined;
  tail: SegmentRecord | undefined = undefined;
  /** What is in flight, in order of its last transmission. */
  earliest: SegmentRecord | undefined = undefined;
  private latest: SegmentRecord | undefined = undefined;
  /** No record below it is lost. */
  private lostHint: SegmentRecord | undefined = undefined;
  /** Payload bytes sent and neither acknowledged, SACKed, nor deemed lost. */
  inflightBytes = 0;
  sackedBytes = 0;
  /** Payload bytes deemed lost and not sent again yet. */
  lostBytes = 0;
  private readonly pool: BlockPool;

  constructor(pool: BlockPool) {
    this.pool = pool;
  }

  /** A new record at the tail; takes over the caller's reference of `block`. */
  push(
    start: number,
    payloadBytes: number,
    isFin: boolean,
    block: PayloadBlock | undefined,
    blockOffset: number,
    mapping: DssMapping | undefined,
  ): SegmentRecord {
    const record = freeRecords.pop() ?? new SegmentRecord();
    record.start = start;
    record.end = start + payloadBytes + (isFin ? 1 : 0);
    record.payloadBytes = payloadBytes;
    record.isFin = isFin;
    record.block = block;
    record.blockOffset = blockOffset;
    record.mapping = mapping;
    record.transmitCount = 0;
    record.sacked = false;
    record.lost = false;
    record.inFlight = false;
    record.previous = this.tail;
    record.next = undefined;
    if (this.tail === undefined) this.head = record;
    else this.tail.next = record;
    this.tail = record;
    return record;
  }

  noteSent(record: SegmentRecord): void {
    if (record.lost) {
      record.lost = false;
      this.lostBytes -= record.payloadBytes;
    }
    if (record.inFlight) this.unlink(record);
    else {
      record.inFlight = true;
      this.inflightBytes += record.payloadBytes;
    }
    this.linkAfter(record, this.latest);
    record.transmitCount++;
  }

  /** It has arrived: even if deemed lost, it is not sent again. */
  markSacked(record: SegmentRecord): void {
    this.leaveFlight(record);
    if (record.lost) {
      record.lost = false;
      this.lostBytes -= record.payloadBytes;
    }
    record.sacked = true;
    this.sackedBytes += record.payloadBytes;
  }

  /** Deems it lost: it leaves the flight and waits to be sent again. */
  markLost(record: SegmentRecord): void {
    if (record.lost || record.sacked) return;
    this.leaveFlight(record);
    record.lost = true;
    this.lostBytes += record.payloadBytes;
    if (this.lostHint === undefined || record.start < this.lostHint.start) this.lostHint = record;
  }

  /** The lowest record deemed lost and not sent again. */
  firstLost(): SegmentRecord | undefined {
    while (this.lostHint !== undefined && !this.lostHint.lost) this.lostHint = this.lostHint.next;
    return this.lostHint;
  }

  /** The receiver took SACKed data back (RFC 2018, 8), or a timeout says to distrust it. */
  forgetSacks(): void {
    for (let record = this.head; record !== undefined; record = record.next) {
      if (!record.sacked) continue;
      record.sacked = false;
      this.sackedBytes -= record.payloadBytes;
      this.markLost(record);
    }
  }

  /** Splits so that `record` ends at `at`; the new record that follows it is returned. */
  split(record: SegmentRecord, at: number): SegmentRecord {
    const rest = freeRecords.pop() ?? new SegmentRecord();
    const headBytes = at - record.start;
    rest.start = at;
    rest.end = record.end;
    rest.payloadBytes = record.payloadBytes - headBytes;
    rest.isFin = record.isFin;
    rest.block = record.block;
    if (rest.block !== undefined) rest.block.referenceCount++;
    rest.blockOffset = record.blockOffset + headBytes;
    rest.mapping = record.mapping;
    rest.transmitCount = record.transmitCount;
    rest.sacked = record.sacked;
    rest.lost = record.lost;
    rest.inFlight = record.inFlight;
    rest.sentMs = record.sentMs;
    rest.deliveredAtSend = record.deliveredAtSend;
    rest.deliveredTimeAtSendMs = record.deliveredTimeAtSendMs;
    rest.firstSentAtSendMs = record.firstSentAtSendMs;
    rest.appLimitedAtSend = record.appLimitedAtSend;
    rest.lostAtSendBytes = record.lostAtSendBytes;
    if (record.inFlight) this.linkAfter(rest, record);
    record.end = at;
    record.payloadBytes = headBytes;
    record.isFin = false;
    rest.previous = record;
    rest.next = record.next;
    if (record.next === undefined) this.tail = rest;
    else record.next.previous = rest;
    record.next = rest;
    return rest;
  }

  /** Removes the head, which is acknowledged, and drops its payload. */
  shift(): void {
    const record = this.head as SegmentRecord;
    this.leaveFlight(record);
    if (this.lostHint === record) this.lostHint = record.next;
    if (record.sacked) this.sackedBytes -= record.payloadBytes;
    if (record.lost) this.lostBytes -= record.payloadBytes;
    this.head = record.next;
    if (this.head === undefined) this.tail = undefined;
    else this.head.previous = undefined;
    if (record.block !== undefined) this.pool.release(record.block);
    record.block = undefined;
    record.mapping = undefined;
    record.next = undefined;
    record.previous = undefined;
    if (freeRecords.length < KEEP_RECORDS) freeRecords.push(record);
  }

  clear(): void {
    while (this.head !== undefined) this.shift();
  }

  private leaveFlight(record: SegmentRecord): void {
    if (!record.inFlight) return;
    record.inFlight = false;
    this.inflightBytes -= record.payloadBytes;
    this.unlink(record);
  }

  private linkAfter(record: SegmentRecord, earlier: SegmentRecord | undefined): void {
    const later = earlier === undefined ? this.earliest : earlier.later;
    record.earlier = earlier;
    record.later = later;
    if (earlier === undefined) this.earliest = record;
    else earlier.later = record;
    if (later === undefined) this.latest = record;
    else later.earlier = record;
  }

  private unlink(record: SegmentRecord): void {
    if (record.earlier === undefined) this.earliest = record.later;
    else record.earlier.later = record.later;
    if (record.later === undefined) this.latest = record.earlier;
    else record.later.earlier = record.earlier;
    record.earlier = undefined;
    record.later = undefined;
  }
}
