/**
 * A path whose rate is limited: all that is sent there shares it. Subflows take turns, one quantum each, in the order in which they had to wait; so many
 * connections share a slow path evenly, and only the one whose turn it is is woken.
 */

/** The rate itself; who sends on the path charges it. */
export interface PathLimit {
  readonly bytesPerSec: number;
  /** Bytes that streams may put on the path now; 0: not before `freeAtMs`. */
  streamRoomBytes(nowMs: number): number;
  /** Absolute, never before `nowMs`. */
  freeAtMs(nowMs: number): number;
}

/** One that sends on the path. */
export interface TurnTaker {
  /** Owned by PathTurns. */
  waitsForTurn: boolean;
  /** It may send: let it try. */
  takeTurn(): void;
}

export class PathTurns {
  readonly limit: PathLimit;
  #waiting: TurnTaker[] = [];
  /** The first that waits; those before it were called. */
  #head = 0;
  #turn: TurnTaker | undefined;

  constructor(limit: PathLimit) {
    this.limit = limit;
  }

  /** What one of those that send there may count on. */
  get shareBytesPerSec(): number {
    return this.limit.bytesPerSec / Math.max(1, this.#waiting.length - this.#head);
  }

  /** How much of `wantedBytes` `taker` may send now, in whole segments and one at least; 0: it is called when it is its turn. */
  roomBytes(taker: TurnTaker, wantedBytes: number, segmentBytes: number, nowMs: number): number {
    const room = this.limit.streamRoomBytes(nowMs);
    if (room > 0 && (this.#turn === taker || this.#head === this.#waiting.length))
      return Math.min(wantedBytes, Math.max(segmentBytes, Math.floor(room / segmentBytes) * segmentBytes));
    if (this.#turn === taker) this.#turn = undefined;
    if (!taker.waitsForTurn) {
      taker.waitsForTurn = true;
      this.#waiting.push(taker);
    }
    return 0;
  }

  /** Calls the next when there is room. One that does not use its turn has had it. */
  call(nowMs: number): void {
    const taker = this.#waiting[this.#head];
    if (taker === undefined || this.limit.streamRoomBytes(nowMs) <= 0) return;
    this.#head++;
    if (2 * this.#head > this.#waiting.length) {
      this.#waiting.splice(0, this.#head);
      this.#head = 0;
    }
    this.#turn = taker;
    taker.waitsForTurn = false;
    taker.takeTurn();
  }

  /** When the next may be called; Infinity while nobody waits. */
  nextTimeoutMs(nowMs: number): number {
    return this.#head === this.#waiting.length ? Number.POSITIVE_INFINITY : this.limit.freeAtMs(nowMs);
  }

  /** The path has another limit now, or none: all may try. */
  release(): void {
    const waiting = this.#waiting.slice(this.#head);
    this.#waiting = [];
    this.#head = 0;
    this.#turn = undefined;
    for (const taker of waiting) {
      taker.waitsForTurn = false;
      taker.takeTurn();
    }
  }
}
