/**
 * Data that was scheduled on a subflow and has no DATA_ACK, in order of DSN, and which of it must travel again on another subflow
 * (reinjection). Holds one reference of each block until the DATA_ACK.
 */

import type { BlockPool, PayloadBlock } from '../tcp/payload-block.js';
import type { Subflow } from './subflow.js';

export class DataRecord {
  readonly dsn: number;
  readonly length: number;
  readonly block: PayloadBlock;
  readonly blockOffset: number;
  /** The subflow that carried it last. */
  subflow: Subflow;
  sentMs: number;
  /** Where it ends in that subflow's stream. */
  subflowEnd: number;
  /** Sent on more than one subflow already: not reinjected opportunistically again. */
  reinjected = false;
  /** Waits in the reinjection queue. */
  queued = false;

  constructor(dsn: number, length: number, block: PayloadBlock, blockOffset: number, subflow: Subflow, subflowEnd: number, sentMs: number) {
    this.dsn = dsn;
    this.length = length;
    this.block = block;
    this.blockOffset = blockOffset;
    this.subflow = subflow;
    this.subflowEnd = subflowEnd;
    this.sentMs = sentMs;
  }
}

/** A stretch to be sent again. */
export interface Reinjection {
  record: DataRecord;
  /** Sent again up to here, exclusive, relative to the record. */
  done: number;
  /** What is to be sent again ends here, exclusive, relative to the record. */
  readonly end: number;
}

export class DataSendQueue {
  private readonly pool: BlockPool;
  private records: DataRecord[] = [];
  private head = 0;
  private reinjections: Reinjection[] = [];
  /** Of losses that their own subflow repeats too: they wait for room by themselves, and keep nothing else waiting. */
  private repairs: Reinjection[] = [];

  constructor(pool: BlockPool) {
    this.pool = pool;
  }

  /** Right before `subflow` sends it. Takes its own reference of `block`. */
  push(dsn: number, length: number, block: PayloadBlock, blockOffset: number, subflow: Subflow, nowMs: number): void {
    block.referenceCount++;
    this.records.push(new DataRecord(dsn, length, block, blockOffset, subflow, subflow.recovery.sndNxt + length, nowMs));
  }

  /** The i-th unacknowledged record from the head. */
  at(i: number): DataRecord | undefined {
    return this.records[this.head + i];
  }

  get first(): DataRecord | undefined {
    return this.records[this.head];
  }

  /** In order of DSN. */
  outstanding(): readonly DataRecord[] {
    return this.records.slice(this.head);
  }

  /** The record that holds `dsn`, undefined when that was never sent or is acknowledged. */
  find(dsn: number): DataRecord | undefined {
    let low = this.head;
    let high = this.records.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const record = this.records[middle] as DataRecord;
      if (dsn < record.dsn) high = middle;
      else if (dsn >= record.dsn + record.length) low = middle + 1;
      else return record;
    }
    return undefined;
  }

  acknowledge(dataUna: number): void {
    while (this.head < this.records.length) {
      const record = this.records[this.head] as DataRecord;
      if (record.dsn + record.length > dataUna) break;
      this.pool.release(record.block);
      this.head++;
    }
    if (this.head === this.records.length) {
      this.records.length = 0;
      this.head = 0;
    } else if (this.head > 256 && this.head * 2 > this.records.length) {
      this.records.splice(0, this.head);
      this.head = 0;
    }
  }

  /**
   * What this subflow carried last and nobody acknowledged goes to the others; last, what the subflow itself has an ACK for: it most likely waits in the
   * peer's buffer for the rest, and has its DATA_ACK when the rest is there.
   */
  reinjectFrom(subflow: Subflow, dataUna: number): void {
    const arrivedTo = subflow.recovery.sndUna;
    for (const arrived of [false, true]) {
      for (let i = this.head; i < this.records.length; i++) {
        const record = this.records[i] as DataRecord;
        if (record.subflow !== subflow || record.dsn + record.length <= dataUna) continue;
        if (record.subflowEnd <= arrivedTo === arrived) this.reinject(record);
      }
    }
  }

  reinject(record: DataRecord): void {
    if (record.queued) return;
    record.queued = true;
    record.reinjected = true;
    this.reinjections.push({ record, done: 0, end: record.length });
  }

  /** A part of a record that its subflow lost; that goes on to carry the record. False: it is on its way again already, or acknowledged. */
  repair(dsn: number, length: number): boolean {
    const record = this.find(dsn);
    if (record === undefined || record.reinjected) return false;
    const done = dsn - record.dsn;
    this.repairs.push({ record, done, end: Math.min(record.length, done + length) });
    return true;
  }

  /** The next stretch to reinject, past what has been acknowledged meanwhile. */
  nextReinjection(dataUna: number): Reinjection | undefined {
    for (let next = this.reinjections[0]; next !== undefined; next = this.reinjections[0]) {
      const { record } = next;
      if (record.dsn + next.done < dataUna) next.done = Math.min(next.end, dataUna - record.dsn);
      if (next.done < next.end) return next;
      record.queued = false;
      this.reinjections.shift();
    }
    return undefined;
  }

  /** The next stretch that a subflow lost and a quicker one may bring, past what has been acknowledged or goes whole meanwhile. */
  nextRepair(dataUna: number): Reinjection | undefined {
    for (let next = this.repairs[0]; next !== undefined; next = this.repairs[0]) {
      const { record } = next;
      if (record.dsn + next.done < dataUna) next.done = Math.min(next.end, dataUna - record.dsn);
      if (next.done < next.end && !record.reinjected) return next;
      this.repairs.shift();
    }
    return undefined;
  }

  /** The first waiting stretch need not travel again. */
  dropReinjection(): void {
    const dropped = this.reinjections.shift();
    if (dropped !== undefined) dropped.record.queued = false;
  }

  clear(): void {
    for (let i = this.head; i < this.records.length; i++) this.pool.release((this.records[i] as DataRecord).block);
    this.records = [];
    this.head = 0;
    this.reinjections = [];
    this.repairs = [];
  }
}
