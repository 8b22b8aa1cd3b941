/** Requests on the control socket that change the running tunnel: paths, their policy, the whole configuration. */

import type { PathConfig } from '../tunnel/config.js';
import { pathSchema } from '../tunnel/config-schema.js';
import { pathConfigOf } from '../tunnel/config-values.js';
import type { PathChange } from '../tunnel/link.js';

export type ChangeRequest =
  | { command: 'path-add'; path: PathConfig }
  | { command: 'path-remove'; name: string }
  | { command: 'path-set'; name: string; change: PathChange }
  /** Reads the configuration file again. */
  | { command: 'reload' };

/** Lines for people. */
export interface ChangeReply {
  done: string[];
  /** Differs too, but is in force only after a restart. */
  left: string[];
}

const COMMANDS: readonly string[] = ['path-add', 'path-remove', 'path-set', 'reload'] satisfies ChangeRequest['command'][];
const changeSchema = pathSchema.pick({ priority: true, backup: true });

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
      const change = changeSchema.safeParse(message.change);
      if (!change.success) return 'change does not fit';
      if (typeof name !== 'string') return 'name is no text';
      const { priority, backup } = change.data;
      return { command, name, change: { ...(priority === undefined ? {} : { priority }), ...(backup === undefined ? {} : { backup }) } };
    }
    case 'path-add': {
      const path = parsePath(message.path);
      return typeof path === 'string' ? path : { command, path };
    }
    default:
      return 'unknown command';
  }
}

/** Keys as in [[path]]. What is wrong, as a fault string. */
export function parsePath(value: unknown): PathConfig | string {
  const checked = pathSchema.safeParse(value);
  if (checked.success) return pathConfigOf(checked.data);
  const { path, message } = checked.error.issues[0]!;
  return `${path.join('.') || 'path'} ${message}`;
}
