/** Whether a probe for bandwidth made round trips longer, by means of rounds: under jitter a path that has room for more is told by that, sooner than by the bandwidth. */

/** Of a round before the probe, in the mean of those. */
const SMOOTHING = 4;

export class ProbeDelay {
  #beforeMs = -1;
  #sumMs = 0;
  #rounds = 0;

  /** A round of the time between probes. */
  handleSteadyRound(rttMs: number): void {
    this.#beforeMs = this.#beforeMs < 0 ? rttMs : this.#beforeMs + (rttMs - this.#beforeMs) / SMOOTHING;
  }

  startProbe(): void {
    this.#sumMs = 0;
    this.#rounds = 0;
  }

  /** A round of the probe, or of the one after it, in which what the probe had queued drains. */
  handleProbeRound(rttMs: number): void {
    this.#sumMs += rttMs;
    this.#rounds++;
  }

  /** Of the last probe; false when there is nothing to tell it by. */
  get addedNone(): boolean {
    return this.#rounds > 0 && this.#sumMs < this.#rounds * this.#beforeMs;
  }
}
