/** A tunnel's status as people read it. */

import type { PathStatus, PeerStatus, TunnelStatus } from '../tunnel/status.js';

const HEADINGS = ['PATH', 'STATE', 'LOCAL', 'REMOTE', 'RTT', 'LOSS', 'RATE', 'RECEIVED', 'SENT'];
/** Columns of numbers are flush right. */
const FIRST_NUMBER_COLUMN = 4;

/** Ends in a newline. `verbose`: with the counters that are not zero. */
export function formatStatus(status: TunnelStatus, verbose = false): string {
  const lines = [
    `${status.name}: ${status.state} for ${formatDuration(status.uptimeMs)}, ${plural(status.connections, 'connection')}, process ${status.pid}`,
    ...status.peers.flatMap(formatPeer),
  ];
  const counters = Object.entries(status.counters).filter(([, value]) => value > 0);
  if (verbose && counters.length > 0) lines.push(`  counted: ${counters.map(([name, value]) => `${name} ${value}`).join(', ')}`);
  return `${lines.join('\n')}\n`;
}

function formatPeer(peer: PeerStatus): string[] {
  const trouble = peer.lastError === '' ? '' : ` (${peer.lastError})`;
  const head = `  peer ${peer.name}: ${peer.state}${trouble}, ${plural(peer.connections, 'connection')}, key ${peer.publicKey}`;
  if (peer.paths.length === 0) return [head];
  return [head, ...formatTable([HEADINGS, ...peer.paths.map(pathCells)]).map((line) => `    ${line}`), ...peer.paths.flatMap(benchLine)];
}

function benchLine({ name, benched }: PathStatus): string[] {
  return benched === undefined ? [] : [`    ${name} is benched for ${formatDuration(benched.remainingMs)} more: ${benched.reason}`];
}

function pathCells(path: PathStatus): string[] {
  return [
    path.name,
    path.state,
    path.local || '-',
    path.remote || '-',
    path.rttMs < 0 ? '-' : `${path.rttMs.toFixed(path.rttMs < 10 ? 1 : 0)} ms`,
    path.rttMs < 0 ? '-' : `${(path.lossRatio * 100).toFixed(1)} %`,
    formatBitRate(path.deliveryRateBytesPerSec),
    formatBytes(path.rxBytes),
    formatBytes(path.txBytes),
  ];
}

function formatTable(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row
      .map((cell, column) => (column < FIRST_NUMBER_COLUMN ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join('  ')
      .trimEnd(),
  );
}

export function formatBitRate(bytesPerSec: number): string {
  return formatScaled(bytesPerSec * 8, ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s']);
}

export function formatBytes(bytes: number): string {
  return formatScaled(bytes, ['B', 'kB', 'MB', 'GB', 'TB']);
}

/** Three figures at most: 999 B, 1.5 kB, 48 MB. */
function formatScaled(value: number, units: readonly string[]): string {
  let index = 0;
  let scaled = value;
  // 999.5 would be written 1000.
  while (scaled >= 999.5 && index < units.length - 1) {
    scaled /= 1000;
    index++;
  }
  const digits = index > 0 && scaled < 9.95 ? 1 : 0;
  return `${scaled.toFixed(digits)} ${units[index]}`;
}

export function formatDuration(durationMs: number): string {
  const seconds = Math.floor(durationMs / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 24 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

function plural(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`;
}
