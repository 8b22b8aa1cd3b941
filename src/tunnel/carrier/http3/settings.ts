/**
 * The SETTINGS frame (RFC 9114, 7.2.4): pairs of identifier and value, both variable-length integers. Ours say extended CONNECT (RFC 9220), datagrams (RFC 9297), and WebTransport
 * in the words of each draft that is in use; of QPACK's dynamic table they say nothing, which means that there is none (RFC 9204, 5).
 */

import { VarintReader, varintBytes } from '../varint.js';
import type { Http3Error } from './http3-error.js';

const MAX_FIELD_SECTION_SIZE = 0x06;
const ENABLE_CONNECT_PROTOCOL = 0x08;
const H3_DATAGRAM = 0x33;
/** Drafts 2 to 6. */
const ENABLE_WEBTRANSPORT = 0x2b603742;
/** Drafts 7 to 12. */
const WEBTRANSPORT_MAX_SESSIONS = 0xc671706a;
/** Drafts 13 and 14. */
const WT_MAX_SESSIONS = 0x14e9cd29;
/** From draft 15 on. */
const WT_ENABLED = 0x2c7cf000;
/** Of HTTP/2, reserved: nobody may send them (RFC 9114, 7.2.4.1). */
const RESERVED: ReadonlySet<number> = new Set([0x02, 0x03, 0x04, 0x05]);
const BOOLEANS: ReadonlySet<number> = new Set([ENABLE_CONNECT_PROTOCOL, H3_DATAGRAM, ENABLE_WEBTRANSPORT, WT_ENABLED]);

export interface Http3Settings {
  readonly extendedConnect: boolean;
  readonly datagrams: boolean;
  readonly webTransport: boolean;
}

/** The payload. `fieldSectionBytes`: we read no longer header than that. */
export function emitSettings(fieldSectionBytes: number): Uint8Array {
  return varintBytes(
    ...[MAX_FIELD_SECTION_SIZE, fieldSectionBytes],
    ...[ENABLE_CONNECT_PROTOCOL, 1],
    ...[H3_DATAGRAM, 1],
    ...[ENABLE_WEBTRANSPORT, 1],
    ...[WEBTRANSPORT_MAX_SESSIONS, 1],
    ...[WT_MAX_SESSIONS, 1],
    ...[WT_ENABLED, 1],
  );
}

/** The payload of a whole frame, or what is wrong with it. */
export function parseSettings(payload: Uint8Array): Http3Settings | Http3Error {
  const values = new Map<number, number>();
  const reader = new VarintReader();
  let id = -1;
  for (const byte of payload) {
    if (!reader.take(byte)) continue;
    if (id < 0) {
      id = reader.value;
      if (RESERVED.has(id) || values.has(id)) return 'H3_SETTINGS_ERROR';
    } else {
      if (BOOLEANS.has(id) && reader.value > 1) return 'H3_SETTINGS_ERROR';
      values.set(id, reader.value);
      id = -1;
    }
  }
  if (reader.isWithin || id >= 0) return 'H3_FRAME_ERROR';
  const says = (wanted: number): boolean => (values.get(wanted) ?? 0) > 0;
  return {
    extendedConnect: says(ENABLE_CONNECT_PROTOCOL),
    datagrams: says(H3_DATAGRAM),
    webTransport: [ENABLE_WEBTRANSPORT, WEBTRANSPORT_MAX_SESSIONS, WT_MAX_SESSIONS, WT_ENABLED].some(says),
  };
}
