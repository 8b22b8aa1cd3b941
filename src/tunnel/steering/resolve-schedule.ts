/** When the names of rules are to be resolved again: as their TTL says, and sooner while there is no answer. Pure: time comes in. */

const MIN_INTERVAL_MS = 30_000;
const MAX_INTERVAL_MS = 3_600_000;
const FIRST_RETRY_MS = 2_000;
const MAX_RETRY_MS = 300_000;

interface Entry {
  dueMs: number;
  retryMs: number;
  underWay: boolean;
}

export class ResolveSchedule {
  readonly #entries = new Map<string, Entry>();

  /** New ones are due at once. */
  setNames(names: Iterable<string>, nowMs: number): void {
    const wanted = new Set(names);
    for (const name of this.#entries.keys()) if (!wanted.has(name)) this.#entries.delete(name);
    for (const name of wanted) {
      if (!this.#entries.has(name)) this.#entries.set(name, { dueMs: nowMs, retryMs: FIRST_RETRY_MS, underWay: false });
    }
  }

  /** To be asked for now; `handleAnswer` is awaited for each of them. */
  takeDue(nowMs: number): string[] {
    const due = [...this.#entries].filter(([, { dueMs, underWay }]) => !underWay && dueMs <= nowMs);
    for (const [, entry] of due) entry.underWay = true;
    return due.map(([name]) => name);
  }

  /** `ttlSeconds`: the least of the answer, undefined: there was none. */
  handleAnswer(name: string, ttlSeconds: number | undefined, nowMs: number): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    entry.underWay = false;
    if (ttlSeconds !== undefined) {
      entry.retryMs = FIRST_RETRY_MS;
      entry.dueMs = nowMs + Math.min(MAX_INTERVAL_MS, Math.max(MIN_INTERVAL_MS, ttlSeconds * 1000));
      return;
    }
    entry.dueMs = nowMs + entry.retryMs;
    entry.retryMs = Math.min(MAX_RETRY_MS, 2 * entry.retryMs);
  }

  /** Absolute, Infinity when nothing is to come. */
  nextTimeoutMs(): number {
    let at = Number.POSITIVE_INFINITY;
    for (const { dueMs, underWay } of this.#entries.values()) if (!underWay) at = Math.min(at, dueMs);
    return at;
  }
}
