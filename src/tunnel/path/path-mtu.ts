/**
 * How large a packet a path carries, found by probing (RFC 8899): padded probes of ours that are answered or not; no router has to say anything. It begins with
 * what both interfaces take, and has that confirmed once the path is up, then from time to time while much is sent, and soon when data is lost. Where
 * large packets vanish though small ones are answered, it goes down to what is known to be carried, and from there up again in halves. Of our direction alone:
 * what is found is nobody's bound but ours. Pure. Sizes are of whole IP packets, outer headers included, and small integers.
 */

import { type CarriedData, LossWatch } from './loss-watch.js';

export interface MtuPath extends CarriedData {
  /** When the newest of what was answered had left, small packets for the most part. */
  readonly provenSentMs: number;
  readonly rttMs: number;
}

/** RFC 8200 (5): what every path of IPv6 carries; of IPv4 nearly every one. */
export const LEAST_MTU_BYTES = 1280;
/** Beyond it lies no Internet, but a local network or a loopback: the interface is believed. */
export const MOST_PROBED_BYTES = 9216;
/** So near is near enough. */
const STEP_BYTES = 8;
/** RFC 8899 (5.1.2), MAX_PROBES: lost in a row before a size that is in use is given up. */
const CONFIRM_TRIES = 3;
/** One that was never used costs little when chance takes it: it is tried again later. */
const SEARCH_TRIES = 2;
const TRY_MIN_MS = 400;
/** What the ways of the Internet carry, most of all: sent along when a size in use seems lost, so that the way down needs no search. */
const USUAL_BYTES = [1320, 1360, 1400, 1420, 1440, 1460, 1472, 1480, 1492, 1500, 4000, 8000] as const;
const CONFIRM_EVERY_MS = 30_000;
/** Where less is sent nobody would notice, and on a link that costs by volume a probe is not free. */
const CONFIRM_AFTER_BYTES = 200_000;
/** While data is lost; doubled with each time that the size was not why, unless nothing of it arrives. */
const SUSPECT_EVERY_MS = 2000;
/** RFC 8899 (5.1.1), PMTU_RAISE_TIMER: the way may be another one by now. */
const RAISE_EVERY_MS = 600_000;
/** The planes hear of a size that the kernel refused first, and their next packet may be refused as well. */
const AFTER_CEILING_MS = 1000;
/** Probes whose answers still count. */
const REMEMBERED = 16;

/** settled: `bytes` is in use. confirming: is it still carried? searching: a size between it and `#failedBytes`. raising: it is looked whether there is more. */
type Phase = 'settled' | 'confirming' | 'searching' | 'raising';

export class PathMtu {
  #bytes: number;
  #ceilingBytes: number;
  #phase: Phase = 'settled';
  /** The least that is believed not to be carried. */
  #failedBytes: number;
  /** While confirming: the largest smaller size that was answered. */
  #answeredBytes = LEAST_MTU_BYTES;
  #lossCount = 0;
  /** The way is new, or was gone: nothing is known of it. */
  #isUnproven = true;
  #isHeld = false;
  #areUsualDue = false;
  /** Of the probe that is under way, 0: none. */
  #awaitedBytes = 0;
  #awaitedSentMs = 0;
  #hasJustLeft = false;
  #nextMs = 0;
  #raiseMs = Infinity;
  #confirmedMs = -Infinity;
  #suspectEveryMs = SUSPECT_EVERY_MS;
  #dataBytesThen = 0;
  readonly #watch = new LossWatch();
  readonly #sequences = new Float64Array(REMEMBERED).fill(-1);
  readonly #sizes = new Uint16Array(REMEMBERED);
  #sentCount = 0;

  /** `ceilingBytes`: what the interfaces take. */
  constructor(ceilingBytes: number) {
    this.#bytes = ceilingBytes;
    this.#ceilingBytes = ceilingBytes;
    this.#failedBytes = ceilingBytes + 1;
  }

  /** What may be sent. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Less fits than the interfaces take. */
  get isReduced(): boolean {
    return this.#bytes < this.#ceilingBytes;
  }

  /** The interfaces take another size. Where less than before was found to be carried, it is looked for more first. */
  setCeiling(bytes: number): void {
    if (bytes === this.#ceilingBytes) return;
    const wasReduced = this.isReduced;
    this.#ceilingBytes = bytes;
    this.#bytes = wasReduced ? Math.min(this.#bytes, bytes) : bytes;
    this.restart();
    this.#isHeld = true;
  }

  /** The path leads elsewhere, or is not up: what was found stays in use until something better is known. */
  restart(): void {
    this.#phase = 'settled';
    this.#isUnproven = true;
    this.#awaitedBytes = 0;
    this.#lossCount = 0;
    this.#areUsualDue = false;
    this.#nextMs = 0;
    this.#sequences.fill(-1);
  }

  /** The size of the probe that is due, 0: none. Send something small as well, that tells a loss of it from a silent path, and call `noteSent`. */
  pollProbe(path: MtuPath, nowMs: number): number {
    this.#watch.update(path, nowMs);
    if (this.#awaitedBytes > 0 || !this.#mayProbe) return 0;
    if (this.#isHeld) {
      this.#isHeld = false;
      this.#nextMs = nowMs + AFTER_CEILING_MS;
    }
    if (this.#phase === 'settled') this.#begin(path, nowMs);
    if (this.#phase === 'settled' || nowMs < this.#nextMs) return 0;
    this.#dataBytesThen = path.dataBytes;
    return this.#candidateBytes;
  }

  /** Sizes to be sent beside the probe, in rising order, if only to learn what is carried. */
  takeUsual(): readonly number[] {
    if (!this.#areUsualDue) return [];
    this.#areUsualDue = false;
    return USUAL_BYTES.filter((bytes) => bytes < this.#bytes);
  }

  /** `sequence`: of the answer. `isAwaited`: it is the one of `pollProbe`. */
  noteSent(sequence: number, bytes: number, isAwaited: boolean, nowMs: number): void {
    const at = this.#sentCount++ % REMEMBERED;
    this.#sequences[at] = sequence;
    this.#sizes[at] = bytes;
    if (!isAwaited) return;
    this.#awaitedBytes = bytes;
    this.#awaitedSentMs = nowMs;
    this.#hasJustLeft = true;
  }

  /** What was staged since the probe is the kernel's now, and it did not refuse it. */
  noteLeft(): void {
    this.#hasJustLeft = false;
  }

  /** It could not be sent: there are no keys, or no socket. */
  postpone(nowMs: number): void {
    this.#nextMs = nowMs + TRY_MIN_MS;
  }

  /** The size of the padded probe `sequence`, once; 0: it was none of them. */
  redeem(sequence: number): number {
    const at = this.#sequences.indexOf(sequence);
    if (at < 0) return 0;
    this.#sequences[at] = -1;
    return this.#sizes[at]!;
  }

  /** A probe of that size was answered, be it late. True when `bytes` has changed. */
  handleAnswer(answeredBytes: number, nowMs: number): boolean {
    const before = this.#bytes;
    if (answeredBytes > this.#ceilingBytes) return false;
    if (answeredBytes < before) {
      this.#answeredBytes = Math.max(this.#answeredBytes, answeredBytes);
      return false;
    }
    this.#isUnproven = false;
    if (answeredBytes >= this.#awaitedBytes) {
      this.#awaitedBytes = 0;
      this.#lossCount = 0;
    }
    if (answeredBytes === before) {
      if (this.#phase === 'confirming') this.#settle(nowMs);
      return false;
    }
    this.#bytes = answeredBytes;
    if (answeredBytes >= this.#failedBytes) this.#failedBytes = this.#ceilingBytes + 1;
    if (this.#phase === 'raising' || this.#phase === 'searching') {
      this.#phase = 'searching';
      this.#goOn(nowMs);
    }
    return true;
  }

  /** The kernel refused what left last. False: that was no probe. `bytes` may have changed. */
  handleRefused(nowMs: number): boolean {
    if (!this.#hasJustLeft || this.#awaitedBytes === 0) return false;
    this.#giveUp(nowMs);
    return true;
  }

  /** True when `bytes` has changed. */
  handleTimeout({ provenSentMs, rttMs }: MtuPath, nowMs: number): boolean {
    if (this.#awaitedBytes === 0 || nowMs < this.#deadlineMs(rttMs)) return false;
    const before = this.#bytes;
    const isSilent = provenSentMs < this.#awaitedSentMs;
    this.#nextMs = nowMs;
    // Nothing else was answered either: that says nothing of the size.
    if (!isSilent) this.#lossCount++;
    if (this.#lossCount >= (this.#phase === 'confirming' ? CONFIRM_TRIES : SEARCH_TRIES)) this.#giveUp(nowMs);
    else if (this.#lossCount === 1 && !isSilent && this.#phase === 'confirming') this.#areUsualDue = true;
    this.#awaitedBytes = 0;
    return this.#bytes !== before;
  }

  /** While the path is up. Suspicion arises whenever `pollProbe` is called, and needs no timer of its own. */
  nextTimeoutMs(rttMs: number): number {
    if (!this.#mayProbe) return Infinity;
    return this.#awaitedBytes > 0 ? this.#deadlineMs(rttMs) : this.#nextMs;
  }

  get #mayProbe(): boolean {
    return this.#ceilingBytes > LEAST_MTU_BYTES && this.#ceilingBytes <= MOST_PROBED_BYTES;
  }

  get #candidateBytes(): number {
    if (this.#phase === 'confirming') return this.#bytes;
    // All of it first, when it is looked whether the path has grown; then whether it has at all.
    if (this.#failedBytes > this.#ceilingBytes) return this.#ceilingBytes;
    const middleBytes = Math.ceil((this.#bytes + this.#failedBytes) / 2);
    return this.#phase === 'raising' ? Math.min(middleBytes, this.#bytes + 2 * STEP_BYTES) : middleBytes;
  }

  #deadlineMs(rttMs: number): number {
    return this.#awaitedSentMs + Math.max(TRY_MIN_MS, 3 * rttMs);
  }

  #begin({ dataBytes }: MtuPath, nowMs: number): void {
    const sentBytes = dataBytes - this.#dataBytesThen;
    const isDue = nowMs >= this.#nextMs;
    if (this.#isUnproven ? isDue : isDue && nowMs >= this.#raiseMs && sentBytes >= CONFIRM_AFTER_BYTES) {
      if (this.isReduced) this.#beginRaise(nowMs);
      else this.#beginConfirm(nowMs);
    } else if (sentBytes > 0 && nowMs - this.#confirmedMs >= this.#suspectAfterMs && !this.#isUnproven) {
      if (!this.#watch.isStuck) this.#suspectEveryMs = Math.min(2 * this.#suspectEveryMs, CONFIRM_EVERY_MS);
      this.#beginConfirm(nowMs);
    } else if (isDue) {
      if (!this.#watch.losesSome) this.#suspectEveryMs = SUSPECT_EVERY_MS;
      if (sentBytes >= CONFIRM_AFTER_BYTES) this.#beginConfirm(nowMs);
      else this.#nextMs = nowMs + CONFIRM_EVERY_MS;
    }
  }

  /** Since it was confirmed; Infinity: all arrives. */
  get #suspectAfterMs(): number {
    if (this.#watch.isStuck) return SUSPECT_EVERY_MS;
    return this.#watch.losesSome ? this.#suspectEveryMs : Infinity;
  }

  #beginConfirm(nowMs: number): void {
    // There is nothing below it.
    if (this.#bytes <= LEAST_MTU_BYTES) {
      this.#settle(nowMs);
      return;
    }
    this.#phase = 'confirming';
    this.#answeredBytes = LEAST_MTU_BYTES;
    this.#nextMs = nowMs;
  }

  #beginRaise(nowMs: number): void {
    this.#phase = 'raising';
    this.#failedBytes = this.#ceilingBytes + 1;
    this.#nextMs = nowMs;
  }

  /** The awaited size is not carried. */
  #giveUp(nowMs: number): void {
    const failedBytes = this.#awaitedBytes;
    const was = this.#phase;
    this.#awaitedBytes = 0;
    this.#lossCount = 0;
    this.#failedBytes = failedBytes;
    if (was === 'confirming') {
      this.#bytes = Math.min(this.#answeredBytes, failedBytes - 1);
      this.#phase = 'searching';
      this.#isUnproven = false;
    } else if (was === 'raising' && (failedBytes < this.#ceilingBytes || failedBytes - this.#bytes <= STEP_BYTES)) {
      this.#finishRaise(nowMs);
      return;
    }
    this.#goOn(nowMs);
  }

  /** There is no more than before; a way that is new may carry even less. */
  #finishRaise(nowMs: number): void {
    this.#raiseMs = nowMs + RAISE_EVERY_MS;
    if (this.#isUnproven) {
      this.#isUnproven = false;
      this.#beginConfirm(nowMs);
    } else {
      this.#settle(nowMs);
    }
  }

  #goOn(nowMs: number): void {
    this.#nextMs = nowMs;
    if (this.#bytes >= this.#ceilingBytes || this.#failedBytes - this.#bytes <= STEP_BYTES) {
      this.#raiseMs = this.isReduced ? nowMs + RAISE_EVERY_MS : Infinity;
      this.#settle(nowMs);
    }
  }

  #settle(nowMs: number): void {
    this.#phase = 'settled';
    this.#lossCount = 0;
    this.#confirmedMs = nowMs;
    this.#nextMs = nowMs + CONFIRM_EVERY_MS;
  }
}
