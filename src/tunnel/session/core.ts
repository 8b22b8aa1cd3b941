/** What the parts of an endpoint share: identity, entropy, limits, counters, and the two ways out (datagrams and events). */

import type { X25519KeyPair } from '../../crypto/x25519.js';
import type { AeadName } from '../../tun/native.js';
import type { SessionConstants } from './constants.js';
import type { CookieJar } from './cookie.js';
import type { HandshakeBudget } from './handshake-budget.js';
import type { LocalIndices } from './local-indices.js';
import { type AeadCosts, FEATURE_HEADER_COMPRESSION } from './messages.js';
import type { Peer } from './peer.js';
import type { SessionEvent } from './session.js';
import type { TimestampClock } from './timestamp.js';

/** Every reason to drop a datagram, and what was done, by name. */
export function createCounters() {
  return {
    /** Unknown type, wrong length, reserved bytes not zero. */
    malformed: 0,
    mac1Invalid: 0,
    /** Under load, no valid cookie: asked for one. */
    cookieRepliesSent: 0,
    /** Under load, valid cookie, but the source or all of them ask too often. */
    overBudget: 0,
    /** The initiation's Noise part does not verify (another version, a forgery). */
    initiationInvalid: 0,
    unknownPeer: 0,
    /** Not newer than one that was answered. */
    initiationReplayed: 0,
    /** A copy of the initiation that was answered last. */
    initiationRepeated: 0,
    /** Both sides began at once and ours is heard. */
    tieBreakIgnored: 0,
    unsupportedVersion: 0,
    noCommonAead: 0,
    /** No handshake of ours waits for it: a later copy, or a stray one. */
    responseUnexpected: 0,
    /** Does not verify: forged, or the preshared keys differ. */
    responseInvalid: 0,
    cookieUnexpected: 0,
    cookieInvalid: 0,
    transmitQueueFull: 0,
    /** The caller named an epoch that is retired. */
    unknownEpoch: 0,
    initiationsSent: 0,
    responsesSent: 0,
    handshakesInitiated: 0,
    handshakesResponded: 0,
  };
}

export type SessionCounters = ReturnType<typeof createCounters>;

export interface SessionCore {
  readonly constants: SessionConstants;
  readonly counters: SessionCounters;
  readonly randomBytes: (count: number) => Uint8Array;
  readonly staticKey: X25519KeyPair;
  readonly ownMac1Key: Uint8Array;
  readonly aeadPreference: readonly AeadName[];
  readonly aeadCosts: AeadCosts;
  /** FEATURE_* of ours. */
  readonly features: number;
  readonly timestamps: TimestampClock;
  readonly cookieJar: CookieJar;
  readonly budget: HandshakeBudget;
  readonly peersByKey: Map<string, Peer>;
  readonly peersByIndex: LocalIndices;
  readonly peersByAnswer: Map<string, Peer>;
  /** `bytes` goes over to the core. */
  transmit(route: number, bytes: Uint8Array, peer: Peer | undefined): void;
  emit(event: SessionEvent): void;
}

const MAX_DRAWS = 32;

/** A random local index, never 0 and not in use; it belongs to `peer` from now on. If it can be had, its lower half is not in use either. */
export function allocateIndex(core: SessionCore, peer: Peer): number {
  for (let draw = 0; draw < MAX_DRAWS; draw++) {
    const bytes = core.randomBytes(4);
    const index = ((bytes[0]! << 24) | (bytes[1]! << 16) | (bytes[2]! << 8) | bytes[3]!) >>> 0;
    if (index === 0 || core.peersByIndex.has(index)) continue;
    if (draw < MAX_DRAWS / 2 && !core.peersByIndex.isShortUnique(index)) continue;
    core.peersByIndex.set(index, peer);
    return index;
  }
  throw new RangeError('randomBytes repeats itself');
}

/** What we may say of a handshake under that index of ours. */
export function featuresFor(core: SessionCore, localIndex: number): number {
  return core.peersByIndex.isShortUnique(localIndex) ? core.features : core.features & ~FEATURE_HEADER_COMPRESSION;
}

/** A whole number from 0 to `below` - 1. */
export function randomBelow(core: SessionCore, below: number): number {
  if (below <= 0) return 0;
  const bytes = core.randomBytes(4);
  return (((bytes[0]! << 24) | (bytes[1]! << 16) | (bytes[2]! << 8) | bytes[3]!) >>> 0) % Math.floor(below);
}
