/**
 * What a checker must remember of one direction of an MPTCP connection: which data sequence numbers were carried and acknowledged
 * (`DataStream`), and how one subflow's bytes map onto them (`SubflowLedger`). Offsets count from the IDSN and from the initial sequence number.
 */

import { dssChecksum } from '../../src/mptcp-over-udp/wire/checksum.js';
import { dsnHigh, dsnLow } from '../../src/mptcp-over-udp/wire/sequence.js';

export type Report = (fault: string) => void;

export class DataStream {
  /** Everything in [1, frontier) was carried under a mapping. The first byte of data is IDSN + 1. */
  frontier = 1;
  acknowledged = 0;
  /** Offset that the DATA_FIN occupies, -1: none seen. */
  fin = -1;
  carriedBytes = 0;
  readonly idsnHigh: number;
  readonly idsnLow: number;
  #beyond: { start: number; end: number }[] = [];

  constructor(idsnHigh: number, idsnLow: number) {
    this.idsnHigh = idsnHigh;
    this.idsnLow = idsnLow;
  }

  /** Returns how much of it no subflow had carried before. */
  carry(start: number, end: number, report: Report): number {
    const fresh = this.#freshBytes(start, end);
    this.#note(start, end, report);
    return fresh;
  }

  #freshBytes(start: number, end: number): number {
    let fresh = Math.max(0, end - Math.max(start, this.frontier));
    for (const piece of this.#beyond) fresh -= Math.max(0, Math.min(end, piece.end) - Math.max(start, piece.start));
    return fresh;
  }

  #note(start: number, end: number, report: Report): void {
    this.carriedBytes += end - start;
    if (this.fin !== -1 && end > this.fin) report(`data up to offset ${end} lies behind the DATA_FIN at ${this.fin}`);
    if (end <= this.frontier) return;
    const last = this.#beyond.at(-1);
    if (start <= this.frontier) this.frontier = end;
    else if (last !== undefined && start >= last.start && start <= last.end) last.end = Math.max(last.end, end);
    else this.#insert(start, end);
    while (this.#beyond.length > 0 && this.#beyond[0]!.start <= this.frontier) {
      this.frontier = Math.max(this.frontier, this.#beyond.shift()!.end);
    }
  }

  /** INVARIANT: pieces are in order, and do not touch. */
  #insert(start: number, end: number): void {
    const merged = { start, end };
    let to = this.#beyond.length;
    while (to > 0 && this.#beyond[to - 1]!.start > end) to--;
    let from = to;
    for (; from > 0 && this.#beyond[from - 1]!.end >= start; from--) {
      const piece = this.#beyond[from - 1]!;
      merged.start = Math.min(merged.start, piece.start);
      merged.end = Math.max(merged.end, piece.end);
    }
    this.#beyond.splice(from, to - from, merged);
  }

  finish(fin: number, report: Report): void {
    if (this.fin !== -1 && this.fin !== fin) report(`DATA_FIN moved from offset ${this.fin} to ${fin}`);
    if (fin < this.frontier) report(`DATA_FIN at offset ${fin} lies before data carried up to ${this.frontier}`);
    this.fin = fin;
  }

  acknowledge(offset: number, report: Report): void {
    const limit = this.fin !== -1 && this.frontier === this.fin ? this.fin + 1 : this.frontier;
    if (offset > limit) report(`DATA_ACK of offset ${offset}, but only ${limit} was mapped and carried without a gap`);
    this.acknowledged = Math.max(this.acknowledged, offset);
  }

  get isFinished(): boolean {
    return this.fin !== -1 && this.acknowledged > this.fin;
  }
}

export interface Mapping {
  /** Subflow sequence number of the first byte, unwrapped. */
  ssn: number;
  /** Offset of its DSN from the IDSN. */
  dsn: number;
  payloadBytes: number;
  /** With the DATA_FIN, if there is one. */
  dataLength: number;
  /** -1: none. */
  checksum: number;
}

interface OpenMapping extends Mapping {
  /** For the checksum: payload as it came, and which bytes of it; undefined once verified or when there is nothing to verify. */
  payload: Uint8Array | undefined;
  have: Uint8Array | undefined;
  missingBytes: number;
}

export class SubflowLedger {
  checksumsVerified = 0;
  carriedBytes = 0;
  /** Of these, what no subflow had carried before: neither repeated by TCP nor reinjected. */
  freshBytes = 0;
  readonly #stream: DataStream;
  readonly #mappings: OpenMapping[] = [];
  #unmapped: { ssn: number; bytes: Uint8Array }[] = [];

  constructor(stream: DataStream) {
    this.#stream = stream;
  }

  /** RFC 8684, 3.3.1: a mapping may be repeated, never changed; what it covers has one mapping. */
  addMapping(mapping: Mapping, report: Report): void {
    let at = this.#mappings.length;
    while (at > 0 && this.#mappings[at - 1]!.ssn > mapping.ssn) at--;
    for (const other of [this.#mappings[at - 1], this.#mappings[at]]) {
      if (other === undefined || other.ssn >= mapping.ssn + mapping.payloadBytes || other.ssn + other.payloadBytes <= mapping.ssn) continue;
      // A DATA_FIN may be merged into a mapping that has been sent without it (Linux does): it counts in the length, and so in the checksum.
      const isSame =
        other.ssn === mapping.ssn &&
        other.dsn === mapping.dsn &&
        other.payloadBytes === mapping.payloadBytes &&
        checksumWithLength(other, mapping.dataLength) === mapping.checksum;
      if (!isSame) report(`mapping ${describe(mapping)} contradicts ${describe(other)}`);
      return;
    }
    const isChecked = mapping.checksum !== -1;
    this.#mappings.splice(at, 0, {
      ...mapping,
      payload: isChecked ? new Uint8Array(mapping.payloadBytes) : undefined,
      have: isChecked ? new Uint8Array(mapping.payloadBytes) : undefined,
      missingBytes: mapping.payloadBytes,
    });
    const early = this.#unmapped;
    this.#unmapped = [];
    for (const piece of early) this.addPayload(piece.ssn, piece.bytes, report);
  }

  /** `bytes` is borrowed. */
  addPayload(ssn: number, bytes: Uint8Array, report: Report): void {
    let end = ssn + bytes.length;
    for (let i = this.#mappings.length - 1; i >= 0 && end > ssn; i--) {
      const mapping = this.#mappings[i]!;
      const mappingEnd = mapping.ssn + mapping.payloadBytes;
      if (mapping.ssn >= end) continue;
      if (mappingEnd <= ssn) break;
      if (mappingEnd < end) this.#unmapped.push({ ssn: mappingEnd, bytes: bytes.slice(mappingEnd - ssn, end - ssn) });
      const coveredEnd = Math.min(end, mappingEnd);
      const coveredStart = Math.max(ssn, mapping.ssn);
      this.#cover(mapping, coveredStart, bytes.subarray(coveredStart - ssn, coveredEnd - ssn), report);
      end = coveredStart;
    }
    if (end > ssn) this.#unmapped.push({ ssn, bytes: bytes.slice(0, end - ssn) });
  }

  #cover(mapping: OpenMapping, ssn: number, bytes: Uint8Array, report: Report): void {
    const start = ssn - mapping.ssn;
    this.carriedBytes += bytes.length;
    this.freshBytes += this.#stream.carry(mapping.dsn + start, mapping.dsn + start + bytes.length, report);
    const { payload, have } = mapping;
    if (payload === undefined || have === undefined) return;
    payload.set(bytes, start);
    for (let i = start; i < start + bytes.length; i++) {
      mapping.missingBytes -= 1 - have[i]!;
      have[i] = 1;
    }
    if (mapping.missingBytes > 0) return;
    this.verifyChecksum(mapping, payload, report);
    mapping.payload = undefined;
    mapping.have = undefined;
  }

  verifyChecksum(mapping: Mapping, payload: Uint8Array, report: Report): void {
    const { idsnHigh, idsnLow } = this.#stream;
    const high = dsnHigh(idsnHigh, idsnLow, mapping.dsn);
    const computed = dssChecksum(high, dsnLow(idsnLow, mapping.dsn), mapping.ssn, mapping.dataLength, payload, 0, payload.length);
    if (computed === mapping.checksum) this.checksumsVerified++;
    else report(`DSS checksum of ${describe(mapping)} is ${mapping.checksum.toString(16)}, should be ${computed.toString(16)}`);
  }

  /** Bytes that no mapping ever covered. */
  get unmappedBytes(): number {
    return this.#unmapped.reduce((sum, piece) => sum + piece.bytes.length, 0);
  }
}

/** The one's complement sum grows by what the length grows by. */
function checksumWithLength(mapping: Mapping, dataLength: number): number {
  if (mapping.checksum === -1 || mapping.dataLength === dataLength) return mapping.checksum;
  const sum = (~mapping.checksum & 0xffff) + (dataLength - mapping.dataLength) + 0xffff;
  return ~((sum & 0xffff) + (sum >>> 16)) & 0xffff;
}

function describe(mapping: Mapping): string {
  return `(dsn +${mapping.dsn}, ssn ${mapping.ssn}, length ${mapping.dataLength})`;
}
