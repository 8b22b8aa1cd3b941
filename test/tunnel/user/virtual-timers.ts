/** Timers of this program on a clock of their own, for code that sets them itself. */

interface VirtualTimer {
  atMs: number;
  isArmed: boolean;
  hasRef: boolean;
}

export class VirtualTimers {
  nowMs = 0;
  readonly all: VirtualTimer[] = [];
  readonly #actions = new Map<VirtualTimer, () => void>();
  readonly #original = { setTimeout: globalThis.setTimeout, clearTimeout: globalThis.clearTimeout };

  /** Until `restore`. */
  constructor() {
    const set = (action: () => void, ms: number) => {
      const timer: VirtualTimer = { atMs: this.nowMs + ms, isArmed: true, hasRef: true };
      this.all.push(timer);
      this.#actions.set(timer, action);
      return Object.assign(timer, {
        unref: () => Object.assign(timer, { hasRef: false }),
        refresh: () => Object.assign(timer, { atMs: this.nowMs + ms, isArmed: true }),
      });
    };
    const clear = (timer?: VirtualTimer) => {
      const index = this.all.indexOf(timer as VirtualTimer);
      // Those from before are real.
      if (index < 0) this.#original.clearTimeout(timer as unknown as NodeJS.Timeout | undefined);
      else this.all.splice(index, 1)[0]!.isArmed = false;
    };
    Object.assign(globalThis, { setTimeout: set, clearTimeout: clear });
  }

  get armedCount(): number {
    return this.all.filter(({ isArmed }) => isArmed).length;
  }

  advance(ms: number): void {
    const untilMs = this.nowMs + ms;
    for (;;) {
      const [next] = this.all.filter(({ isArmed, atMs }) => isArmed && atMs <= untilMs).sort((a, b) => a.atMs - b.atMs);
      if (next === undefined) break;
      this.nowMs = next.atMs;
      next.isArmed = false;
      this.#actions.get(next)!();
    }
    this.nowMs = untilMs;
  }

  restore(): void {
    Object.assign(globalThis, this.#original);
  }
}
