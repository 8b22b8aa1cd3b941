/**
 * Data Sequence Signal, RFC 8684, 3.3.
 *
 *    0                   1                   2                   3
 *    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *   +---------------+---------------+-------+---------+-+-+-+-+-+-+-+
 *   |     Kind      |    Length     |Subtype|(reserved)   |F|m|M|a|A|
 *   +---------------+---------------+-------+-------------+-+-+-+-+-+
 *   |           Data ACK (4 or 8 octets, depending on flags)        |   A; a: 8 octets
 *   +---------------------------------------------------------------+
 *   |   Data Sequence Number (4 or 8 octets, depending on flags)    |   M; m: 8 octets
 *   +---------------------------------------------------------------+
 *   |              Subflow Sequence Number (4 octets)               |   M
 *   +-------------------------------+-------------------------------+
 *   |  Data-Level Length (2 octets) |      Checksum (2 octets)      |   M; checksum where negotiated
 *   +-------------------------------+-------------------------------+
 */

import { writeU16, writeU32 } from './big-endian.js';
import type { Dss, MptcpOptions } from './segment.js';
import { OPTION_MPTCP } from './tcp-options.js';

export const SUBTYPE_DSS = 0x2;
export const DSS_DATA_ACK = 0x01;
export const DSS_DATA_ACK_8 = 0x02;
export const DSS_MAPPING = 0x04;
export const DSS_DSN_8 = 0x08;
export const DSS_DATA_FIN = 0x10;

/** How long the option gets. */
export function dssLength(dataAckBytes: number, dsnBytes: number, hasChecksum: boolean): number {
  return 4 + dataAckBytes + (dsnBytes === 0 ? 0 : dsnBytes + (hasChecksum ? 8 : 6));
}

export function parseDss(_bytes: Uint8Array, view: DataView, at: number, length: number, out: MptcpOptions): boolean {
  if (length < 4) return false;
  const flags = view.getUint8(at + 3);
  const dataAckBytes = (flags & DSS_DATA_ACK) === 0 ? 0 : (flags & DSS_DATA_ACK_8) === 0 ? 4 : 8;
  const dsnBytes = (flags & DSS_MAPPING) === 0 ? 0 : (flags & DSS_DSN_8) === 0 ? 4 : 8;
  const plainLength = 4 + dataAckBytes + (dsnBytes === 0 ? 0 : dsnBytes + 6);
  const hasChecksum = dsnBytes !== 0 && length === plainLength + 2;
  if (length !== plainLength && !hasChecksum) return false;

  const dss = out.dss;
  let field = at + 4;
  dss.dataAckBytes = dataAckBytes;
  if (dataAckBytes === 8) {
    dss.dataAckHigh = view.getUint32(field);
    dss.dataAckLow = view.getUint32(field + 4);
  } else if (dataAckBytes === 4) {
    dss.dataAckHigh = 0;
    dss.dataAckLow = view.getUint32(field);
  }
  field += dataAckBytes;
  dss.dsnBytes = dsnBytes;
  dss.hasChecksum = hasChecksum;
  // RFC 8684, 3.3.3: a DATA_FIN has its place in a mapping; F without M says nothing.
  dss.dataFin = dsnBytes !== 0 && (flags & DSS_DATA_FIN) !== 0;
  if (dsnBytes === 0) return true;
  if (dsnBytes === 8) {
    dss.dsnHigh = view.getUint32(field);
    dss.dsnLow = view.getUint32(field + 4);
  } else {
    dss.dsnHigh = 0;
    dss.dsnLow = view.getUint32(field);
  }
  field += dsnBytes;
  dss.subflowSequenceNumber = view.getUint32(field);
  dss.dataLength = view.getUint16(field + 4);
  dss.checksum = hasChecksum ? view.getUint16(field + 6) : 0;
  return true;
}

/** At most 28 bytes. A checksum is written only with a mapping; a DATA_FIN without one is the caller's bug: RangeError. */
export function emitDss(out: Uint8Array, at: number, dss: Dss): number {
  const hasMapping = dss.dsnBytes !== 0;
  if (dss.dataFin && !hasMapping) throw new RangeError('dss.dataFin needs a mapping (dsnBytes 4 or 8)');
  const length = dssLength(dss.dataAckBytes, dss.dsnBytes, dss.hasChecksum);
  out[at] = OPTION_MPTCP;
  out[at + 1] = length;
  out[at + 2] = SUBTYPE_DSS << 4;
  out[at + 3] =
    (dss.dataAckBytes === 0 ? 0 : dss.dataAckBytes === 8 ? DSS_DATA_ACK | DSS_DATA_ACK_8 : DSS_DATA_ACK) |
    (hasMapping ? (dss.dsnBytes === 8 ? DSS_MAPPING | DSS_DSN_8 : DSS_MAPPING) : 0) |
    (dss.dataFin ? DSS_DATA_FIN : 0);
  let field = at + 4;
  if (dss.dataAckBytes === 8) {
    writeU32(out, field, dss.dataAckHigh);
    field += 4;
  }
  if (dss.dataAckBytes !== 0) {
    writeU32(out, field, dss.dataAckLow);
    field += 4;
  }
  if (!hasMapping) return length;
  if (dss.dsnBytes === 8) {
    writeU32(out, field, dss.dsnHigh);
    field += 4;
  }
  writeU32(out, field, dss.dsnLow);
  writeU32(out, field + 4, dss.subflowSequenceNumber);
  writeU16(out, field + 8, dss.dataLength);
  if (dss.hasChecksum) writeU16(out, field + 10, dss.checksum);
  return length;
}
