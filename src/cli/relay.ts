import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { formatBitRate, formatBytes, formatDuration, plural } from '../control/text-figures.js';
import { formatKey, generatePrivateKey, KeyError, parseKey } from '../crypto/keys.js';
import { publicKeyOf } from '../crypto/x25519.js';
import { parseRate } from '../tunnel/path-policy.js';
import { RelayServer, type RelayStatus } from '../tunnel/relay/relay-server.js';
import { CliError, notWritten } from './report.js';

interface RelayOptions {
  listen: number;
  address?: string;
  allow?: string[];
  allowFile?: string;
  key: string;
  sessions: number;
  sessionsPerHost: number;
  rate: number;
  statusEvery: number;
  json?: boolean;
}

const DEFAULT_PORT = 5181;
const DEFAULT_SESSIONS = 2000;
const DEFAULT_SESSIONS_PER_HOST = 64;
const DEFAULT_STATUS_SECONDS = 300;

export function addRelay(program: Command): void {
  program
    .command('relay')
    .description('forward sealed datagrams between hosts that cannot reach each other; needs no privilege and sees no key of theirs')
    .option('-l, --listen <port>', 'UDP port', parseCount(1, 65_535), DEFAULT_PORT)
    .option('--address <ip>', 'listen on this address of the host alone')
    .option('-a, --allow <keys...>', 'public keys of the hosts that may use it, two at least')
    .option('--allow-file <file>', 'a file with such keys, one a line; "#" begins a remark')
    .option('-k, --key <file>', "the relay's own private key, made at the first start", defaultKeyFile())
    .option('--sessions <count>', 'ways between two hosts, at most', parseCount(1, 1_000_000), DEFAULT_SESSIONS)
    .option('--sessions-per-host <count>', 'of these, called for by one host', parseCount(1, 100_000), DEFAULT_SESSIONS_PER_HOST)
    .option('--rate <rate>', 'the most that one way carries, as "20 Mbit/s"', parseRateOption, 0)
    .option('--status-every <seconds>', 'tell what it does so often, 0: never', parseCount(0, 1_000_000), DEFAULT_STATUS_SECONDS)
    .option('--json', 'print JSON, one object a line')
    .addHelpText(
      'after',
      `
Both hosts name it in their configuration (docs/relay.md):
  the one that dials:  [[path]] via = "relay.example.org:5181#KEY"
  the one that waits:  [interface] relays = ["relay.example.org:5181#KEY"]

Example:
  mptunnel relay --allow "$KEY_OF_ONE" "$KEY_OF_THE_OTHER"`,
    )
    .action(relay);
}

async function relay(options: RelayOptions): Promise<void> {
  const privateKey = relayKey(options.key);
  const server = new RelayServer({
    port: options.listen,
    ...(options.address === undefined ? {} : { address: options.address }),
    privateKey,
    allowed: allowedKeys(options, privateKey),
    maxSessions: options.sessions,
    maxSessionsPerHost: options.sessionsPerHost,
    rateBytesPerSec: options.rate,
  });
  server.start();
  const tell = (type: 'started' | 'status' | 'stopped'): void => {
    const status = server.status();
    process.stdout.write(options.json === true ? `${jsonLine(type, status)}\n` : `${textLine(type, status)}\n`);
  };
  const timer = options.statusEvery === 0 ? undefined : setInterval(() => tell('status'), options.statusEvery * 1000);
  await new Promise<void>((resolve) => {
    process.once('SIGINT', resolve);
    process.once('SIGTERM', resolve);
    process.on('SIGUSR2', () => tell('status'));
    // Who reads it may send signals from now on.
    tell('started');
  });
  clearInterval(timer);
  tell('stopped');
  server.close();
}

function jsonLine(type: string, { publicKey, ...status }: RelayStatus): string {
  return JSON.stringify({ time: new Date().toISOString(), type, key: formatKey(publicKey), ...status });
}

function textLine(type: string, { publicKey, port, uptimeMs, connectedSessions, waitingHosts, counters }: RelayStatus): string {
  if (type === 'started') return `relay on UDP port ${port}: hosts name it as via = "THIS_HOST:${port}#${formatKey(publicKey)}"`;
  const { forwardedDatagrams = 0, forwardedBytes = 0 } = counters;
  const rate = formatBitRate((forwardedBytes * 1000) / Math.max(uptimeMs, 1));
  const what = `${plural(connectedSessions, 'session')}, ${plural(waitingHosts, 'waiting host')}`;
  return `${type === 'stopped' ? 'stopped' : 'up'} after ${formatDuration(uptimeMs)}: ${what}, ${forwardedDatagrams} datagrams (${formatBytes(forwardedBytes)}, ${rate} on average) forwarded`;
}

function defaultKeyFile(): string {
  const state = process.env.XDG_STATE_HOME ?? '';
  return join(state === '' ? join(homedir(), '.local', 'state') : state, 'mptunnel', 'relay.key');
}

/** Of the file, which is made where there is none. Throws CliError. */
function relayKey(file: string): Uint8Array {
  try {
    return parseKey(readFileSync(file, 'utf8'), file);
  } catch (error) {
    if (error instanceof KeyError) throw new CliError('bad-key', error.message);
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw new CliError('unreadable', `${file}: ${(error as Error).message}`);
  }
  const key = generatePrivateKey(randomBytes);
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    writeFileSync(file, `${formatKey(key)}\n`, { mode: 0o600, flag: 'wx' });
  } catch (cause) {
    throw notWritten(file, cause, 'name another place with --key');
  }
  return key;
}

/** Throws CliError that says which is none. */
function allowedKeys({ allow = [], allowFile }: RelayOptions, privateKey: Uint8Array): Uint8Array[] {
  const texts = [...allow, ...(allowFile === undefined ? [] : linesOf(allowFile))];
  const own = formatKey(publicKeyOf(privateKey));
  const keys = new Map<string, Uint8Array>();
  for (const text of texts) {
    try {
      const key = parseKey(text, `--allow ${text}`);
      if (formatKey(key) === own) throw new CliError('own-key', `--allow ${text}: that is the key of the relay itself`);
      keys.set(formatKey(key), key);
    } catch (error) {
      if (error instanceof KeyError) throw new CliError('bad-key', error.message);
      throw error;
    }
  }
  if (keys.size < 2)
    throw new CliError(
      'no-hosts',
      'a relay needs the public keys of two hosts at least: give --allow KEY KEY (`mptunnel pubkey` prints them)',
    );
  return [...keys.values()];
}

function linesOf(file: string): string[] {
  try {
    return readFileSync(file, 'utf8')
      .split('\n')
      .map((line) => line.replace(/#.*/, '').trim())
      .filter((line) => line !== '');
  } catch (cause) {
    throw new CliError('unreadable', `${file}: ${(cause as Error).message}`, { cause });
  }
}

function parseCount(least: number, most: number): (text: string) => number {
  return (text) => {
    const count = Number(text);
    if (!/^\d+$/.test(text) || count < least || count > most)
      throw new InvalidArgumentError(`Give a whole number from ${least} to ${most}.`);
    return count;
  };
}

function parseRateOption(text: string): number {
  const bytesPerSec = parseRate(text);
  if (bytesPerSec === undefined) throw new InvalidArgumentError('Give a rate as "20 Mbit/s", or "off".');
  return bytesPerSec;
}
