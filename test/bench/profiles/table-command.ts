/** The table of all profiles: ours beside the kernel's MPTCP and beside each link alone. */

import { loadavg } from 'node:os';
import { type Carrier, checkEmulator, type EmulatorCheck, measureRun, type RunResult } from './measure.js';
import { describePath, type Profile, singleLink } from './profiles.js';
import { emulatorTable, judge, type Measured, markdownTable, type ProfileReport, summarise } from './report.js';

export type Part = 'ours' | 'kernel' | 'single';

export interface TableOptions {
  profiles: readonly Profile[];
  runs: number;
  /** Of the kernel's MPTCP and of each link alone. */
  peerRuns: number;
  seconds: number;
  parts: readonly Part[];
  /** Floods each distinct link first. */
  emulatorCheck: boolean;
  /** Lines of [stream] for the tunnel. */
  stream?: string;
  progress: (line: string) => void;
}

export interface TableResult {
  emulator: EmulatorCheck[];
  profiles: ProfileReport[];
  markdown: string;
  ok: boolean;
}

const CHECK_SECONDS = 2;
/** A machine with other work to do gives figures that mean little. */
const BUSY_LOAD = 2;

export async function runTable(options: TableOptions): Promise<TableResult> {
  const emulator = options.emulatorCheck ? await checkLinks(options) : [];
  const profiles: ProfileReport[] = [];
  const singles = new Map<string, Measured>();
  for (const profile of options.profiles) {
    const report: ProfileReport = { profile };
    if (options.parts.includes('single')) report.single = await measureSingles(profile, options, singles);
    if (options.parts.includes('kernel')) report.kernel = await measureRuns('kernel', profile, options.peerRuns, options);
    if (options.parts.includes('ours')) report.ours = await measureRuns('tunnel', profile, options.runs, options);
    profiles.push(report);
  }
  const parts = [markdownTable(profiles)];
  if (emulator.length > 0) parts.push(`The emulator alone, offered 1.1 times the rate:\n\n${emulatorTable(emulator)}`);
  return { emulator, profiles, markdown: parts.join('\n'), ok: profiles.every((report) => judge(report).ok) };
}

/** A link that is in several profiles is measured once. */
async function measureSingles(profile: Profile, options: TableOptions, known: Map<string, Measured>): Promise<Measured[]> {
  const all: Measured[] = [];
  for (const index of profile.paths.keys()) {
    const alone = singleLink(profile, index);
    const key = JSON.stringify([alone.paths, alone.swing]);
    const measured = known.get(key) ?? (await measureRuns('tunnel', alone, options.peerRuns, options));
    known.set(key, measured);
    all.push(measured);
  }
  return all;
}

async function measureRuns(carrier: Carrier, profile: Profile, count: number, options: TableOptions): Promise<Measured> {
  const runs: RunResult[] = [];
  for (let i = 0; i < count; i++) {
    const stream = options.stream === undefined ? {} : { stream: options.stream };
    const results = await measureRun(carrier, profile, { seconds: options.seconds, seed: i + 1, ...stream });
    runs.push(...results);
    for (const result of results) options.progress(describeRun(carrier, profile, result));
  }
  return summarise(runs);
}

function describeRun(carrier: Carrier, profile: Profile, run: RunResult): string {
  const name = `${profile.name.padEnd(16)} ${carrier.padEnd(6)} ${run.direction.padEnd(8)}`;
  if (run.error !== undefined) return `${name} ${run.error}`;
  const links = run.links.map((link) => `${link.use.toFixed(2)} (lost ${link.lost}, dropped ${link.dropped})`).join(' + ');
  const load = run.load > BUSY_LOAD ? `  LOAD ${run.load.toFixed(1)}` : '';
  const figures = `${run.share.toFixed(3)} (${run.shareFromStart.toFixed(3)} with start-up) ${run.megabits.toFixed(1)} Mbit/s`;
  return `${name} ${figures}  links ${links}  gap ${run.gapMs.toFixed(0)} ms${load}`;
}

async function checkLinks(options: TableOptions): Promise<EmulatorCheck[]> {
  const checks = new Map<string, EmulatorCheck>();
  for (const profile of options.profiles) {
    for (const [index, shape] of profile.paths.entries()) {
      const name = describePath(shape);
      if (checks.has(name)) continue;
      const { swing: _, ...steady } = singleLink(profile, index);
      const check = await checkEmulator(steady, name, CHECK_SECONDS, 1);
      checks.set(name, check);
      const load = `load ${(loadavg()[0] ?? 0).toFixed(1)}`;
      options.progress(`emulator ${name}: ${check.download.toFixed(3)} / ${check.upload.toFixed(3)}  ${load}`);
    }
  }
  return [...checks.values()];
}
