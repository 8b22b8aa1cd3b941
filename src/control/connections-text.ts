/** Stream-plane connections as people read them: a line for each, and one for each of its subflows. */

import type { ConnectionPage, ConnectionView, SubflowView } from '../tunnel/connections.js';
import { formatBytes, formatDuration, formatMs, formatRateCell, plural } from './text-figures.js';
import { type Column, cutText, formatTable } from './text-table.js';

export const CONNECTION_COLUMNS: readonly Column[] = [
  { heading: 'CONNECTION' },
  { heading: 'PEER', dropFirst: 3 },
  { heading: 'STATE', dropFirst: 4 },
  { heading: 'DOWN', align: 'right' },
  { heading: 'UP', align: 'right' },
  { heading: 'RTT', align: 'right', dropFirst: 2 },
  { heading: 'WINDOW', align: 'right', dropFirst: 5 },
  { heading: 'FLIGHT', align: 'right', dropFirst: 6 },
  { heading: 'AGAIN', align: 'right', dropFirst: 7 },
];

/** Rows of CONNECTION_COLUMNS: the connection, then its subflows. */
export function connectionRows(connection: ConnectionView): string[][] {
  const arrow = connection.direction === 'outgoing' ? '>' : '<';
  const head = [
    `${connection.source} ${arrow} ${connection.destination}${connection.rule === undefined ? '' : ` (rule ${connection.rule})`}`,
    connection.peer,
    connection.state === 'open' && connection.idleMs >= 10_000 ? `idle ${formatDuration(connection.idleMs)}` : connection.state,
    formatRateCell(connection.rxBytesPerSec),
    formatRateCell(connection.txBytesPerSec),
    '',
    formatBytes(connection.peerWindowBytes),
    formatBytes(connection.unackedBytes),
    '',
  ];
  return [head, ...connection.subflows.map(subflowRow)];
}

function subflowRow(subflow: SubflowView): string[] {
  return [
    `  ${subflow.path}${note(subflow)}`,
    '',
    subflow.state,
    formatRateCell(subflow.rxBytesPerSec),
    formatRateCell(subflow.txBytesPerSec),
    formatMs(subflow.rttMs),
    formatBytes(subflow.cwndBytes),
    formatBytes(subflow.inflightBytes),
    formatBytes(subflow.retransmittedBytes),
  ];
}

function note({ benched, backup }: SubflowView): string {
  if (benched) return ' (benched)';
  return backup ? ' (backup)' : '';
}

/** Ends in a newline. */
export function formatConnections(page: ConnectionPage, width = Number.POSITIVE_INFINITY): string {
  if (page.total === 0) return 'No connection is open.\n';
  const table = formatTable(CONNECTION_COLUMNS, page.connections.flatMap(connectionRows), width);
  const missing = page.total - page.connections.length;
  const more = missing > 0 ? [cutText(`${plural(page.total, 'connection')}; ${missing} more are not shown (--limit)`, width)] : [];
  return `${[...table, ...more].join('\n')}\n`;
}
