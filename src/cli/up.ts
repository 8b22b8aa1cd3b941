import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import type { Command } from 'commander';
import { requireSocketPath } from '../control/control-protocol.js';
import { type DaemonOptions, listenForStop, runDaemon } from '../control/daemon.js';
import { cleanIfDead, prepareRunDirectory, removeLog, requireNotRunning } from '../control/instance.js';
import { runDirectory, runFiles } from '../tun/run-directory.js';
import { stateDirectory } from '../tun/state-directory.js';
import type { TunnelConfig } from '../tunnel/config.js';
import { configPath, loadConfig } from '../tunnel/config-file.js';
import type { TunnelLog } from '../tunnel/tunnel-api.js';
import type { CliContext } from './cli-context.js';
import { parseSeconds } from './numbers.js';
import { CliError, failureLine, reportFailure, reportWarning } from './report.js';

export interface UpOptions {
  foreground?: boolean;
  timeout: number;
}

/** A command that leaves a daemon behind: `up`, or one like it. */
export interface DaemonCommand {
  readonly name: string;
  /** Options of its own, as the daemon is to be given them. */
  readonly flags: readonly string[];
  /** What it makes of the file's configuration. */
  readonly adapt?: (config: TunnelConfig) => TunnelConfig;
  readonly startService?: NonNullable<DaemonOptions['startService']>;
}

const UP: DaemonCommand = { name: 'up', flags: [] };

/** What a daemon tells the process that started it. */
type DaemonReport = { type: 'ready' } | { type: 'failed'; message: string };
/** What became of it; `died`: without a word, so that its log is wanted. */
type Outcome = DaemonReport | { type: 'died'; message: string };

const DEFAULT_TIMEOUT_SECONDS = 10;
/** For the start before and the clean-up after the time that the user allows. */
const PARENT_PATIENCE_MS = 15_000;
/** The log lies in memory (/run). */
const LOG_MAX_BYTES = 4 << 20;

export function addUp(program: Command, context: CliContext): void {
  program
    .command('up')
    .description('start a tunnel; returns when it is up, and leaves a daemon')
    .argument('<config>', 'a file, or NAME for /etc/mptunnel/NAME.toml')
    .option('-f, --foreground', 'stay, log to standard error, stop at Ctrl-C')
    .option(
      '-t, --timeout <seconds>',
      'how long a client may take to reach its peer; 0: keep trying',
      parseSeconds,
      DEFAULT_TIMEOUT_SECONDS,
    )
    .addHelpText(
      'after',
      '\nExamples:\n  sudo mptunnel up home            # /etc/mptunnel/home.toml\n  sudo mptunnel up ./client.toml --foreground',
    )
    .action((config: string, options: UpOptions) => runTunnel(UP, config, options, context));
}

/** Returns when the tunnel is up, and leaves a daemon; in the foreground when it has ended. */
export function runTunnel(command: DaemonCommand, nameOrPath: string, options: UpOptions, context: CliContext): Promise<void> {
  return options.foreground === true
    ? runForeground(command, nameOrPath, options, context)
    : runDetached(command, nameOrPath, options, context);
}

/** Also the daemon's own main: then a channel to its parent is open. */
async function runForeground(
  { adapt, startService }: DaemonCommand,
  nameOrPath: string,
  options: UpOptions,
  context: CliContext,
): Promise<void> {
  const stop = listenForStop();
  // A parent that was interrupted before we were up wants nothing left.
  const onOrphaned = (): void => stop.request('the starting process went away');
  process.once('disconnect', onOrphaned);
  const tell = async (report: DaemonReport): Promise<void> => {
    process.off('disconnect', onOrphaned);
    if (process.connected) await new Promise<void>((resolve) => process.send?.(report, () => resolve()));
    if (process.connected) process.disconnect();
  };
  process.on('uncaughtException', (error) => void die(nameOrPath, error));
  process.on('unhandledRejection', (error) => void die(nameOrPath, error));
  try {
    const log = createLog();
    const written = loadConfig(nameOrPath, (message) => log.warn(message));
    const config = adapt?.(written) ?? written;
    const startTunnel = await context.loadStartTunnel();
    await runDaemon(
      {
        config,
        configFile: configPath(nameOrPath),
        readyTimeoutMs: options.timeout * 1000,
        startTunnel,
        log,
        onReady: () => void tell({ type: 'ready' }),
        ...(adapt && { adapt }),
        ...(startService && { startService }),
      },
      stop,
    );
  } catch (error) {
    reportFailure(error);
    await tell({ type: 'failed', message: failureLine(error) });
    process.exit(1);
  }
  await tell({ type: 'failed', message: 'it was stopped before it was up' });
  process.exit(0);
}

let dying = false;

/** A defect: the network of the host is put right all the same. */
async function die(nameOrPath: string, error: unknown): Promise<void> {
  if (dying) return;
  dying = true;
  process.stderr.write(`mptunnel: internal error: ${error instanceof Error ? error.stack : String(error)}\n`);
  try {
    await cleanIfDead(loadConfig(nameOrPath).interface.name);
  } finally {
    process.exit(1);
  }
}

function createLog(): TunnelLog {
  const canTruncate = fstatSync(2).isFile();
  let bytes = 0;
  const write = (level: string, message: string): void => {
    const line = `${new Date().toISOString()} ${level} ${message.replaceAll('\n', ' ')}\n`;
    bytes += line.length;
    if (canTruncate && bytes > LOG_MAX_BYTES) {
      ftruncateSync(2, 0);
      bytes = line.length;
    }
    try {
      writeSync(2, line);
    } catch {
      // A log that cannot be written (a closed terminal, a full disk) is no reason to drop a tunnel.
    }
  };
  return { info: (message) => write('info', message), warn: (message) => write('warn', message) };
}

async function runDetached(command: DaemonCommand, nameOrPath: string, options: UpOptions, context: CliContext): Promise<void> {
  const { name } = loadConfig(nameOrPath, reportWarning).interface;
  requireNotRunning(name);
  prepareRunDirectory();
  const files = runFiles(name);
  requireSocketPath(files.socket);
  const child = startDaemon(command, configPath(nameOrPath), options, context, files.log);
  const interrupted = listenForStop();
  const outcome = await Promise.race([waitForReport(child, files.log), deadline(options), interrupted.first.then(interruption)]);
  interrupted.release();
  if (outcome.type === 'ready') {
    if (child.connected) child.disconnect();
    child.unref();
    return;
  }
  await endDaemon(child);
  for (const failure of await cleanIfDead(name)) reportWarning(`not undone: ${failure}`);
  if (outcome.type === 'failed') removeLog(name);
  throw new CliError('not-up', `${name} is not up: ${outcome.message}`);
}

/** Its output goes to the log file, so that whoever captures ours sees the end of it. */
function startDaemon(
  { name, flags }: DaemonCommand,
  configFile: string,
  options: UpOptions,
  context: CliContext,
  logFile: string,
): ChildProcess {
  const log = openSync(logFile, 'a', 0o600);
  ftruncateSync(log, 0);
  try {
    // The daemon has the Node.js options of this process.
    return spawn(
      process.execPath,
      [...process.execArgv, context.entryFile, name, configFile, '--foreground', '--timeout', String(options.timeout), ...flags],
      {
        detached: true,
        cwd: '/',
        env: daemonEnvironment(),
        stdio: ['ignore', log, log, 'ipc'],
      },
    );
  } finally {
    closeSync(log);
  }
}

/** Hooks that were meant for us (test runners, coverage, debuggers) do not go along into a process that stays. */
function daemonEnvironment(): NodeJS.ProcessEnv {
  const environment = { ...process.env };
  // They may be relative, and the daemon works elsewhere.
  if (environment.MPTUNNEL_RUN_DIR) environment.MPTUNNEL_RUN_DIR = runDirectory();
  if (environment.MPTUNNEL_STATE_DIR) environment.MPTUNNEL_STATE_DIR = stateDirectory();
  for (const name of ['NODE_OPTIONS', 'NODE_V8_COVERAGE', 'NODE_INSPECT_RESUME_ON_START']) delete environment[name];
  return environment;
}

async function waitForReport(child: ChildProcess, logFile: string): Promise<Outcome> {
  const reported = once(child, 'message').then(([report]) => report as DaemonReport);
  const died = once(child, 'exit').then(
    ([code, signal]): Outcome => ({ type: 'died', message: `the daemon ended (${signal ?? `exit ${code}`}): ${lastLine(logFile)}` }),
  );
  const failed = once(child, 'error').then(([error]): Outcome => ({ type: 'failed', message: `node does not start: ${error.message}` }));
  return Promise.race([reported, died, failed]);
}

function deadline(options: UpOptions): Promise<Outcome> {
  // Even with a timeout of 0 the daemon must say that it lives; but to be up may take as long as it takes.
  if (options.timeout === 0) return new Promise(() => {});
  const message = `the daemon did not report within ${options.timeout + PARENT_PATIENCE_MS / 1000} s`;
  return new Promise((resolve) => setTimeout(resolve, options.timeout * 1000 + PARENT_PATIENCE_MS, { type: 'died', message }).unref());
}

function interruption(signal: string): Outcome {
  return { type: 'failed', message: `interrupted by ${signal}` };
}

/** It ends by itself when it has failed; else it is asked, then made to. */
async function endDaemon(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), PARENT_PATIENCE_MS);
  await exited;
  clearTimeout(timer);
}

function lastLine(logFile: string): string {
  try {
    const lines = readFileSync(logFile, 'utf8').trim().split('\n');
    return `${lines.at(-1) || 'its log is empty'} (log: ${logFile})`;
  } catch {
    return `see ${logFile}`;
  }
}
