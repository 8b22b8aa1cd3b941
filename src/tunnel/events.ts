/** What happens to a tunnel, as `mptunnel events` streams it. The log's lines are made from events, here and nowhere else. */

import type { Budget } from './config.js';
import type { PathRestriction, PathState, PeerState } from './link.js';
import { formatBudget } from './path-policy.js';

/** Names of peers and paths as in the configuration. Reasons are for people. Keys are never in it. */
export type TunnelOccurrence =
  /** started: the device and the planes work; ready: every peer with an endpoint was reached. */
  | { type: 'tunnel'; state: 'started' | 'ready' | 'stopping'; name: string; reason?: string }
  | { type: 'peer'; peer: string; state: PeerState; from: PeerState; reason: string }
  /** `from` is absent when the path is new. */
  | { type: 'path'; peer: string; path: string; state: PathState; from?: PathState; reason: string; local: string; remote: string }
  | { type: 'path-removed'; peer: string; path: string }
  | { type: 'path-moved'; peer: string; path: string; local: string; remote: string; fromLocal: string; fromRemote: string }
  /** Largest inner IP packet that fits into one datagram. */
  | { type: 'path-mtu'; peer: string; path: string; innerMtuBytes: number; fromBytes: number }
  /** Our side's streams send nothing new there for so long, unless no other path can. */
  | { type: 'path-benched'; peer: string; path: string; reason: string; forMs: number }
  | { type: 'path-bench-ended'; peer: string; path: string }
  /** What its budget makes of it: free, a backup, or off. */
  | {
      type: 'path-budget';
      path: string;
      state: 'within' | 'ahead' | 'spent';
      use: PathRestriction;
      usedBytes: number;
      budgetBytes: number;
      period: Budget['period'];
    }
  /** `what` is now in force: "path lte: backup = true". */
  | { type: 'configuration'; what: string }
  | { type: 'notice'; message: string }
  | { type: 'warning'; message: string };

export type TunnelEvent = TunnelOccurrence & {
  /** From 1, without a gap, since the tunnel was started. */
  sequence: number;
  /** Wall clock, ISO 8601 in UTC. */
  time: string;
  /** The daemon's monotonic clock; only differences mean something. */
  monotonicMs: number;
};

export type TunnelEventType = TunnelOccurrence['type'];

/** One line, without the time. */
export function describeEvent(event: TunnelOccurrence): string {
  switch (event.type) {
    case 'tunnel':
      return describeTunnel(event);
    case 'peer':
      return `peer ${event.peer}: ${change(event.from, event.state)}${inBrackets(event.reason)}`;
    case 'path':
      return `path ${event.peer}/${event.path}: ${change(event.from, event.state)}${inBrackets(event.reason)}`;
    case 'path-removed':
      return `path ${event.peer}/${event.path}: removed`;
    case 'path-moved':
      return `path ${event.peer}/${event.path}: ${moves(event)}`;
    case 'path-mtu':
      return `path ${event.peer}/${event.path}: packets of up to ${event.innerMtuBytes} bytes fit (before: ${event.fromBytes})`;
    case 'path-benched':
      return `path ${event.peer}/${event.path}: benched for ${Math.round(event.forMs / 1000)} s (${event.reason})`;
    case 'path-bench-ended':
      return `path ${event.peer}/${event.path}: back from the bench`;
    case 'path-budget':
      return `path ${event.path}: ${describeBudget(event)}`;
    case 'configuration':
      return `configuration: ${event.what}`;
    case 'notice':
    case 'warning':
      return event.message;
  }
}

export function eventLevel(event: TunnelOccurrence): 'info' | 'warn' {
  return event.type === 'warning' ? 'warn' : 'info';
}

function describeTunnel({ name, state, reason }: Extract<TunnelOccurrence, { type: 'tunnel' }>): string {
  if (state === 'stopping') return reason === undefined ? `${name} is stopping` : `stopping: ${reason}`;
  return state === 'ready' ? `${name} is up` : `${name} has started`;
}

function describeBudget(event: Extract<TunnelOccurrence, { type: 'path-budget' }>): string {
  const { state, use, usedBytes, budgetBytes: bytes, period } = event;
  const budget = `of its budget of ${formatBudget({ bytes, period })}`;
  if (use === 'none') return `${(usedBytes / 1e9).toFixed(2)} GB used ${budget}: free again`;
  const until = state === 'spent' ? `until the ${period} ends` : 'until the calendar has caught up';
  return `${(usedBytes / 1e9).toFixed(2)} GB used ${budget}: ${use} ${until}`;
}

function change(from: string | undefined, to: string): string {
  return from === undefined || from === to ? to : `${from} -> ${to}`;
}

function inBrackets(reason: string | undefined): string {
  return reason === undefined || reason === '' ? '' : ` (${reason})`;
}

function moves(event: Extract<TunnelOccurrence, { type: 'path-moved' }>): string {
  const parts: string[] = [];
  if (event.local !== event.fromLocal) parts.push(`from ${event.local || 'nowhere'} now (before: ${event.fromLocal || 'nowhere'})`);
  if (event.remote !== event.fromRemote) parts.push(`to ${event.remote || 'nowhere'} now (before: ${event.fromRemote || 'nowhere'})`);
  return parts.join(', ');
}
