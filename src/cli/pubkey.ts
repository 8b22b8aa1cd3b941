import type { Command } from 'commander';
import { formatKey, parseKey } from '../crypto/keys.js';
import { publicKeyOf } from '../crypto/x25519.js';
import { readStandardInput } from './standard-input.js';

/** Far more than a key. */
const INPUT_MAX_CHARACTERS = 4096;

export function addPubkey(program: Command): void {
  program
    .command('pubkey')
    .description('read a private key from standard input and print its public key')
    .addHelpText('after', '\nExample:\n  mptunnel pubkey < private.key')
    .action(async () => {
      if (process.stdin.isTTY) process.stderr.write('Paste the private key, then Enter and Ctrl-D:\n');
      const key = parseKey(await readStandardInput(INPUT_MAX_CHARACTERS), 'the input');
      process.stdout.write(`${formatKey(publicKeyOf(key))}\n`);
    });
}
