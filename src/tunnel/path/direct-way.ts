/**
 * The search for a way past the relay of a path: each side tells the other where its socket may be reached, and both challenge all these places from that socket at the same time,
 * so that the NATs of both let through what the other sends. Whoever has an answer from one of them sends there from now on. Pure: time and tokens come in.
 *
 * Each side decides for itself: one may send directly while the other still sends by the relay.
 */

import { ADDRESS_BYTES } from '../../tun/native.js';
import type { Carrier } from '../carrier/carrier.js';
import { sameRemote } from './address-record.js';
import type { AddressValidation } from './address-validation.js';
import type { Candidate } from './path.js';

/** Places that the peer told, and as many from which its packets came. */
export const MAX_CANDIDATES = 4;
/** So long the places of a round are challenged. */
const ROUND_MS = 8000;
/** Until the next round: what failed now may work after a NAT was changed. */
const AGAIN_MS = 15_000;
const AGAIN_MAX_MS = 300_000;
/** While the path carries nothing at all. */
const DOWN_AGAIN_MS = 5000;
/** A direct way that was lost is looked for again after this, longer each time unless it held for a while. */
const LOST_AGAIN_MS = 2000;
const HELD_MS = 60_000;
/** Within a round the peer is told our places so often: one datagram may be lost. */
const TELL_AT_MS = [0, 300, 1500] as const;

export class DirectWay {
  /** Whose relay it is about. */
  readonly carrier: Carrier;
  /** The way by the relay: answers to what came by it go there, wherever the path leads. */
  readonly relayed: Candidate;
  readonly #newValidation: (nowMs: number) => AddressValidation;
  #told: Candidate[] = [];
  /** From where the peer's packets came, though it did not tell. */
  #seen: Candidate[] = [];
  #roundStartMs = -Infinity;
  #nextRoundMs: number;
  #roundCount = 0;
  #tells = 0;
  #directSinceMs = -Infinity;
  #losses = 0;

  constructor(carrier: Carrier, newValidation: (nowMs: number) => AddressValidation, nowMs: number) {
    this.carrier = carrier;
    this.#newValidation = newValidation;
    this.#nextRoundMs = nowMs;
    const relay = carrier.relay!;
    this.relayed = {
      carrier,
      get address() {
        return relay.address;
      },
      validation: trusted(newValidation(nowMs)),
    };
  }

  /** The peer says where it may be; address records, copied. */
  handleTold(addresses: readonly Uint8Array[], nowMs: number): void {
    const places = addresses.slice(0, MAX_CANDIDATES);
    const isKnown =
      places.length === this.#told.length && places.every((place) => this.#told.some(({ address }) => sameRemote(address, place, 0)));
    if (isKnown && this.#isRound(nowMs)) return;
    this.#told = places.map((address) => this.#candidate(address));
    this.#startRound(nowMs);
  }

  /** Where the datagram came from that is record number `index`: a place that is known, or one more. Its size counts for what may be sent there. */
  noteSource(addresses: Uint8Array, index: number, bytes: number, nowMs: number): Candidate {
    for (const known of this.#told) if (sameRemote(known.address, addresses, index)) return known;
    let candidate = this.#seen.find(({ address }) => sameRemote(address, addresses, index));
    if (candidate === undefined) {
      const address = addresses.slice(index * ADDRESS_BYTES, (index + 1) * ADDRESS_BYTES);
      candidate = { carrier: this.carrier, address, validation: this.#newValidation(nowMs) };
      this.#seen = [...this.#seen.slice(1 - MAX_CANDIDATES), candidate];
    }
    candidate.validation.handleReceived(bytes);
    return candidate;
  }

  /** Begins a round that is due. Only while the path goes by the relay. */
  pollRound(nowMs: number): void {
    if (nowMs >= this.#nextRoundMs) this.#startRound(nowMs);
  }

  /** The peer is to be told our places now. */
  pollTell(nowMs: number): boolean {
    if (!this.#isRound(nowMs) || nowMs < this.#tellMs()) return false;
    this.#tells++;
    return true;
  }

  /** A place that is due to be challenged; it counts as challenged then. */
  pollChallenge(nowMs: number): Candidate | undefined {
    if (!this.#isRound(nowMs)) return undefined;
    for (const list of [this.#told, this.#seen]) for (const one of list) if (one.validation.nextChallengeMs() <= nowMs) return one;
    return undefined;
  }

  /** The place whose challenge that answers. */
  match(token: Uint8Array): Candidate | undefined {
    for (const list of [this.#told, this.#seen]) {
      for (const one of list) if (one.validation.challengeCount > 0 && one.validation.matches(token)) return one;
    }
    return undefined;
  }

  /** The path goes directly now. */
  handleDirect(nowMs: number): void {
    this.#directSinceMs = nowMs;
    this.#roundCount = 0;
    this.#roundStartMs = -Infinity;
    this.#nextRoundMs = Infinity;
  }

  /** The direct way is silent. */
  handleLost(nowMs: number): void {
    this.#losses = nowMs - this.#directSinceMs > HELD_MS ? 1 : this.#losses + 1;
    this.#nextRoundMs = nowMs + Math.min(LOST_AGAIN_MS * 2 ** (this.#losses - 1), AGAIN_MAX_MS);
  }

  /** The path is down: the relay does not carry either. */
  hurry(nowMs: number): void {
    if (!this.#isRound(nowMs)) this.#nextRoundMs = Math.min(this.#nextRoundMs, nowMs + DOWN_AGAIN_MS);
  }

  nextTimeoutMs(isRelayed: boolean, nowMs: number): number {
    if (!isRelayed) return Infinity;
    if (!this.#isRound(nowMs)) return this.#nextRoundMs;
    let nextMs = Math.min(this.#tellMs(), this.#nextRoundMs);
    for (const list of [this.#told, this.#seen]) for (const one of list) nextMs = Math.min(nextMs, one.validation.nextChallengeMs());
    return nextMs;
  }

  #isRound(nowMs: number): boolean {
    return nowMs - this.#roundStartMs < ROUND_MS;
  }

  #startRound(nowMs: number): void {
    this.#roundStartMs = nowMs;
    this.#tells = 0;
    // Whatever was spent on earlier rounds, they begin anew.
    for (const one of this.#told) one.validation = trusted(this.#newValidation(nowMs));
    this.#seen = [];
    this.#nextRoundMs = nowMs + ROUND_MS + Math.min(AGAIN_MS * 2 ** this.#roundCount, AGAIN_MAX_MS);
    this.#roundCount++;
  }

  #tellMs(): number {
    return this.#tells >= TELL_AT_MS.length ? Infinity : this.#roundStartMs + TELL_AT_MS[this.#tells]!;
  }

  #candidate(address: Uint8Array): Candidate {
    return { carrier: this.carrier, address: address.slice(), validation: trusted(this.#newValidation(0)) };
  }
}

/** Few, small and spaced: what goes to places that the peer named needs no other bound. */
function trusted(validation: AddressValidation): AddressValidation {
  validation.trust();
  return validation;
}
