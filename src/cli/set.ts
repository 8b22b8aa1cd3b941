import type { Command } from 'commander';
import { changeTunnel } from './change-tunnel.js';
import { POLICY_SETTINGS, parseSettings } from './path-settings.js';
import { CliError } from './report.js';

export function addSet(program: Command): void {
  program
    .command('set')
    .description('change a path of a running tunnel, on both sides and without touching connections, until it is started anew')
    .argument('<name>', 'the tunnel')
    .argument('<kind>', 'path')
    .argument('<path>', 'its name, as `mptunnel path list` shows it')
    .argument('<settings...>', `${POLICY_SETTINGS.join(', ')}; see docs/paths.md`)
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  sudo mptunnel set home path lte backup=on     # only while no other path is up\n  sudo mptunnel set home path lte limit_up="10 Mbit/s" limit_down=off\n  sudo mptunnel set home path dsl priority=1',
    )
    .action(set);
}

async function set(name: string, kind: string, path: string, settings: string[], options: { json?: boolean }): Promise<void> {
  if (kind !== 'path') throw new CliError('bad-setting', `"${kind}" cannot be set: write \`mptunnel set ${name} path PATH backup=on\``);
  const { name: _, ...change } = parseSettings(settings);
  await changeTunnel(name, { command: 'path-set', name: path, change }, options.json);
}
