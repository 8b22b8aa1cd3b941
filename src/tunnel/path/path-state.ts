/**
 * Is a path alive? Pure: time comes in. A path is alive when what *we* send arrives, so only an answer to something of ours is a
 * proof (a path acknowledgement, a probe reply, a path response); that we hear the peer says nothing of our own direction.
 *
 * The silence clock runs as TCP's retransmission timer does (RFC 6298, 5.1-5.3): it starts with the first unanswered packet that demands
 * an answer, restarts with every proof while more is outstanding, and stops when all is answered.
 */

import type { PathState } from '../link.js';

export type PathInput = 'proven' | 'silence' | 'link-lost' | 'link-back' | 'session-lost';

/** A missing cell means: ignore. */
export const PATH_STATE_TABLE: Readonly<Record<PathState, Readonly<Partial<Record<PathInput, PathState>>>>> = {
  probing: { proven: 'up', silence: 'down', 'link-lost': 'down' },
  up: { silence: 'suspect', 'link-lost': 'down', 'session-lost': 'probing' },
  suspect: { proven: 'up', silence: 'down', 'link-lost': 'down', 'session-lost': 'probing' },
  down: { proven: 'up', 'link-back': 'probing' },
};

const SILENCE_MIN_MS = 300;
const SILENCE_MAX_MS = 800;
const PROBING_SILENCE_MS = 2000;
const SUSPECT_SILENCE_MS = 1500;

const IDLE_PROBE_MS = 1000;
const BUSY_PROBE_MS = 250;
const PROBING_PROBE_MS = 250;
const SUSPECT_PROBE_MS = 100;
const DOWN_PROBE_MS = 500;
const LONG_DOWN_PROBE_MS = 2000;
const LONG_DOWN_AFTER_MS = 60_000;
/** Silence on a busy peer's path shall be noticed within this. */
const NOTICE_WITHIN_MS = 1000;
const BUSY_PROBE_MIN_MS = 100;
/** The least wait before an unanswered packet is followed by another probe, and the peer's acknowledgement delay in it. */
const REPEAT_MIN_MS = 75;
const ACK_DELAY_MS = 25;
/** The peer counts as busy for this long after it carried data on any path. */
export const BUSY_FOR_MS = 3000;

export class PathStateMachine {
  #state: PathState = 'probing';
  #reason = '';
  #enteredMs: number;
  #linkLost = false;
  /** Start of the silence clock, -1: stopped. */
  #silenceSinceMs = -1;
  #lastElicitingMs = -Infinity;
  #lastProofMs = -Infinity;
  #provenSentMs = -Infinity;
  #lastProbeMs = -Infinity;
  /** Answers to what was sent before this prove nothing: when suspicion began, or the link was lost. */
  #proofFloorMs = -Infinity;
  #busyUntilMs = -Infinity;
  #silenceLimitMs = SILENCE_MAX_MS;
  #repeatMs = SILENCE_MIN_MS;
  /** How long an answer may take before the path is in doubt. */
  #doubtAfterMs = SILENCE_MAX_MS;
  #doubtful = false;

  constructor(nowMs: number) {
    this.#enteredMs = nowMs;
  }

  get state(): PathState {
    return this.#state;
  }

  /** Why the state was entered, for people. */
  get reason(): string {
    return this.#reason;
  }

  /** While the link is lost there is nothing to send on: no probes are due. */
  get linkLost(): boolean {
    return this.#linkLost;
  }

  /**
   * Up, but a probe that was sent because nothing was answered had no answer in its time either: whoever has another path should take
   * that, whoever has none loses nothing by waiting.
   */
  get doubtful(): boolean {
    return this.#doubtful;
  }

  /** 0 while it is not down. */
  downForMs(nowMs: number): number {
    return this.#state === 'down' ? nowMs - this.#enteredMs : 0;
  }

  /** When the newest of what is proven to have arrived had left. */
  get provenSentMs(): number {
    return this.#provenSentMs;
  }

  /** How long an answer may take before the path is suspect. */
  get silenceLimitMs(): number {
    return this.#silenceLimitMs;
  }

  setRoundTrip(srttMs: number, rttvarMs: number): void {
    const usual = 3 * srttMs + 4 * rttvarMs;
    // The cap must not undercut the round trip itself, or a slow path that is idle would flap.
    const cap = Math.max(SILENCE_MAX_MS, 1.5 * srttMs + 2 * rttvarMs);
    this.#silenceLimitMs = Math.min(Math.max(SILENCE_MIN_MS, usual), cap);
    // There shall be room for two repetitions before silence is called.
    this.#repeatMs = Math.max(REPEAT_MIN_MS, Math.min(1.5 * srttMs + 4 * rttvarMs + ACK_DELAY_MS, this.#silenceLimitMs / 3));
    this.#doubtAfterMs = this.#repeatMs + Math.max(this.#repeatMs, 1.25 * srttMs + 4 * rttvarMs + ACK_DELAY_MS);
  }

  /** The peer carries data, on whatever path. */
  noteBusy(nowMs: number): void {
    this.#busyUntilMs = nowMs + BUSY_FOR_MS;
  }

  /** Something that demands an answer left on this path. */
  noteElicitingSent(nowMs: number): void {
    this.#lastElicitingMs = nowMs;
    if (this.#silenceSinceMs < 0) this.#silenceSinceMs = nowMs;
  }

  /** The peer proved that it received what we sent at `sentMs`. True when the state changed. */
  handleProof(sentMs: number, nowMs: number): boolean {
    if (sentMs < this.#proofFloorMs) return false;
    this.#lastProofMs = nowMs;
    this.#provenSentMs = Math.max(this.#provenSentMs, sentMs);
    this.#silenceSinceMs = this.#lastElicitingMs > sentMs ? nowMs : -1;
    this.#doubtful = false;
    return this.#apply('proven', 'it answers', nowMs);
  }

  /**
   * Something authentic came in. It proves nothing, but a path that was given up is worth a probe now. True when the next timeout changed.
   */
  handleReceived(nowMs: number): boolean {
    if (this.#state !== 'down' || this.#linkLost || nowMs - this.#lastProbeMs < SUSPECT_PROBE_MS) return false;
    this.#lastProbeMs = -Infinity;
    return true;
  }

  /** The interface went down, or there is no socket. True when the state changed. */
  handleLinkLost(nowMs: number, reason = 'no link'): boolean {
    this.#linkLost = true;
    this.#forgetSent(nowMs);
    // Down it may have been for another reason; this one keeps it there.
    if (this.#state === 'down') this.#reason = reason;
    return this.#apply('link-lost', reason, nowMs);
  }

  /** The kernel refuses to send (no route, network down). No event may tell when that ends, so probes go on. True when the state changed. */
  handleSendRefused(nowMs: number, reason = 'the kernel refuses to send'): boolean {
    this.#forgetSent(nowMs);
    return this.#apply('link-lost', reason, nowMs);
  }

  /** There are no keys any longer: what was sent will not be answered. True when the state changed. */
  handleSessionLost(nowMs: number): boolean {
    this.#forgetSent(nowMs);
    return this.#apply('session-lost', 'the session ended', nowMs);
  }

  /** The interface is there again: probe at once. True when the state changed. */
  handleLinkBack(nowMs: number): boolean {
    this.#linkLost = false;
    this.#lastProbeMs = -Infinity;
    return this.#apply('link-back', 'the link is back', nowMs);
  }

  /** A probe is due at once, whatever the schedule says. */
  probeSoon(): void {
    this.#lastProbeMs = -Infinity;
  }

  /** True when the state changed. */
  handleTimeout(nowMs: number): boolean {
    if (nowMs >= this.#doubtDeadlineMs()) this.#doubtful = true;
    if (nowMs < this.#silenceDeadlineMs()) return false;
    if (this.#state === 'up') {
      this.#proofFloorMs = nowMs;
      this.#lastProbeMs = -Infinity;
    }
    return this.#apply('silence', this.#silenceReason(nowMs), nowMs);
  }

  /** True once for every probe that is due; the caller sends it and calls `noteElicitingSent`. */
  pollProbe(nowMs: number): boolean {
    if (nowMs < this.#nextProbeMs(nowMs)) return false;
    this.#lastProbeMs = nowMs;
    return true;
  }

  /** Absolute. */
  nextTimeoutMs(nowMs: number): number {
    const doubtMs = this.#doubtful ? Infinity : this.#doubtDeadlineMs();
    return Math.min(this.#silenceDeadlineMs(), doubtMs, this.#nextProbeMs(nowMs));
  }

  #silenceReason(nowMs: number): string {
    const sinceMs = this.#state === 'up' ? this.#silenceSinceMs : this.#enteredMs;
    return `no answer for ${Math.round(nowMs - sinceMs)} ms${this.#state === 'suspect' ? ' more' : ''}`;
  }

  #forgetSent(nowMs: number): void {
    this.#silenceSinceMs = -1;
    this.#proofFloorMs = nowMs;
  }

  #silenceDeadlineMs(): number {
    switch (this.#state) {
      case 'probing':
        return this.#enteredMs + PROBING_SILENCE_MS;
      case 'up':
        return this.#silenceSinceMs < 0 ? Infinity : this.#silenceSinceMs + this.#silenceLimitMs;
      case 'suspect':
        return this.#enteredMs + SUSPECT_SILENCE_MS;
      case 'down':
        return Infinity;
    }
  }

  #doubtDeadlineMs(): number {
    if (this.#state !== 'up' || this.#silenceSinceMs < 0) return Infinity;
    return this.#silenceSinceMs + this.#doubtAfterMs;
  }

  #nextProbeMs(nowMs: number): number {
    if (this.#linkLost) return Infinity;
    // An up path that proves itself by acknowledgements needs no probe; elsewhere only probes count.
    if (this.#state !== 'up') return this.#lastProbeMs + this.#probeIntervalMs(nowMs);
    const dueMs = Math.max(this.#lastProbeMs, this.#lastProofMs) + this.#probeIntervalMs(nowMs);
    // As a tail loss probe (RFC 8985, 7): one lost packet shall not look like silence.
    const unanswered = this.#silenceSinceMs >= 0;
    return unanswered ? Math.min(dueMs, Math.max(this.#lastProbeMs, this.#silenceSinceMs) + this.#repeatMs) : dueMs;
  }

  #probeIntervalMs(nowMs: number): number {
    switch (this.#state) {
      case 'probing':
        return PROBING_PROBE_MS;
      case 'up': {
        if (nowMs >= this.#busyUntilMs) return IDLE_PROBE_MS;
        const leftMs = NOTICE_WITHIN_MS - 50 - this.#silenceLimitMs;
        return Math.min(BUSY_PROBE_MS, Math.max(BUSY_PROBE_MIN_MS, leftMs));
      }
      case 'suspect':
        return SUSPECT_PROBE_MS;
      case 'down':
        return nowMs - this.#enteredMs < LONG_DOWN_AFTER_MS ? DOWN_PROBE_MS : LONG_DOWN_PROBE_MS;
    }
  }

  #apply(input: PathInput, reason: string, nowMs: number): boolean {
    const next = PATH_STATE_TABLE[this.#state][input];
    if (next === undefined) return false;
    this.#setState(next, reason, nowMs);
    return true;
  }

  #setState(state: PathState, reason: string, nowMs: number): void {
    this.#state = state;
    this.#reason = reason;
    this.#doubtful = false;
    this.#enteredMs = nowMs;
  }
}
