/**
 * The bonding profiles of the benchmark on the virtual clock: what the engine makes of each set-up when the machine is no limit. The shares
 * are held by a snapshot: none may fall. TAP_SNAPSHOT=1 writes it anew after a change that was meant to move them.
 */

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { LinkShape } from '../../../src/lab/lab-api.js';
import { PROFILES, type Profile, singleLink, sumOfRatesBitsPerSec, swingIsLow } from '../../bench/profiles/profiles.js';
import { bulkServer, connectBulk } from '../../sim/bulk-peer.js';
import { TwoHosts } from '../../sim/two-hosts.js';

// The slowest file there is: on a busy machine longer than tap waits by itself.
t.setTimeout(180_000);

const SNAPSHOT_FILE = fileURLToPath(new URL('../../../../test/mptcp-over-udp/mptcp/profiles.snapshot.md', import.meta.url));
/** One run of a jittery profile says little: a packet more or less at the start decides. These are the mean of several. */
const SEEDS: readonly number[] = [1, 2, 3, 4, 5, 6];
/** A share may fall by this much below the snapshot, for profiles with chance in them and without. */
const TOLERANCE = { random: 0.04, steady: 0.02 };
const WARM_UP_MS = 2_000;
const WINDOW_MS = 8_000;
/** The cost of a simulation is in its packets: no window holds more than this, but for the least time. */
const WINDOW_BITS = 450e6;
const LEAST_WINDOW_MS = 1_000;
const FAST_BITS_PER_SEC = 150e6;
/** The better link is the one with the higher rate, measured alone in the same simulation. */
const BEST_LINK_RATIO = 0.95;

interface Window {
  fromMs: number;
  toMs: number;
}

function windowOf(profile: Profile): Window {
  const affordableMs = (WINDOW_BITS * 1000) / sumOfRatesBitsPerSec(profile, 0, WARM_UP_MS);
  // A swinging link is watched for a whole period.
  const wholeMs = profile.swing === undefined ? Math.min(WINDOW_MS, affordableMs) : profile.swing.periodMs;
  const lengthMs = Math.max(LEAST_WINDOW_MS, Math.round(wholeMs / 1_000) * 1_000);
  return { fromMs: WARM_UP_MS, toMs: WARM_UP_MS + lengthMs };
}

/** Profiles in which a path was put on the bench. */
const benchedIn = new Set<string>();

/** Bits a second that one download carries in the window. */
function simulate(profile: Profile, window: Window, seed: number): number {
  const hosts = new TwoHosts({
    seed,
    paths: profile.paths.map((shape) => ({ ...shape, queueCountsInFlight: true })),
    serverEvents: bulkServer(),
  });
  const client = connectBulk(hosts, false);
  startSwing(hosts, profile, window.toMs);
  hosts.run(window.fromMs);
  const before = client.readBytes;
  hosts.run(window.toMs - window.fromMs);
  if ((hosts.server.counters['mptcp-benched'] ?? 0) > 0) benchedIn.add(profile.name);
  return ((client.readBytes - before) * 8000) / (window.toMs - window.fromMs);
}

function startSwing(hosts: TwoHosts, { paths, swing }: Profile, untilMs: number): void {
  if (swing === undefined) return;
  const { up, down } = hosts.paths[swing.pathIndex]!;
  const full = (paths[swing.pathIndex] as LinkShape).rateBitsPerSec;
  const startMs = hosts.clock.nowMs;
  for (let atMs = swing.periodMs / 2; atMs < untilMs; atMs += swing.periodMs / 2) {
    const rate = swingIsLow(swing, atMs) ? full * swing.lowRatio : full;
    hosts.clock.schedule(startMs + atMs, () => {
      up.rateBitsPerSec = rate;
      down.rateBitsPerSec = rate;
    });
  }
}

function isRandom(profile: Profile): boolean {
  return profile.paths.some(({ jitterMs, lossRatio }) => jitterMs > 0 || lossRatio > 0);
}

function meanRate(profile: Profile, window: Window): number {
  // At high rates chance evens out by itself, and time is dear.
  const jittery = profile.paths.some(({ jitterMs }) => jitterMs > 0);
  const seeds = jittery && sumOfRatesBitsPerSec(profile, 0, 1) < FAST_BITS_PER_SEC ? SEEDS : SEEDS.slice(0, 1);
  return seeds.reduce((sum, seed) => sum + simulate(profile, window, seed), 0) / seeds.length;
}

/** The same link is in several profiles. */
const aloneRates = new Map<string, number>();

function betterLinkAlone(profile: Profile, window: Window): number {
  let best = 0;
  for (const [index, shape] of profile.paths.entries()) if (shape.rateBitsPerSec > profile.paths[best]!.rateBitsPerSec) best = index;
  const alone = singleLink(profile, best);
  const key = JSON.stringify([alone.paths, alone.swing, window]);
  const rate = aloneRates.get(key) ?? meanRate(alone, window);
  aloneRates.set(key, rate);
  return rate;
}

t.test('one stream over each profile carries no less than the snapshot says, and no less than the better link alone', async (t) => {
  const lines = ['| profile | share of the sum, down | of the better link alone |', '| --- | --- | --- |'];
  for (const profile of PROFILES) {
    const window = windowOf(profile);
    const startMs = performance.now();
    const bonded = meanRate(profile, window);
    const alone = betterLinkAlone(profile, window);
    const share = bonded / sumOfRatesBitsPerSec(profile, window.fromMs, window.toMs);
    lines.push(`| ${profile.name} | ${share.toFixed(2)} | ${(bonded / alone).toFixed(2)} |`);
    t.comment(`${profile.name}: ${share.toFixed(3)} (bar ${profile.bar}), ${(performance.now() - startMs).toFixed(0)} ms`);
    const message = `${profile.name}: ${bonded / 1e6} Mbit/s, the better link alone ${alone / 1e6}`;
    t.ok(bonded >= BEST_LINK_RATIO * alone, message);
  }
  t.same([...benchedIn], [], 'no path of a profile is benched');
  const text = `${lines.join('\n')}\n`;
  if (process.env.TAP_SNAPSHOT === '1' || !existsSync(SNAPSHOT_FILE)) writeFileSync(SNAPSHOT_FILE, text);
  const known = sharesIn(readFileSync(SNAPSHOT_FILE, 'utf8'));
  const found = sharesIn(text);
  t.same([...known.keys()], [...found.keys()], 'the snapshot has every profile');
  for (const profile of PROFILES) {
    const [before, now] = [known.get(profile.name) ?? 1, found.get(profile.name) ?? 0];
    const fall = isRandom(profile) ? TOLERANCE.random : TOLERANCE.steady;
    t.ok(now >= before - fall - 0.001, `${profile.name}: ${now}, in the snapshot ${before}`);
    if (now > before + fall) t.comment(`${profile.name} has gained: ${before} -> ${now}; TAP_SNAPSHOT=1 keeps it`);
  }
});

function sharesIn(table: string): Map<string, number> {
  const rows = [...table.matchAll(/^\| (\w+) \| ([\d.]+) \|/gm)];
  return new Map(rows.map((row) => [row[1] as string, Number(row[2])]));
}
