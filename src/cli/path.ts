import type { Command } from 'commander';
import { formatPaths } from '../control/status-text.js';
import { changeTunnel } from './change-tunnel.js';
import { withDaemon } from './daemon-client.js';
import { POLICY_SETTINGS, parseSettings } from './path-settings.js';

const UPLINK_KEYS = ['interface', 'address', 'via', 'carrier'] as const;

export function addPath(program: Command): void {
  const path = program.command('path').description('list, add or remove paths of a running tunnel; connections go on');
  path
    .command('list')
    .description('the paths, with their priority and whether they are backups')
    .argument('<name>', 'the tunnel')
    .option('--json', 'print JSON, one object a line for each path')
    .addHelpText('after', '\nExample:\n  sudo mptunnel path list home')
    .action(list);
  path
    .command('add')
    .description('use one more uplink, until the tunnel is started anew or reloaded')
    .argument('<name>', 'the tunnel')
    .argument('<path>', 'a name for the path')
    .argument(
      '<settings...>',
      `interface=IFACE or address=IP or both, via=RELAY, carrier=udp, quic or webtransport; ${POLICY_SETTINGS.join(', ')}`,
    )
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExample:\n  sudo mptunnel path add home usb interface=usb0 backup=on')
    .action((name: string, pathName: string, settings: string[], options: { json?: boolean }) =>
      changeTunnel(name, { command: 'path-add', path: parseSettings(settings, UPLINK_KEYS, pathName) }, options.json),
    );
  path
    .command('remove')
    .description('use an uplink no longer, until the tunnel is started anew or reloaded')
    .argument('<name>', 'the tunnel')
    .argument('<path>', 'the name of the path')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExample:\n  sudo mptunnel path remove home usb')
    .action((name: string, pathName: string, options: { json?: boolean }) =>
      changeTunnel(name, { command: 'path-remove', name: pathName }, options.json),
    );
}

async function list(name: string, options: { json?: boolean }): Promise<void> {
  const { peers } = await withDaemon(name, (client) => client.status());
  if (options.json === true)
    for (const peer of peers) for (const path of peer.paths) process.stdout.write(`${JSON.stringify({ peer: peer.name, ...path })}\n`);
  else process.stdout.write(formatPaths(peers, process.stdout.columns));
}
