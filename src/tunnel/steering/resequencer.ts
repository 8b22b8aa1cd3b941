/**
 * The receiving side of numbered flows: puts back in order what came over unequal paths, and drops second copies. One window for each flow, never
 * one for the tunnel; nothing waits longer than the paths' delays differ. Pure: time comes in.
 *
 * A path keeps its packets in order, so a missing number that every path of the flow has passed is lost and nobody waits for it: a flow
 * on one path never waits, and a lossy path costs no more than the difference of the delays.
 */

import type { PeerLink } from '../link.js';
import { FLOW_IDS } from '../session/flow-trailer.js';
import { PacketPool } from './packet-pool.js';
import { HOLD_PACKETS, MAX_WAIT_MS, ReceivedFlow } from './received-flow.js';

const HOLD_FLOW_BYTES = 4 * 1024 * 1024;
const HOLD_TOTAL_BYTES = 16 * 1024 * 1024;
const MAX_FLOWS = 1024;
/** After such a silence numbering begins anew: the sender may have. Longer than any copy is late. */
const RESTART_MS = 2000;
/** As many old numbers in a row, none new: the sender has begun anew, or was away for half of all numbers. */
const RESTART_STRAGGLERS = 256;
const IDLE_MS = 60_000;

/** One whole IP packet goes on its way. Borrowed until return. */
export type Deliver = (bytes: Uint8Array, offset: number, length: number) => void;

export interface ResequencerOptions {
  deliver: Deliver;
  /** How long a packet of this peer may wait for one that is missing: at most MAX_WAIT_MS is taken. */
  waitMs: (peer: PeerLink) => number;
  holdTotalBytes?: number;
  holdFlowBytes?: number;
  maxFlows?: number;
}

export class Resequencer {
  readonly counters = {
    /** Packets that waited for one that was missing. */
    resequencedHeld: 0,
    /** Numbers that never came, or not in time. */
    resequencedSkipped: 0,
    /** Came after they had been given up: delivered, out of order. */
    resequencedLate: 0,
    /** Second copies, dropped. */
    resequencedDuplicates: 0,
    /** Copies too old to tell whether they are the first, dropped. */
    resequencedTooOld: 0,
    /** A buffer was full: what it held went on its way. */
    resequencedOverflows: 0,
  };
  readonly #deliver: Deliver;
  readonly #waitMs: (peer: PeerLink) => number;
  readonly #holdFlowBytes: number;
  readonly #maxFlows: number;
  readonly #pool: PacketPool;
  readonly #flows = new Map<PeerLink, (ReceivedFlow | undefined)[]>();
  /** Flows that hold packets, in no order. */
  readonly #holding: ReceivedFlow[] = [];
  #flowCount = 0;

  constructor(options: ResequencerOptions) {
    this.#deliver = options.deliver;
    this.#waitMs = options.waitMs;
    this.#holdFlowBytes = options.holdFlowBytes ?? HOLD_FLOW_BYTES;
    this.#maxFlows = options.maxFlows ?? MAX_FLOWS;
    this.#pool = new PacketPool(options.holdTotalBytes ?? HOLD_TOTAL_BYTES);
  }

  get flowCount(): number {
    return this.#flowCount;
  }

  get heldPackets(): number {
    let sum = 0;
    for (const flow of this.#holding) sum += flow.heldPackets;
    return sum;
  }

  /**
   * One packet of a numbered flow; delivered at once, held (copied), or dropped. `isRedundant`: copies come on other paths, and nobody waits.
   * `isSpread`: the sender says that the flow takes several paths just now.
   */
  accept(
    peer: PeerLink,
    flowId: number,
    sequence: number,
    isRedundant: boolean,
    isSpread: boolean,
    pathId: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    nowMs: number,
  ): void {
    const flow = this.#flowFor(peer, flowId, nowMs);
    if (nowMs - flow.lastMs > RESTART_MS || flow.stragglers >= RESTART_STRAGGLERS) this.#restart(flow);
    flow.lastMs = nowMs;
    const number = flow.extend(sequence);
    const isFirst = flow.window.highest < 0;
    if (number <= flow.window.highest - flow.window.windowPackets) {
      flow.stragglers++;
      this.#acceptStraggler(isRedundant, bytes, offset, length);
      return;
    }
    flow.stragglers = 0;
    if (!flow.window.accept(number)) {
      this.counters.resequencedDuplicates++;
      return;
    }
    if (isFirst) flow.next = number;
    flow.notePath(pathId, number, nowMs);
    if (isRedundant) this.#acceptFirstCopy(flow, number, bytes, offset, length);
    else this.#acceptInOrder(flow, number, flow.passed(isSpread, nowMs), bytes, offset, length, nowMs);
  }

  /** Absolute, Infinity when nothing is held. */
  nextTimeoutMs(): number {
    let at = Infinity;
    for (let i = 0; i < this.#holding.length; i++) {
      const flow = this.#holding[i]!;
      const oldest = flow.oldest();
      if (oldest >= 0) at = Math.min(at, flow.arrivalMs[oldest % HOLD_PACKETS]! + flow.waitMs);
    }
    return at;
  }

  /** Gives up what was waited for long enough. */
  handleTimeout(nowMs: number): void {
    for (let i = this.#holding.length - 1; i >= 0; i--) {
      const flow = this.#holding[i]!;
      for (;;) {
        const oldest = flow.oldest();
        if (oldest < 0 || flow.arrivalMs[oldest % HOLD_PACKETS]! + flow.waitMs > nowMs) break;
        this.#skipTo(flow, oldest + 1);
        flow.noteGivenUp(nowMs);
        this.#drain(flow);
      }
    }
  }

  /** Forgets idle flows; call every now and then. */
  expire(nowMs: number): void {
    for (const [peer, flows] of this.#flows) {
      let left = 0;
      for (let id = 0; id < FLOW_IDS; id++) {
        const flow = flows[id];
        if (flow === undefined) continue;
        if (nowMs - flow.lastMs >= IDLE_MS) this.#forget(flows, flow);
        else left++;
      }
      if (left === 0) this.#flows.delete(peer);
    }
  }

  /** The peer is gone or new: its numbers mean nothing any more. What is held goes on its way. */
  forgetPeer(peer: PeerLink): void {
    const flows = this.#flows.get(peer);
    if (flows === undefined) return;
    for (const flow of flows) if (flow !== undefined) this.#forget(flows, flow);
    this.#flows.delete(peer);
  }

  #acceptStraggler(isRedundant: boolean, bytes: Uint8Array, offset: number, length: number): void {
    if (isRedundant) {
      this.counters.resequencedTooOld++;
      return;
    }
    this.counters.resequencedLate++;
    this.#deliver(bytes, offset, length);
  }

  #acceptFirstCopy(flow: ReceivedFlow, number: number, bytes: Uint8Array, offset: number, length: number): void {
    if (number >= flow.next) {
      // Held only when the flow was of another mode just now.
      if (flow.heldPackets > 0) this.#skipTo(flow, number);
      flow.next = number + 1;
    }
    this.#deliver(bytes, offset, length);
  }

  #acceptInOrder(
    flow: ReceivedFlow,
    number: number,
    passed: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    nowMs: number,
  ): void {
    if (number < flow.next) {
      this.counters.resequencedLate++;
      flow.noteLate(number, nowMs);
      this.#deliver(bytes, offset, length);
      return;
    }
    if (passed >= flow.next) this.#skipTo(flow, Math.min(passed + 1, number));
    if (number - flow.next >= HOLD_PACKETS) {
      this.counters.resequencedOverflows++;
      this.#skipTo(flow, number - HOLD_PACKETS + 1);
      this.#drain(flow);
    }
    if (number > flow.next && !this.#hold(flow, number, bytes, offset, length, nowMs)) {
      this.counters.resequencedOverflows++;
      this.#skipTo(flow, number);
    }
    if (number > flow.next) return;
    flow.next = number + 1;
    this.#deliver(bytes, offset, length);
    if (passed >= flow.next) this.#skipTo(flow, passed + 1);
    this.#drain(flow);
  }

  /** False: no room. */
  #hold(flow: ReceivedFlow, number: number, bytes: Uint8Array, offset: number, length: number, nowMs: number): boolean {
    if (flow.heldBytes + length > this.#holdFlowBytes || flow.arrivalsCount >= HOLD_PACKETS) return false;
    const copy = this.#pool.take(length);
    if (copy === undefined) return false;
    copy.set(bytes.subarray(offset, offset + length));
    flow.makeRoom();
    if (flow.heldPackets === 0) flow.oldest();
    const at = number % HOLD_PACKETS;
    flow.held[at] = copy;
    flow.heldLengths[at] = length;
    flow.arrivalMs[at] = nowMs;
    flow.arrivals[(flow.arrivalsHead + flow.arrivalsCount) % HOLD_PACKETS] = number;
    flow.arrivalsCount++;
    flow.heldPackets++;
    flow.heldBytes += length;
    flow.baseWaitMs = this.#waitMs(flow.peer);
    flow.waitMs = Math.min(MAX_WAIT_MS, Math.max(0, flow.baseWaitMs + flow.extraMs));
    this.counters.resequencedHeld++;
    if (flow.holdingIndex < 0) {
      flow.holdingIndex = this.#holding.length;
      this.#holding.push(flow);
    }
    return true;
  }

  /** Everything held below `target` goes, in order; what is missing there is given up. */
  #skipTo(flow: ReceivedFlow, target: number): void {
    let number = flow.next;
    let gone = 0;
    for (; number < target && flow.heldPackets > 0; number++) {
      flow.next = number + 1;
      if (flow.isHeld(number)) this.#release(flow, number);
      else gone++;
    }
    if (number < target) gone += target - number;
    this.counters.resequencedSkipped += gone;
    flow.next = Math.max(flow.next, target);
  }

  /** What follows without a gap. */
  #drain(flow: ReceivedFlow): void {
    while (flow.isHeld(flow.next)) this.#release(flow, flow.next++);
  }

  #release(flow: ReceivedFlow, number: number): void {
    const at = number % HOLD_PACKETS;
    const copy = flow.held[at]!;
    const length = flow.heldLengths[at]!;
    flow.held[at] = undefined;
    flow.heldPackets--;
    flow.heldBytes -= length;
    if (flow.heldPackets === 0) this.#stopHolding(flow);
    this.#deliver(copy, 0, length);
    this.#pool.giveBack(copy);
  }

  #stopHolding(flow: ReceivedFlow): void {
    const last = this.#holding.pop()!;
    if (last !== flow) {
      this.#holding[flow.holdingIndex] = last;
      last.holdingIndex = flow.holdingIndex;
    }
    flow.holdingIndex = -1;
  }

  #flowFor(peer: PeerLink, flowId: number, nowMs: number): ReceivedFlow {
    let flows = this.#flows.get(peer);
    if (flows === undefined) {
      flows = new Array<ReceivedFlow | undefined>(FLOW_IDS).fill(undefined);
      this.#flows.set(peer, flows);
    }
    const known = flows[flowId];
    if (known !== undefined) return known;
    if (this.#flowCount >= this.#maxFlows) this.#forgetIdlest();
    const flow = new ReceivedFlow(peer, flowId);
    flow.lastMs = nowMs;
    flows[flowId] = flow;
    this.#flowCount++;
    return flow;
  }

  #restart(flow: ReceivedFlow): void {
    this.#releaseAll(flow);
    flow.restart();
  }

  #releaseAll(flow: ReceivedFlow): void {
    while (flow.heldPackets > 0) {
      const oldest = flow.oldest();
      this.#skipTo(flow, oldest + 1);
    }
  }

  #forget(flows: (ReceivedFlow | undefined)[], flow: ReceivedFlow): void {
    this.#releaseAll(flow);
    flows[flow.flowId] = undefined;
    this.#flowCount--;
  }

  /** Cold: only when more flows are numbered than are kept. */
  #forgetIdlest(): void {
    let idlest: ReceivedFlow | undefined;
    for (const flows of this.#flows.values()) {
      for (const flow of flows) if (flow !== undefined && (idlest === undefined || flow.lastMs < idlest.lastMs)) idlest = flow;
    }
    if (idlest !== undefined) this.#forget(this.#flows.get(idlest.peer)!, idlest);
  }
}
