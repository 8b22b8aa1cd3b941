/** What an endpoint keeps about one configured peer: at most three epochs, one handshake of ours, one answer of ours. Nothing is kept about anybody else. */

import { KEY_BYTES, requireKey } from '../../crypto/keys.js';
import type { NoiseInitiator } from '../../crypto/noise.js';
import { importPublicKey, sharedSecret, type X25519KeyPair, type X25519PublicKey } from '../../crypto/x25519.js';
import type { AeadName } from '../../tun/native.js';
import { cookieReplyKey, mac1Key } from './cookie.js';
import type { SessionPeerConfig } from './session.js';

/** Keys in use, without the keys: the caller owns those. */
export interface Epoch {
  readonly localIndex: number;
  readonly aead: AeadName;
  readonly createdMs: number;
  /** When we begin to make the next one; Infinity when that is the other side's duty. */
  readonly rekeyAtMs: number;
  /** Hard end: too old, or replaced for long enough. */
  expiresAtMs: number;
  datagramsSent: number;
}

/** An initiation of ours that waits for its response. */
/** `invalid`: it does not verify, most likely since the preshared keys differ; `version`: it does, and is of a version that we do not speak. */
export type AnswerFault = '' | 'invalid' | 'version';

export interface PendingHandshake {
  readonly localIndex: number;
  readonly noise: NoiseInitiator;
  /** As sent, with mac2 zero. */
  readonly initiation: Uint8Array;
  /** FEATURE_* that it tells of us. */
  readonly features: number;
  readonly createdMs: number;
  readonly sentRoutes: Set<number>;
  /** Routes where it was sent a second time because a cookie came. */
  readonly cookieRoutes: Set<number>;
  responseFailures: number;
}

/** We are trying to get a new epoch. */
export interface Attempt {
  readonly startedMs: number;
  sendCount: number;
  nextSendMs: number;
  pending: PendingHandshake | undefined;
  /** What was wrong with the last answer that did not serve, '' before it. */
  answerFault: AnswerFault;
}

/** The answer to the newest initiation, for its copies on other routes. */
export interface Answer {
  /** Key in the endpoint's table of answers: the initiation without mac2, as latin1. */
  readonly initiationKey: string;
  readonly response: Uint8Array;
  readonly localIndex: number;
  readonly createdMs: number;
  readonly routes: Set<number>;
  /** Answers by source address (as latin1): a caller may number one address in many ways. */
  readonly sources: Map<string, number>;
}

export interface Cookie {
  readonly value: Uint8Array;
  readonly untilMs: number;
}

const NO_PRESHARED_KEY = new Uint8Array(KEY_BYTES);

export class Peer {
  readonly id: number;
  readonly publicKey: X25519PublicKey;
  readonly presharedKey: Uint8Array;
  readonly initiator: boolean;
  readonly staticStatic: Uint8Array;
  readonly mac1Key: Uint8Array;
  readonly cookieReplyKey: Uint8Array;
  /** Both sides may begin at once; the greater public key is heard. */
  readonly winsTieBreak: boolean;

  routes: readonly number[] = [];
  readonly cookies = new Map<number, Cookie>();
  attempt: Attempt | undefined;
  answer: Answer | undefined;
  /** Newest timestamp that an initiation of this peer carried. */
  newestTimestamp: Uint8Array | undefined;

  /** `next` waits for the first datagram under it (we responded); `previous` still receives. */
  previous: Epoch | undefined;
  current: Epoch | undefined;
  next: Epoch | undefined;

  heardMs = Number.NEGATIVE_INFINITY;
  /** Since when we sent without hearing anything; Infinity when we did not. */
  unansweredSinceMs = Number.POSITIVE_INFINITY;
  unreachableReported = false;
  timeoutMs = Number.POSITIVE_INFINITY;

  constructor(config: SessionPeerConfig, own: X25519KeyPair) {
    requireKey(config.publicKey, 'publicKey');
    if (config.presharedKey !== undefined) requireKey(config.presharedKey, 'presharedKey');
    this.id = config.peerId;
    this.publicKey = importPublicKey(config.publicKey);
    this.presharedKey = Uint8Array.from(config.presharedKey ?? NO_PRESHARED_KEY);
    this.initiator = config.initiator;
    const order = Buffer.compare(own.publicKey, config.publicKey);
    if (order === 0) throw new RangeError('publicKey is our own key');
    this.winsTieBreak = order > 0;
    const staticStatic = sharedSecret(own, this.publicKey);
    if (staticStatic === undefined) throw new RangeError('publicKey is a point of small order');
    this.staticStatic = staticStatic;
    this.mac1Key = mac1Key(config.publicKey);
    this.cookieReplyKey = cookieReplyKey(config.publicKey);
  }
}

/** Table key of a public key or an initiation. */
export function tableKey(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}
