/** The receiving side of one numbered flow (resequencer.ts): what came, what is held, how far each path is. Pure. */

import { ReplayWindow } from '../../crypto/replay-window.js';
import { MAX_PATHS } from '../../tun/native.js';
import type { PeerLink } from '../link.js';
import { SEQUENCE_NUMBERS } from '../session/flow-trailer.js';

export const MAX_WAIT_MS = 100;
/** Packets that one flow may hold, and how far ahead of the gap: a power of two. */
export const HOLD_PACKETS = 2048;
/** Numbers that are judged one by one; what is older is a straggler. */
const WINDOW_BITS = 4096;
/** A path that brought nothing of the flow for so long is not waited for. */
const PATH_LIVE_MS = 500;
/** Late packets show that the estimate is short: the flow waits so much longer than they were late, and slowly less again. */
const LATE_MARGIN_MS = 5;
const EXTRA_DECAY = 0.8;
const EXTRA_DECAY_EVERY_MS = 1000;

/** One flow: what is next, what is held, and how far each path has come. Numbers are counted on past 65,535. */
export class ReceivedFlow {
  readonly peer: PeerLink;
  readonly flowId: number;
  window = new ReplayWindow(WINDOW_BITS);
  next = 0;
  lastMs = 0;
  waitMs = 0;
  baseWaitMs = 0;
  /** Added to what the paths' estimates say. */
  extraMs = 0;
  extraStampMs = 0;
  /** What was given up by time last: everything below this number, and when. */
  gaveUpTo = 0;
  gaveUpMs = -Infinity;
  stragglers = 0;
  heldBytes = 0;
  heldPackets = 0;
  /** Place in the list of flows that hold something, -1: not in it. */
  holdingIndex = -1;
  /** By number modulo HOLD_PACKETS; made when the first packet is held. */
  held: (Uint8Array | undefined)[] = [];
  heldLengths = new Uint16Array(0);
  arrivalMs = new Float64Array(0);
  /** Numbers in order of arrival: a ring. What left meanwhile is passed over. */
  arrivals = new Float64Array(0);
  arrivalsHead = 0;
  arrivalsCount = 0;
  readonly pathHighest = new Float64Array(MAX_PATHS);
  readonly pathSeenMs = new Float64Array(MAX_PATHS).fill(-Infinity);

  constructor(peer: PeerLink, flowId: number) {
    this.peer = peer;
    this.flowId = flowId;
  }

  /** Numbering begins anew. Nothing is held. */
  restart(): void {
    this.window = new ReplayWindow(WINDOW_BITS);
    this.stragglers = 0;
    this.pathSeenMs.fill(-Infinity);
  }

  makeRoom(): void {
    if (this.held.length > 0) return;
    this.held = new Array<Uint8Array | undefined>(HOLD_PACKETS).fill(undefined);
    this.heldLengths = new Uint16Array(HOLD_PACKETS);
    this.arrivalMs = new Float64Array(HOLD_PACKETS);
    this.arrivals = new Float64Array(HOLD_PACKETS);
  }

  /** The number nearest to the highest one that ends so. */
  extend(sequence: number): number {
    const highest = this.window.highest;
    if (highest < 0) return SEQUENCE_NUMBERS + sequence;
    const ahead = ((sequence - highest) << 16) >> 16;
    return highest + ahead;
  }

  isHeld(number: number): boolean {
    return this.heldPackets > 0 && this.held[number % HOLD_PACKETS] !== undefined;
  }

  /** The number held longest, -1: nothing is held. */
  oldest(): number {
    if (this.heldPackets === 0) {
      this.arrivalsHead = 0;
      this.arrivalsCount = 0;
      return -1;
    }
    for (;;) {
      const number = this.arrivals[this.arrivalsHead]!;
      // Whatever is below `next` has left.
      if (number >= this.next) return number;
      this.arrivalsHead = (this.arrivalsHead + 1) % HOLD_PACKETS;
      this.arrivalsCount--;
    }
  }

  /** Every path that lately carried the flow is past this number. A spread flow that came over one path only has another that we have not seen yet. */
  passed(isSpread: boolean, nowMs: number): number {
    let least = Infinity;
    let live = 0;
    for (let i = 0; i < MAX_PATHS; i++) {
      if (nowMs - this.pathSeenMs[i]! > PATH_LIVE_MS) continue;
      live++;
      if (this.pathHighest[i]! < least) least = this.pathHighest[i]!;
    }
    return isSpread && live < 2 ? -1 : least;
  }

  /** It came after it had been given up. */
  noteLate(number: number, nowMs: number): void {
    if (number >= this.gaveUpTo || nowMs - this.gaveUpMs > MAX_WAIT_MS) return;
    this.extraMs = Math.min(MAX_WAIT_MS, Math.max(this.extraMs, this.waitMs - this.baseWaitMs + nowMs - this.gaveUpMs + LATE_MARGIN_MS));
    this.extraStampMs = nowMs;
  }

  noteGivenUp(nowMs: number): void {
    this.gaveUpTo = this.next;
    this.gaveUpMs = nowMs;
    if (nowMs - this.extraStampMs < EXTRA_DECAY_EVERY_MS) return;
    this.extraMs *= EXTRA_DECAY;
    this.extraStampMs = nowMs;
  }

  notePath(pathId: number, number: number, nowMs: number): void {
    if (nowMs - this.pathSeenMs[pathId]! > PATH_LIVE_MS || number > this.pathHighest[pathId]!) this.pathHighest[pathId] = number;
    this.pathSeenMs[pathId] = nowMs;
  }
}
