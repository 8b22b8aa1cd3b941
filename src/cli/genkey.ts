import { randomBytes } from 'node:crypto';
import type { Command } from 'commander';
import { formatKey, generatePrivateKey } from '../crypto/keys.js';

export function addGenkey(program: Command): void {
  program
    .command('genkey')
    .description('print a new private key')
    .addHelpText('after', '\nKeep it to yourself:\n  umask 077; mptunnel genkey > private.key; mptunnel pubkey < private.key')
    .action(() => {
      process.stdout.write(`${formatKey(generatePrivateKey(randomBytes))}\n`);
    });
}
