/** One bottleneck with one or more bulk flows on it: what congestion-control tests measure. */
import type { CongestionControlFactory, PathMemory } from '../../src/mptcp-over-udp/congestion/congestion-control.js';
import { FlowModel, type FlowPacket } from './flow-model.js';
import { createPrng } from './prng.js';
import { SimClock } from './sim-clock.js';
import { SimLink, type SimLinkOptions } from './sim-link.js';

export interface SingleLinkProfile {
  rateMbitPerSec: number;
  /** One way. */
  delayMs: number;
  jitterMs?: number;
  lossRatio?: number;
  queuePackets?: number;
  /** As in the lab: the queue's limit counts what is in flight too. Default true. */
  queueCountsInFlight?: boolean;
  aggregationMs?: number;
  /** What is known of the path beforehand. All flows share the path's memory in any case. */
  memory?: PathMemory;
}

export interface SingleLinkOptions {
  congestion: CongestionControlFactory;
  seed?: number;
  durationMs?: number;
  /** Figures are of the time after this. */
  warmUpMs?: number;
  flowCount?: number;
  /** Flow i starts at i times this. */
  startEveryMs?: number;
  timerGranularityMs?: number;
  mssBytes?: number;
  /** Called when everything stands, before time runs: to schedule changes. */
  prepare?: (world: SingleLinkWorld) => void;
}

export interface SingleLinkWorld {
  clock: SimClock;
  forward: SimLink<FlowPacket>;
  backward: SimLink<FlowPacket>;
  flows: FlowModel[];
}

export interface SingleLinkResult {
  /** Bytes that arrived, over the link's rate. */
  share: number;
  bytesPerSec: number;
  queueMeanMs: number;
  queueMaxMs: number;
  /** Lost of sent, all reasons. */
  lossRatio: number;
  /** Jain's index of the flows' bytes. */
  fairness: number;
  flowBytesPerSec: number[];
  timeoutCount: number;
}

export function createSingleLink(profile: SingleLinkProfile, options: SingleLinkOptions): SingleLinkWorld {
  const clock = new SimClock();
  const seed = options.seed ?? 1;
  const shared: SimLinkOptions = {
    delayMs: profile.delayMs,
    jitterMs: profile.jitterMs ?? 0,
    lossRatio: profile.lossRatio ?? 0,
    queuePackets: profile.queuePackets ?? 1000,
    queueCountsInFlight: profile.queueCountsInFlight ?? true,
    aggregationMs: profile.aggregationMs ?? 0,
    rateBitsPerSec: profile.rateMbitPerSec * 1e6,
  };
  const forward = new SimLink<FlowPacket>(clock, createPrng(seed), shared, FlowModel.handleData);
  const backward = new SimLink<FlowPacket>(clock, createPrng(seed + 1000), shared, FlowModel.handleAck);
  const flows: FlowModel[] = [];
  const memory: PathMemory = profile.memory === undefined ? { minRttMs: -1, bandwidthBytesPerSec: 0 } : { ...profile.memory };
  for (let index = 0; index < (options.flowCount ?? 1); index++) {
    const startMs = index * (options.startEveryMs ?? 0);
    clock.schedule(startMs, () => {
      const flow = new FlowModel({
        clock,
        forward,
        backward,
        congestion: options.congestion,
        mssBytes: options.mssBytes ?? 1400,
        timerGranularityMs: options.timerGranularityMs ?? 0,
        memory,
      });
      flows.push(flow);
      flow.start();
    });
  }
  return { clock, forward, backward, flows };
}

export function runSingleLink(profile: SingleLinkProfile, options: SingleLinkOptions): SingleLinkResult {
  const world = createSingleLink(profile, options);
  options.prepare?.(world);
  const warmUpMs = options.warmUpMs ?? 0;
  const durationMs = options.durationMs ?? 20_000;
  world.clock.runUntil(warmUpMs);
  world.forward.resetCounters();
  const before = world.flows.map((flow) => flow.receivedBytes);
  world.clock.runUntil(durationMs);
  const seconds = (durationMs - warmUpMs) / 1000;
  const flowBytesPerSec = world.flows.map((flow, index) => (flow.receivedBytes - (before[index] ?? 0)) / seconds);
  const bytesPerSec = flowBytesPerSec.reduce((sum, rate) => sum + rate, 0);
  const squares = flowBytesPerSec.reduce((sum, rate) => sum + rate * rate, 0);
  const counters = world.forward.counters;
  return {
    share: profile.rateMbitPerSec > 0 ? (bytesPerSec * 8) / (profile.rateMbitPerSec * 1e6) : 0,
    bytesPerSec,
    queueMeanMs: world.forward.meanQueueDelayMs(),
    queueMaxMs: counters.queueDelayMaxMs,
    lossRatio: (counters.randomLossPackets + counters.queueDropPackets) / Math.max(1, counters.sentPackets),
    fairness: squares > 0 ? bytesPerSec ** 2 / (flowBytesPerSec.length * squares) : 0,
    flowBytesPerSec,
    timeoutCount: world.flows.reduce((sum, flow) => sum + flow.timeoutCount, 0),
  };
}
