import { type Command, InvalidArgumentError } from 'commander';
import { loadConfig } from '../tunnel/config-file.js';
import { parseEndpoint } from '../tunnel/config-schema.js';
import type { CliContext } from './cli-context.js';
import { parseSeconds } from './numbers.js';
import { withoutDevice } from './proxy.js';
import { CliError, reportWarning } from './report.js';

interface Destination {
  host: string;
  port: number;
}

const DEFAULT_TIMEOUT_SECONDS = 10;

export function addConnect(program: Command, context: CliContext): void {
  program
    .command('connect')
    .description('join standard input and output to one connection through a tunnel of its own: without root')
    .argument('<host:port>', 'where to; a name is resolved at the gateway', destinationOf)
    .argument('<config>', 'a file, or NAME for /etc/mptunnel/NAME.toml')
    .option('-t, --timeout <seconds>', 'how long it may take to reach the peer', parseSeconds, DEFAULT_TIMEOUT_SECONDS)
    .addHelpText('after', "\nExample:\n  ssh -o ProxyCommand='mptunnel connect %h:%p ./home.toml' host.example")
    .action((destination: Destination, config: string, { timeout }: { timeout: number }) => connect(destination, config, timeout, context));
}

async function connect({ host, port }: Destination, nameOrPath: string, timeoutSeconds: number, context: CliContext): Promise<void> {
  const config = withoutDevice(loadConfig(nameOrPath, reportWarning));
  const startTunnel = await context.loadStartTunnel();
  const tunnel = await startTunnel({ config, log: { info: () => {}, warn: reportWarning } });
  try {
    await tunnel.ready(timeoutSeconds * 1000);
    if (tunnel.user === undefined) throw new CliError('no-client', 'no [[peer]] has an endpoint: connect is for a client');
    const socket = await tunnel.user.connect({ host, port, allowHalfOpen: true });
    process.stdin.pipe(socket);
    socket.pipe(process.stdout);
    // Over when the far side has said all: who still waits at standard input would wait for nobody.
    await new Promise<void>((resolve, reject) => {
      socket.on('error', reject);
      socket.on('end', resolve);
    });
    await new Promise<void>((resolve) => process.stdout.write('', () => resolve()));
    socket.destroy();
  } catch (error) {
    const { code = 'connect', message } = error as { code?: string; message: string };
    throw new CliError(code, message, { cause: error });
  } finally {
    process.stdin.unpipe();
    process.stdin.destroy();
    await tunnel.close();
  }
}

function destinationOf(text: string): Destination {
  const place = parseEndpoint(text);
  if (place === undefined) throw new InvalidArgumentError('write it as host.example:22, 198.51.100.2:22 or [2001:db8::2]:22');
  return place;
}
