/** What happens to connections and subflows, under the names of `ip mptcp monitor`. */

import type { MptcpConnection } from '../mptcp-over-udp/mptcp/connection.js';
import type { Subflow } from '../mptcp-over-udp/mptcp/subflow.js';
import type { CloseReason } from '../mptcp-over-udp/tcp/tcp-connection.js';
import { formatEndpoint } from './endpoint-text.js';

export const HOST_EVENT_NAMES = [
  'created',
  'established',
  'closed',
  'announced',
  'removed',
  'sub_established',
  'sub_closed',
  'sub_priority',
] as const;
export type HostEventName = (typeof HOST_EVENT_NAMES)[number];

export interface HostEvent {
  name: HostEventName;
  /** Of our key: names the connection on this host. */
  token: number;
  /** Of the initial subflow; in sub_* events of the subflow; in `announced` the remote side is what was announced. */
  localAddress: string;
  localPort: number;
  remoteAddress: string;
  remotePort: number;
  /** created, established: we accepted it. */
  serverSide?: boolean;
  /** established, closed: plain TCP after all. */
  fallback?: boolean;
  /** announced, removed: the peer's address id. sub_*: that of the side that opened the subflow. */
  addressId?: number;
  /** sub_established, sub_priority: the peer wants it used last. */
  backup?: boolean;
  /** closed, sub_closed. */
  reason?: CloseReason;
}

export function connectionEvent(name: HostEventName, connection: MptcpConnection, more: Partial<HostEvent> = {}): HostEvent {
  return { name, token: connection.local.token, ...textOf(connection.tuple), ...more };
}

export function subflowEvent(name: HostEventName, subflow: Subflow, more: Partial<HostEvent> = {}): HostEvent {
  const { addressId, remoteBackup: backup, connection, tuple } = subflow;
  return { name, token: connection.local.token, ...textOf(tuple), addressId, backup, ...more };
}

function textOf(tuple: MptcpConnection['tuple']): Pick<HostEvent, 'localAddress' | 'localPort' | 'remoteAddress' | 'remotePort'> {
  return {
    localAddress: formatEndpoint(tuple.localAddress),
    localPort: tuple.localPort,
    remoteAddress: formatEndpoint(tuple.remoteAddress),
    remotePort: tuple.remotePort,
  };
}
