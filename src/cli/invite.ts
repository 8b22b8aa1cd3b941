import type { Command } from 'commander';
import { renderUnicodeCompact } from 'uqr';
import { ControlError } from '../control/control-protocol.js';
import { findInstance } from '../control/instance.js';
import type { PeerRequest } from '../control/peer-requests.js';
import { formatBytes } from '../control/text-figures.js';
import { formatTable } from '../control/text-table.js';
import { parsePrefix } from '../tun/ip-prefix.js';
import type { ListedInvite, ListedPeer, MadeInvite } from '../tunnel/gateway/enrolment.js';
import { withInstance } from './daemon-client.js';
import { formatInOneUnit, parseDuration } from './duration.js';
import { CliError, reportWarning } from './report.js';

interface InviteOptions {
  expires: number;
  endpoint?: string;
  routes?: string[];
  qr: boolean;
  json?: boolean;
}

const DEFAULT_EXPIRY = '24h';

export function addInvite(program: Command): void {
  const invite = program
    .command('invite')
    .description('let a new client in: prints one line (and a QR code) for `mptunnel join` there')
    .argument('<name>', 'the running server')
    .argument('<peer>', 'what to call the client')
    .option('-e, --expires <time>', 'how long the line holds', parseDuration, parseDuration(DEFAULT_EXPIRY))
    .option('--endpoint <host>', 'where this client reaches the server, instead of what the configuration says')
    .option('-r, --routes <prefix...>', 'what the client sends into the tunnel (default: everything, where the server has [egress])')
    .option('--no-qr', 'the line alone')
    .option('--json', 'print the invite as JSON')
    .addHelpText(
      'after',
      '\nThe line works once, for one key. Whoever sees it first may use it: send it by a way that you trust.\nExamples:\n' +
        '  sudo mptunnel invite mpt0 laptop\n  sudo mptunnel invite mpt0 phone --expires 30m --endpoint vpn.example.org\n' +
        '  sudo mptunnel invite list mpt0\n  sudo mptunnel invite revoke mpt0 laptop',
    )
    .action(makeInvite);
  invite
    .command('list')
    .description('invites that are open')
    .argument('<name>', 'the running server')
    .option('--json', 'print JSON, one object a line')
    .addHelpText('after', '\nExample:\n  sudo mptunnel invite list mpt0')
    .action(listInvites);
  invite
    .command('revoke')
    .description('make an open invite void')
    .argument('<name>', 'the running server')
    .argument('<peer>', 'for whom it is')
    .addHelpText('after', '\nExample:\n  sudo mptunnel invite revoke mpt0 laptop')
    .action(async (name: string, peer: string) => {
      await askPeers(name, { action: 'revoke', peer });
    });
}

export function addPeer(program: Command): void {
  const peer = program.command('peer').description('the peers of a running tunnel');
  peer
    .command('list')
    .description('who they are')
    .argument('<name>', 'the running tunnel')
    .option('--json', 'print JSON, one object a line')
    .addHelpText('after', '\nExample:\n  sudo mptunnel peer list mpt0')
    .action(listPeers);
  peer
    .command('remove')
    .description('end its sessions at once, and forget its key for good')
    .argument('<name>', 'the running server')
    .argument('<peer>', 'one that came by invite, or has a file of its own')
    .addHelpText('after', '\nExample:\n  sudo mptunnel peer remove mpt0 laptop')
    .action(async (name: string, who: string) => {
      await askPeers(name, { action: 'remove-peer', peer: who });
    });
}

async function makeInvite(name: string, peer: string, options: InviteOptions): Promise<void> {
  const bad = options.routes?.find((route) => parsePrefix(route) === undefined);
  if (bad !== undefined) throw new CliError('bad-route', `--routes: "${bad}" is no IP prefix: write it as 198.51.100.0/24`);
  const made = (await askPeers(name, {
    action: 'invite',
    peer,
    expiresInMs: options.expires,
    ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint }),
    ...(options.routes === undefined ? {} : { routes: options.routes }),
  })) as MadeInvite;
  if (made.warning !== '') reportWarning(made.warning);
  if (options.json === true) {
    process.stdout.write(`${JSON.stringify(made)}\n`);
    return;
  }
  // The line alone is on standard output, for a pipe; what is for people stands beside it.
  if (options.qr && process.stdout.isTTY) process.stdout.write(`${renderUnicodeCompact(made.line, { ecc: 'L', border: 2 })}\n\n`);
  process.stdout.write(`${made.line}\n`);
  process.stderr.write(
    `\nOn ${peer}:  sudo mptunnel join LINE && sudo mptunnel up ${name}\n` +
      `It becomes ${made.addresses.join(', ')} and finds us at ${made.endpoints.join(', ')}. The line works once, for ${formatInOneUnit(options.expires)}.\n`,
  );
}

async function listInvites(name: string, options: { json?: boolean }): Promise<void> {
  const invites = (await askPeers(name, { action: 'list-invites' })) as ListedInvite[];
  print(invites, options, 'No invite is open.', ({ peer, addresses, expiresAtMs }) => [
    peer,
    addresses.join(', '),
    `for ${formatInOneUnit(expiresAtMs - Date.now())} yet`,
  ]);
}

async function listPeers(name: string, options: { json?: boolean }): Promise<void> {
  const peers = (await askPeers(name, { action: 'list-peers' })) as ListedPeer[];
  print(peers, options, 'There is no peer yet.', ({ name: who, state, publicKey, allowedIps, traffic }) => [
    who,
    state,
    publicKey,
    allowedIps.join(', '),
    ...(traffic === undefined ? [] : [`received ${formatBytes(traffic.rxBytes)}`, `sent ${formatBytes(traffic.txBytes)}`]),
  ]);
}

function print<T>(items: readonly T[], options: { json?: boolean }, none: string, row: (item: T) => string[]): void {
  if (options.json === true) {
    process.stdout.write(items.map((item) => `${JSON.stringify(item)}\n`).join(''));
    return;
  }
  const rows = items.map(row);
  // The cells say what they are: no headings.
  const [, ...lines] = formatTable(rows[0]?.map(() => ({ heading: '' })) ?? [], rows);
  process.stdout.write(`${lines.length === 0 ? none : lines.join('\n')}\n`);
}

async function askPeers(name: string, request: PeerRequest): Promise<unknown> {
  const instance = findInstance(name);
  try {
    return await withInstance(instance, (client) => client.peers(request));
  } catch (error) {
    if (!(error instanceof ControlError) || error.code !== 'not-running') throw error;
    throw new CliError('not-running', `${name} does not answer: start it with \`mptunnel up ${name}\``, { cause: error });
  }
}
