import { randomBytes } from 'node:crypto';
import type { Command } from 'commander';
import { formatKey, generatePresharedKey } from '../crypto/keys.js';

export function addGenpsk(program: Command): void {
  program
    .command('genpsk')
    .description('print a new preshared key, for preshared_key on both sides')
    .action(() => {
      process.stdout.write(`${formatKey(generatePresharedKey(randomBytes))}\n`);
    });
}
