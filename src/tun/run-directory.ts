/** Where running tunnels keep their control socket, state, log and network journal. */

import { accessSync, constants, lstatSync, mkdirSync, readFileSync, readlinkSync } from 'node:fs';
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

/**
 * An ordinary user has one of its own, and so has the "root" of a user namespace, to whom /run does not belong. Without a session there is none, and /tmp serves. Throws Error where somebody else has taken that
 * name.
 */
function baseDirectory({ XDG_RUNTIME_DIR: own }: NodeJS.ProcessEnv): string {
  const user = process.geteuid?.() ?? 0;
  if (user === 0 && isWritable('/run')) return '/run/mptunnel';
  if (own !== undefined && own !== '' && isWritable(own)) return join(own, 'mptunnel');
  const shared = `/tmp/mptunnel-${userOutside(user)}`;
  requireOwn(shared, user);
  return shared;
}

/** In a user namespace many are root. */
function userOutside(user: number): number {
  try {
    for (const line of readFileSync('/proc/self/uid_map', 'utf8').trim().split('\n')) {
      const [inside = 0, outside = 0, count = 0] = line.trim().split(/\s+/).map(Number);
      if (user >= inside && user < inside + count) return outside + user - inside;
    }
  } catch {
    // Without /proc there is no other number.
  }
  return user;
}

function isWritable(directory: string): boolean {
  try {
    accessSync(directory, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** In /tmp anybody can make anything, and what is told to a stranger's control socket is a stranger's. */
function requireOwn(directory: string, user: number): void {
  const found = lstatSync(directory, { throwIfNoEntry: false });
  if (found === undefined || (found.isDirectory() && found.uid === user && (found.mode & 0o022) === 0)) return;
  throw new Error(`${directory} is not this user's own: set MPTUNNEL_RUN_DIR to a folder that is`);
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
  /** An HTTP proxy for `mptunnel connect`, where there is no TUN. */
  readonly proxy: string;
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
    proxy: join(directory, `${name}.http`),
    state: join(directory, `${name}.json`),
    log: join(directory, `${name}.log`),
    journal: join(directory, `${name}.journal`),
    killSwitch: join(directory, `${name}.kill-switch`),
  };
}
