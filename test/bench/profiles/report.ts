/** Medians of runs, and the table that people read. */

import type { EmulatorCheck, RunResult } from './measure.js';
import { describePath, type Profile, type SharePair } from './profiles.js';

/** A bonded stream must reach so much of what the better link alone gives through the tunnel. */
export const BEST_LINK_RATIO = 0.98;

export interface Measured {
  /** Medians. */
  share: SharePair;
  shareFromStart: SharePair;
  megabits: SharePair;
  runs: RunResult[];
}

export interface ProfileReport {
  profile: Profile;
  ours?: Measured;
  kernel?: Measured;
  /** By link, each alone through the tunnel; its shares are of its own rate. */
  single?: Measured[];
}

/** The middle one, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  if (values.length === 0) return Number.NaN;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function summarise(runs: RunResult[]): Measured {
  const pair = (value: (run: RunResult) => number): SharePair => [
    median(runs.filter((run) => run.direction === 'download').map(value)),
    median(runs.filter((run) => run.direction === 'upload').map(value)),
  ];
  return {
    share: pair((run) => run.share),
    shareFromStart: pair((run) => run.shareFromStart),
    megabits: pair((run) => run.megabits),
    runs,
  };
}

export interface Verdict {
  ok: boolean;
  /** Empty when all is well. */
  reasons: string[];
}

export function judge({ profile, ours, single }: ProfileReport): Verdict {
  const reasons: string[] = [];
  if (ours === undefined) return { ok: true, reasons };
  for (const [i, direction] of (['down', 'up'] as const).entries()) {
    if (!(ours.share[i]! >= profile.bar)) reasons.push(`${direction} below the bar`);
    const best = Math.max(0, ...(single ?? []).map((one) => one.megabits[i]!));
    if (!(ours.megabits[i]! >= BEST_LINK_RATIO * best)) reasons.push(`${direction} below the better link`);
  }
  return { ok: reasons.length === 0, reasons };
}

function pairText(pair: SharePair | undefined, digits = 2): string {
  if (pair === undefined) return '';
  return pair.map((value) => (Number.isNaN(value) ? '-' : value.toFixed(digits))).join(' / ');
}

export function markdownTable(reports: readonly ProfileReport[]): string {
  const head = ['profile', 'paths', 'bar', 'ours down / up', 'with start-up', 'Mbit/s', 'links alone (Mbit/s)', 'kernel MPTCP', 'verdict'];
  const rows = reports.map((report) => {
    const { profile, ours, kernel, single } = report;
    const verdict = judge(report);
    const text = verdict.ok ? 'ok' : verdict.reasons.join(', ');
    return [
      profile.name,
      profile.paths.map(describePath).join(' + ') + (profile.swing === undefined ? '' : `, link ${profile.swing.pathIndex} swings`),
      profile.bar.toFixed(2),
      pairText(ours?.share),
      pairText(ours?.shareFromStart),
      pairText(ours?.megabits, 1),
      (single ?? []).map((one) => pairText(one.megabits, 1)).join('; '),
      pairText(kernel?.share),
      ours === undefined ? '' : text,
    ];
  });
  return table(head, rows);
}

export function emulatorTable(checks: readonly EmulatorCheck[]): string {
  const rows = checks.map((check) => [check.link, check.download.toFixed(3), check.upload.toFixed(3)]);
  return table(['link', 'delivered of the rate, down', 'up'], rows);
}

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].map((text) => `${text}\n`).join('');
}
