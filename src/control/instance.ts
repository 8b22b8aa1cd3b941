/** Which tunnels run in this network namespace: one state file each, held by a living process. */

import { existsSync, linkSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { undoJournal } from '../tun/network-journal.js';
import { isProcessAlive, processStartTicks } from '../tun/process-identity.js';
import { ensureRunDirectory, runDirectory, runFiles } from '../tun/run-directory.js';
import { configPath } from '../tunnel/config-file.js';
import { ControlError } from './control-protocol.js';

export interface Instance {
  readonly name: string;
  readonly pid: number;
  readonly startTicks: number;
  /** Absolute path of its configuration. */
  readonly configFile: string;
}

export function isAlive(instance: Instance): boolean {
  return isProcessAlive(instance.pid, instance.startTicks);
}

/** Living and dead, by name. */
export function listInstances(): Instance[] {
  const directory = runDirectory();
  let files: string[];
  try {
    files = readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EACCES')
      throw new ControlError('not-permitted', `${directory}: permission denied: run as root`, { cause: error });
    return [];
  }
  return files
    .filter((file) => file.endsWith('.json'))
    .map((file) => readInstance(file.slice(0, -'.json'.length)))
    .filter((instance) => instance !== undefined)
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

export function readInstance(name: string): Instance | undefined {
  try {
    const state = JSON.parse(readFileSync(runFiles(name).state, 'utf8')) as Instance;
    return { name, pid: Number(state.pid), startTicks: Number(state.startTicks), configFile: String(state.configFile) };
  } catch {
    return undefined;
  }
}

/** The instance that a user means: by its name, or by the configuration that it was started with. Throws ControlError when there is none. */
export function findInstance(nameOrConfig: string): Instance {
  const instances = listInstances();
  const file = configPath(nameOrConfig);
  const found = instances.find(({ name }) => name === nameOrConfig) ?? instances.find(({ configFile }) => configFile === file);
  if (found !== undefined) return found;
  const running = instances.filter(isAlive).map(({ name }) => name);
  const hint = running.length === 0 ? 'none is running here' : `running here: ${running.join(', ')}`;
  if (isHeldBack(nameOrConfig))
    throw new ControlError(
      'not-running',
      `no tunnel named ${nameOrConfig} is running, but its kill switch is in force: start it, or \`mptunnel down ${nameOrConfig}\``,
    );
  throw new ControlError('not-running', `no tunnel named ${nameOrConfig} is running; ${hint}`);
}

/** Its kill switch is in force, whether it runs or not. */
export function isHeldBack(name: string): boolean {
  return !name.includes('/') && existsSync(runFiles(name).killSwitch);
}

/** Throws ControlError when a tunnel of that name lives. */
export function requireNotRunning(name: string): void {
  const instance = readInstance(name);
  if (instance === undefined || !isAlive(instance)) return;
  throw new ControlError(
    'already-running',
    `${name} is running already (process ${instance.pid}): see \`mptunnel status ${name}\`, stop it with \`mptunnel down ${name}\``,
  );
}

/**
 * Takes the name for this process. What a dead process left under it is undone first. Throws ControlError when a living one has it, or when the run
 * directory cannot be written.
 */
export async function claimInstance(name: string, configFile: string, warn: (message: string) => void): Promise<void> {
  prepareRunDirectory();
  const instance: Instance = { name, pid: process.pid, startTicks: processStartTicks(process.pid) ?? 0, configFile };
  const own = join(runDirectory(), `.${name}.${process.pid}`);
  writeFileSync(own, JSON.stringify(instance), { mode: 0o600 });
  try {
    requireNotRunning(name);
    for (const failure of await cleanLeftovers(name)) warn(`left over from a crash, not undone: ${failure}`);
    // link(2) fails when another took the name meanwhile, where rename(2) would replace it.
    linkSync(own, runFiles(name).state);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    throw new ControlError('already-running', `${name} is being started by another process`, { cause: error });
  } finally {
    rmSync(own, { force: true });
  }
}

export function prepareRunDirectory(): string {
  try {
    return ensureRunDirectory();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const what = code === 'EACCES' || code === 'EPERM' ? 'run as root' : `${code}: set MPTUNNEL_RUN_DIR to a folder that can be written`;
    throw new ControlError('bad-run-directory', `${runDirectory()} cannot be made: ${what}`, { cause });
  }
}

/** Undoes the network changes of a dead process and removes its files, except the log and the kill switch. Returns what could not be undone. */
export async function cleanLeftovers(name: string): Promise<string[]> {
  const files = runFiles(name);
  const failures = await undoJournal(files.journal);
  rmSync(files.socket, { force: true });
  rmSync(files.proxy, { force: true });
  rmSync(files.state, { force: true });
  return failures;
}

/** The same, unless another process lives under that name. */
export async function cleanIfDead(name: string): Promise<string[]> {
  const instance = readInstance(name);
  if (instance !== undefined && instance.pid !== process.pid && isAlive(instance)) return [];
  return cleanLeftovers(name);
}

/** Nobody will ask for the log any more: removes it, and the run directory with the last of them (namespaces come and go, their folders must not pile up). */
export function removeLog(name: string): void {
  rmSync(runFiles(name).log, { force: true });
  try {
    rmdirSync(runDirectory());
  } catch {
    // Others live in it, or it is not ours to remove.
  }
}
