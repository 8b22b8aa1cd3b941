import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, Option } from 'commander';
import { formatConnections } from '../control/connections-text.js';
import type { ControlClient } from '../control/control-client.js';
import { CONNECTION_ORDERS, CONNECTIONS_PAGE_MAX_COUNT, type ConnectionOrder, type ConnectionPage } from '../tunnel/connections.js';
import { withDaemon } from './daemon-client.js';
import { parseCount } from './numbers.js';

interface ConnectionsOptions {
  json?: boolean;
  limit: number;
  sort: ConnectionOrder;
}

const DEFAULT_LIMIT = 20;
/** Rates come of two looks. */
const LOOK_MS = 1000;

export function addConnections(program: Command): void {
  program
    .command('connections')
    .description('show TCP connections through the tunnel, and what each path carries of them')
    .argument('<name>', 'the name of the tunnel')
    .option('-l, --limit <count>', 'so many at most', parseCount, DEFAULT_LIMIT)
    .addOption(new Option('-s, --sort <order>', 'what comes first').choices(CONNECTION_ORDERS).default('rate'))
    .option('--json', 'print JSON, one object a line for each connection')
    .addHelpText(
      'after',
      '\nIt takes a second, in which rates are measured. Examples:\n  sudo mptunnel connections home\n  sudo mptunnel connections home --json --limit 1000 --sort bytes',
    )
    .action(connections);
}

async function connections(name: string, options: ConnectionsOptions): Promise<void> {
  const page = await withDaemon(name, async (client) => {
    await client.connections({ order: options.sort, offset: 0, limit: 0 });
    await sleep(LOOK_MS);
    return collect(client, options);
  });
  if (options.json === true) process.stdout.write(page.connections.map((one) => `${JSON.stringify(one)}\n`).join(''));
  else process.stdout.write(formatConnections(page, process.stdout.columns));
}

/** Pages are looked at one after the other; what opens or closes between them may show twice or not at all. */
async function collect(client: ControlClient, { sort: order, limit }: ConnectionsOptions): Promise<ConnectionPage> {
  const found = new Map<string, ConnectionPage['connections'][number]>();
  let total = 0;
  for (let offset = 0; offset < limit; offset += CONNECTIONS_PAGE_MAX_COUNT) {
    const page = await client.connections({ order, offset, limit: Math.min(CONNECTIONS_PAGE_MAX_COUNT, limit - offset) });
    total = page.total;
    for (const one of page.connections) found.set(`${one.peer} ${one.id}`, one);
    if (page.connections.length === 0 || offset + CONNECTIONS_PAGE_MAX_COUNT >= total) break;
  }
  return { total, connections: [...found.values()] };
}
