/** A tunnel's status as people read it. */

import { formatBudget, formatRate } from '../tunnel/path-policy.js';
import type { BudgetStatus, PathStatus, PeerStatus, RelayPlaceStatus, TunnelStatus } from '../tunnel/status.js';
import { formatBitRate, formatBytes, formatDuration, formatMs, formatPercent, plural } from './text-figures.js';
import { type Column, cutText, formatTable, wrapText } from './text-table.js';

const PATH_COLUMNS: readonly Column[] = [
  { heading: 'PATH' },
  { heading: 'STATE' },
  { heading: 'LOCAL', dropFirst: 4 },
  { heading: 'REMOTE', dropFirst: 3 },
  { heading: 'RTT', align: 'right' },
  { heading: 'LOSS', align: 'right' },
  { heading: 'DOWN', align: 'right' },
  { heading: 'UP', align: 'right' },
  { heading: 'RECEIVED', align: 'right', dropFirst: 2 },
  { heading: 'SENT', align: 'right', dropFirst: 1 },
];
const POLICY_COLUMNS: readonly Column[] = [
  { heading: 'PATH' },
  { heading: 'STATE' },
  { heading: 'LOCAL', dropFirst: 1 },
  { heading: 'REMOTE', dropFirst: 2 },
  { heading: 'USE' },
  { heading: 'PRIORITY', align: 'right' },
  { heading: 'COST', align: 'right' },
  { heading: 'LIMIT', dropFirst: 4 },
  { heading: 'BUDGET', dropFirst: 3 },
];
const INDENT = '    ';

export interface StatusTextOptions {
  /** With the counters that are not zero. */
  verbose?: boolean;
  /** Of the terminal; Infinity: no limit. */
  width?: number;
  /** So many lines at most, as far as peers can be left out; Infinity: no limit. */
  maxLines?: number;
}

/** Ends in a newline. */
export function formatStatus(status: TunnelStatus, options: StatusTextOptions = {}): string {
  const { width = Number.POSITIVE_INFINITY, maxLines = Number.POSITIVE_INFINITY, verbose = false } = options;
  const { name, state, uptimeMs, connections, pid } = status;
  const lines = wrapText(`${name}: ${state} for ${formatDuration(uptimeMs)}, ${plural(connections, 'connection')}, process ${pid}`, width);
  const counters = Object.entries(status.counters).filter(([, value]) => value > 0);
  const counted =
    verbose && counters.length > 0 ? wrapText(`  counted: ${counters.map(([key, value]) => `${key} ${value}`).join(', ')}`, width) : [];
  lines.push(...(status.relays ?? []).flatMap((place) => wrapText(`  ${placeText(place)}`, width)));
  lines.push(...formatPeers(status.peers, width, maxLines - lines.length - counted.length), ...counted);
  return `${lines.join('\n')}\n`;
}

/** Of `mptunnel path list`. */
export function formatPaths(peers: readonly PeerStatus[], width = Number.POSITIVE_INFINITY): string {
  const withPeer = peers.length > 1;
  const rows = peers.flatMap(({ name, paths }) =>
    paths.map((path) => [
      path.name,
      path.state,
      path.local || '-',
      remoteText(path),
      path.backup ? 'backup' : '-',
      String(path.priority),
      String(path.cost ?? 0),
      limitsText(path) || '-',
      path.budget === undefined ? '-' : `${formatBytes(path.budget.usedBytes)} of ${formatBudget(path.budget)}`,
      ...(withPeer ? [name] : []),
    ]),
  );
  if (rows.length === 0) return 'No path.\n';
  const columns = withPeer ? [...POLICY_COLUMNS, { heading: 'PEER' }] : POLICY_COLUMNS;
  return `${formatTable(columns, rows, width).join('\n')}\n`;
}

/** Where not all have room, those that carry most are shown, and the others are counted. */
function formatPeers(peers: readonly PeerStatus[], width: number, maxLines: number): string[] {
  const all = peers.map((peer) => formatPeer(peer, width));
  if (all.reduce((sum, lines) => sum + lines.length, 0) <= maxLines) return all.flat();
  const order = peers.map((_, index) => index).sort((a, b) => peerRate(peers[b]!) - peerRate(peers[a]!));
  const shown = new Set<number>();
  let room = maxLines - 1;
  for (const index of order) {
    if (all[index]!.length > room) break;
    room -= all[index]!.length;
    shown.add(index);
  }
  const hidden = peers.filter((_, index) => !shown.has(index));
  const up = hidden.filter(({ state }) => state === 'up').length;
  const more = `  and ${plural(hidden.length, 'more peer')}, ${up} up (--all shows them)`;
  return [...all.filter((_, index) => shown.has(index)).flat(), cutText(more, width)];
}

function peerRate(peer: PeerStatus): number {
  if (peer.state !== 'up') return -1;
  return peer.paths.reduce((sum, path) => sum + path.rxBytesPerSec + path.txBytesPerSec, 0);
}

function formatPeer(peer: PeerStatus, width: number): string[] {
  const trouble = peer.lastError === '' ? '' : ` (${peer.lastError})`;
  const head = `  peer ${peer.name}: ${peer.state}${trouble}, ${plural(peer.connections, 'connection')}`;
  const withKey = `${head}, key ${peer.publicKey}`;
  // A key that is cut is of no use.
  const lines = withKey.length <= width ? [withKey] : wrapText(head, width);
  if (peer.refusedSource !== undefined) {
    const { address, packets } = peer.refusedSource;
    lines.push(...wrapText(`${INDENT}${plural(packets, 'packet')} refused: ${address} is not in its allowed_ips`, width));
  }
  lines.push(...limitNotes(peer).flatMap((note) => wrapText(INDENT + note, width)));
  if (peer.paths.length === 0) return lines;
  const table = formatTable(PATH_COLUMNS, peer.paths.map(pathCells), width - INDENT.length);
  return [
    ...lines,
    ...table.map((line) => INDENT + line),
    ...peer.paths.flatMap((path) => pathNotes(path).flatMap((note) => wrapText(INDENT + note, width))),
  ];
}

function limitNotes({ limitUpBytesPerSec: up, limitDownBytesPerSec: down }: PeerStatus): string[] {
  if (up === undefined && down === undefined) return [];
  const words = [...(up === undefined ? [] : [`up ${formatRate(up)}`]), ...(down === undefined ? [] : [`down ${formatRate(down)}`])];
  return [`limited over all paths: ${words.join(', ')}`];
}

function placeText({ relay, waits, seenAs, problem }: RelayPlaceStatus): string {
  if (waits) return `waits at relay ${relay}, seen as ${seenAs}`;
  return `does not wait at relay ${relay}${problem === '' ? ' yet' : `: ${problem}`}`;
}

/** What is wrong with a path, and why. */
export function pathNotes(path: PathStatus): string[] {
  const notes: string[] = [];
  if (path.state !== 'up' && path.stateReason !== '') {
    const since = path.inStateMs < 0 ? '' : ` for ${formatDuration(path.inStateMs)}`;
    notes.push(`${path.name} is ${path.state}${since}: ${path.stateReason}`);
  }
  if (path.via !== undefined) {
    const trouble = path.viaProblem === undefined ? '' : ` (${path.viaProblem})`;
    notes.push(
      path.relayed === true ? `${path.name} goes via ${path.via}${trouble}` : `${path.name} goes direct, beside ${path.via}${trouble}`,
    );
  }
  if (path.benched !== undefined)
    notes.push(`${path.name} is benched for ${formatDuration(path.benched.remainingMs)} more: ${path.benched.reason}`);
  if (path.carrierProblem !== undefined && (path.state !== 'up' || path.carrier !== undefined))
    notes.push(`${path.name} cannot go over ${path.carrierProblem}`);
  if (path.reducedMtuBytes !== undefined)
    notes.push(`${path.name} carries packets of up to ${path.reducedMtuBytes} bytes from here, less than its interface takes`);
  const limits = limitsText(path);
  if (limits !== '') notes.push(`${path.name} is limited to ${limits}`);
  if (path.budget !== undefined) notes.push(`${path.name} has used ${budgetText(path.budget)}`);
  return notes;
}

/** "3.2 GB of 20 GB/month, 4.1 GB are due by now". */
function budgetText({ bytes, period, usedBytes, dueBytes, state, endsAt }: BudgetStatus): string {
  const used = `${formatBytes(usedBytes)} of ${formatBudget({ bytes, period })}`;
  if (state === 'spent') return `${used}: spent until ${endsAt.slice(0, 16).replace('T', ' ')} UTC`;
  const due = `${formatBytes(dueBytes)} are due by now`;
  return state === 'within' ? `${used}, ${due}` : `${used}, ${due}: a backup until then`;
}

/** "20 Mbit/s down, 5 Mbit/s up"; "" without a limit. */
function limitsText({ limitUpBytesPerSec: up, limitDownBytesPerSec: down, limitDownIgnored: ignored }: PathStatus): string {
  const obeyed = ignored === true ? ' (which the peer is too old to obey)' : '';
  return [down === undefined ? '' : `${formatRate(down)} down${obeyed}`, up === undefined ? '' : `${formatRate(up)} up`]
    .filter(Boolean)
    .join(', ');
}

/** "203.0.113.1:5180", "quic 203.0.113.1:443", "webtransport (HTTP/3) 203.0.113.1:443" */
export function remoteText({ carrier, carrierProtocol, remote }: PathStatus): string {
  if (carrier === undefined) return remote || '-';
  return carrierProtocol === undefined ? `${carrier} ${remote}` : `${carrier} (${carrierProtocol}) ${remote}`;
}

/** up, down, ..., or how it is used while it is up. */
export function pathStateText(path: PathStatus): string {
  if (path.benched !== undefined && path.state === 'up') return 'benched';
  return path.backup && path.state === 'up' ? 'backup' : path.state;
}

function pathCells(path: PathStatus): string[] {
  return [
    path.name,
    pathStateText(path),
    path.local || '-',
    remoteText(path),
    formatMs(path.rttMs),
    path.rttMs < 0 ? '-' : formatPercent(path.lossRatio),
    formatBitRate(path.rxBytesPerSec),
    formatBitRate(path.txBytesPerSec),
    formatBytes(path.rxBytes),
    formatBytes(path.txBytes),
  ];
}
