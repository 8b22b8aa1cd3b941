/**
 * A segment as scripts write it: numbers relative to the initial ones, options by name. The same words say what the peer injects and what is
 * expected of the host; what an expectation leaves out is a wildcard, what an injection leaves out is what a well-behaved peer would put there.
 */

import { ACK, FIN, PSH, RST, SYN } from '../../../src/mptcp-over-udp/wire/segment.js';

export interface CapableSpec {
  version?: number;
  /** Default H (0x01). */
  flags?: number;
  /** Default: by the segment's place in the handshake. */
  length?: 4 | 12 | 20 | 22 | 24;
  senderKey?: Uint8Array;
  receiverKey?: Uint8Array;
  dataLength?: number;
  /** Of the 24-byte form: true is the right one. */
  checksum?: true | number;
}

export interface JoinSpec {
  backup?: boolean;
  id?: number;
  token?: number;
  nonce?: number;
  /** Injected in place of the right one. Of the host's segments the HMAC is always verified. */
  hmac?: Uint8Array;
}

/** `ack` and `dsn` count from the IDSN of their direction: the first byte of data is 1. */
export interface DssSpec {
  ack?: number | undefined;
  ackBytes?: 4 | 8;
  dsn?: number;
  dsnBytes?: 4 | 8;
  /** Default: the segment's sequence number. */
  ssn?: number;
  /** Default: the payload, and one more for a DATA_FIN. */
  length?: number;
  fin?: boolean;
  /** true: the right one (expected: present and right); a number is sent as it is; false (expected): absent. */
  checksum?: boolean | number;
}

export interface AddAddrSpec {
  id?: number;
  echo?: boolean;
  /** 4 or 16 bytes. */
  address?: Uint8Array;
  port?: number;
  hmac?: Uint8Array;
}

export interface SegmentSpec {
  flags: number;
  seq?: number;
  ack?: number;
  win?: number;
  /** Payload bytes. */
  len?: number;
  mss?: number;
  wscale?: number;
  sackOk?: boolean;
  ts?: { value?: number; echo?: number } | false;
  sack?: readonly (readonly [number, number])[];
  /** A cookie; true: a request (injected), any cookie (expected); false: no such option (expected). */
  fastOpen?: Uint8Array | boolean;
  capable?: CapableSpec;
  join?: JoinSpec;
  dss?: DssSpec;
  addAddr?: AddAddrSpec;
  removeAddr?: readonly number[];
  prio?: { backup: boolean };
  /** DSN of the receiver of the option, relative to its IDSN. */
  fail?: { dsn: number };
  /** The key: default the receiver's. */
  fastclose?: { key?: Uint8Array };
  tcpRst?: { reason?: number; flags?: number };
  /** Where in the peer's stream the payload stands, if neither mapping nor sequence number says it. */
  payloadAt?: number;
  /** Option bytes put in verbatim after all others (injected only). */
  raw?: Uint8Array;
  /** Payload bytes spoilt after the checksum of the mapping was computed (injected only). */
  corrupt?: boolean;
  /** No MPTCP option at all. */
  plain?: boolean;
}

type Rest = Partial<SegmentSpec>;

const MSS = { mss: 1460, wscale: 0, sackOk: true };

/** Of a peer: with MSS, SACK permitted and window scale 0. As an expectation these stay wildcards (`expectedSyn`). */
export const syn = (rest: Rest = {}): SegmentSpec => ({ flags: SYN, ...MSS, ...rest });
export const synAck = (rest: Rest = {}): SegmentSpec => ({ flags: SYN | ACK, ...MSS, ...rest });
export const ack = (rest: Rest = {}): SegmentSpec => ({ flags: ACK, len: 0, ...rest });
export const data = (len: number, rest: Rest = {}): SegmentSpec => ({ flags: ACK | PSH, len, ...rest });
export const fin = (rest: Rest = {}): SegmentSpec => ({ flags: ACK | FIN, len: 0, ...rest });
/** Injected: RST alone, at the peer's next sequence number. Expected: RST with or without ACK. */
export const rst = (rest: Rest = {}): SegmentSpec => ({ flags: RST, ...rest });
