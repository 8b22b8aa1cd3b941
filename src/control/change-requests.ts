/** Requests on the control socket that change the running tunnel: paths, their policy, the limits of peers, the whole configuration. */

import type { ZodError } from 'zod';
import type { PathConfig } from '../tunnel/config.js';
import { type PathTable, type PeerLimitsTable, pathSchema, peerLimitsSchema, policySchema } from '../tunnel/config-schema.js';
import { pathConfigOf } from '../tunnel/config-values.js';
import type { LimitedPeer } from '../tunnel/gateway/peer-limits.js';
import type { PathChange } from '../tunnel/link.js';
import { type PolicyTable, policyOf } from '../tunnel/path-policy.js';

export type ChangeRequest =
  | { command: 'path-add'; path: PathConfig }
  | { command: 'path-remove'; name: string }
  | { command: 'path-set'; name: string; change: PathChange }
  /** Of either limit 0: from now on there is none. */
  | { command: 'peer-set'; name: string; change: LimitedPeer }
  /** Reads the configuration file again. */
  | { command: 'reload' };

/** The same as it is asked for, with keys and values as in [[path]] and [[peer]]. */
export type ChangeMessage =
  | { command: 'path-add'; path: PathTable }
  | { command: 'path-set'; name: string; change: PolicyTable }
  | { command: 'path-remove'; name: string }
  | { command: 'peer-set'; name: string; change: PeerLimitsTable }
  | { command: 'reload' };

/** Lines for people. */
export interface ChangeReply {
  done: string[];
  /** Differs too, but is in force only after a restart. */
  left: string[];
}

const COMMANDS: readonly string[] = ['path-add', 'path-remove', 'path-set', 'peer-set', 'reload'] satisfies ChangeRequest['command'][];

export function isChangeCommand(command: unknown): boolean {
  return typeof command === 'string' && COMMANDS.includes(command);
}

/** The request in a message whose command is one of ours, or a fault string. */
export function parseChange(message: Record<string, unknown>): ChangeRequest | string {
  const { command, name } = message;
  switch (command) {
    case 'reload':
      return { command };
    case 'path-remove':
      return typeof name === 'string' ? { command, name } : 'name is no text';
    case 'path-set': {
      const change = policySchema.safeParse(message.change);
      if (!change.success) return 'change does not fit';
      return typeof name === 'string' ? { command, name, change: policyOf(change.data) } : 'name is no text';
    }
    case 'peer-set': {
      const change = peerLimitsSchema.safeParse(message.change);
      if (!change.success) return 'change does not fit';
      return typeof name === 'string' ? { command, name, change: policyOf(change.data) } : 'name is no text';
    }
    case 'path-add': {
      const path = checkPath(message.path);
      return typeof path === 'string' ? path : { command, path: pathConfigOf(path) };
    }
    default:
      return 'unknown command';
  }
}

/** Keys as in [[path]]. What is wrong, as a fault string. */
export function checkPath(value: unknown): PathTable | string {
  const checked = pathSchema.safeParse(value);
  return checked.success ? checked.data : faultOf(checked.error, 'path');
}

/** Keys as in [[peer]], those of its limits alone. What is wrong, as a fault string. */
export function checkPeerLimits(value: unknown): PeerLimitsTable | string {
  const checked = peerLimitsSchema.safeParse(value);
  return checked.success ? checked.data : faultOf(checked.error, 'peer');
}

function faultOf(error: ZodError, what: string): string {
  const { path, message } = error.issues[0]!;
  return `${path.join('.') || what} ${message}`;
}
