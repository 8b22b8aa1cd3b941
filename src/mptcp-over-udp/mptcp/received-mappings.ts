/**
 * The mappings that a subflow has received (RFC 8684, 3.3.1): subflow bytes to data bytes. With checksums in use a mapping's data is held until
 * all of it is there and its checksum is right; without, data passes at once.
 */

import { RangeSet } from '../tcp/range-set.js';
import { finishSum, foldSum, sumBytes } from '../wire/checksum.js';
import { dsnHigh, dsnLow } from '../wire/sequence.js';

const MAX_MAPPINGS = 256;

export interface ReceivedMapping {
  readonly ssn: number;
  readonly dsn: number;
  readonly length: number;
  /** As on the wire, -1: none. */
  readonly checksum: number;
  /** A DATA_FIN counts in the checksum's length field. */
  readonly withDataFin: boolean;
  /** Data held back for the checksum, and which of it is there. */
  held: Uint8Array | undefined;
  have: RangeSet | undefined;
}

/** What became of one piece of data. */
export type MappingVerdict = 'held' | 'good' | 'bad';

export class ReceivedMappings {
  private readonly mappings: ReceivedMapping[] = [];
  /** Subflow bytes before the one that the wire's SSN 1 stands for: those that came with the SYN. */
  synBytes = 0;

  /** Remembers a mapping; the same again is nothing new. False: it contradicts a known one, and is ignored. */
  add(ssn: number, dsn: number, length: number, checksum: number, withDataFin: boolean, rcvNxt: number): boolean {
    const mappings = this.mappings;
    for (let i = mappings.length - 1; i >= 0; i--) {
      const known = mappings[i] as ReceivedMapping;
      if (known.ssn === ssn && known.length === length) return known.dsn === dsn;
    }
    // What lies below rcvNxt is never asked for again, unless its data waits for a checksum.
    while (mappings.length > 0) {
      const oldest = mappings[0] as ReceivedMapping;
      if (mappings.length < MAX_MAPPINGS && (oldest.ssn + oldest.length > rcvNxt || oldest.held !== undefined)) break;
      mappings.shift();
    }
    mappings.push({ ssn, dsn, length, checksum, withDataFin, held: undefined, have: undefined });
    return true;
  }

  find(ssn: number): ReceivedMapping | undefined {
    for (let i = this.mappings.length - 1; i >= 0; i--) {
      const mapping = this.mappings[i] as ReceivedMapping;
      if (ssn >= mapping.ssn && ssn < mapping.ssn + mapping.length) return mapping;
    }
    return undefined;
  }

  /** Holds [ssn, ssn + length) of a checksummed mapping; 'good' and 'bad' once all of it is there. */
  hold(
    mapping: ReceivedMapping,
    ssn: number,
    bytes: Uint8Array,
    at: number,
    length: number,
    idsnHigh: number,
    idsnLow: number,
  ): MappingVerdict {
    mapping.held ??= new Uint8Array(mapping.length);
    mapping.have ??= new RangeSet();
    mapping.held.set(bytes.subarray(at, at + length), ssn - mapping.ssn);
    mapping.have.add(ssn, ssn + length);
    if (!mapping.have.contains(mapping.ssn, mapping.ssn + mapping.length)) return 'held';
    return isChecksumRight(mapping, mapping.ssn - this.synBytes, mapping.held, idsnHigh, idsnLow) ? 'good' : 'bad';
  }

  /**
   * Checksums are no longer looked at: gives out what is held, in no particular order, and returns DSN - SSN of the newest mapping, or undefined when
   * there is none.
   */
  giveUpChecksums(deliver: (dsn: number, bytes: Uint8Array, at: number, length: number) => void): number | undefined {
    for (const mapping of this.mappings) {
      const { held, have, dsn, ssn } = mapping;
      mapping.held = undefined;
      if (held === undefined) continue;
      have?.visit((start, end) => deliver(dsn + start - ssn, held, start - ssn, end - start));
    }
    const newest = this.mappings[this.mappings.length - 1];
    return newest === undefined ? undefined : newest.dsn - newest.ssn;
  }

  clear(): void {
    this.mappings.length = 0;
  }
}

function isChecksumRight(mapping: ReceivedMapping, ssn: number, payload: Uint8Array, idsnHigh: number, idsnLow: number): boolean {
  return mapping.checksum === mappingChecksum(idsnHigh, idsnLow, mapping.dsn, ssn, mapping.length, mapping.withDataFin, payload, 0);
}

/** The DSS checksum (RFC 8684, 3.3.1): 64-bit DSN, SSN, length, zero, payload. A DATA_FIN counts in the length but has no byte. */
export function mappingChecksum(
  idsnHigh: number,
  idsnLow: number,
  dsn: number,
  ssn: number,
  length: number,
  withDataFin: boolean,
  payload: Uint8Array,
  payloadOffset: number,
): number {
  const high = dsnHigh(idsnHigh, idsnLow, dsn);
  const low = dsnLow(idsnLow, dsn);
  const ssnWire = ssn % 0x1_0000_0000;
  const header = (high >>> 16) + (high & 0xffff) + (low >>> 16) + (low & 0xffff) + Math.floor(ssnWire / 0x1_0000) + (ssnWire & 0xffff);
  return finishSum(foldSum(sumBytes(payload, payloadOffset, length, 0)) + header + length + (withDataFin ? 1 : 0));
}
