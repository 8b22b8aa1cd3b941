import type { Command } from 'commander';
import { formatKey, parseKey } from '../crypto/keys.js';
import { publicKeyOf } from '../crypto/x25519.js';

/** Far more than a key, far less than a mistake of gigabytes. */
const INPUT_MAX_BYTES = 4096;

export function addPubkey(program: Command): void {
  program
    .command('pubkey')
    .description('read a private key from standard input and print its public key')
    .addHelpText('after', '\nExample:\n  mptunnel pubkey < private.key')
    .action(async () => {
      if (process.stdin.isTTY) process.stderr.write('Paste the private key, then Enter and Ctrl-D:\n');
      const key = parseKey(await readInput(), 'the input');
      process.stdout.write(`${formatKey(publicKeyOf(key))}\n`);
    });
}

async function readInput(): Promise<string> {
  let text = '';
  for await (const chunk of process.stdin.setEncoding('utf8')) {
    text += chunk;
    if (text.length > INPUT_MAX_BYTES) break;
  }
  return text;
}
