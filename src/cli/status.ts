import type { Command } from 'commander';
import { ControlError } from '../control/control-protocol.js';
import { findInstance, type Instance, isAlive, isHeldBack, listInstances } from '../control/instance.js';
import { formatStatus, type StatusTextOptions } from '../control/status-text.js';
import { runFiles } from '../tun/run-directory.js';
import type { TunnelStatus } from '../tunnel/status.js';
import { withInstance } from './daemon-client.js';
import { CliError, reportWarning } from './report.js';

export function addStatus(program: Command): void {
  program
    .command('status')
    .description('show running tunnels: peers, paths, round-trip times, loss, rates, bytes')
    .argument('[name]', 'one tunnel; without it, all')
    .option('--json', 'print JSON, one object a line for each tunnel')
    .option('-a, --all', 'all peers, also where they do not fit on the screen')
    .option('-v, --verbose', 'with counters of what was dropped, refused and retried')
    .addHelpText('after', '\nExamples:\n  sudo mptunnel status\n  sudo mptunnel status home --json | jq .peers[0].paths')
    .action(status);
}

interface StatusOptions {
  json?: boolean;
  all?: boolean;
  verbose?: boolean;
}

async function status(name: string | undefined, options: StatusOptions): Promise<void> {
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
      statuses.length === 0
        ? 'No tunnel is running here.\n'
        : statuses.map((found) => formatStatus(found, screen(options, statuses.length))).join('\n'),
    );
}

/** The tunnels share the screen; less a line for the prompt, and those between them. Where there is no terminal there is no limit. */
function screen({ verbose = false, all = false }: StatusOptions, count: number): StatusTextOptions {
  const { columns = Number.POSITIVE_INFINITY, rows = Number.POSITIVE_INFINITY } = process.stdout;
  const maxLines = all || verbose ? Number.POSITIVE_INFINITY : Math.max(3, Math.floor((rows - 1) / count) - 1);
  return { verbose, width: columns, maxLines };
}

function crashed({ name }: Instance): string {
  const held = isHeldBack(name) ? ', and its kill switch is in force' : '';
  return `${name} has crashed${held}: \`mptunnel down ${name}\` cleans up (log: ${runFiles(name).log})`;
}

/** undefined when the tunnel is dead, or died while it was asked. */
async function askStatus(instance: Instance): Promise<TunnelStatus | undefined> {
  if (!isAlive(instance)) return undefined;
  try {
    return await withInstance(instance, (client) => client.status());
  } catch (error) {
    const isGone = error instanceof ControlError && (error.code === 'not-running' || error.code === 'gone');
    if (!isGone || isAlive(instance)) throw error;
    return undefined;
  }
}
