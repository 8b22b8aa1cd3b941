/** Work that is asked for more often than it has to be done: once, a while after the first asking. */
export class Trailing {
  readonly #delayMs: number;
  readonly #work: () => void;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(delayMs: number, work: () => void) {
    this.#delayMs = delayMs;
    this.#work = work;
  }

  soon(): void {
    if (this.#closed) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#work();
    }, this.#delayMs);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }
}
