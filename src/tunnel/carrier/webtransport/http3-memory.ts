/** Where HTTP/3 did not work lately although HTTP/2 did: there it is not tried for a while, so that nobody waits for it. Time comes in. */

const REMEMBERED_MS = 5 * 60_000;
const MAX_WAYS = 256;

export class Http3Memory {
  /** By way; the oldest first. */
  readonly #failedMs = new Map<string, number>();

  handleFailure(way: string, nowMs: number): void {
    this.#failedMs.delete(way);
    if (this.#failedMs.size >= MAX_WAYS) this.#failedMs.delete(this.#failedMs.keys().next().value!);
    this.#failedMs.set(way, nowMs);
  }

  handleSuccess(way: string): void {
    this.#failedMs.delete(way);
  }

  isWorthATry(way: string, nowMs: number): boolean {
    const failedMs = this.#failedMs.get(way);
    return failedMs === undefined || nowMs - failedMs > REMEMBERED_MS;
  }
}
