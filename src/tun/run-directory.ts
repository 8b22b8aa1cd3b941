/** Where running tunnels keep their control socket, state, log and network journal. */

import { mkdirSync, readlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';

/**
 * /run/mptunnel/<inode of the network namespace>, or one of the user's own: a tunnel's name is a device's name, and those are unique only within a namespace.
 * MPTUNNEL_RUN_DIR replaces the whole path.
 */
export function runDirectory(environment: NodeJS.ProcessEnv = process.env): string {
  const override = environment.MPTUNNEL_RUN_DIR;
  if (override !== undefined && override !== '') return resolve(override);
  return join(baseDirectory(environment), networkNamespaceInode());
}

/** An ordinary user has one of its own; without a session there is none, and /tmp serves. */
function baseDirectory({ XDG_RUNTIME_DIR: own }: NodeJS.ProcessEnv): string {
  const user = process.geteuid?.() ?? 0;
  if (user === 0) return '/run/mptunnel';
  return own !== undefined && own !== '' ? join(own, 'mptunnel') : `/tmp/mptunnel-${user}`;
}

function networkNamespaceInode(): string {
  try {
    return /\d+/.exec(readlinkSync('/proc/self/ns/net'))?.[0] ?? 'host';
  } catch {
    return 'host';
  }
}

/** Makes it, for its owner only: whoever may reach the control socket may stop the tunnel. */
export function ensureRunDirectory(directory: string = runDirectory()): string {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  return directory;
}

export interface RunFiles {
  readonly socket: string;
  readonly state: string;
  readonly log: string;
  /** Undo list of HostNetwork. */
  readonly journal: string;
  /** Is there while the kill switch is in force, whoever lives. */
  readonly killSwitch: string;
}

export function runFiles(name: string, directory: string = runDirectory()): RunFiles {
  return {
    socket: join(directory, `${name}.sock`),
    state: join(directory, `${name}.json`),
    log: join(directory, `${name}.log`),
    journal: join(directory, `${name}.journal`),
    killSwitch: join(directory, `${name}.kill-switch`),
  };
}
