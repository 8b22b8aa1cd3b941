/**
 * Hosts of a lab: network namespaces called `mpt-<owner>-<number>-<role>`, where owner is the pid and the start time of the process that made
 * them. So a later lab can tell what a killed process has left behind, and remove it. Needs root.
 */

import { type ChildProcess, execFile, execFileSync, type SpawnOptions, spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LabHost, LabProcess } from './lab-api.js';

const PREFIX = 'mpt-';
const NETNS_FOLDER = '/run/netns';
/** Between SIGTERM and SIGKILL for what still runs inside a host when the lab closes. */
const TERM_PATIENCE_MS = 1500;
const TERM_POLL_MS = 50;
const DEFAULT_RUN_TIMEOUT_MS = 60_000;
const MAX_OUTPUT_BYTES = 64 << 20;
const CLEANUP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export class LabError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'LabError';
    this.code = code;
  }
}

/** Runs a command to its end outside of any host. */
export function runCommand(command: string, args: readonly string[], options: { timeoutMs?: number; input?: string } = {}) {
  return new Promise<{ stdout: string; stderr: string }>((resolve, reject) => {
    const settings = { timeout: options.timeoutMs ?? DEFAULT_RUN_TIMEOUT_MS, maxBuffer: MAX_OUTPUT_BYTES, env: childEnvironment() };
    const child = execFile(command, [...args], settings, (error, stdout, stderr) => {
      if (error === null) return resolve({ stdout, stderr });
      const reason = error.killed ? 'did not end in time' : `failed (${error.code ?? error.signal})`;
      reject(new LabError('command-failed', `${command} ${args.join(' ')} ${reason}: ${stderr.trim()}`, { cause: error }));
    });
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(options.input ?? '');
  });
}

/** Loaders that a test runner put into NODE_OPTIONS are not for the programs in the lab. */
function childEnvironment(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _, ...environment } = process.env;
  return environment;
}

export class NamespaceHost implements LabHost {
  readonly namespace: string;
  private readonly folder: string;
  private processCount = 0;

  constructor(namespace: string, folder: string) {
    this.namespace = namespace;
    this.folder = folder;
  }

  run(command: string, args: readonly string[], options?: { timeoutMs?: number; input?: string }) {
    return runCommand('ip', this.inside(command, args), options);
  }

  spawn(command: string, args: readonly string[]): LabProcess {
    this.processCount += 1;
    const logFile = join(this.folder, `${this.namespace}-${this.processCount}.log`);
    const log = openSync(logFile, 'a');
    const child = this.start(command, args, ['ignore', log, log]);
    closeSync(log);
    const exited = new Promise<number>((resolve) => {
      child.on('error', () => resolve(127));
      child.on('exit', (code, signal) => resolve(code ?? 128 + signalNumber(signal)));
    });
    const kill = (signal: NodeJS.Signals = 'SIGTERM') => signalGroup(child.pid, signal);
    return { pid: child.pid ?? -1, logFile, exited, kill };
  }

  /** Starts with pipes, for a conversation; ended by `close` of the lab at the latest. */
  spawnPiped(command: string, args: readonly string[]): ChildProcess {
    return this.start(command, args, ['pipe', 'pipe', 'pipe']);
  }

  /** A group of its own: Ctrl-C on the terminal is for the owner of the lab, who then ends things in order. */
  private start(command: string, args: readonly string[], stdio: NonNullable<SpawnOptions['stdio']>): ChildProcess {
    return spawn('ip', this.inside(command, args), { detached: true, stdio, env: childEnvironment() });
  }

  private inside(command: string, args: readonly string[]): string[] {
    return ['netns', 'exec', this.namespace, command, ...args];
  }
}

function signalGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // It has ended already.
  }
}

function signalNumber(signal: NodeJS.Signals | null): number {
  return { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGABRT: 6, SIGKILL: 9, SIGSEGV: 11, SIGTERM: 15 }[signal as string] ?? 0;
}

let groupCount = 0;
const openGroups = new Set<HostGroup>();

/** The hosts of one lab and a folder for their files; `close` ends every process inside, daemons too, and removes all. */
export class HostGroup {
  readonly folder: string;
  private readonly prefix: string;
  private readonly namespaces: string[] = [];
  private closed = false;

  constructor() {
    requireRoot();
    removeLeftovers();
    groupCount += 1;
    this.prefix = `${PREFIX}${ownerName(process.pid) ?? 'none'}-${groupCount}-`;
    this.folder = mkdtempSync(join(tmpdir(), this.prefix));
    openGroups.add(this);
    watchForTheEnd();
  }

  async addHost(role: string): Promise<NamespaceHost> {
    const namespace = this.prefix + role;
    this.namespaces.push(namespace);
    await runCommand('ip', ['netns', 'add', namespace]);
    return new NamespaceHost(namespace, this.folder);
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    const pids = () => this.namespaces.flatMap(processesIn);
    signalAll(pids(), 'SIGTERM');
    const deadlineMs = performance.now() + TERM_PATIENCE_MS;
    while (pids().length > 0 && performance.now() < deadlineMs) await new Promise((resolve) => setTimeout(resolve, TERM_POLL_MS));
    this.remove();
  }

  /** The short way, for the end of this process: no waiting. */
  closeNow(): void {
    if (this.closed) return;
    this.closed = true;
    this.remove();
  }

  private remove(): void {
    openGroups.delete(this);
    for (const namespace of this.namespaces) removeNamespace(namespace);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function requireRoot(): void {
  if (process.getuid?.() !== 0) throw new LabError('needs-root', 'Network namespaces need root: run it with sudo.');
}

let watching = false;

/** An exit, an uncaught error and the usual signals end the labs too. SIGKILL cannot be seen: then the next lab removes what is left. */
function watchForTheEnd(): void {
  if (watching) return;
  watching = true;
  const closeAll = () => {
    for (const group of openGroups) group.closeNow();
  };
  process.on('exit', closeAll);
  for (const signal of CLEANUP_SIGNALS) {
    const onSignal = () => {
      closeAll();
      process.removeListener(signal, onSignal);
      // With another listener in place the process is the other's to end.
      if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
    };
    process.on(signal, onSignal);
  }
}

/** "pid in base 36" + "." + "start time in clock ticks, base 36": unique while the machine runs. undefined when there is no such process. */
function ownerName(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The command name may hold spaces and parentheses; the 20th field after it is the start time.
    const startTicks = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
    return `${pid.toString(36)}.${startTicks.toString(36)}`;
  } catch {
    return undefined;
  }
}

function ownerIsDead(name: string): boolean {
  const owner = name.slice(PREFIX.length).split('-')[0] ?? '';
  const [pid] = owner.split('.');
  return owner.includes('.') && ownerName(Number.parseInt(pid ?? '', 36)) !== owner;
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => name.startsWith(PREFIX));
  } catch {
    return [];
  }
}

/** Removes hosts and folders of labs whose process has died without cleaning up. */
export function removeLeftovers(): void {
  for (const namespace of namesIn(NETNS_FOLDER).filter(ownerIsDead)) removeNamespace(namespace);
  for (const name of namesIn(tmpdir()).filter(ownerIsDead)) rmSync(join(tmpdir(), name), { recursive: true, force: true });
}

function removeNamespace(namespace: string): void {
  signalAll(processesIn(namespace), 'SIGKILL');
  try {
    execFileSync('ip', ['netns', 'delete', namespace], { stdio: 'ignore' });
  } catch {
    // It was never made, or somebody else was faster.
  }
}

function processesIn(namespace: string): number[] {
  try {
    const pids = execFileSync('ip', ['netns', 'pids', namespace], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    return pids
      .split('\n')
      .filter((line) => line !== '')
      .map(Number);
  } catch {
    return [];
  }
}

function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch {
      // It has ended meanwhile.
    }
  }
}
