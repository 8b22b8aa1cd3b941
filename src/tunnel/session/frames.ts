/**
 * Control frames: the plaintext of TYPE_CONTROL datagrams, one after another, big-endian.
 *
 *     0      1        3
 *    +------+--------+-------------------+
 *    | type | length | body (length)     |
 *    +------+--------+-------------------+
 *
 *    0x00 PADDING           any bytes
 *    0x01 PATH_CHALLENGE    token 8 | flags u8 (bit 0: backup) | inner MTU u16 | name length u8 | name, UTF-8, at most 32 bytes
 *    0x02 PATH_RESPONSE     token 8
 *    0x03 PATH_PROBE        sequence u32 | sender's time in ms u32
 *    0x04 PATH_PROBE_REPLY  both as they came
 *    0x05 PATH_ACK          highest packet number u48 | ack delay in 0.1 ms u16 | datagrams received u48 | bytes received u48
 *                            | sender's clock when this left, in 0.1 ms u32
 *    0x06 CLOSE             reason u8
 *    0x07 HEADER_BASE       serial u32 | id u16 | IP and TCP header, at most 120 bytes (docs/header-compression.md)
 *    0x08 HEADER_BASE_STORED  serial u32 | id u16
 *    0x09 HEADER_BASE_UNKNOWN id u16
 *    0x20 SLOW              a MessagePack map {kind, ...} of at most 1200 bytes (slow-control.ts)
 *
 * Unknown types are skipped, so a newer peer may say more; a known type with a body that does not fit makes the datagram a fault.
 */

import { emitSlowControl, parseSlowControl, type SlowControl } from './slow-control.js';

export const FRAME_HEADER_BYTES = 3;
export const FRAME_PADDING = 0x00;
export const FRAME_PATH_CHALLENGE = 0x01;
export const FRAME_PATH_RESPONSE = 0x02;
export const FRAME_PATH_PROBE = 0x03;
export const FRAME_PATH_PROBE_REPLY = 0x04;
export const FRAME_PATH_ACK = 0x05;
export const FRAME_CLOSE = 0x06;
export const FRAME_HEADER_BASE = 0x07;
export const FRAME_HEADER_BASE_STORED = 0x08;
export const FRAME_HEADER_BASE_UNKNOWN = 0x09;
export const FRAME_SLOW = 0x20;

export const PATH_TOKEN_BYTES = 8;
export const MAX_PATH_NAME_BYTES = 32;
const FLAG_BACKUP = 0x01;
const CHALLENGE_MIN_BYTES = PATH_TOKEN_BYTES + 4;
const CHALLENGE_NAME_LENGTH_AT = PATH_TOKEN_BYTES + 3;
const PROBE_BYTES = 8;
const ACK_BYTES = 24;
const ACK_CLOCK_AT = 20;
const BASE_PREFIX_BYTES = 6;
const BASE_UNKNOWN_BYTES = 2;
const MAX_U16 = 0xffff;
const MAX_U48 = 2 ** 48 - 1;

export const CLOSE_SHUTDOWN = 0;
export const CLOSE_REMOVED = 1;

export interface PathChallengeFrame {
  type: 'path-challenge';
  /** 8 bytes. */
  token: Uint8Array;
  /** The path's name for people: printable, at most 32 bytes of UTF-8. */
  name: string;
  backup: boolean;
  /** The largest inner packet that the sender can put on this path; 0: not told. */
  innerMtuBytes: number;
}
export interface PathResponseFrame {
  type: 'path-response';
  token: Uint8Array;
}
export interface PathProbeFrame {
  type: 'path-probe' | 'path-probe-reply';
  sequence: number;
  /** The prober's clock, modulo 2^32. */
  timeMs: number;
}
export interface PathAckFrame {
  type: 'path-ack';
  highestPacketNumber: number;
  /** Multiples of 0.1 ms; capped at 6553.5. */
  ackDelayMs: number;
  /** Totals of this path under this epoch. */
  datagrams: number;
  bytes: number;
  /** The clock of who acknowledges, when this left: in steps of 0.1 ms, modulo 2^32 of them. */
  sentMs: number;
}
export interface CloseFrame {
  type: 'close';
  reason: number;
}
export interface HeaderBaseFrame {
  type: 'header-base';
  serial: number;
  id: number;
  /** The whole body: what the addon wrote, for the addon to read. */
  body: Uint8Array;
}
export interface HeaderBaseStoredFrame {
  type: 'header-base-stored';
  serial: number;
  id: number;
}
export interface HeaderBaseUnknownFrame {
  type: 'header-base-unknown';
  id: number;
}
export interface SlowFrame {
  type: 'slow';
  message: SlowControl;
}
export type ControlFrame =
  | PathChallengeFrame
  | PathResponseFrame
  | PathProbeFrame
  | PathAckFrame
  | CloseFrame
  | HeaderBaseFrame
  | HeaderBaseStoredFrame
  | HeaderBaseUnknownFrame
  | SlowFrame;

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();
/** Control, format, surrogate and separator characters: a peer's words go to the user's terminal. */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]/u;

// ---- emit: each returns the offset after the frame; RangeError when `out` is too short or a value does not fit ----

function begin(out: Uint8Array, offset: number, type: number, bodyBytes: number): DataView {
  if (bodyBytes > MAX_U16) throw new RangeError('frame body is longer than 65535 bytes');
  if (offset < 0 || offset + FRAME_HEADER_BYTES + bodyBytes > out.length) throw new RangeError('out is too short for the frame');
  const view = new DataView(out.buffer, out.byteOffset + offset, FRAME_HEADER_BYTES + bodyBytes);
  view.setUint8(0, type);
  view.setUint16(1, bodyBytes);
  return view;
}

function setU48(view: DataView, at: number, value: number, argument: string): void {
  if (!(value >= 0 && value <= MAX_U48)) throw new RangeError(`${argument} is not of 48 bits`);
  view.setUint16(at, Math.floor(value / 2 ** 32));
  view.setUint32(at + 2, value >>> 0);
}

/** Fills up: the frame takes `totalBytes` (3 or more) in all, zeros behind its header. */
export function emitPadding(out: Uint8Array, offset: number, totalBytes: number): number {
  if (totalBytes < FRAME_HEADER_BYTES) throw new RangeError('totalBytes is below a frame header');
  begin(out, offset, FRAME_PADDING, totalBytes - FRAME_HEADER_BYTES);
  out.fill(0, offset + FRAME_HEADER_BYTES, offset + totalBytes);
  return offset + totalBytes;
}

/** The longest prefix of whole characters that fits into a challenge; characters that a terminal would act on become "?". */
export function encodePathName(name: string): Uint8Array {
  const bytes = new Uint8Array(MAX_PATH_NAME_BYTES);
  let written = 0;
  for (const character of name) {
    const encoded = encoder.encode(UNPRINTABLE.test(character) ? '?' : character);
    if (written + encoded.length > MAX_PATH_NAME_BYTES) break;
    bytes.set(encoded, written);
    written += encoded.length;
  }
  return bytes.subarray(0, written);
}

/** `innerMtuBytes`: the largest inner packet that we can put on this path, 0 to tell nothing. */
export function emitPathChallenge(
  out: Uint8Array,
  offset: number,
  token: Uint8Array,
  name: string,
  backup: boolean,
  innerMtuBytes: number,
): number {
  if (token.length !== PATH_TOKEN_BYTES) throw new RangeError('token is not 8 bytes');
  if (!(innerMtuBytes >= 0 && innerMtuBytes <= MAX_U16)) throw new RangeError('innerMtuBytes is not of 16 bits');
  const encoded = encodePathName(name);
  const view = begin(out, offset, FRAME_PATH_CHALLENGE, CHALLENGE_MIN_BYTES + encoded.length);
  const body = offset + FRAME_HEADER_BYTES;
  out.set(token, body);
  view.setUint8(FRAME_HEADER_BYTES + PATH_TOKEN_BYTES, backup ? FLAG_BACKUP : 0);
  view.setUint16(FRAME_HEADER_BYTES + PATH_TOKEN_BYTES + 1, innerMtuBytes);
  view.setUint8(FRAME_HEADER_BYTES + CHALLENGE_NAME_LENGTH_AT, encoded.length);
  out.set(encoded, body + CHALLENGE_MIN_BYTES);
  return body + CHALLENGE_MIN_BYTES + encoded.length;
}

export function emitPathResponse(out: Uint8Array, offset: number, token: Uint8Array): number {
  if (token.length !== PATH_TOKEN_BYTES) throw new RangeError('token is not 8 bytes');
  begin(out, offset, FRAME_PATH_RESPONSE, PATH_TOKEN_BYTES);
  out.set(token, offset + FRAME_HEADER_BYTES);
  return offset + FRAME_HEADER_BYTES + PATH_TOKEN_BYTES;
}

function emitProbe(out: Uint8Array, offset: number, type: number, sequence: number, timeMs: number): number {
  const view = begin(out, offset, type, PROBE_BYTES);
  view.setUint32(FRAME_HEADER_BYTES, sequence);
  view.setUint32(FRAME_HEADER_BYTES + 4, timeMs);
  return offset + FRAME_HEADER_BYTES + PROBE_BYTES;
}

/** `sequence` and `timeMs` wrap at 2^32. */
export function emitPathProbe(out: Uint8Array, offset: number, sequence: number, timeMs: number): number {
  return emitProbe(out, offset, FRAME_PATH_PROBE, sequence, timeMs);
}

export function emitPathProbeReply(out: Uint8Array, offset: number, sequence: number, timeMs: number): number {
  return emitProbe(out, offset, FRAME_PATH_PROBE_REPLY, sequence, timeMs);
}

export function emitPathAck(
  out: Uint8Array,
  offset: number,
  highestPacketNumber: number,
  ackDelayMs: number,
  datagrams: number,
  bytes: number,
  nowMs: number,
): number {
  const view = begin(out, offset, FRAME_PATH_ACK, ACK_BYTES);
  setU48(view, FRAME_HEADER_BYTES, highestPacketNumber, 'highestPacketNumber');
  view.setUint16(FRAME_HEADER_BYTES + 6, Math.min(MAX_U16, Math.max(0, Math.round(ackDelayMs * 10))));
  setU48(view, FRAME_HEADER_BYTES + 8, datagrams, 'datagrams');
  setU48(view, FRAME_HEADER_BYTES + 14, bytes, 'bytes');
  view.setUint32(FRAME_HEADER_BYTES + ACK_CLOCK_AT, Math.round(nowMs * 10) % 2 ** 32);
  return offset + FRAME_HEADER_BYTES + ACK_BYTES;
}

export function emitClose(out: Uint8Array, offset: number, reason: number): number {
  begin(out, offset, FRAME_CLOSE, 1).setUint8(FRAME_HEADER_BYTES, reason);
  return offset + FRAME_HEADER_BYTES + 1;
}

/** The header of a HEADER_BASE whose body of `bodyBytes` lies behind it already. */
export function emitHeaderBase(out: Uint8Array, offset: number, bodyBytes: number): number {
  begin(out, offset, FRAME_HEADER_BASE, bodyBytes);
  return offset + FRAME_HEADER_BYTES + bodyBytes;
}

export function emitHeaderBaseStored(out: Uint8Array, offset: number, serial: number, id: number): number {
  const view = begin(out, offset, FRAME_HEADER_BASE_STORED, BASE_PREFIX_BYTES);
  view.setUint32(FRAME_HEADER_BYTES, serial);
  view.setUint16(FRAME_HEADER_BYTES + 4, id);
  return offset + FRAME_HEADER_BYTES + BASE_PREFIX_BYTES;
}

export function emitHeaderBaseUnknown(out: Uint8Array, offset: number, id: number): number {
  begin(out, offset, FRAME_HEADER_BASE_UNKNOWN, BASE_UNKNOWN_BYTES).setUint16(FRAME_HEADER_BYTES, id);
  return offset + FRAME_HEADER_BYTES + BASE_UNKNOWN_BYTES;
}

/** TypeError when the message does not fit its own schema, RangeError when it is longer than 1200 bytes or than `out`. */
export function emitSlow(out: Uint8Array, offset: number, message: SlowControl): number {
  const body = emitSlowControl(message);
  begin(out, offset, FRAME_SLOW, body.length);
  out.set(body, offset + FRAME_HEADER_BYTES);
  return offset + FRAME_HEADER_BYTES + body.length;
}

// ---- parse ----

function getU48(view: DataView, at: number): number {
  return view.getUint16(at) * 2 ** 32 + view.getUint32(at + 2);
}

function parseChallenge(view: DataView, bytes: Uint8Array, at: number, length: number): PathChallengeFrame | string {
  if (length < CHALLENGE_MIN_BYTES) return 'PATH_CHALLENGE too short';
  const nameBytes = view.getUint8(at + CHALLENGE_NAME_LENGTH_AT);
  if (nameBytes > MAX_PATH_NAME_BYTES) return 'PATH_CHALLENGE name too long';
  if (length !== CHALLENGE_MIN_BYTES + nameBytes) return 'PATH_CHALLENGE length does not fit its name';
  const nameAt = at + CHALLENGE_MIN_BYTES;
  let name: string;
  try {
    name = decoder.decode(bytes.subarray(nameAt, nameAt + nameBytes));
  } catch {
    // Only a peer that holds the session's keys gets here.
    return 'PATH_CHALLENGE name is not UTF-8';
  }
  if (UNPRINTABLE.test(name)) return 'PATH_CHALLENGE name is not printable';
  const backup = (view.getUint8(at + PATH_TOKEN_BYTES) & FLAG_BACKUP) !== 0;
  const innerMtuBytes = view.getUint16(at + PATH_TOKEN_BYTES + 1);
  return { type: 'path-challenge', token: bytes.slice(at, at + PATH_TOKEN_BYTES), name, backup, innerMtuBytes };
}

function parseAck(view: DataView, at: number): PathAckFrame {
  return {
    type: 'path-ack',
    highestPacketNumber: getU48(view, at),
    ackDelayMs: view.getUint16(at + 6) / 10,
    datagrams: getU48(view, at + 8),
    bytes: getU48(view, at + 14),
    sentMs: view.getUint32(at + ACK_CLOCK_AT) / 10,
  };
}

/** One frame body; undefined: skip it. */
function parseBody(view: DataView, bytes: Uint8Array, type: number, at: number, length: number): ControlFrame | string | undefined {
  switch (type) {
    case FRAME_PATH_CHALLENGE:
      return parseChallenge(view, bytes, at, length);
    case FRAME_PATH_RESPONSE:
      if (length !== PATH_TOKEN_BYTES) return 'PATH_RESPONSE has a wrong length';
      return { type: 'path-response', token: bytes.slice(at, at + PATH_TOKEN_BYTES) };
    case FRAME_PATH_PROBE:
    case FRAME_PATH_PROBE_REPLY: {
      if (length !== PROBE_BYTES) return 'PATH_PROBE has a wrong length';
      const name = type === FRAME_PATH_PROBE ? 'path-probe' : 'path-probe-reply';
      return { type: name, sequence: view.getUint32(at), timeMs: view.getUint32(at + 4) };
    }
    case FRAME_PATH_ACK:
      return length === ACK_BYTES ? parseAck(view, at) : 'PATH_ACK has a wrong length';
    case FRAME_CLOSE:
      return length === 1 ? { type: 'close', reason: view.getUint8(at) } : 'CLOSE has a wrong length';
    case FRAME_HEADER_BASE:
      if (length <= BASE_PREFIX_BYTES) return 'HEADER_BASE too short';
      return { type: 'header-base', serial: view.getUint32(at), id: view.getUint16(at + 4), body: bytes.slice(at, at + length) };
    case FRAME_HEADER_BASE_STORED:
      if (length !== BASE_PREFIX_BYTES) return 'HEADER_BASE_STORED has a wrong length';
      return { type: 'header-base-stored', serial: view.getUint32(at), id: view.getUint16(at + 4) };
    case FRAME_HEADER_BASE_UNKNOWN:
      return length === BASE_UNKNOWN_BYTES
        ? { type: 'header-base-unknown', id: view.getUint16(at) }
        : 'HEADER_BASE_UNKNOWN has a wrong length';
    case FRAME_SLOW: {
      const message = parseSlowControl(bytes.subarray(at, at + length));
      return message === undefined || typeof message === 'string' ? message : { type: 'slow', message };
    }
    default:
      return undefined;
  }
}

/**
 * The frames in `length` bytes from `offset`, in order, or a fault string: then none of them is to be believed. Never throws. Tokens and strings are
 * copies; `bytes` is borrowed until return.
 */
export function parseFrames(bytes: Uint8Array, offset = 0, length = bytes.length - offset): ControlFrame[] | string {
  const end = offset + length;
  if (offset < 0 || length < 0 || end > bytes.length) return 'frames exceed the buffer';
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const frames: ControlFrame[] = [];
  let at = offset;
  while (at < end) {
    if (end - at < FRAME_HEADER_BYTES) return 'frame header is cut off';
    const bodyBytes = view.getUint16(at + 1);
    const body = at + FRAME_HEADER_BYTES;
    if (bodyBytes > end - body) return 'frame body is cut off';
    const frame = parseBody(view, bytes, view.getUint8(at), body, bodyBytes);
    if (typeof frame === 'string') return frame;
    if (frame !== undefined) frames.push(frame);
    at = body + bodyBytes;
  }
  return frames;
}
