/**
 * The set-ups in which bonding is measured: pairs (and more) of unequal links, with the figures of two peers and the bar that we have to reach.
 * A share is what one TCP stream carries, as bytes handed to the application, of the sum of the links' rates, counted in IP packets.
 */

import type { LinkShape } from '../../../src/lab/lab-api.js';

const DEFAULT_QUEUE_PACKETS = 1000;

/** Download, upload. */
export type SharePair = readonly [number, number];

/** The rate goes from full to `lowRatio` of it and back, half a period each. */
export interface RateSwing {
  pathIndex: number;
  lowRatio: number;
  periodMs: number;
}

export interface Profile {
  name: string;
  /** The same each way. */
  paths: readonly LinkShape[];
  /** Least share of the sum, each way. */
  bar: number;
  /** Shares that peers were seen to reach when the bar was set: mqvpn, and the kernel's MPTCP with BBR, end to end. */
  mqvpn?: SharePair;
  kernel?: SharePair;
  swing?: RateSwing;
}

interface PathOptions {
  jitterMs?: number;
  lossPercent?: number;
  queuePackets?: number;
}

/** Rate, one-way delay, and what else is to be said. */
function path(megabits: number, delayMs: number, options: PathOptions = {}): LinkShape {
  return {
    rateBitsPerSec: megabits * 1e6,
    delayMs,
    jitterMs: options.jitterMs ?? 0,
    lossRatio: (options.lossPercent ?? 0) / 100,
    queuePackets: options.queuePackets ?? DEFAULT_QUEUE_PACKETS,
  };
}

const CABLE = path(50, 20);

export const PROFILES: readonly Profile[] = [
  { name: 'baseline', paths: [CABLE, CABLE], mqvpn: [0.91, 0.92], kernel: [0.94, 0.94], bar: 0.88 },
  { name: 'rtt_40', paths: [CABLE, path(50, 40)], mqvpn: [0.93, 0.89], kernel: [0.95, 0.95], bar: 0.88 },
  { name: 'rtt_70', paths: [CABLE, path(50, 70)], mqvpn: [0.94, 0.74], kernel: [0.94, 0.95], bar: 0.88 },
  { name: 'rtt_120', paths: [CABLE, path(50, 120)], mqvpn: [0.91, 0.92], kernel: [0.86, 0.89], bar: 0.88 },
  { name: 'rtt_320', paths: [CABLE, path(50, 320)], mqvpn: [0.68, 0.71], kernel: [0.33, 0.36], bar: 0.75 },
  {
    name: 'jit_5',
    paths: [path(50, 20, { jitterMs: 5 }), path(50, 20, { jitterMs: 5 })],
    mqvpn: [0.8, 0.67],
    kernel: [0.94, 0.94],
    bar: 0.88,
  },
  {
    name: 'jit_20',
    paths: [path(50, 20, { jitterMs: 20 }), path(50, 20, { jitterMs: 20 })],
    mqvpn: [0.68, 0.59],
    kernel: [0.93, 0.23],
    bar: 0.8,
  },
  {
    name: 'loss_05',
    paths: [path(50, 20, { lossPercent: 0.5 }), path(50, 20, { lossPercent: 0.5 })],
    mqvpn: [0.91, 0.87],
    kernel: [0.94, 0.95],
    bar: 0.88,
  },
  {
    name: 'loss_2',
    paths: [path(50, 20, { lossPercent: 2 }), path(50, 20, { lossPercent: 2 })],
    mqvpn: [0.81, 0],
    kernel: [0.94, 0.93],
    bar: 0.88,
  },
  { name: 'bw_4to1', paths: [CABLE, path(12, 20)], mqvpn: [0.87, 0.88], kernel: [0.96, 0.94], bar: 0.87 },
  { name: 'bw_10to1', paths: [path(100, 20), path(10, 20)], mqvpn: [0.91, 0.9], kernel: [0.94, 0.94], bar: 0.88 },
  {
    name: 'dual_lte',
    paths: [path(40, 30, { jitterMs: 5, lossPercent: 0.5 }), path(25, 45, { jitterMs: 8, lossPercent: 0.5 })],
    mqvpn: [0.81, 0.4],
    kernel: [0.91, 0.93],
    bar: 0.88,
  },
  {
    name: 'fiber_lte',
    paths: [path(300, 8), path(30, 40, { jitterMs: 8, lossPercent: 0.5 })],
    mqvpn: [0.48, 0.4],
    kernel: [0.83, 0.9],
    bar: 0.84,
  },
  {
    name: 'lte_starlink',
    paths: [path(40, 35, { jitterMs: 8 }), path(100, 50, { jitterMs: 25, lossPercent: 1 })],
    mqvpn: [0.36, 0.25],
    kernel: [0.65, 0.68],
    bar: 0.75,
  },
  {
    name: 'lte_geo',
    paths: [path(40, 35), path(20, 320, { jitterMs: 20, lossPercent: 0.5 })],
    mqvpn: [0.75, 0.67],
    kernel: [0.48, 0.46],
    bar: 0.75,
  },
  {
    name: 'congested',
    paths: [path(20, 50, { jitterMs: 20, lossPercent: 2 }), path(15, 60, { jitterMs: 25, lossPercent: 2 })],
    mqvpn: [0.74, 0],
    kernel: [0.85, 0.87],
    bar: 0.83,
  },
  {
    name: 'asym_380',
    paths: [path(300, 10, { queuePackets: 2000 }), path(80, 30, { queuePackets: 2000 })],
    mqvpn: [0.54, 0.41],
    kernel: [0.94, 0.92],
    bar: 0.88,
  },
  {
    name: 'sym_200',
    paths: [path(100, 25, { queuePackets: 2000 }), path(100, 25, { queuePackets: 2000 })],
    mqvpn: [0.81, 0.88],
    kernel: [0.94, 0.93],
    bar: 0.88,
  },
  { name: 'dsl_60_15', paths: [path(60, 12), path(15, 45)], mqvpn: [0.92, 0.91], kernel: [0.96, 0.97], bar: 0.88 },
  {
    name: 'cable_800_100',
    paths: [path(800, 8, { queuePackets: 4000 }), path(100, 30, { queuePackets: 2000 })],
    mqvpn: [0.44, 0.25],
    kernel: [0.55, 0.59],
    bar: 0.6,
  },
  // Beyond the peers' table.
  { name: 'three', paths: [path(50, 10), path(30, 30), path(20, 60, { lossPercent: 0.5 })], bar: 0.88 },
  {
    name: 'four',
    paths: [path(40, 15), path(30, 25), path(20, 45, { jitterMs: 5 }), path(10, 80, { jitterMs: 8, lossPercent: 0.5 })],
    bar: 0.88,
  },
  { name: 'swing', paths: [CABLE, path(50, 30)], swing: { pathIndex: 1, lowRatio: 0.2, periodMs: 6000 }, bar: 0.8 },
];

export function profileNamed(name: string): Profile {
  const found = PROFILES.find((profile) => profile.name === name);
  if (found === undefined) throw new RangeError(`profile: ${name}; there are ${PROFILES.map((one) => one.name).join(', ')}`);
  return found;
}

/** A profile of one of the links alone. A swinging link stays one. */
export function singleLink(profile: Profile, index: number): Profile {
  const shape = profile.paths[index];
  if (shape === undefined) throw new RangeError(`index: ${index}`);
  const { swing } = profile;
  const own = swing !== undefined && swing.pathIndex === index ? { swing: { ...swing, pathIndex: 0 } } : {};
  return { name: `${profile.name}/${index}`, paths: [shape], bar: 0, ...own };
}

/** Whether the swinging path is slow, so long after the start. */
export function swingIsLow(swing: RateSwing, atMs: number): boolean {
  return atMs % swing.periodMs >= swing.periodMs / 2;
}

/** Mean over [fromMs, toMs) since the start of the swing. */
export function sumOfRatesBitsPerSec(profile: Profile, fromMs: number, toMs: number): number {
  const { swing } = profile;
  let sum = 0;
  for (const [index, shape] of profile.paths.entries()) {
    const lowPart = swing !== undefined && swing.pathIndex === index ? lowTimeMs(swing, fromMs, toMs) / (toMs - fromMs) : 0;
    sum += shape.rateBitsPerSec * (1 - lowPart + lowPart * (swing?.lowRatio ?? 1));
  }
  return sum;
}

function lowTimeMs(swing: RateSwing, fromMs: number, toMs: number): number {
  const until = (atMs: number): number => {
    const half = swing.periodMs / 2;
    return Math.floor(atMs / swing.periodMs) * half + Math.max(0, (atMs % swing.periodMs) - half);
  };
  return until(toMs) - until(fromMs);
}

/** "50 / 20 ms, jitter 5, 0.5 %" */
export function describePath(shape: LinkShape): string {
  const parts = [`${shape.rateBitsPerSec / 1e6} / ${shape.delayMs} ms`];
  if (shape.jitterMs > 0) parts.push(`jitter ${shape.jitterMs}`);
  if (shape.lossRatio > 0) parts.push(`${shape.lossRatio * 100} %`);
  if (shape.queuePackets !== DEFAULT_QUEUE_PACKETS) parts.push(`queue ${shape.queuePackets}`);
  return parts.join(', ');
}
