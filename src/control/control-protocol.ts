/** What is said on the control socket: a request {id, command, ...}; for each any number of {id, chunk}, then one reply {id, ok, ...}. */

import { CONNECTION_ORDERS, CONNECTIONS_PAGE_MAX_COUNT, type ConnectionQuery } from '../tunnel/connections.js';
import { type ChangeRequest, isChangeCommand, parseChange } from './change-requests.js';
import { type PeerRequest, parsePeerRequest } from './peer-requests.js';

export type ControlRequest =
  | { id: number; command: 'status' }
  | { id: number; command: 'stop' }
  /** Answered with a ConnectionPage; ask again for rates. */
  | ({ id: number; command: 'connections' } & ConnectionQuery)
  /** Invites and peers (peer-requests.ts); the reply has a `result`. */
  | { id: number; command: 'peers'; request: PeerRequest }
  /** Streams pcapng until `count` packets (0: no end), `cancel`, or the end of the tunnel. */
  | { id: number; command: 'capture'; count: number }
  /** Streams lines of JSON, one an event: the last `last`, then, where `follow` says so, new ones until `cancel` or the end of the tunnel. */
  | { id: number; command: 'events'; last: number; follow: boolean }
  /** Ends the capture or the stream of events whose id is `target`: that request then gets its reply. */
  | { id: number; command: 'cancel'; target: number }
  /** Answered by a ChangeReply. */
  | { id: number; command: 'change'; change: ChangeRequest };

export interface CaptureSummary {
  packets: number;
  /** Not written because the reader was too slow. */
  droppedPackets: number;
}

export interface EventsSummary {
  events: number;
  /** Not sent because the reader was too slow. */
  droppedEvents: number;
}

/** A command failed; the message tells the user what to do. */
export class ControlError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ControlError';
    this.code = code;
  }
}

/** The request in a decoded frame, or a fault string. */
export function parseRequest(message: Record<string, unknown>): ControlRequest | string {
  const { id, command, count, target, last, follow } = message;
  if (!isCount(id)) return 'id is no number';
  if (command === 'status' || command === 'stop') return { id, command };
  if (command === 'peers') {
    const request = parsePeerRequest(message.request);
    return request === undefined ? 'request about peers is not well formed' : { id, command, request };
  }
  if (command === 'capture') return isCount(count) ? { id, command, count } : 'count is no number';
  if (command === 'connections') return parseConnectionsRequest(id, message);
  if (command === 'events') {
    if (typeof follow !== 'boolean') return 'follow is no boolean';
    return isCount(last) ? { id, command, last, follow } : 'last is no number';
  }
  if (command === 'cancel') return isCount(target) ? { id, command, target } : 'target is no number';
  if (isChangeCommand(command)) {
    const change = parseChange(message);
    return typeof change === 'string' ? change : { id, command: 'change', change };
  }
  return 'unknown command';
}

function parseConnectionsRequest(id: number, { order, offset, limit }: Record<string, unknown>): ControlRequest | string {
  const known = CONNECTION_ORDERS.find((name) => name === order);
  if (known === undefined) return 'unknown order';
  if (!isCount(offset)) return 'offset is no number';
  if (!isCount(limit) || limit > CONNECTIONS_PAGE_MAX_COUNT) return 'limit is no number, or too large';
  return { id, command: 'connections', order: known, offset, limit };
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

/** sizeof(sockaddr_un.sun_path) less the NUL. */
const SOCKET_PATH_MAX_BYTES = 107;

export function requireSocketPath(path: string): void {
  if (Buffer.byteLength(path) > SOCKET_PATH_MAX_BYTES)
    throw new ControlError('bad-run-directory', `${path} is too long for a socket: set MPTUNNEL_RUN_DIR to a shorter path`);
}
