/** One profile, one way to carry it, one run after another: what one TCP stream gets each way. */

import { loadavg } from 'node:os';
import type { LinkCounters } from '../../../src/lab/lab-api.js';
import { createLab, type Lab, SERVER_PUBLIC_ADDRESS, WEB_ADDRESS } from '../../../src/lab/topology.js';
import { createTunnelRig } from '../../netns/tunnel-rig.js';
import {
  type BulkDirection,
  type BulkServer,
  floodUdp,
  longestGapMs,
  monotonicSec,
  rateBetween,
  runBulk,
  startBulkServer,
} from './bulk.js';
import { useKernelMptcp } from './kernel-mptcp.js';
import { type Profile, type RateSwing, sumOfRatesBitsPerSec, swingIsLow } from './profiles.js';

/** `tunnel`: by mptunnel, whatever the number of links. `kernel`: the kernel's MPTCP from end to end. */
export type Carrier = 'tunnel' | 'kernel';

export const WARM_UP_SEC = 2;
const DRAIN_TIMEOUT_MS = 4_000;
const DRAINED_PACKETS = 20;
const DIRECTIONS: readonly BulkDirection[] = ['download', 'upload'];

export interface LinkUse {
  /** Of the link's rate, in IP packets of the outside, over the window. */
  use: number;
  dropped: number;
  lost: number;
}

export interface RunResult {
  direction: BulkDirection;
  /** Of the sum of rates, after the warm-up. */
  share: number;
  /** The same from the connect on. */
  shareFromStart: number;
  megabits: number;
  /** Longest time without a byte, after the warm-up. */
  gapMs: number;
  links: LinkUse[];
  /** Load of the machine before the run: a figure taken beside other work means little. */
  load: number;
  error?: string;
}

export interface MeasureOptions {
  seconds: number;
  seed: number;
  directions?: readonly BulkDirection[];
  stream?: string;
  environment?: Readonly<Record<string, string>>;
  /** While the stream runs in its window, e.g. to look at the tunnel's status. */
  onWindow?: (rig: Carried, direction: BulkDirection) => void;
}

/** A lab that carries streams from `lab.client` to `serverAddress`. */
export interface Carried {
  lab: Lab;
  server: BulkServer;
  serverAddress: string;
  mptcp: boolean;
  /** Both ends' status, as JSON would say it; undefined without a tunnel. */
  status?: (side: 'client' | 'server') => Promise<unknown>;
  log?: (side: 'client' | 'server') => string;
  close(): Promise<void>;
}

export async function openCarrier(
  carrier: Carrier,
  profile: Profile,
  options: Pick<MeasureOptions, 'seed' | 'stream' | 'environment'>,
): Promise<Carried> {
  if (carrier === 'kernel') {
    const lab = await createLab({ links: profile.paths, seed: options.seed });
    try {
      await useKernelMptcp(lab);
      const server = await startBulkServer(lab.server, { mptcp: true });
      return { lab, server, serverAddress: SERVER_PUBLIC_ADDRESS, mptcp: true, close: () => lab.close() };
    } catch (error) {
      await lab.close();
      throw error;
    }
  }
  const rig = await createTunnelRig({
    links: profile.paths,
    seed: options.seed,
    ...(options.stream === undefined ? {} : { stream: options.stream }),
    ...(options.environment === undefined ? {} : { environment: options.environment }),
  });
  try {
    const server = await startBulkServer(rig.lab.web);
    const { lab, status, log } = rig;
    return { lab, server, serverAddress: WEB_ADDRESS, mptcp: false, status, log, close: () => rig.close() };
  } catch (error) {
    await rig.close();
    throw error;
  }
}

/** One run: a new lab, one stream each way, one after the other. */
export async function measureRun(carrier: Carrier, profile: Profile, options: MeasureOptions): Promise<RunResult[]> {
  const directions = options.directions ?? DIRECTIONS;
  let carried: Carried;
  try {
    carried = await openCarrier(carrier, profile, options);
  } catch (error) {
    // A table of twenty profiles goes on; the run counts as one that carried nothing.
    return directions.map((direction) => failedRun(direction, loadavg()[0] ?? 0, error));
  }
  try {
    const results: RunResult[] = [];
    for (const direction of directions) {
      results.push(await measureDirection(carried, profile, direction, options));
      await drain(carried.lab);
    }
    return results;
  } finally {
    await carried.close();
  }
}

async function measureDirection(carried: Carried, profile: Profile, direction: BulkDirection, options: MeasureOptions): Promise<RunResult> {
  const { lab, server, serverAddress, mptcp } = carried;
  const load = loadavg()[0] ?? 0;
  const counts: Promise<LinkCounters[]>[] = [];
  const timers: NodeJS.Timeout[] = [];
  const later = (afterSec: number, action: () => void): void => void timers.push(setTimeout(action, afterSec * 1000));
  const seconds = WARM_UP_SEC + options.seconds;
  let swinging: { stop: () => Promise<void> } | undefined;
  try {
    const record = await runBulk({
      client: lab.client,
      server,
      serverAddress,
      direction,
      seconds,
      mptcp,
      onConnected: (connectedSec) => {
        const lateSec = monotonicSec() - connectedSec;
        if (profile.swing !== undefined) swinging = swing(lab, profile, profile.swing);
        later(WARM_UP_SEC - lateSec, () => counts.push(countersOf(lab)));
        later(seconds - lateSec, () => counts.push(countersOf(lab)));
        later(WARM_UP_SEC + options.seconds / 2, () => options.onWindow?.(carried, direction));
      },
    });
    const fromSec = record.connectedSec + WARM_UP_SEC;
    const toSec = record.connectedSec + seconds;
    const bits = rateBetween(record, fromSec, toSec);
    const [before = [], after = []] = await Promise.all(counts);
    return {
      direction,
      share: bits / sumOfRatesBitsPerSec(profile, WARM_UP_SEC * 1000, seconds * 1000),
      shareFromStart: rateBetween(record, record.startSec, toSec) / sumOfRatesBitsPerSec(profile, 0, seconds * 1000),
      megabits: bits / 1e6,
      gapMs: longestGapMs(record.samples[0] ?? [], fromSec, toSec),
      links: profile.paths.map((shape, i) => linkUse(before[i], after[i], direction, shape.rateBitsPerSec * options.seconds)),
      load,
    };
  } catch (error) {
    return failedRun(direction, load, error);
  } finally {
    for (const timer of timers) clearTimeout(timer);
    await swinging?.stop();
  }
}

function failedRun(direction: BulkDirection, load: number, error: unknown): RunResult {
  const message = error instanceof Error ? error.message : String(error);
  return { direction, share: 0, shareFromStart: 0, megabits: 0, gapMs: 0, links: [], load, error: message };
}

export function countersOf(lab: Lab): Promise<LinkCounters[]> {
  return Promise.all(lab.links.map((link) => link.counters()));
}

function linkUse(before: LinkCounters | undefined, after: LinkCounters | undefined, direction: BulkDirection, bits: number): LinkUse {
  if (before === undefined || after === undefined) return { use: 0, dropped: 0, lost: 0 };
  const bytes = direction === 'download' ? after.downBytes - before.downBytes : after.upBytes - before.upBytes;
  return {
    use: (bytes * 8) / bits,
    dropped: after.droppedPackets - before.droppedPackets,
    lost: after.lostPackets - before.lostPackets,
  };
}

/** Changes the rate of one link from now on; `stop` gives it its full rate back. */
export function swing(lab: Lab, profile: Profile, how: RateSwing): { stop: () => Promise<void> } {
  const link = lab.links[how.pathIndex];
  const full = profile.paths[how.pathIndex]?.rateBitsPerSec;
  if (link === undefined || full === undefined) throw new RangeError(`pathIndex: ${how.pathIndex}`);
  const startMs = performance.now();
  let turns = 0;
  let timer: NodeJS.Timeout;
  const arm = (): void => {
    turns += 1;
    timer = setTimeout(
      () => {
        const low = swingIsLow(how, (turns * how.periodMs) / 2);
        void link.setShape({ rateBitsPerSec: low ? full * how.lowRatio : full }).catch(() => undefined);
        arm();
      },
      startMs + (turns * how.periodMs) / 2 - performance.now(),
    );
  };
  arm();
  return {
    stop: async () => {
      clearTimeout(timer);
      await link.setShape({ rateBitsPerSec: full });
    },
  };
}

/** Waits until the links have delivered what a stream that was ended hard has left in them. */
export async function drain(lab: Lab): Promise<void> {
  const deadlineMs = performance.now() + DRAIN_TIMEOUT_MS;
  for (;;) {
    const queued = (await countersOf(lab)).reduce((sum, { queuedPackets }) => sum + queuedPackets, 0);
    if (queued < DRAINED_PACKETS || performance.now() > deadlineMs) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export interface EmulatorCheck {
  link: string;
  rateMegabits: number;
  /** Of the rate, delivered in IP packets, when a little more than the rate is offered. */
  download: number;
  upload: number;
}

/** Whether the emulator delivers what it is told to: datagrams, no congestion control in play. */
export async function checkEmulator(profile: Profile, name: string, seconds: number, seed: number): Promise<EmulatorCheck> {
  const lab = await createLab({ links: profile.paths, seed });
  try {
    const rate = profile.paths[0]!.rateBitsPerSec;
    const shares: number[] = [];
    for (const direction of DIRECTIONS) {
      const bits = await floodUdp({
        client: lab.client,
        server: lab.server,
        serverAddress: SERVER_PUBLIC_ADDRESS,
        direction,
        seconds,
        bitsPerSec: rate * 1.1,
        warmUpSec: 1 + profile.paths[0]!.delayMs / 1000,
      });
      shares.push(bits / rate);
      await drain(lab);
    }
    return { link: name, rateMegabits: rate / 1e6, download: shares[0] ?? 0, upload: shares[1] ?? 0 };
  } finally {
    await lab.close();
  }
}
