import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { ControlError } from '../control/control-protocol.js';
import { cleanLeftovers, findInstance, type Instance, isAlive, removeLog } from '../control/instance.js';
import { withInstance } from './daemon-client.js';
import { CliError, reportWarning } from './report.js';

/** A daemon takes at most 10 s to close. */
const STOP_PATIENCE_MS = 13_000;
const KILL_PATIENCE_MS = 2000;
const POLL_MS = 20;

export function addDown(program: Command): void {
  program
    .command('down')
    .description('stop a tunnel and take back its routes, rules and addresses; also cleans up after a crash')
    .argument('<name>', 'the name of the tunnel, or the configuration that it was started with')
    .action(down);
}

async function down(nameOrConfig: string): Promise<void> {
  const instance = findInstance(nameOrConfig);
  const wasAlive = isAlive(instance);
  if (wasAlive) await stop(instance);
  for (const failure of await cleanLeftovers(instance.name)) reportWarning(`not undone: ${failure}`);
  // After a crash the log is the only witness.
  if (wasAlive) removeLog(instance.name);
  else process.stderr.write(`mptunnel: ${instance.name} had crashed; what it left is cleaned up\n`);
}

async function stop(instance: Instance): Promise<void> {
  await askToStop(instance);
  if (await waitUntilGone(instance, STOP_PATIENCE_MS)) return;
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
