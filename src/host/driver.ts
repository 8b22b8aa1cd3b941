/** Runs a sans-IO engine: polls it after each batch and when its time has come. One timer, as fine as the addon's where that is built. */

import { type FineTimer, loadNative } from '../tun/native.js';

export interface Driven {
  poll(nowMs: number): void;
  /** Absolute; Infinity when nothing is due. */
  nextTimeoutMs(): number;
}

/** A timer that is due within this is run at once: arming it costs as much. */
const TIMER_SLACK_MS = 0.02;
const MAX_TIMEOUT_MS = 0x7fff_ffff;

export class Driver {
  private readonly engine: Driven;
  private readonly timer: FineTimer;
  private wakePending = false;
  private closed = false;

  constructor(engine: Driven) {
    this.engine = engine;
    this.timer = createTimer(() => this.run());
  }

  /** Polls now, and arms the timer. */
  run(): void {
    if (this.closed) return;
    this.engine.poll(performance.now());
    const atMs = this.engine.nextTimeoutMs();
    if (atMs === Number.POSITIVE_INFINITY) this.timer.disarm();
    else this.timer.arm(Math.max(1, Math.ceil(Math.max(TIMER_SLACK_MS, atMs - performance.now()) * 1000)));
  }

  /** Something outside of a batch made work: polls once at the end of this turn of the event loop. */
  wake(): void {
    if (this.wakePending) return;
    this.wakePending = true;
    setImmediate(() => {
      this.wakePending = false;
      this.run();
    });
  }

  close(): void {
    this.closed = true;
    this.timer.close();
  }
}

/** The event loop's timers tick in milliseconds: good enough for a host on a device of its own kind where the addon is not built. */
function createTimer(onExpire: () => void): FineTimer {
  try {
    return loadNative().createFineTimer(onExpire);
  } catch {
    let timeout: NodeJS.Timeout | undefined;
    return {
      arm: (delayMicroseconds) => {
        clearTimeout(timeout);
        timeout = setTimeout(onExpire, Math.min(MAX_TIMEOUT_MS, delayMicroseconds / 1000));
      },
      disarm: () => clearTimeout(timeout),
      close: () => clearTimeout(timeout),
    };
  }
}
