/**
 * The lab: hosts (network namespaces) joined by emulated links, for the demo, the tests and the benchmarks. Everything it makes carries a
 * random suffix and is removed by `close`, also after a failure or a signal. Needs root.
 */

export interface LinkShape {
  /** Bits per second of IP packets, each way; 0: as fast as it goes. */
  rateBitsPerSec: number;
  /** One way. */
  delayMs: number;
  /** Standard deviation of a normal distribution, without reordering. */
  jitterMs: number;
  /** Probability 0 .. 1 for each packet, each way, independent. */
  lossRatio: number;
  /** Packets that may be in the link at once (queue and flight), beyond them the tail is dropped. */
  queuePackets: number;
  /** The link layer's header: so much more of the rate goes for each packet; default 0. It is in no counter. */
  frameHeaderBytes?: number;
}

export interface LinkCounters {
  /** IP bytes and packets delivered; "up" is from the first end to the second. */
  upBytes: number;
  upPackets: number;
  downBytes: number;
  downPackets: number;
  lostPackets: number;
  droppedPackets: number;
  queuedPackets: number;
}

/** One emulated link: two TUN devices and queues between them, run in a process of its own. */
export interface EmulatedLink {
  readonly name: string;
  setShape(shape: Partial<LinkShape>): Promise<void>;
  /** Silent: packets vanish, no link event. */
  blackhole(on: boolean): Promise<void>;
  /** `ip link set down` on the first end: a link event. */
  setDown(down: boolean): Promise<void>;
  counters(): Promise<LinkCounters>;
}

export interface LabHost {
  /** Name of the namespace. */
  readonly namespace: string;
  /** Runs to its end inside the namespace; rejects on a non-zero exit with its standard error. */
  run(
    command: string,
    args: readonly string[],
    options?: { timeoutMs?: number; input?: string },
  ): Promise<{ stdout: string; stderr: string }>;
  /** Starts in the background, output to a file; killed by `close` at the latest. */
  spawn(command: string, args: readonly string[]): LabProcess;
}

export interface LabProcess {
  readonly pid: number;
  readonly logFile: string;
  /** Exit code, or 128 + signal number. */
  readonly exited: Promise<number>;
  kill(signal?: NodeJS.Signals): void;
}
