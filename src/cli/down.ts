import { existsSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { ControlError } from '../control/control-protocol.js';
import { cleanLeftovers, findInstance, type Instance, isAlive, isHeldBack, removeLog } from '../control/instance.js';
import { dnsPlace, releaseDns } from '../tun/host-dns.js';
import { releaseKillSwitch } from '../tun/kill-switch.js';
import { sweepLeftovers } from '../tun/leftover-sweep.js';
import { runDirectory, runFiles } from '../tun/run-directory.js';
import { loadConfig } from '../tunnel/config-file.js';
import { interfaceNameFault } from '../tunnel/config-schema.js';
import { withInstance } from './daemon-client.js';
import { CliError, reportWarning } from './report.js';

/** A daemon takes at most 10 s to close. */
const STOP_PATIENCE_MS = 13_000;
const FORCED_STOP_PATIENCE_MS = 3000;
const KILL_PATIENCE_MS = 2000;
const POLL_MS = 20;

interface DownOptions {
  force?: boolean;
}

export function addDown(program: Command): void {
  program
    .command('down')
    .description('stop a tunnel and take back its routes, rules, addresses, DNS and kill switch; also cleans up after a crash')
    .argument('<name>', 'the name of the tunnel, or the configuration that it was started with')
    .option('--force', 'kill a daemon that does not stop at once, and look for leftovers of that name although no tunnel is known by it')
    .action(down);
}

async function down(nameOrConfig: string, { force = false }: DownOptions): Promise<void> {
  const instance = find(nameOrConfig, force);
  const wasAlive = isAlive(instance);
  if (wasAlive) await stop(instance, force ? FORCED_STOP_PATIENCE_MS : STOP_PATIENCE_MS);
  const { name } = instance;
  const failures = [
    ...(wasAlive ? toldInLog(name) : []),
    ...(await cleanLeftovers(name)),
    ...(await releaseKillSwitch(runFiles(name).killSwitch)),
    ...(force ? [...(await releaseDns(dnsPlace(runDirectory()), name)), ...(await sweepLeftovers(name))] : []),
  ];
  for (const failure of failures) reportWarning(`not undone: ${failure}`);
  // After a crash the log is the only witness.
  if (wasAlive || !existsSync(runFiles(name).log)) removeLog(name);
  else process.stderr.write(`mptunnel: ${name} had crashed; what it left is cleaned up\n`);
}

/** What the daemon could not put back, it has told to its log only, and that goes with it. */
function toldInLog(name: string): string[] {
  try {
    return [...readFileSync(runFiles(name).log, 'utf8').matchAll(/^\S+ warn not undone: (.*)$/gm)].map(([, reason]) => reason!);
  } catch {
    return [];
  }
}

/** Of a tunnel whose `up` failed after a crash only the kill switch may be left; by force one of which nothing is known is taken for dead. */
function find(nameOrConfig: string, force: boolean): Instance {
  try {
    return findInstance(nameOrConfig);
  } catch (error) {
    const name = nameOf(nameOrConfig);
    if (name === undefined || !(force || isHeldBack(name)) || !(error instanceof ControlError) || error.code !== 'not-running') throw error;
    return { name, pid: -1, startTicks: 0, configFile: nameOrConfig };
  }
}

/** undefined: that can be the name of no tunnel. */
function nameOf(nameOrConfig: string): string | undefined {
  try {
    if (nameOrConfig.includes('/')) return loadConfig(nameOrConfig).interface.name;
  } catch {
    // A file that is gone or faulty by now was named after its tunnel all the same.
  }
  const name = basename(nameOrConfig).replace(/\.toml$/, '');
  return interfaceNameFault(name) === undefined ? name : undefined;
}

async function stop(instance: Instance, patienceMs: number): Promise<void> {
  await askToStop(instance);
  if (await waitUntilGone(instance, patienceMs)) return;
  reportWarning(`${instance.name} does not stop by itself: killing process ${instance.pid}`);
  kill(instance, 'SIGKILL');
  if (await waitUntilGone(instance, KILL_PATIENCE_MS)) return;
  throw new CliError('not-down', `${instance.name}: process ${instance.pid} does not end, not even killed`);
}

async function askToStop(instance: Instance): Promise<void> {
  try {
    await withInstance(instance, (client) => client.stop());
  } catch (error) {
    // It is on its way out, or has no socket yet.
    if (!(error instanceof ControlError) || error.code === 'not-permitted') throw error;
    kill(instance, 'SIGTERM');
  }
}

function kill(instance: Instance, signal: NodeJS.Signals): void {
  try {
    if (isAlive(instance)) process.kill(instance.pid, signal);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EPERM')
      throw new CliError('not-permitted', `process ${instance.pid} belongs to another user: run as root`, { cause: error });
  }
}

async function waitUntilGone(instance: Instance, patienceMs: number): Promise<boolean> {
  const untilMs = performance.now() + patienceMs;
  while (isAlive(instance)) {
    if (performance.now() > untilMs) return false;
    await sleep(POLL_MS);
  }
  return true;
}
