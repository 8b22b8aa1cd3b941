/**
 * One direction of an emulated link: random loss, a drop-tail queue served at a rate, then delay with jitter, in order. All settings may
 * change while it runs; a new rate holds from the next packet that starts to be sent.
 */
import type { Prng } from './prng.js';
import type { SimClock } from './sim-clock.js';

export interface SimLinkOptions {
  /** 0: no limit. */
  rateBitsPerSec?: number;
  delayMs?: number;
  /** Standard deviation of the normal jitter around delayMs; a packet never overtakes another. */
  jitterMs?: number;
  lossRatio?: number;
  /** Packets that may wait, the one in transmission included. 0: no limit. */
  queuePackets?: number;
  /** The queue's limit also counts what has left it but is still delayed, as in one emulator that holds both. */
  queueCountsInFlight?: boolean;
  /** Arrivals are held to the next multiple of this and handed over together (a busy host, a radio's schedule). 0: off. */
  aggregationMs?: number;
  blackhole?: boolean;
  /** Bytes added to each packet when its time on the wire is reckoned. */
  overheadBytes?: number;
}

export interface SimLinkCounters {
  sentPackets: number;
  deliveredPackets: number;
  deliveredBytes: number;
  randomLossPackets: number;
  queueDropPackets: number;
  blackholePackets: number;
  /** Sum over packets of the wait before their transmission starts, and its greatest value. */
  queueDelaySumMs: number;
  queueDelayMaxMs: number;
  queuedPackets: number;
}

interface Slot<P> {
  packet: P;
  lengthBytes: number;
  leavesQueueMs: number;
  arrivesMs: number;
}

export class SimLink<P> {
  rateBitsPerSec: number;
  delayMs: number;
  jitterMs: number;
  lossRatio: number;
  queuePackets: number;
  queueCountsInFlight: boolean;
  aggregationMs: number;
  blackhole: boolean;
  overheadBytes: number;
  readonly counters: SimLinkCounters = {
    sentPackets: 0,
    deliveredPackets: 0,
    deliveredBytes: 0,
    randomLossPackets: 0,
    queueDropPackets: 0,
    blackholePackets: 0,
    queueDelaySumMs: 0,
    queueDelayMaxMs: 0,
    queuedPackets: 0,
  };
  receiver: (packet: P, lengthBytes: number) => void;
  readonly #clock: SimClock;
  readonly #prng: Prng;
  // Packets in order; [head, served) have left the queue and are delayed, [served, end) wait.
  #slots: (Slot<P> | undefined)[] = [];
  #head = 0;
  #served = 0;
  #serverFreeMs = 0;
  #lastArrivalMs = 0;
  #armed = false;
  readonly #fire: () => void;

  constructor(clock: SimClock, prng: Prng, options: SimLinkOptions, receiver: (packet: P, lengthBytes: number) => void = () => {}) {
    this.#clock = clock;
    this.#prng = prng;
    this.receiver = receiver;
    this.rateBitsPerSec = options.rateBitsPerSec ?? 0;
    this.delayMs = options.delayMs ?? 0;
    this.jitterMs = options.jitterMs ?? 0;
    this.lossRatio = options.lossRatio ?? 0;
    this.queuePackets = options.queuePackets ?? 0;
    this.queueCountsInFlight = options.queueCountsInFlight ?? false;
    this.aggregationMs = options.aggregationMs ?? 0;
    this.blackhole = options.blackhole ?? false;
    this.overheadBytes = options.overheadBytes ?? 0;
    this.#fire = () => this.#deliverDue();
  }

  /** Takes a packet, which the link keeps until it is delivered; false when it is lost. */
  send(packet: P, lengthBytes: number): boolean {
    const counters = this.counters;
    const nowMs = this.#clock.nowMs;
    counters.sentPackets++;
    if (this.blackhole) {
      counters.blackholePackets++;
      return false;
    }
    if (this.lossRatio > 0 && this.#prng.uniform() < this.lossRatio) {
      counters.randomLossPackets++;
      return false;
    }
    if (this.queuePackets > 0 && this.waitingPackets() >= this.queuePackets) {
      counters.queueDropPackets++;
      return false;
    }
    const startMs = Math.max(nowMs, this.#serverFreeMs);
    const transmissionMs = this.rateBitsPerSec > 0 ? ((lengthBytes + this.overheadBytes) * 8000) / this.rateBitsPerSec : 0;
    this.#serverFreeMs = startMs + transmissionMs;
    const waitMs = startMs - nowMs;
    counters.queuedPackets++;
    counters.queueDelaySumMs += waitMs;
    if (waitMs > counters.queueDelayMaxMs) counters.queueDelayMaxMs = waitMs;
    this.#slots.push({ packet, lengthBytes, leavesQueueMs: this.#serverFreeMs, arrivesMs: this.#arrivalMs() });
    this.#arm();
    return true;
  }

  /** What the queue's limit counts. */
  waitingPackets(): number {
    if (this.queueCountsInFlight) return this.#slots.length - this.#head;
    while (this.#served < this.#slots.length && this.#slots[this.#served]!.leavesQueueMs <= this.#clock.nowMs) this.#served++;
    return this.#slots.length - this.#served;
  }

  /** Drops everything that is queued or on its way: the cable is cut. */
  flush(): void {
    this.counters.blackholePackets += this.#slots.length - this.#head;
    this.#slots.length = 0;
    this.#head = 0;
    this.#served = 0;
    this.#serverFreeMs = this.#clock.nowMs;
  }

  meanQueueDelayMs(): number {
    return this.counters.queuedPackets === 0 ? 0 : this.counters.queueDelaySumMs / this.counters.queuedPackets;
  }

  resetCounters(): void {
    for (const key of Object.keys(this.counters) as (keyof SimLinkCounters)[]) this.counters[key] = 0;
  }

  #arrivalMs(): number {
    let arrivesMs = this.#serverFreeMs + this.delayMs;
    // A link cannot deliver before it has sent: the normal's left tail ends there.
    if (this.jitterMs > 0) arrivesMs = Math.max(this.#serverFreeMs, arrivesMs + this.jitterMs * this.#prng.normal());
    if (this.aggregationMs > 0) arrivesMs = Math.ceil(arrivesMs / this.aggregationMs) * this.aggregationMs;
    if (arrivesMs < this.#lastArrivalMs) arrivesMs = this.#lastArrivalMs;
    this.#lastArrivalMs = arrivesMs;
    return arrivesMs;
  }

  #arm(): void {
    if (this.#armed || this.#head >= this.#slots.length) return;
    this.#armed = true;
    this.#clock.schedule(this.#slots[this.#head]!.arrivesMs, this.#fire);
  }

  #deliverDue(): void {
    this.#armed = false;
    while (this.#head < this.#slots.length) {
      const slot = this.#slots[this.#head]!;
      if (slot.arrivesMs > this.#clock.nowMs) break;
      this.#slots[this.#head++] = undefined;
      if (this.#served < this.#head) this.#served = this.#head;
      if (this.blackhole) {
        this.counters.blackholePackets++;
        continue;
      }
      this.counters.deliveredPackets++;
      this.counters.deliveredBytes += slot.lengthBytes;
      this.receiver(slot.packet, slot.lengthBytes);
    }
    this.#compact();
    this.#arm();
  }

  #compact(): void {
    if (this.#head < 4096 || this.#head * 2 < this.#slots.length) return;
    this.#slots = this.#slots.slice(this.#head);
    this.#served = Math.max(0, this.#served - this.#head);
    this.#head = 0;
  }
}
