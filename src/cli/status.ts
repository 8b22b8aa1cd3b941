import type { Command } from 'commander';
import { ControlClient } from '../control/control-client.js';
import { ControlError } from '../control/control-protocol.js';
import { findInstance, type Instance, isAlive, listInstances } from '../control/instance.js';
import { formatStatus } from '../control/status-text.js';
import { runFiles } from '../tun/run-directory.js';
import type { TunnelStatus } from '../tunnel/status.js';
import { CliError, reportWarning } from './report.js';

export function addStatus(program: Command): void {
  program
    .command('status')
    .description('show running tunnels: peers, paths, round-trip times, loss, rates, bytes')
    .argument('[name]', 'one tunnel; without it, all')
    .option('--json', 'print JSON, one object a line for each tunnel')
    .option('-v, --verbose', 'with counters of what was dropped, refused and retried')
    .action(status);
}

async function status(name: string | undefined, options: { json?: boolean; verbose?: boolean }): Promise<void> {
  const instances = name === undefined ? listInstances() : [findInstance(name)];
  const statuses: TunnelStatus[] = [];
  for (const instance of instances) {
    const found = await askStatus(instance);
    if (found !== undefined) statuses.push(found);
    else if (name !== undefined) throw new CliError('crashed', crashed(instance));
    else reportWarning(crashed(instance));
  }
  if (options.json === true) process.stdout.write(statuses.map((found) => `${JSON.stringify(found)}\n`).join(''));
  else
    process.stdout.write(
      statuses.length === 0 ? 'No tunnel is running here.\n' : statuses.map((found) => formatStatus(found, options.verbose)).join('\n'),
    );
}

function crashed({ name }: Instance): string {
  return `${name} has crashed: \`mptunnel down ${name}\` cleans up (log: ${runFiles(name).log})`;
}

/** undefined when the tunnel is dead, or died while it was asked. */
async function askStatus(instance: Instance): Promise<TunnelStatus | undefined> {
  if (!isAlive(instance)) return undefined;
  try {
    const client = await ControlClient.connect(runFiles(instance.name).socket);
    try {
      return await client.status();
    } finally {
      client.close();
    }
  } catch (error) {
    const isGone = error instanceof ControlError && (error.code === 'not-running' || error.code === 'gone');
    if (!isGone || isAlive(instance)) throw error;
    return undefined;
  }
}
