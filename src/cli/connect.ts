import { closeSync, openSync } from 'node:fs';
import { connect as connectSocket, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { isAlive, readInstance } from '../control/instance.js';
import { runFiles } from '../tun/run-directory.js';
import { configPath, loadConfig } from '../tunnel/config-file.js';
import { parseEndpoint } from '../tunnel/config-schema.js';
import type { CliContext } from './cli-context.js';
import { parseSeconds } from './numbers.js';
import { proxyCommand } from './proxy.js';
import { CliError, reportWarning } from './report.js';
import { runTunnel } from './up.js';

interface Destination {
  host: string;
  port: number;
}

const DEFAULT_TIMEOUT_SECONDS = 10;
/** For a tunnel that another `connect` starts just now. */
const START_PATIENCE_MS = 5_000;
const POLL_MS = 50;
/** A tunnel that was started for a connection waits so long for another. */
const IDLE_SECONDS = 30;
const ANSWER_MAX_BYTES = 16_384;

export function addConnect(program: Command, context: CliContext): void {
  program
    .command('connect')
    .description('join standard input and output to one connection through a tunnel: without root, TUN or routes')
    .argument('<host:port>', 'where to; a name is resolved at the gateway', destinationOf)
    .argument('<config>', 'a file, or NAME for /etc/mptunnel/NAME.toml')
    .option('-t, --timeout <seconds>', 'how long it may take to reach the peer', parseSeconds, DEFAULT_TIMEOUT_SECONDS)
    .addHelpText('after', "\nExample:\n  ssh -o ProxyCommand='mptunnel connect %h:%p ./home.toml' host.example")
    .action(async (destination: Destination, config: string, { timeout }: { timeout: number }) => {
      const socket = await dial(destination, config, timeout, context);
      try {
        await joinStandardStreams(socket);
      } finally {
        socket.destroy();
        process.stdin.destroy();
      }
    });
}

/**
 * Through the tunnel that runs, or one that is started: many of these at a time share it, since to the gateway their key is one peer. Where it has a TUN, the host's routes lead into it.
 */
async function dial(destination: Destination, nameOrPath: string, timeoutSeconds: number, context: CliContext): Promise<Socket> {
  const { name } = loadConfig(nameOrPath, reportWarning).interface;
  const untilMs = performance.now() + timeoutSeconds * 1000 + START_PATIENCE_MS;
  while (performance.now() < untilMs) {
    const local = await open({ path: runFiles(name).proxy });
    if (local !== undefined) return askProxy(local, destination);
    const instance = readInstance(name);
    if (instance === undefined || !isAlive(instance)) await start(nameOrPath, timeoutSeconds, context);
    else if (networkInterfaces()[name] !== undefined) return dialByRoutes(destination);
    else await sleep(POLL_MS);
  }
  throw new CliError(
    'no-proxy',
    `${name} runs, but takes no connections: it is still starting, or was started by \`up\` (\`mptunnel status ${name}\`)`,
  );
}

async function start(nameOrPath: string, timeoutSeconds: number, context: CliContext): Promise<void> {
  const command = proxyCommand(configPath(nameOrPath), { socks: 'off', http: 'off', idle: IDLE_SECONDS });
  try {
    await runTunnel(command, nameOrPath, { timeout: timeoutSeconds }, context);
  } catch (error) {
    const { name } = loadConfig(nameOrPath).interface;
    const instance = readInstance(name);
    // Another `connect` was quicker.
    if (instance === undefined || !isAlive(instance)) throw error;
  }
}

/** undefined: nobody listens there. */
function open(place: { path: string }): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connectSocket({ ...place, allowHalfOpen: true });
    socket.once('error', () => resolve(undefined));
    socket.once('connect', () => resolve(socket));
  });
}

function dialByRoutes({ host, port }: Destination): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connectSocket({ host, port, allowHalfOpen: true });
    socket.once('error', (cause: NodeJS.ErrnoException) => reject(new CliError(cause.code ?? 'connect', cause.message, { cause })));
    socket.once('connect', () => resolve(socket));
  });
}

/** What the far side has said already is the first that is read of the socket. */
async function askProxy(socket: Socket, { host, port }: Destination): Promise<Socket> {
  const place = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  socket.write(`CONNECT ${place} HTTP/1.1\r\nHost: ${place}\r\n\r\n`);
  let answer = Buffer.alloc(0);
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    answer = Buffer.concat([answer, chunk as Buffer]);
    const end = answer.indexOf('\r\n\r\n');
    if (end >= 0 && isAccepted(answer)) {
      if (answer.length > end + 4) socket.unshift(answer.subarray(end + 4));
      return socket;
    }
    if (answer.length > ANSWER_MAX_BYTES) break;
  }
  socket.destroy();
  const [, reason = ''] = answer.toString().split('\r\n\r\n');
  throw new CliError('connect', reason.trim() === '' ? `${place}: the tunnel has ended` : reason.trim());
}

function isAccepted(answer: Buffer): boolean {
  return /^HTTP\/1\.1 200 /.test(answer.toString('latin1', 0, 16));
}

/** Each direction ends by itself; it is over when both have, or the connection is gone. Rejects with CliError when it breaks. */
function joinStandardStreams(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdin.pipe(socket);
    socket.pipe(process.stdout, { end: false });
    socket.on('error', (cause: NodeJS.ErrnoException) => reject(new CliError(cause.code ?? 'connect', cause.message, { cause })));
    // Whoever sits at a terminal has nothing to say to a side that has ended.
    socket.on('end', () => flushOutput(() => (process.stdin.isTTY ? resolve() : closeOutput())));
    socket.on('close', () => flushOutput(resolve));
  });
}

function flushOutput(done: () => void): void {
  process.stdout.write('', () => done());
}

/** Node keeps it open; but who reads it is to see that there is no more. The number stays taken, for nothing else to get it. */
function closeOutput(): void {
  closeSync(1);
  openSync('/dev/null', 'w');
}

function destinationOf(text: string): Destination {
  const place = parseEndpoint(text);
  if (place === undefined) throw new InvalidArgumentError('write it as host.example:22, 198.51.100.2:22 or [2001:db8::2]:22');
  return place;
}
