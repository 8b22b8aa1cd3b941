/**
 * What hosts and a relay say to each other, beside the tunnel's datagrams that the relay forwards as they are. Fixed layouts, big-endian, lengths exact.
 *
 *    BIND, 60 bytes, host -> relay; UNBIND, likewise
 *       0      1      2      4            12           20         28            44       60
 *      +------+------+------+------------+------------+----------+-------------+--------+
 *      | 0x52 | 0x01 | 0 0  | sender (8) | wanted (8) | way (8)  | cookie (16) | MAC    |
 *      +------+------+------+------------+------------+----------+-------------+--------+
 *    COOKIE, 44 bytes, relay -> host
 *      | 0x52 | 0x02 | 0 0  | way (8) | cookie (16) | MAC (16) |
 *    BOUND, 48 bytes, relay -> host
 *      | 0x52 | 0x03 | state u8 | family u8, 4 or 6 | way (8) | port u16 | lifetime in s u16 | address (16) | MAC (16) |
 *    CALL, 36 bytes, relay -> waiting host
 *      | 0x52 | 0x04 | 0 0  | caller (8) | way (8) | MAC (16) |
 *
 * Hosts are named by ids of eight bytes (relay-identity.ts); `wanted` is zero where a host waits to be called. A *way* is one socket of the caller and one of
 * the called, under a number that the caller drew. Every answer is shorter than the BIND that it is for. The MAC covers all before it, under a key that
 * only that host and the relay have.
 */

import { blake2sInto } from '../../crypto/blake2s.js';
import { formatRemote } from '../path/address-record.js';

/** First byte of all: no datagram of a session begins with it. */
export const RELAY_MESSAGE = 0x52;
export const KIND_BIND = 0x01;
export const KIND_COOKIE = 0x02;
export const KIND_BOUND = 0x03;
export const KIND_CALL = 0x04;
export const KIND_UNBIND = 0x05;

export const ID_BYTES = 8;
export const WAY_BYTES = 8;
export const COOKIE_BYTES = 16;
export const MAC_BYTES = 16;
export const BIND_BYTES = 60;
export const COOKIE_MESSAGE_BYTES = 44;
export const BOUND_BYTES = 48;
export const CALL_BYTES = 36;

const BODY_AT = 4;
const WANTED_AT = BODY_AT + ID_BYTES;
const WAY_AT = WANTED_AT + ID_BYTES;
const BIND_COOKIE_AT = WAY_AT + WAY_BYTES;
const COOKIE_AT = BODY_AT + WAY_BYTES;
const PORT_AT = BODY_AT + WAY_BYTES;
const LIFETIME_AT = PORT_AT + 2;
const ADDRESS_AT = LIFETIME_AT + 2;
/** Within an address record (native.ts): family, zero, port, address. */
const RECORD_PORT_AT = 2;
const RECORD_ADDRESS_AT = 4;
const RECORD_BYTES = 48;

/** waiting: the other side of the way is not there yet, or it is the place of a host that waits to be called. */
export const BOUND_STATES = ['waiting', 'paired', 'unknown-peer', 'full'] as const;
export type BoundState = (typeof BOUND_STATES)[number];

/** The fields are views of the datagram. */
export interface BindMessage {
  kind: 'bind' | 'unbind';
  sender: Uint8Array;
  wanted: Uint8Array;
  way: Uint8Array;
  cookie: Uint8Array;
}
export interface CookieMessage {
  kind: 'cookie';
  way: Uint8Array;
  cookie: Uint8Array;
}
export interface BoundMessage {
  kind: 'bound';
  state: BoundState;
  way: Uint8Array;
  lifetimeSeconds: number;
  /** "203.0.113.1:4711": where the relay sees the host. */
  seenAs: string;
}
export interface CallMessage {
  kind: 'call';
  caller: Uint8Array;
  way: Uint8Array;
}
export type RelayMessage = BindMessage | CookieMessage | BoundMessage | CallMessage;

// ---- emit: each returns the length ----

/** `cookie` undefined: none yet. */
export function emitBind(
  out: Uint8Array,
  key: Uint8Array,
  { kind, sender, wanted, way, cookie }: Omit<BindMessage, 'cookie'> & { cookie: Uint8Array | undefined },
): number {
  begin(out, kind === 'bind' ? KIND_BIND : KIND_UNBIND);
  out.set(sender, BODY_AT);
  out.set(wanted, WANTED_AT);
  out.set(way, WAY_AT);
  if (cookie === undefined) out.fill(0, BIND_COOKIE_AT, BIND_COOKIE_AT + COOKIE_BYTES);
  else out.set(cookie, BIND_COOKIE_AT);
  return sign(out, BIND_BYTES, key);
}

export function emitCookie(out: Uint8Array, key: Uint8Array, way: Uint8Array, cookie: Uint8Array): number {
  begin(out, KIND_COOKIE);
  out.set(way, BODY_AT);
  out.set(cookie, COOKIE_AT);
  return sign(out, COOKIE_MESSAGE_BYTES, key);
}

/** `seen`: an address record. */
export function emitBound(
  out: Uint8Array,
  key: Uint8Array,
  state: BoundState,
  way: Uint8Array,
  lifetimeSeconds: number,
  seen: Uint8Array,
): number {
  begin(out, KIND_BOUND);
  out[2] = BOUND_STATES.indexOf(state);
  out[3] = seen[0]!;
  out.set(way, BODY_AT);
  out.set(seen.subarray(RECORD_PORT_AT, RECORD_PORT_AT + 2), PORT_AT);
  out[LIFETIME_AT] = lifetimeSeconds >>> 8;
  out[LIFETIME_AT + 1] = lifetimeSeconds & 0xff;
  out.set(seen.subarray(RECORD_ADDRESS_AT, RECORD_ADDRESS_AT + 16), ADDRESS_AT);
  return sign(out, BOUND_BYTES, key);
}

export function emitCall(out: Uint8Array, key: Uint8Array, caller: Uint8Array, way: Uint8Array): number {
  begin(out, KIND_CALL);
  out.set(caller, BODY_AT);
  out.set(way, BODY_AT + ID_BYTES);
  return sign(out, CALL_BYTES, key);
}

function begin(out: Uint8Array, kind: number): void {
  out[0] = RELAY_MESSAGE;
  out[1] = kind;
  out[2] = 0;
  out[3] = 0;
}

function sign(out: Uint8Array, bytes: number, key: Uint8Array): number {
  blake2sInto(out, bytes - MAC_BYTES, MAC_BYTES, key, out, bytes - MAC_BYTES);
  return bytes;
}

// ---- parse ----

/** The message, whose MAC is not looked at yet, or a fault string. Never throws; `bytes` is borrowed while the message is used. */
export function parseRelayMessage(bytes: Uint8Array): RelayMessage | string {
  if (bytes.length < 2 || bytes[0] !== RELAY_MESSAGE) return 'no relay message';
  switch (bytes[1]) {
    case KIND_BIND:
    case KIND_UNBIND:
      if (bytes.length !== BIND_BYTES) return 'BIND has a wrong length';
      return {
        kind: bytes[1] === KIND_BIND ? 'bind' : 'unbind',
        sender: bytes.subarray(BODY_AT, WANTED_AT),
        wanted: bytes.subarray(WANTED_AT, WAY_AT),
        way: bytes.subarray(WAY_AT, BIND_COOKIE_AT),
        cookie: bytes.subarray(BIND_COOKIE_AT, BIND_COOKIE_AT + COOKIE_BYTES),
      };
    case KIND_COOKIE:
      if (bytes.length !== COOKIE_MESSAGE_BYTES) return 'COOKIE has a wrong length';
      return { kind: 'cookie', way: bytes.subarray(BODY_AT, COOKIE_AT), cookie: bytes.subarray(COOKIE_AT, COOKIE_AT + COOKIE_BYTES) };
    case KIND_BOUND:
      return parseBound(bytes);
    case KIND_CALL:
      if (bytes.length !== CALL_BYTES) return 'CALL has a wrong length';
      return {
        kind: 'call',
        caller: bytes.subarray(BODY_AT, BODY_AT + ID_BYTES),
        way: bytes.subarray(BODY_AT + ID_BYTES, CALL_BYTES - MAC_BYTES),
      };
    default:
      return 'unknown kind of relay message';
  }
}

function parseBound(bytes: Uint8Array): BoundMessage | string {
  if (bytes.length !== BOUND_BYTES) return 'BOUND has a wrong length';
  const state = BOUND_STATES[bytes[2]!];
  if (state === undefined) return 'BOUND has an unknown state';
  const family = bytes[3]!;
  if (family !== 4 && family !== 6) return 'BOUND has an unknown family';
  const record = new Uint8Array(RECORD_BYTES);
  record[0] = family;
  record.set(bytes.subarray(PORT_AT, PORT_AT + 2), RECORD_PORT_AT);
  record.set(bytes.subarray(ADDRESS_AT, ADDRESS_AT + 16), RECORD_ADDRESS_AT);
  const lifetimeSeconds = (bytes[LIFETIME_AT]! << 8) | bytes[LIFETIME_AT + 1]!;
  return { kind: 'bound', state, way: bytes.subarray(BODY_AT, PORT_AT), lifetimeSeconds, seenAs: formatRemote(record) };
}

const expected = new Uint8Array(MAC_BYTES);

/** Is its MAC right? Compares all bytes, whatever they are. */
export function isSigned(bytes: Uint8Array, key: Uint8Array): boolean {
  const at = bytes.length - MAC_BYTES;
  blake2sInto(expected, 0, MAC_BYTES, key, bytes, at);
  let difference = 0;
  for (let i = 0; i < MAC_BYTES; i++) difference |= expected[i]! ^ bytes[at + i]!;
  return difference === 0;
}
