/**
 * Which mode each flow goes by, and which path it is on. A hash table in typed arrays, so that a packet costs no object and no string: chained buckets, a list in order of
 * use, a fixed number of entries. When it is full the flow that was idle longest makes room.
 */

import type { IpPacketFacts } from '../../mptcp-over-udp/wire/ip-header.js';
import { FLOW_MODES, type FlowMode } from '../config.js';

/** Source 4, destination 4, ports, protocol and version. */
const KEY_WORDS = 10;
const NONE = -1;
/** Instead of the number of a rule: there is none, or the flow goes as the other side sends it. */
export const RULE_NONE = -1;
export const RULE_MIRRORED = -2;
/** The rules are others since it was asked. */
export const RULE_UNKNOWN = -3;
/** A subflow of a host's own MPTCP (subflow-tracker.ts): on its home path; without one it goes where the peer sends it. */
export const RULE_SUBFLOW = -4;

/** A flow counts as spread for so long after it changed paths. */
const SPREAD_FOR_MS = 400;

export interface FlowTableOptions {
  maxFlows?: number;
  /** After so long without a packet a flow is forgotten. */
  idleMs?: number;
  /** Random, so that nobody outside can aim at one bucket. */
  hashSeed: number;
}

export class FlowTable {
  readonly maxFlows: number;
  readonly idleMs: number;
  readonly #hashSeed: number;
  readonly #keys: Uint32Array;
  readonly #buckets: Int32Array;
  readonly #bucketMask: number;
  readonly #nextInBucket: Int32Array;
  readonly #newer: Int32Array;
  readonly #older: Int32Array;
  readonly #pathIds: Int16Array;
  readonly #lastUseMs: Float64Array;
  readonly #modes: Uint8Array;
  readonly #rules: Int16Array;
  readonly #flowIds: Int16Array;
  readonly #pathMasks: Uint32Array;
  readonly #betterSinceMs: Float64Array;
  readonly #spreadPathIds: Int8Array;
  readonly #spreadUntilMs: Float64Array;
  readonly #homePathIds: Int16Array;
  readonly #connections: Int32Array;
  readonly #countByMode = new Int32Array(FLOW_MODES.length);
  readonly #key = new Uint32Array(KEY_WORDS);
  #newest = NONE;
  #oldest = NONE;
  #free = NONE;
  /** Slots from here on were never used. */
  #untouched = 0;
  #size = 0;
  #evictedCount = 0;

  constructor(options: FlowTableOptions) {
    this.maxFlows = options.maxFlows ?? 65_536;
    this.idleMs = options.idleMs ?? 300_000;
    if (!(this.maxFlows >= 1 && this.maxFlows <= 1 << 24)) throw new RangeError('maxFlows must lie between 1 and 2^24');
    this.#hashSeed = options.hashSeed | 0;
    let bucketCount = 16;
    while (bucketCount < this.maxFlows) bucketCount *= 2;
    this.#bucketMask = bucketCount - 1;
    this.#buckets = new Int32Array(bucketCount).fill(NONE);
    this.#keys = new Uint32Array(this.maxFlows * KEY_WORDS);
    this.#nextInBucket = new Int32Array(this.maxFlows);
    this.#newer = new Int32Array(this.maxFlows);
    this.#older = new Int32Array(this.maxFlows);
    this.#pathIds = new Int16Array(this.maxFlows);
    this.#lastUseMs = new Float64Array(this.maxFlows);
    this.#modes = new Uint8Array(this.maxFlows);
    this.#rules = new Int16Array(this.maxFlows);
    this.#flowIds = new Int16Array(this.maxFlows);
    this.#pathMasks = new Uint32Array(this.maxFlows);
    this.#betterSinceMs = new Float64Array(this.maxFlows);
    this.#spreadPathIds = new Int8Array(this.maxFlows);
    this.#spreadUntilMs = new Float64Array(this.maxFlows);
    this.#homePathIds = new Int16Array(this.maxFlows);
    this.#connections = new Int32Array(this.maxFlows);
  }

  get size(): number {
    return this.#size;
  }

  /** Flows that had to make room before they were idle long enough. */
  get evictedCount(): number {
    return this.#evictedCount;
  }

  /**
   * The slot of the packet's flow, marked as used now, or -1. `reversed`: the packet is of the other direction, and the flow is that of its
   * answers. A slot is valid until the next `insert` or `expire`.
   */
  find(bytes: Uint8Array, facts: IpPacketFacts, reversed: boolean, nowMs: number): number {
    const bucket = this.#loadKey(bytes, facts, reversed);
    for (let slot = this.#buckets[bucket]!; slot !== NONE; slot = this.#nextInBucket[slot]!) {
      if (!this.#hasKey(slot)) continue;
      if (this.#lastUseMs[slot]! + this.idleMs <= nowMs) {
        this.#remove(slot);
        return NONE;
      }
      this.#use(slot, nowMs);
      return slot;
    }
    return NONE;
  }

  /** A flow that `find` does not know, on this path, in mode `min-delay` by no rule; returns its slot. */
  insert(bytes: Uint8Array, facts: IpPacketFacts, reversed: boolean, pathId: number, nowMs: number): number {
    const bucket = this.#loadKey(bytes, facts, reversed);
    const slot = this.#takeSlot(nowMs);
    this.#keys.set(this.#key, slot * KEY_WORDS);
    this.#nextInBucket[slot] = this.#buckets[bucket]!;
    this.#buckets[bucket] = slot;
    this.#pathIds[slot] = pathId;
    this.#modes[slot] = 0;
    this.#countByMode[0]!++;
    this.#rules[slot] = RULE_NONE;
    this.#flowIds[slot] = NONE;
    this.#pathMasks[slot] = 0;
    this.#betterSinceMs[slot] = Number.NaN;
    this.#spreadPathIds[slot] = NONE;
    this.#spreadUntilMs[slot] = Number.NEGATIVE_INFINITY;
    this.#homePathIds[slot] = NONE;
    this.#connections[slot] = NONE;
    this.#older[slot] = NONE;
    this.#newer[slot] = NONE;
    this.#link(slot);
    this.#lastUseMs[slot] = nowMs;
    this.#size++;
    return slot;
  }

  pathId(slot: number): number {
    return this.#pathIds[slot]!;
  }

  setPathId(slot: number, pathId: number): void {
    this.#pathIds[slot] = pathId;
  }

  mode(slot: number): FlowMode {
    return FLOW_MODES[this.#modes[slot]!]!;
  }

  /** The number of the rule that the flow goes by, RULE_NONE or RULE_MIRRORED. */
  rule(slot: number): number {
    return this.#rules[slot]!;
  }

  setMode(slot: number, mode: FlowMode, rule: number): void {
    this.#countByMode[this.#modes[slot]!]!--;
    const index = FLOW_MODES.indexOf(mode);
    this.#modes[slot] = index;
    this.#countByMode[index]!++;
    this.#rules[slot] = rule;
    this.#betterSinceMs[slot] = Number.NaN;
  }

  /** The rules are others now: which one a flow goes by is to be asked again. What the peer decides stays. */
  forgetRules(): void {
    for (let slot = this.#newest; slot !== NONE; slot = this.#older[slot]!) {
      if (this.#rules[slot] !== RULE_MIRRORED) this.setMode(slot, 'min-delay', RULE_UNKNOWN);
    }
  }

  countOf(mode: FlowMode): number {
    return this.#countByMode[FLOW_MODES.indexOf(mode)]!;
  }

  /** Under which id its packets are numbered, -1: none. */
  flowId(slot: number): number {
    return this.#flowIds[slot]!;
  }

  setFlowId(slot: number, flowId: number): void {
    this.#flowIds[slot] = flowId;
  }

  /** Bit i: a mirrored flow may use path i; 0: all. */
  pathMask(slot: number): number {
    return this.#pathMasks[slot]!;
  }

  setPathMask(slot: number, mask: number): void {
    this.#pathMasks[slot] = mask;
  }

  /** The path that a subflow was given, -1: none. */
  homePathId(slot: number): number {
    return this.#homePathIds[slot]!;
  }

  setHomePathId(slot: number, pathId: number): void {
    this.#homePathIds[slot] = pathId;
  }

  /** The number of the MPTCP connection that a subflow belongs to, -1: none that is known. */
  connection(slot: number): number {
    return this.#connections[slot]!;
  }

  setConnection(slot: number, connection: number): void {
    this.#connections[slot] = connection;
  }

  /** Since when a better path has been there, NaN: there is none. */
  betterSinceMs(slot: number): number {
    return this.#betterSinceMs[slot]!;
  }

  setBetterSinceMs(slot: number, sinceMs: number): void {
    this.#betterSinceMs[slot] = sinceMs;
  }

  /** A packet of a flow that is steered packet by packet takes this path. True when the flow lately took several. */
  noteSpread(slot: number, pathId: number, nowMs: number): boolean {
    const last = this.#spreadPathIds[slot]!;
    if (last !== pathId) {
      this.#spreadPathIds[slot] = pathId;
      if (last !== NONE) this.#spreadUntilMs[slot] = nowMs + SPREAD_FOR_MS;
    }
    return nowMs < this.#spreadUntilMs[slot]!;
  }

  /** Forgets what has been idle too long. Not needed for correctness. */
  expire(nowMs: number): void {
    while (this.#oldest !== NONE && this.#lastUseMs[this.#oldest]! + this.idleMs <= nowMs) this.#remove(this.#oldest);
  }

  #takeSlot(nowMs: number): number {
    if (this.#size === this.maxFlows) {
      const oldest = this.#oldest;
      if (this.#lastUseMs[oldest]! + this.idleMs > nowMs) this.#evictedCount++;
      this.#remove(oldest);
    }
    const slot = this.#free;
    if (slot === NONE) return this.#untouched++;
    this.#free = this.#nextInBucket[slot]!;
    return slot;
  }

  /** Fragments have no ports, and the first must go with the others: for them it is addresses and protocol alone. */
  #loadKey(bytes: Uint8Array, facts: IpPacketFacts, reversed: boolean): number {
    const key = this.#key;
    const words = facts.addressBytes >>> 2;
    const first = reversed ? facts.destinationAddressOffset : facts.sourceAddressOffset;
    const second = reversed ? facts.sourceAddressOffset : facts.destinationAddressOffset;
    for (let i = 0; i < 4; i++) {
      key[i] = i < words ? wordAt(bytes, first + 4 * i) : 0;
      key[4 + i] = i < words ? wordAt(bytes, second + 4 * i) : 0;
    }
    const usePorts = facts.hasPorts && !facts.isFragment;
    const firstPort = reversed ? facts.destinationPort : facts.sourcePort;
    const secondPort = reversed ? facts.sourcePort : facts.destinationPort;
    key[8] = usePorts ? (firstPort << 16) | secondPort : 0;
    key[9] = (facts.version << 8) | facts.protocol;
    return this.#hashOfKey() & this.#bucketMask;
  }

  /** murmur3's mixing, seeded. */
  #hashOfKey(): number {
    let hash = this.#hashSeed;
    for (let i = 0; i < KEY_WORDS; i++) {
      let word = Math.imul(this.#key[i]!, 0xcc9e2d51);
      word = (word << 15) | (word >>> 17);
      hash ^= Math.imul(word, 0x1b873593);
      hash = (hash << 13) | (hash >>> 19);
      hash = (Math.imul(hash, 5) + 0xe6546b64) | 0;
    }
    hash ^= hash >>> 16;
    hash = Math.imul(hash, 0x85ebca6b);
    hash ^= hash >>> 13;
    hash = Math.imul(hash, 0xc2b2ae35);
    return hash ^ (hash >>> 16);
  }

  #hasKey(slot: number): boolean {
    const base = slot * KEY_WORDS;
    for (let i = 0; i < KEY_WORDS; i++) if (this.#keys[base + i] !== this.#key[i]) return false;
    return true;
  }

  #use(slot: number, nowMs: number): void {
    this.#lastUseMs[slot] = nowMs;
    if (slot === this.#newest) return;
    this.#unlink(slot);
    this.#link(slot);
  }

  /** As the newest. */
  #link(slot: number): void {
    this.#older[slot] = this.#newest;
    this.#newer[slot] = NONE;
    if (this.#newest !== NONE) this.#newer[this.#newest] = slot;
    this.#newest = slot;
    if (this.#oldest === NONE) this.#oldest = slot;
  }

  #unlink(slot: number): void {
    const newer = this.#newer[slot]!;
    const older = this.#older[slot]!;
    if (newer === NONE) this.#newest = older;
    else this.#older[newer] = older;
    if (older === NONE) this.#oldest = newer;
    else this.#newer[older] = newer;
  }

  /** Recomputes its bucket from its key; leaves #key as the caller loaded it. */
  #remove(slot: number): void {
    const saved = this.#key.slice();
    this.#key.set(this.#keys.subarray(slot * KEY_WORDS, (slot + 1) * KEY_WORDS));
    const bucket = this.#hashOfKey() & this.#bucketMask;
    this.#key.set(saved);
    let previous = NONE;
    let at = this.#buckets[bucket]!;
    while (at !== slot) {
      previous = at;
      at = this.#nextInBucket[at]!;
    }
    if (previous === NONE) this.#buckets[bucket] = this.#nextInBucket[slot]!;
    else this.#nextInBucket[previous] = this.#nextInBucket[slot]!;
    this.#unlink(slot);
    this.#countByMode[this.#modes[slot]!]!--;
    this.#flowIds[slot] = NONE;
    this.#nextInBucket[slot] = this.#free;
    this.#free = slot;
    this.#size--;
  }
}

function wordAt(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}
