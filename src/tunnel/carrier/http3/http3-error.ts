/** What ends a connection or a stream of HTTP/3: the codes of RFC 9114 (8.1), 9204 (8.3), 9297 (5.2) and draft-ietf-webtrans-http3 (9.5). */

export const HTTP3_ERRORS = {
  H3_DATAGRAM_ERROR: 0x33,
  H3_NO_ERROR: 0x100,
  H3_GENERAL_PROTOCOL_ERROR: 0x101,
  H3_STREAM_CREATION_ERROR: 0x103,
  H3_CLOSED_CRITICAL_STREAM: 0x104,
  H3_FRAME_UNEXPECTED: 0x105,
  H3_FRAME_ERROR: 0x106,
  H3_EXCESSIVE_LOAD: 0x107,
  H3_ID_ERROR: 0x108,
  H3_SETTINGS_ERROR: 0x109,
  H3_MISSING_SETTINGS: 0x10a,
  H3_REQUEST_REJECTED: 0x10b,
  H3_REQUEST_CANCELLED: 0x10c,
  H3_MESSAGE_ERROR: 0x10e,
  QPACK_DECOMPRESSION_FAILED: 0x200,
  QPACK_ENCODER_STREAM_ERROR: 0x201,
  QPACK_DECODER_STREAM_ERROR: 0x202,
  WT_BUFFERED_STREAM_REJECTED: 0x3994bd84,
} as const;

export type Http3Error = keyof typeof HTTP3_ERRORS;

/** "H3_FRAME_ERROR" for people, whoever said it. */
export function http3ErrorName(code: number): string {
  for (const [name, value] of Object.entries(HTTP3_ERRORS)) if (value === code) return name;
  return `HTTP/3 error 0x${code.toString(16)}`;
}
