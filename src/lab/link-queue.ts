/**
 * One direction of an emulated link, sans I/O: a serialiser of a given rate, a fixed delay with jitter, random loss, and a finite queue.
 *
 * One ring of packets in order of arrival, cut in two by `departed`:
 *
 *      head            departed           tail
 *   ---+---- in flight ----+---- waiting ----+---
 *      due time known        for the serialiser
 *
 * A packet departs at max(its arrival, the departure before it) + bits / rate: virtual time, so that a late wake-up costs no
 * capacity. Departures are worked out lazily under the shape of the moment, so that a change of rate holds for what waits.
 * Packet bytes lie in slots of one arena; free slots are a stack, which keeps the hot ones in cache. Nothing is allocated per packet.
 */

import type { LinkShape } from './lab-api.js';

/** Holds a packet of MTU 1500 with room to spare; a multiple of the cache line. */
export const SLOT_BYTES = 1664;

/** Deterministic, seeded: mulberry32. Returns 0 <= x < 1. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The caller's sink: `slotOffset` is valid during the call. */
export type Deliver = (arena: Uint8Array, slotOffset: number, length: number) => void;

export class LinkQueue {
  deliveredBytes = 0;
  deliveredPackets = 0;
  lostPackets = 0;
  droppedPackets = 0;

  private shape: LinkShape;
  private readonly random: () => number;
  private capacity = 0;
  /** The first `stageSlots` slots are the caller's, to read into; the ring's slots follow. */
  private readonly stageSlots: number;
  arena: Uint8Array = new Uint8Array(0);
  private freeSlots = new Int32Array(0);
  private freeCount = 0;
  private slots = new Int32Array(0);
  private lengths = new Int32Array(0);
  /** Arrival while the packet waits, due time once it has departed. */
  private times = new Float64Array(0);
  private head = 0;
  private waitingCount = 0;
  private flightCount = 0;
  private lastDepartureMs = Number.NEGATIVE_INFINITY;
  private lastDueMs = Number.NEGATIVE_INFINITY;
  private blackholed = false;

  constructor(options: { shape: LinkShape; seed: number; stageSlots: number }) {
    this.shape = { ...options.shape };
    this.random = seededRandom(options.seed);
    this.stageSlots = options.stageSlots;
    this.resize(options.shape.queuePackets);
  }

  get queuedPackets(): number {
    return this.waitingCount + this.flightCount;
  }

  /** Takes the packet in the caller's stage slot: copies it into the ring, or loses or drops it. */
  accept(stageSlot: number, length: number, nowMs: number): void {
    if (this.blackholed || (this.shape.lossRatio > 0 && this.random() < this.shape.lossRatio)) {
      this.lostPackets += 1;
      return;
    }
    if (this.queuedPackets >= this.shape.queuePackets) this.advance(nowMs);
    if (this.queuedPackets >= this.shape.queuePackets || this.freeCount === 0) {
      this.droppedPackets += 1;
      return;
    }
    const slot = this.freeSlots[--this.freeCount]!;
    const from = stageSlot * SLOT_BYTES;
    this.arena.copyWithin(slot * SLOT_BYTES, from, from + length);
    const index = (this.head + this.queuedPackets) % this.capacity;
    this.slots[index] = slot;
    this.lengths[index] = length;
    this.times[index] = nowMs;
    this.waitingCount += 1;
  }

  /** Delivers everything that is due. */
  deliverDue(nowMs: number, deliver: Deliver): void {
    this.advance(nowMs);
    while (this.flightCount > 0 && this.times[this.head]! <= nowMs) {
      const slot = this.slots[this.head]!;
      const length = this.lengths[this.head]!;
      this.deliveredPackets += 1;
      this.deliveredBytes += length;
      deliver(this.arena, slot * SLOT_BYTES, length);
      this.freeSlots[this.freeCount++] = slot;
      this.head = (this.head + 1) % this.capacity;
      this.flightCount -= 1;
    }
  }

  /** The far end refused what was just delivered: its device is down. */
  undeliver(length: number): void {
    this.deliveredPackets -= 1;
    this.deliveredBytes -= length;
    this.lostPackets += 1;
  }

  /** When deliverDue has something to do next; Infinity when the link is empty. May be early, never late. */
  nextDueMs(): number {
    if (this.flightCount > 0) return this.times[this.head]!;
    if (this.waitingCount === 0) return Number.POSITIVE_INFINITY;
    const departureMs = this.departureOf(this.head);
    return this.shape.jitterMs > 0 ? departureMs : departureMs + this.shape.delayMs;
  }

  setShape(change: Partial<LinkShape>, nowMs: number): void {
    this.advance(nowMs);
    this.shape = { ...this.shape, ...change };
    if (this.shape.queuePackets > this.capacity) this.resize(this.shape.queuePackets);
  }

  /** Like a cut cable: what is under way is gone too. */
  setBlackhole(on: boolean): void {
    this.blackholed = on;
    if (!on) return;
    this.lostPackets += this.queuedPackets;
    for (let i = 0; i < this.queuedPackets; i++) this.freeSlots[this.freeCount++] = this.slots[(this.head + i) % this.capacity]!;
    this.waitingCount = 0;
    this.flightCount = 0;
    this.lastDepartureMs = Number.NEGATIVE_INFINITY;
  }

  private departureOf(index: number): number {
    const startMs = Math.max(this.times[index]!, this.lastDepartureMs);
    const { rateBitsPerSec, frameHeaderBytes = 0 } = this.shape;
    return rateBitsPerSec > 0 ? startMs + ((this.lengths[index]! + frameHeaderBytes) * 8000) / rateBitsPerSec : startMs;
  }

  /** Moves what has departed by now into flight. */
  private advance(nowMs: number): void {
    while (this.waitingCount > 0) {
      const index = (this.head + this.flightCount) % this.capacity;
      const departureMs = this.departureOf(index);
      if (departureMs > nowMs) return;
      this.lastDepartureMs = departureMs;
      const { delayMs, jitterMs } = this.shape;
      const extraMs = jitterMs > 0 ? Math.max(-delayMs, this.normal() * jitterMs) : 0;
      // Without reordering: a packet is not due before the one ahead of it.
      this.lastDueMs = Math.max(departureMs + delayMs + extraMs, this.flightCount > 0 ? this.lastDueMs : Number.NEGATIVE_INFINITY);
      this.times[index] = this.lastDueMs;
      this.flightCount += 1;
      this.waitingCount -= 1;
    }
  }

  /** Box-Muller. */
  private normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.random())) * Math.cos(2 * Math.PI * this.random());
  }

  private resize(capacity: number): void {
    const count = this.queuedPackets;
    const arena = new Uint8Array((this.stageSlots + capacity) * SLOT_BYTES);
    const lengths = new Int32Array(capacity);
    const times = new Float64Array(capacity);
    const slots = new Int32Array(capacity);
    arena.set(this.arena.subarray(0, this.stageSlots * SLOT_BYTES));
    for (let i = 0; i < count; i++) {
      const index = (this.head + i) % this.capacity;
      const from = this.slots[index]! * SLOT_BYTES;
      slots[i] = this.stageSlots + i;
      lengths[i] = this.lengths[index]!;
      times[i] = this.times[index]!;
      arena.set(this.arena.subarray(from, from + lengths[i]!), slots[i]! * SLOT_BYTES);
    }
    this.freeSlots = new Int32Array(capacity);
    this.freeCount = 0;
    for (let i = capacity - 1; i >= count; i--) this.freeSlots[this.freeCount++] = this.stageSlots + i;
    this.arena = arena;
    this.lengths = lengths;
    this.times = times;
    this.slots = slots;
    this.head = 0;
    this.capacity = capacity;
  }
}
