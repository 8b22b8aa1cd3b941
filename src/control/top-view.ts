/** What `mptunnel top` shows: from what is known and what the user chose to the lines of the screen. Pure. */

import type { ConnectionPage } from '../tunnel/connections.js';
import { describeEvent, type TunnelEvent } from '../tunnel/events.js';
import type { PathStatus, TunnelStatus } from '../tunnel/status.js';
import { CONNECTION_COLUMNS, connectionRows } from './connections-text.js';
import { pathNotes, pathStateText, remoteText } from './status-text.js';
import { formatBitRate, formatDuration, formatMs, formatPercent, plural } from './text-figures.js';
import { type Column, cutText, formatTable } from './text-table.js';
import type { TopChoice } from './top-choice.js';

export interface TopKnowledge {
  /** undefined: not asked yet. */
  status: TunnelStatus | undefined;
  connections: ConnectionPage;
  /** Oldest first. */
  events: readonly TunnelEvent[];
}

export interface TopLine {
  text: string;
  style: 'plain' | 'bold' | 'inverse' | 'bad';
}

export interface ScreenSize {
  columns: number;
  rows: number;
}

const PATH_COLUMNS: readonly Column[] = [
  { heading: 'PEER', dropFirst: 3 },
  { heading: 'PATH' },
  { heading: 'STATE' },
  { heading: 'RTT', align: 'right' },
  { heading: 'LOSS', align: 'right', dropFirst: 2 },
  { heading: 'DOWN', align: 'right' },
  { heading: 'UP', align: 'right' },
  { heading: 'REMOTE', dropFirst: 4 },
];
const HELP = 'q quit  p paths  c connections  e events  s sort  space pause  arrows scroll';
/** Below the paths, where there is room. */
const RECENT_EVENTS = 4;

interface Body {
  heading: string;
  lines: TopLine[];
}

/** Exactly `rows` lines, none longer than `columns`. `scrollMax` is how far the choice may scroll. */
export function renderTop(known: TopKnowledge, choice: TopChoice, size: ScreenSize): { lines: TopLine[]; scrollMax: number } {
  const { columns, rows } = size;
  const body = renderBody(known, choice, columns);
  const recent = choice.view === 'paths' && rows >= 16 ? recentEvents(known.events, columns) : [];
  // Above: the title, the tabs, the headings; below: the help.
  const room = Math.max(0, rows - 4 - recent.length);
  const scrollMax = Math.max(0, body.lines.length - room);
  const scroll = Math.min(choice.scroll, scrollMax);
  const shown = body.lines.slice(scroll, scroll + room);
  while (shown.length < room) shown.push(plain(''));
  const lines = [
    { text: title(known.status, choice), style: 'bold' } as const,
    plain(tabs(choice, scroll, body.lines.length, room)),
    { text: body.heading.padEnd(columns), style: 'inverse' } as const,
    ...shown,
    ...recent,
    plain(HELP),
  ];
  return { lines: lines.slice(0, rows).map(({ text, style }) => ({ text: cutText(text, columns), style })), scrollMax };
}

function plain(text: string): TopLine {
  return { text, style: 'plain' };
}

function title(status: TunnelStatus | undefined, { paused }: TopChoice): string {
  if (status === undefined) return 'asking ...';
  const paths = status.peers.flatMap((peer) => peer.paths);
  const down = formatBitRate(sum(paths, ({ rxBytesPerSec }) => rxBytesPerSec));
  const up = formatBitRate(sum(paths, ({ txBytesPerSec }) => txBytesPerSec));
  const peersUp = status.peers.filter(({ state }) => state === 'up').length;
  const head = `${status.name} ${status.state} ${formatDuration(status.uptimeMs)}`;
  const peers = `${peersUp} of ${plural(status.peers.length, 'peer')} up`;
  return `${paused ? 'PAUSED  ' : ''}${head}  down ${down}  up ${up}  ${plural(status.connections, 'connection')}  ${peers}`;
}

function tabs(choice: TopChoice, scroll: number, count: number, room: number): string {
  const names = (['paths', 'connections', 'events'] as const).map((view) => (view === choice.view ? `[${view}]` : ` ${view} `)).join(' ');
  const order = choice.view === 'events' ? '' : `  by ${choice.view === 'paths' ? choice.pathOrder : choice.connectionOrder}`;
  const part = count > room ? `  lines ${scroll + 1}-${Math.min(count, scroll + room)} of ${count}` : '';
  return names + order + part;
}

function renderBody(known: TopKnowledge, choice: TopChoice, columns: number): Body {
  switch (choice.view) {
    case 'paths':
      return pathBody(known.status, choice, columns);
    case 'connections':
      return connectionBody(known.connections, columns);
    case 'events':
      return { heading: 'TIME      EVENT', lines: known.events.toReversed().map((event) => plain(eventLine(event))) };
  }
}

interface Row {
  peer: string;
  path: PathStatus;
}

function pathBody(status: TunnelStatus | undefined, { pathOrder }: TopChoice, columns: number): Body {
  const rows: Row[] = (status?.peers ?? []).flatMap((peer) => peer.paths.map((path) => ({ peer: peer.name, path })));
  if (pathOrder !== 'configuration') rows.sort((a, b) => pathWeight(b.path, pathOrder) - pathWeight(a.path, pathOrder));
  const cells = rows.map(({ peer, path }) => [
    peer,
    path.name,
    pathStateText(path),
    formatMs(path.rttMs),
    path.rttMs < 0 ? '-' : formatPercent(path.lossRatio),
    formatBitRate(path.rxBytesPerSec),
    formatBitRate(path.txBytesPerSec),
    remoteText(path),
  ]);
  const [heading = '', ...table] = formatTable(PATH_COLUMNS, cells, columns);
  const lines: TopLine[] = [];
  for (const [i, { path }] of rows.entries()) {
    lines.push({ text: table[i]!, style: pathStateText(path) === 'up' || pathStateText(path) === 'backup' ? 'plain' : 'bad' });
    for (const note of pathNotes(path)) lines.push(plain(`    ${note}`));
  }
  for (const peer of status?.peers ?? []) {
    if (peer.state !== 'up')
      lines.push({ text: `${peer.name} is ${peer.state}${peer.lastError === '' ? '' : `: ${peer.lastError}`}`, style: 'bad' });
  }
  return { heading, lines };
}

function connectionBody(page: ConnectionPage, columns: number): Body {
  const [heading = '', ...table] = formatTable(CONNECTION_COLUMNS, page.connections.flatMap(connectionRows), columns);
  const lines = table.map(plain);
  const missing = page.total - page.connections.length;
  if (missing > 0) lines.push(plain(`and ${missing} more`));
  return { heading, lines };
}

function recentEvents(events: readonly TunnelEvent[], columns: number): TopLine[] {
  const last = events.slice(-RECENT_EVENTS).map((event) => plain(eventLine(event)));
  while (last.length < RECENT_EVENTS) last.push(plain(''));
  return [{ text: 'LAST EVENTS'.padEnd(columns), style: 'inverse' }, ...last];
}

/** The time of day is enough here. */
function eventLine(event: TunnelEvent): string {
  return `${event.time.slice(11, 19)}  ${describeEvent(event)}`;
}

function pathWeight(path: PathStatus, order: 'rate' | 'rtt' | 'loss'): number {
  if (order === 'rtt') return path.rttMs;
  return order === 'loss' ? path.lossRatio : path.rxBytesPerSec + path.txBytesPerSec;
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}
