import type { Command } from 'commander';
import { changeTunnel } from './change-tunnel.js';

export function addReload(program: Command): void {
  program
    .command('reload')
    .description('read the configuration of a running tunnel again, as SIGHUP does; a faulty file changes nothing')
    .argument('<name>', 'the tunnel')
    .option('--json', 'print JSON: what was done, and what is left for a restart')
    .addHelpText('after', '\nExample:\n  sudo mptunnel reload home')
    .action((name: string, options: { json?: boolean }) => changeTunnel(name, { command: 'reload' }, options.json));
}
