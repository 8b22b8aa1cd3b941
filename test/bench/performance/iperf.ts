/** iperf3 between the client and the gateway of a carrier, and the rows of what is measured in both directions. */

import { setTimeout as sleep } from 'node:timers/promises';

import type { Carrier } from './carrier.js';
import type { Figures, Row } from './row.js';

/** Left out of every TCP figure: slow start, and the compiler of a fresh daemon. */
const WARM_UP_SECONDS = 2;
const PATIENCE_SECONDS = 25;
const GIGA = 1e9;

export type Direction = 'down' | 'up';
export const DIRECTIONS: readonly Direction[] = ['down', 'up'];

export const GIGABITS = { unit: 'Gbit/s', better: 'more', digits: 2 } as const;

/** A row for each direction, `name`-down and `name`-up. */
export function directionRows(name: string, title: (direction: Direction) => string, rest: Omit<Row, 'name' | 'title'>): Row[] {
  return DIRECTIONS.map((direction) => ({ name: `${name}-${direction}`, title: title(direction), ...rest }));
}

/** Their figures. */
export async function bothWays(name: string, measure: (direction: Direction) => Promise<number>): Promise<Figures> {
  const figures: Record<string, number> = {};
  for (const direction of DIRECTIONS) figures[`${name}-${direction}`] = await measure(direction);
  return figures;
}

export function gigabitsBothWays(carrier: Carrier, name: string, options: TcpOptions): Promise<Figures> {
  return bothWays(name, async (direction) => (await tcpBitsPerSec(carrier, direction, options)) / GIGA);
}

export interface TcpOptions {
  seconds: number;
  /** Default WARM_UP_SECONDS. */
  warmUpSeconds?: number;
  streams?: number;
  /** Of each stream; without it as fast as it goes. */
  bitsPerSec?: number;
  congestionControl?: string;
}

/** Brings a fresh daemon to the speed that it has after a minute: code is compiled, pools are filled. */
export async function warmUp(carrier: Carrier, direction: Direction): Promise<void> {
  await tcpBitsPerSec(carrier, direction, { seconds: 1 });
}

/** Packets are told of UDP alone. */
export interface IperfSum {
  bits_per_second: number;
  bytes: number;
  packets?: number;
  lost_packets?: number;
  seconds: number;
}

export interface IperfResult {
  sum_sent: IperfSum;
  sum_received: IperfSum;
}

/** Of what was sent, how many packets came. */
export function deliveredPackets({ packets = 0, lost_packets = 0 }: IperfSum): number {
  return packets - lost_packets;
}

/** What the receiver got, without the warm-up. */
export async function tcpBitsPerSec(carrier: Carrier, direction: Direction, options: TcpOptions): Promise<number> {
  const warmUpSeconds = options.warmUpSeconds ?? WARM_UP_SECONDS;
  const args = ['-O', String(warmUpSeconds), ...(direction === 'down' ? ['-R'] : []), '-P', String(options.streams ?? 1)];
  if (options.bitsPerSec !== undefined) args.push('-b', String(options.bitsPerSec));
  if (options.congestionControl !== undefined) args.push('-C', options.congestionControl);
  const { sum_received } = await runIperf(carrier, args, options.seconds);
  return sum_received.bits_per_second;
}

/** Datagrams a second that the gateway's receiver got; without `offeredPerSec` of a sender that never waits. */
export async function udpPacketsPerSec(carrier: Carrier, payloadBytes: number, seconds: number, offeredPerSec?: number): Promise<number> {
  const bitsPerSec = (offeredPerSec ?? 0) * payloadBytes * 8;
  const { sum_received } = await runIperf(carrier, ['-u', '-b', String(bitsPerSec), '-l', String(payloadBytes)], seconds);
  return deliveredPackets(sum_received) / sum_received.seconds;
}

/**
 * iperf3's server closes its listener after each test and opens a new one: who comes in between is told that it is busy, or reset before anything was sent.
 * Resets of a transfer that had begun are not meant.
 */
const BETWEEN_TESTS = /server is busy|reset by peer/;
const BETWEEN_TESTS_MS = 200;
const TRIES = 5;

interface IperfReport {
  error?: string;
  intervals?: unknown[];
  end: IperfResult;
}

/** Rejects with what iperf3 says went wrong. */
export async function runIperf(carrier: Carrier, args: readonly string[], seconds: number): Promise<IperfResult> {
  const all = ['-c', carrier.gateway, '-t', String(seconds), '-J', ...args];
  for (let tries = 1; ; tries++) {
    const { stdout } = await carrier.lab.client.run('iperf3', all, { timeoutMs: (seconds + PATIENCE_SECONDS) * 1000 });
    const report = JSON.parse(stdout) as IperfReport;
    if (report.error === undefined) return report.end;
    const hasBegun = (report.intervals?.length ?? 0) > 0;
    if (tries === TRIES || hasBegun || !BETWEEN_TESTS.test(report.error)) throw new Error(`iperf3: ${report.error}`);
    await sleep(BETWEEN_TESTS_MS);
  }
}
