/** Counts what the paths with a budget carry, holds them back when they have carried too much, and keeps the count over restarts. */

import type { BudgetSpent, PathConfig } from '../config.js';
import type { TunnelOccurrence } from '../events.js';
import type { PathLink, PathRestriction, PeerLink } from '../link.js';
import type { BudgetStatus } from '../status.js';
import type { BudgetRecords } from './budget-file.js';
import { PathBudget } from './path-budget.js';

export const BUDGET_TICK_MS = 1000;
/** A crash forgets what was carried since the last writing: no more than this, or so little. */
const SAVE_EVERY_MS = 5000;
const SAVE_BYTES = 100e3;
const SAVE_LITTLE_EVERY_MS = 60_000;
/** What is kept of paths that have no budget any more. */
const FORGET_AFTER_MS = 100 * 86_400_000;

export interface BudgetKeeperOptions {
  /** As configured now. */
  paths: () => readonly PathConfig[];
  peers: () => readonly PeerLink[];
  restrict: (name: string, restriction: PathRestriction, reason: string) => void;
  emit: (occurrence: TunnelOccurrence) => void;
  file: {
    read(): BudgetRecords;
    /** False: not now. */
    save(records: BudgetRecords): boolean;
    close(records: BudgetRecords): Promise<void>;
  };
  wallMs?: () => number;
  nowMs?: () => number;
}

interface Kept {
  budget: PathBudget;
  spent: BudgetSpent;
  /** As told last. */
  restriction: PathRestriction;
}

export class BudgetKeeper {
  readonly #options: BudgetKeeperOptions;
  readonly #wallMs: () => number;
  readonly #nowMs: () => number;
  readonly #kept = new Map<string, Kept>();
  readonly #countedBytes = new WeakMap<PathLink, number>();
  /** Carried by paths that are gone, since the last tick. */
  readonly #owedBytes = new Map<string, number>();
  /** Of the file, as read; undefined while no path has a budget. */
  #records: BudgetRecords | undefined;
  #unsavedBytes = 0;
  #isNews = false;
  #savedMs: number;

  constructor(options: BudgetKeeperOptions) {
    this.#options = options;
    this.#wallMs = options.wallMs ?? Date.now;
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#savedMs = this.#nowMs();
  }

  /** Every second, and when the configuration has changed. */
  tick(): void {
    const [wallMs, nowMs] = [this.#wallMs(), this.#nowMs()];
    const configs = this.#options.paths();
    for (const config of configs) this.#follow(config, wallMs, nowMs);
    for (const [name, { budget }] of [...this.#kept]) {
      if (configs.some((config) => config.name === name)) continue;
      budget.update(this.#carriedBytes(name), wallMs, nowMs);
      this.#forget(name);
    }
    if (this.#records !== undefined) this.#saveIfDue(nowMs);
  }

  /** It is gone for good; what it has carried still counts. */
  handlePathRemoved(path: PathLink): void {
    this.#owedBytes.set(path.name, (this.#owedBytes.get(path.name) ?? 0) + this.#newBytes(path));
    this.#countedBytes.set(path, path.carriedBytes ?? 0);
  }

  status(name: string): BudgetStatus | undefined {
    const kept = this.#kept.get(name);
    if (kept === undefined) return undefined;
    const { budget } = kept;
    return {
      ...budget.budget,
      usedBytes: budget.usedBytes,
      dueBytes: Math.round(budget.dueBytes(this.#wallMs())),
      state: budget.state,
      endsAt: new Date(budget.endsAtMs).toISOString(),
    };
  }

  /** Counts once more, and keeps it. */
  async close(): Promise<void> {
    this.tick();
    if (this.#records !== undefined) await this.#options.file.close(this.#allRecords());
  }

  #follow({ name, budget: wanted, budgetSpent = 'backup' }: PathConfig, wallMs: number, nowMs: number): void {
    const carriedBytes = this.#carriedBytes(name);
    if (wanted === undefined || wanted.bytes === 0) {
      this.#forget(name);
      return;
    }
    let kept = this.#kept.get(name);
    if (kept === undefined || kept.budget.budget.period !== wanted.period) {
      this.#records ??= this.#options.file.read();
      // What was carried before there was a budget does not count.
      kept = {
        budget: new PathBudget(wanted, this.#records[name], wallMs, nowMs),
        spent: budgetSpent,
        restriction: kept?.restriction ?? 'none',
      };
      this.#kept.set(name, kept);
      this.#isNews = true;
    } else {
      this.#unsavedBytes += carriedBytes;
      const { startMs } = kept.budget.record;
      kept.budget.update(carriedBytes, wallMs, nowMs);
      if (kept.budget.budget.bytes !== wanted.bytes) kept.budget.setBytes(wanted.bytes, wallMs, nowMs);
      if (kept.budget.record.startMs !== startMs) this.#isNews = true;
    }
    kept.spent = budgetSpent;
    this.#apply(name, kept);
  }

  #apply(name: string, kept: Kept): void {
    const { budget, usedBytes, state } = kept.budget;
    const restriction = state === 'within' ? 'none' : state === 'spent' && kept.spent === 'off' ? 'off' : 'backup';
    if (restriction === kept.restriction) return;
    kept.restriction = restriction;
    this.#isNews = true;
    this.#options.restrict(name, restriction, restriction === 'off' ? 'its budget is spent' : '');
    this.#options.emit({
      type: 'path-budget',
      path: name,
      state,
      use: restriction,
      usedBytes,
      budgetBytes: budget.bytes,
      period: budget.period,
    });
  }

  #forget(name: string): void {
    const kept = this.#kept.get(name);
    if (kept === undefined) return;
    this.#records = { ...this.#records, [name]: kept.budget.record };
    this.#kept.delete(name);
    if (kept.restriction !== 'none' && this.#options.paths().some((config) => config.name === name))
      this.#options.restrict(name, 'none', '');
    this.#isNews = true;
  }

  /** Since it was asked last, by all paths of that name. */
  #carriedBytes(name: string): number {
    let bytes = this.#owedBytes.get(name) ?? 0;
    this.#owedBytes.delete(name);
    for (const peer of this.#options.peers()) {
      if (!peer.initiator) continue;
      for (const path of peer.paths) {
        if (path.name !== name) continue;
        bytes += this.#newBytes(path);
        this.#countedBytes.set(path, path.carriedBytes ?? 0);
      }
    }
    return bytes;
  }

  #newBytes(path: PathLink): number {
    return (path.carriedBytes ?? 0) - (this.#countedBytes.get(path) ?? 0);
  }

  #saveIfDue(nowMs: number): void {
    const sinceMs = nowMs - this.#savedMs;
    const isDue =
      this.#isNews ||
      (sinceMs >= SAVE_EVERY_MS && this.#unsavedBytes >= SAVE_BYTES) ||
      (sinceMs >= SAVE_LITTLE_EVERY_MS && this.#unsavedBytes > 0);
    if (!isDue || !this.#options.file.save(this.#allRecords())) return;
    this.#isNews = false;
    this.#unsavedBytes = 0;
    this.#savedMs = nowMs;
  }

  #allRecords(): BudgetRecords {
    const oldestMs = this.#wallMs() - FORGET_AFTER_MS;
    const old = Object.entries(this.#records ?? {}).filter(([, { startMs }]) => startMs >= oldestMs);
    return Object.fromEntries([...old, ...[...this.#kept].map(([name, { budget }]) => [name, budget.record] as const)]);
  }
}
