import { Argument, type Command } from 'commander';
import { changeTunnel } from './change-tunnel.js';
import { PEER_SETTINGS, POLICY_SETTINGS, parsePeerSettings, parseSettings } from './path-settings.js';
import { CliError } from './report.js';

const KINDS = ['path', 'peer'];

const EXAMPLES = `
Examples:
  sudo mptunnel set home path lte backup=on     # only while no other path is up
  sudo mptunnel set home path lte limit_up="10 Mbit/s" limit_down=off
  sudo mptunnel set home path dsl priority=1
  sudo mptunnel set mpt0 peer laptop limit_down="20 Mbit/s"`;

export function addSet(program: Command): void {
  // What it says of a wrong one is ours.
  const kind = new Argument('<kind>', 'path or peer').choices(KINDS).argParser((text) => text);
  program
    .command('set')
    .description(
      'change a path of a running tunnel, on both sides, or what a peer may carry; without touching connections, until it is started anew or reloaded',
    )
    .argument('<name>', 'the tunnel')
    .addArgument(kind)
    .argument('<which>', 'its name, as `mptunnel path list` or `mptunnel peer list` shows it')
    .argument(
      '<settings...>',
      `of a path ${POLICY_SETTINGS.join(', ')}, see docs/paths.md; of a peer ${PEER_SETTINGS.join(', ')}, see docs/gateway.md`,
    )
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(set);
}

async function set(name: string, kind: string, which: string, settings: string[], options: { json?: boolean }): Promise<void> {
  if (kind === 'peer') {
    await changeTunnel(name, { command: 'peer-set', name: which, change: parsePeerSettings(settings) }, options.json);
    return;
  }
  if (kind !== 'path')
    throw new CliError(
      'bad-setting',
      `"${kind}" cannot be set: write \`mptunnel set ${name} path PATH backup=on\`, or \`mptunnel set ${name} peer PEER limit_down=off\``,
    );
  const { name: _, ...change } = parseSettings(settings);
  await changeTunnel(name, { command: 'path-set', name: which, change }, options.json);
}
