/** Requests on the control socket that change the running tunnel: paths, their policy, the whole configuration. */

import type { PathConfig } from '../tunnel/config.js';
import { type PathTable, pathSchema, policySchema } from '../tunnel/config-schema.js';
import { pathConfigOf } from '../tunnel/config-values.js';
import type { PathChange } from '../tunnel/link.js';
import { type PolicyTable, policyOf } from '../tunnel/path-policy.js';

export type ChangeRequest =
  | { command: 'path-add'; path: PathConfig }
  | { command: 'path-remove'; name: string }
  | { command: 'path-set'; name: string; change: PathChange }
  /** Reads the configuration file again. */
  | { command: 'reload' };

/** The same as it is asked for, with keys and values as in [[path]]. */
export type ChangeMessage =
  | { command: 'path-add'; path: PathTable }
  | { command: 'path-set'; name: string; change: PolicyTable }
  | { command: 'path-remove'; name: string }
  | { command: 'reload' };

/** Lines for people. */
export interface ChangeReply {
  done: string[];
  /** Differs too, but is in force only after a restart. */
  left: string[];
}

const COMMANDS: readonly string[] = ['path-add', 'path-remove', 'path-set', 'reload'] satisfies ChangeRequest['command'][];

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
  if (checked.success) return checked.data;
  const { path, message } = checked.error.issues[0]!;
  return `${path.join('.') || 'path'} ${message}`;
}
