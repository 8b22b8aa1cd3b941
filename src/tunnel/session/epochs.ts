/**
 * The epochs of a peer: previous, current, next.
 *
 *     initiator: a response verified       -> it is current at once, the old current becomes previous
 *     responder: an initiation verified    -> it is next; the first datagram under it makes it current
 *     previous ends `retireAfterMs` after that, or when the next change comes; every epoch ends at `rejectAfterMs`
 *
 * INVARIANT: a change never leaves a side without the keys that the other may still use: we receive under what we handed out until it is
 * retired, and send under the newest that the other side is known to have.
 */

import type { HandshakeSplit } from '../../crypto/key-schedule.js';
import { deriveTransportKeys } from '../../crypto/key-schedule.js';
import type { AeadName } from '../../tun/native.js';
import { randomBelow, type SessionCore } from './core.js';
import type { Epoch, Peer } from './peer.js';

export interface NewEpoch {
  localIndex: number;
  remoteIndex: number;
  aead: AeadName;
  /** FEATURE_* that both sides have. */
  features: number;
  split: HandshakeSplit;
  /** We sent the initiation. */
  initiator: boolean;
  route: number;
}

export function retireEpoch(core: SessionCore, peer: Peer, epoch: Epoch | undefined): void {
  if (epoch === undefined) return;
  if (peer.previous === epoch) peer.previous = undefined;
  if (peer.current === epoch) peer.current = undefined;
  if (peer.next === epoch) peer.next = undefined;
  core.peersByIndex.delete(epoch.localIndex);
  core.emit({ type: 'epoch-retired', peerId: peer.id, localIndex: epoch.localIndex });
}

function promote(core: SessionCore, peer: Peer, epoch: Epoch, nowMs: number): void {
  retireEpoch(core, peer, peer.previous);
  const old = peer.current;
  if (old !== undefined) {
    old.expiresAtMs = Math.min(old.expiresAtMs, nowMs + core.constants.retireAfterMs);
    peer.previous = old;
  }
  peer.current = epoch;
  if (peer.next === epoch) peer.next = undefined;
  peer.heardMs = nowMs;
  peer.unansweredSinceMs = Number.POSITIVE_INFINITY;
  peer.unreachableReported = false;
}

function rekeyTime(core: SessionCore, peer: Peer, initiator: boolean, nowMs: number): number {
  const { rekeyAfterMs, rekeyJitterMs, rekeyTakeoverMs } = core.constants;
  if (initiator) return nowMs + rekeyAfterMs - randomBelow(core, rekeyJitterMs);
  return peer.initiator ? nowMs + rekeyTakeoverMs : Number.POSITIVE_INFINITY;
}

/** A handshake is done: derives the keys, hands them out, and puts the epoch in its place. */
export function installEpoch(core: SessionCore, peer: Peer, made: NewEpoch, nowMs: number): void {
  const epoch: Epoch = {
    localIndex: made.localIndex,
    aead: made.aead,
    createdMs: nowMs,
    rekeyAtMs: rekeyTime(core, peer, made.initiator, nowMs),
    expiresAtMs: nowMs + core.constants.rejectAfterMs,
    datagramsSent: 0,
  };
  const { localIndex, remoteIndex, aead, features } = made;
  const keys = { aead, features, localIndex, remoteIndex, ...deriveTransportKeys(made.split, aead, made.initiator) };
  retireEpoch(core, peer, peer.next);
  if (made.initiator) promote(core, peer, epoch, nowMs);
  else peer.next = epoch;
  core.emit({ type: 'epoch-ready', peerId: peer.id, keys, confirmed: made.initiator, route: made.route });
}

/** (Responder) a datagram under `next` was opened: the initiator has the keys. */
export function confirmNext(core: SessionCore, peer: Peer, nowMs: number): void {
  const epoch = peer.next;
  if (epoch === undefined) return;
  promote(core, peer, epoch, nowMs);
  core.emit({ type: 'epoch-confirmed', peerId: peer.id, localIndex: epoch.localIndex });
}

export function findEpoch(peer: Peer, localIndex: number): Epoch | undefined {
  if (peer.current?.localIndex === localIndex) return peer.current;
  if (peer.previous?.localIndex === localIndex) return peer.previous;
  if (peer.next?.localIndex === localIndex) return peer.next;
  return undefined;
}

/** Retires what is over. True when that left a peer that we once heard without any usable epoch. */
export function expireEpochs(core: SessionCore, peer: Peer, nowMs: number): boolean {
  const wasUsable = peer.current !== undefined || peer.next !== undefined;
  for (const epoch of [peer.previous, peer.current, peer.next]) {
    if (epoch !== undefined && nowMs >= epoch.expiresAtMs) retireEpoch(core, peer, epoch);
  }
  return wasUsable && peer.current === undefined && peer.next === undefined && peer.heardMs !== Number.NEGATIVE_INFINITY;
}
