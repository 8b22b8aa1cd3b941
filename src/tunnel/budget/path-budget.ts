/**
 * What a path may carry in a day, week or month, and what it has carried of that. Pure: the wall clock, which people and other machines set as they like,
 * and the monotonic one come in.
 *
 * A period is only ever left forwards. While the clock says that it is before the period that we are in, it was set back, or it was ahead before: what is
 * carried still counts in that period, so that a clock without a battery gives no new budget with every start. When it has said so for an hour it is
 * believed: the use so far goes along, together with what is still known of the period that it is in now.
 */

import type { Budget } from '../config.js';
import { type Span, spanOf } from './calendar.js';

/** within: as much as it likes. ahead: it has carried more than its share of the time that is over. spent: all of it. */
export type BudgetState = 'within' | 'ahead' | 'spent';

/** What outlives the process. */
export interface BudgetRecord {
  period: Budget['period'];
  startMs: number;
  usedBytes: number;
  /** The period before. */
  previous?: { startMs: number; usedBytes: number } | undefined;
}

/** So much of the budget may be used ahead of the calendar; back within it must be by this much. */
export const AHEAD_SHARE = 0.05;
export const BACK_SHARE = 0.04;
const BELIEVED_AFTER_MS = 3_600_000;
/** 2025: a clock that says less has not been set. */
const EARLIEST_MS = 1_735_689_600_000;

export class PathBudget {
  #budget: Budget;
  #span: Span;
  #usedBytes: number;
  #previous: BudgetRecord['previous'];
  #state: BudgetState = 'within';
  /** Since when the clock has been before the period, by the monotonic clock. */
  #beforeSinceMs = -1;

  /** `record`: what was kept; one of another period of the calendar is begun anew. */
  constructor(budget: Budget, record: BudgetRecord | undefined, wallMs: number, nowMs: number) {
    this.#budget = budget;
    const known = record?.period === budget.period ? record : undefined;
    this.#span = spanOf(budget.period, known?.startMs ?? wallMs);
    this.#usedBytes = known?.usedBytes ?? 0;
    this.#previous = known?.previous;
    this.update(0, wallMs, nowMs);
  }

  get budget(): Budget {
    return this.#budget;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  get state(): BudgetState {
    return this.#state;
  }

  /** When it begins anew. */
  get endsAtMs(): number {
    return this.#span.endMs;
  }

  get record(): BudgetRecord {
    const { startMs } = this.#span;
    return { period: this.#budget.period, startMs, usedBytes: this.#usedBytes, ...(this.#previous && { previous: this.#previous }) };
  }

  /** Another amount for the same period; what was used counts. */
  setBytes(bytes: number, wallMs: number, nowMs: number): void {
    this.#budget = { ...this.#budget, bytes };
    this.update(0, wallMs, nowMs);
  }

  /** `bytes` more were carried. Call often: periods end by it. True when the state changed. */
  update(bytes: number, wallMs: number, nowMs: number): boolean {
    this.#followCalendar(wallMs, nowMs);
    this.#usedBytes += bytes;
    const before = this.#state;
    this.#state = this.#judge(wallMs);
    return this.#state !== before;
  }

  /** What may have been used by now, if it were used evenly. */
  dueBytes(wallMs: number): number {
    const { startMs, endMs } = this.#span;
    const part = (wallMs - startMs) / (endMs - startMs);
    return this.#budget.bytes * Math.min(1, Math.max(0, part));
  }

  #judge(wallMs: number): BudgetState {
    const { bytes } = this.#budget;
    if (this.#usedBytes >= bytes) return 'spent';
    const aheadBytes = this.#usedBytes - this.dueBytes(wallMs);
    return aheadBytes > (this.#state === 'within' ? AHEAD_SHARE : BACK_SHARE) * bytes ? 'ahead' : 'within';
  }

  #followCalendar(wallMs: number, nowMs: number): void {
    if (wallMs >= this.#span.startMs) {
      this.#beforeSinceMs = -1;
      if (wallMs >= this.#span.endMs) this.#begin(wallMs, { startMs: this.#span.startMs, usedBytes: this.#usedBytes }, 0);
      return;
    }
    if (this.#beforeSinceMs < 0) this.#beforeSinceMs = nowMs;
    if (wallMs < EARLIEST_MS || nowMs - this.#beforeSinceMs < BELIEVED_AFTER_MS) return;
    const { startMs } = spanOf(this.#budget.period, wallMs);
    const known = this.#previous?.startMs === startMs ? this.#previous.usedBytes : 0;
    this.#begin(wallMs, undefined, this.#usedBytes + known);
  }

  #begin(wallMs: number, previous: BudgetRecord['previous'], usedBytes: number): void {
    this.#span = spanOf(this.#budget.period, wallMs);
    this.#previous = previous;
    this.#usedBytes = usedBytes;
    this.#beforeSinceMs = -1;
  }
}
