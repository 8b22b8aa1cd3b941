/**
 * Over which carrier a client's path goes. It begins with the kind that it likes best, UDP where that is allowed. While the path does not work, the other kinds are dialled
 * beside it, and the first that opens carries the path; should it not work there either, the next has its turn. While the path works over a kind that is not
 * the best, a better one is tried from time to time, beside the traffic: the path moves when the peer has answered there. Time comes in.
 *
 * Each path has a choice of its own: what one does, the others do not notice.
 */

import type { Carrier, CarrierKind } from './carrier.js';
import type { Transport, TransportEvents, TransportKind } from './transport.js';
import type { TransportCarrier } from './transport-carrier.js';

export interface CarrierTimes {
  /** A path that has not worked for so long is tried over the other kinds too. */
  readonly patienceMs: number;
  /** A kind has so long before the next is dialled beside it. */
  readonly headStartMs: number;
  /** Over a new carrier a path has so long to work. */
  readonly trialMs: number;
  /** A kind that could not be dialled waits, twice as long each time. */
  readonly redialMs: number;
  readonly redialMaxMs: number;
  /** Between two looks whether a better kind works by now. */
  readonly betterEveryMs: number;
  /** A better kind has so long to answer. */
  readonly betterMs: number;
  /** What is under way over the carrier that a path has left may still come. */
  readonly lingerMs: number;
}

export const CARRIER_TIMES: CarrierTimes = {
  patienceMs: 1000,
  headStartMs: 400,
  trialMs: 2500,
  redialMs: 500,
  redialMaxMs: 30_000,
  betterEveryMs: 180_000,
  betterMs: 4000,
  lingerMs: 2000,
};

/** The path, as far as its carrier is concerned. */
export interface CarriedPath {
  /** It carries packets. */
  readonly isUp: boolean;
  /** That on which it sends now. */
  readonly carrier: Carrier | undefined;
  /** Goes over `carrier` from now on, whether it works there or not; undefined: there is none now. `reason` is for people. */
  use(carrier: Carrier | undefined, reason: string): void;
  /** Goes over `carrier` as soon as the peer has answered there. False: it cannot be tried, there is no session. */
  tryBeside(carrier: Carrier): boolean;
  /** The carrier of `tryBeside` is none any more. */
  giveUpBeside(): void;
}

export interface CarrierChoiceOptions {
  readonly path: CarriedPath;
  /** The best first; at least one. */
  readonly kinds: readonly CarrierKind[];
  readonly udp: () => Carrier;
  readonly dial: (kind: TransportKind, events: TransportEvents) => Transport;
  readonly carry: (transport: Transport) => TransportCarrier;
  readonly times: CarrierTimes;
  readonly now: () => number;
  /** Something came, and `handleTimeout` wants to be called. */
  readonly wake: () => void;
}

/** A connection of a transport, from its dialling on. */
interface Dialled {
  readonly transport: Transport;
  /** Once it is open. */
  carrier: TransportCarrier | undefined;
  /** The path has worked over it. */
  hasWorked: boolean;
}

/** One kind that is dialled. */
interface Attempt {
  readonly kind: TransportKind;
  dialled: Dialled | undefined;
  failures: number;
  /** Not to be dialled before. */
  dueMs: number;
  lastReason: string;
}

/** A better kind that is being tried beside the traffic. */
interface Better {
  readonly kind: CarrierKind;
  readonly untilMs: number;
}

export class CarrierChoice {
  readonly #options: CarrierChoiceOptions;
  readonly #attempts: readonly Attempt[];
  #hasLink = false;
  /** Infinity: it works. */
  #downSinceMs = Infinity;
  /** When the path went over to its carrier. */
  #usedSinceMs = 0;
  #betterAtMs: number;
  #better: Better | undefined;
  /** Which of the better kinds has its turn. */
  #betterTurn = 0;
  /** In order of time. */
  #left: { readonly dialled: Dialled; readonly atMs: number }[] = [];

  constructor(options: CarrierChoiceOptions, nowMs: number) {
    this.#options = options;
    this.#attempts = options.kinds
      .filter((kind): kind is TransportKind => kind !== 'udp')
      .map((kind) => ({ kind, dialled: undefined, failures: 0, dueMs: 0, lastReason: '' }));
    this.#betterAtMs = nowMs + options.times.betterEveryMs;
  }

  /** Why the kinds that are not UDP cannot be had, for people; "" when nothing is known to be wrong. */
  get problem(): string {
    return this.#attempts.flatMap(({ kind, lastReason }) => (lastReason === '' ? [] : [`${kind}: ${lastReason}`])).join('; ');
  }

  /** The uplink can be used from now on, or again. */
  handleLinkBack(nowMs: number): void {
    if (this.#hasLink) return;
    this.#hasLink = true;
    this.#downSinceMs = nowMs;
    this.#usedSinceMs = nowMs;
    for (const attempt of this.#attempts) attempt.dueMs = 0;
  }

  /** The uplink cannot be used, or the path leads elsewhere: all that was dialled ends, and the path is back on UDP, or on nothing. */
  reset(): void {
    this.#hasLink = false;
    this.#endBetter();
    for (const attempt of this.#attempts) {
      drop(attempt.dialled);
      attempt.dialled = undefined;
      attempt.failures = 0;
      attempt.lastReason = '';
    }
    this.#dropLeft(Infinity);
  }

  /** Call after anything of the path has changed, and when `nextTimeoutMs` is there. */
  handleTimeout(nowMs: number): void {
    if (!this.#hasLink) return;
    const { path, times } = this.#options;
    this.#dropLeft(nowMs - times.lingerMs);
    if (path.isUp) {
      this.#downSinceMs = Infinity;
      this.#keepUp(nowMs);
      return;
    }
    if (this.#downSinceMs === Infinity) this.#downSinceMs = nowMs;
    this.#endBetter();
    this.#bringUp(nowMs);
  }

  nextTimeoutMs(): number {
    if (!this.#hasLink) return Infinity;
    const { path, times } = this.#options;
    const leftMs = this.#left.length === 0 ? Infinity : this.#left[0]!.atMs + times.lingerMs;
    if (path.isUp) return Math.min(leftMs, this.#better?.untilMs ?? (this.#isBest() ? Infinity : this.#betterAtMs));
    let nextMs = Math.min(leftMs, this.#trialEndsMs);
    for (const attempt of this.#attempts) {
      if (attempt.dialled === undefined) nextMs = Math.min(nextMs, this.#dialAtMs(attempt));
    }
    return nextMs;
  }

  // ---- while the path works ----

  #keepUp(nowMs: number): void {
    const { path } = this.#options;
    if (this.#better?.kind === path.carrier?.kind) this.#endBetter();
    for (const attempt of this.#attempts) {
      const { dialled } = attempt;
      if (dialled === undefined || attempt.kind === this.#better?.kind) continue;
      if (dialled.carrier !== undefined && dialled.carrier === path.carrier) {
        dialled.hasWorked = true;
        dialled.transport.trust?.();
        attempt.failures = 0;
        attempt.lastReason = '';
      } else {
        this.#leave(attempt, dialled, nowMs);
      }
    }
    if (this.#better !== undefined && nowMs >= this.#better.untilMs) this.#endBetter();
    if (this.#better !== undefined || this.#isBest() || nowMs < this.#betterAtMs) return;
    this.#betterAtMs = nowMs + this.#options.times.betterEveryMs;
    this.#tryBetter(nowMs);
  }

  #isBest(): boolean {
    return this.#options.path.carrier?.kind === this.#options.kinds[0];
  }

  /** One at a time: the next look is another's. */
  #tryBetter(nowMs: number): void {
    const { kinds, path, times, udp } = this.#options;
    const better = kinds.slice(0, kinds.indexOf(path.carrier!.kind));
    const kind = better[this.#betterTurn++ % better.length]!;
    this.#better = { kind, untilMs: nowMs + times.betterMs };
    const attempt = this.#attempts.find((one) => one.kind === kind);
    if (attempt !== undefined) this.#dial(attempt);
    else if (!path.tryBeside(udp())) this.#endBetter();
  }

  #endBetter(): void {
    if (this.#better === undefined) return;
    const attempt = this.#attempts.find(({ kind }) => kind === this.#better!.kind);
    this.#better = undefined;
    const { path } = this.#options;
    path.giveUpBeside();
    if (attempt?.dialled === undefined || attempt.dialled.carrier === path.carrier) return;
    drop(attempt.dialled);
    attempt.dialled = undefined;
  }

  // ---- while it does not ----

  #bringUp(nowMs: number): void {
    const { path, kinds, udp } = this.#options;
    if (path.carrier === undefined && kinds.includes('udp')) this.#use(udp(), nowMs);
    for (const attempt of this.#attempts) {
      const { dialled } = attempt;
      if (dialled === undefined && nowMs >= this.#dialAtMs(attempt)) this.#dial(attempt);
      else if (dialled?.hasWorked === true || (dialled?.carrier !== undefined && dialled.carrier === path.carrier))
        dialled.transport.doubt?.();
    }
    if (nowMs >= this.#trialEndsMs) this.#useNext(nowMs);
  }

  /** A carrier has so long to work: from its beginning, and again when a path that worked over it falls silent, which may be the link's doing. */
  get #trialEndsMs(): number {
    return Math.max(this.#usedSinceMs, this.#downSinceMs) + this.#options.times.trialMs;
  }

  /** UDP is given its time first, and each kind a head start before the next. */
  #dialAtMs({ kind, dueMs }: Attempt): number {
    const { times, kinds } = this.#options;
    const rank = kinds.indexOf(kind);
    const waitMs = kinds.includes('udp') ? times.patienceMs + (rank - 1) * times.headStartMs : rank * times.headStartMs;
    return Math.max(dueMs, this.#downSinceMs + waitMs);
  }

  #dial(attempt: Attempt): void {
    const transport = this.#options.dial(attempt.kind, {
      onOpen: () => this.#handleOpen(attempt, dialled),
      onDatagrams: (bytes, lengths, count) => dialled.carrier?.handleDatagrams(bytes, lengths, count),
      onClose: (reason) => this.#handleClosed(attempt, dialled, reason),
    });
    const dialled: Dialled = { transport, carrier: undefined, hasWorked: false };
    attempt.dialled = dialled;
  }

  #handleOpen(attempt: Attempt, dialled: Dialled): void {
    if (attempt.dialled !== dialled) return;
    const { path, carry, now, times, wake } = this.#options;
    dialled.carrier = carry(dialled.transport);
    const nowMs = now();
    if (attempt.kind === this.#better?.kind) {
      if (!path.tryBeside(dialled.carrier)) this.#endBetter();
    } else if (!path.isUp) {
      // One that is on trial over another transport has its time.
      const onTrial = path.carrier !== undefined && path.carrier.kind !== 'udp' && nowMs < this.#usedSinceMs + times.trialMs;
      if (!onTrial) this.#use(dialled.carrier, nowMs);
    }
    wake();
  }

  #handleClosed(attempt: Attempt, dialled: Dialled, reason: string): void {
    this.#left = this.#left.filter((one) => one.dialled !== dialled);
    const { path, now, times, wake } = this.#options;
    const carried = dialled.carrier !== undefined && path.carrier === dialled.carrier;
    dialled.carrier?.close();
    if (attempt.dialled !== dialled) return;
    const nowMs = now();
    attempt.dialled = undefined;
    attempt.lastReason = reason;
    attempt.dueMs = nowMs + Math.min(times.redialMs * 2 ** attempt.failures, times.redialMaxMs);
    attempt.failures++;
    if (attempt.kind === this.#better?.kind) this.#endBetter();
    if (carried) {
      path.use(undefined, `${attempt.kind}: ${reason}`);
      // Whether UDP works is not known, but it has had its time: the others are dialled at once.
      this.#downSinceMs = nowMs - times.patienceMs;
      this.#useNext(nowMs);
    }
    wake();
  }

  /** The next in turn that can be had, UDP among them. */
  #useNext(nowMs: number): void {
    const { path, kinds, udp } = this.#options;
    const at = path.carrier === undefined ? -1 : kinds.indexOf(path.carrier.kind);
    this.#usedSinceMs = nowMs;
    for (let i = 1; i <= kinds.length; i++) {
      const kind = kinds[(at + i) % kinds.length]!;
      const carrier = kind === 'udp' ? udp() : this.#attempts.find((one) => one.kind === kind)?.dialled?.carrier;
      if (carrier === undefined || carrier === path.carrier) continue;
      this.#use(carrier, nowMs);
      return;
    }
  }

  #use(carrier: Carrier, nowMs: number): void {
    this.#usedSinceMs = nowMs;
    this.#betterAtMs = nowMs + this.#options.times.betterEveryMs;
    this.#options.path.use(carrier, `trying ${carrier.kind}`);
  }

  // ---- ends ----

  /** The path has left it; something may be under way there yet. */
  #leave(attempt: Attempt, dialled: Dialled, nowMs: number): void {
    attempt.dialled = undefined;
    if (dialled.carrier === undefined) drop(dialled);
    else this.#left.push({ dialled, atMs: nowMs });
  }

  #dropLeft(beforeMs: number): void {
    while (this.#left.length > 0 && this.#left[0]!.atMs <= beforeMs) drop(this.#left.shift()!.dialled);
  }
}

function drop(dialled: Dialled | undefined): void {
  dialled?.transport.close();
  dialled?.carrier?.close();
}
