import { type Command, InvalidArgumentError } from 'commander';
import { type ProxyPlace, startProxies } from '../proxy/proxies.js';
import { runFiles } from '../tun/run-directory.js';
import type { TunnelConfig } from '../tunnel/config.js';
import { loadConfig } from '../tunnel/config-file.js';
import { parseEndpoint } from '../tunnel/config-schema.js';
import type { CliContext } from './cli-context.js';
import { parseSeconds } from './numbers.js';
import { type DaemonCommand, runTunnel, type UpOptions } from './up.js';

interface ProxyOptions extends UpOptions {
  socks: ProxyPlace | 'off';
  http: ProxyPlace | 'off';
  idle: number;
}

const SOCKS = '127.0.0.1:1080';
const HTTP = '127.0.0.1:8080';
const DEFAULT_TIMEOUT_SECONDS = 10;

export function addProxy(program: Command, context: CliContext): void {
  program
    .command('proxy')
    .description('a tunnel for programs that know a proxy: without root, TUN or routes; leaves a daemon')
    .argument('<config>', 'a file, or NAME for /etc/mptunnel/NAME.toml')
    .option('--socks <address:port>', 'SOCKS5 (TCP, UDP, names) there; "off": nowhere', placeOf, placeOf(SOCKS))
    .option('--http <address:port>', 'HTTP proxy (CONNECT, http://) there; "off": nowhere', placeOf, placeOf(HTTP))
    .option('-f, --foreground', 'stay, log to standard error, stop at Ctrl-C')
    .option(
      '-t, --timeout <seconds>',
      'how long a client may take to reach its peer; 0: keep trying',
      parseSeconds,
      DEFAULT_TIMEOUT_SECONDS,
    )
    .option('--idle <seconds>', 'stop when nobody has used it for so long; 0: never', parseSeconds, 0)
    .addHelpText('after', '\nExamples:\n  mptunnel proxy ./home.toml\n  curl --proxy socks5h://127.0.0.1:1080 https://example.org')
    .action((config: string, options: ProxyOptions) => runTunnel(proxyCommand(config, options), config, options, context));
}

/** The daemon, which also serves `mptunnel connect`. */
export function proxyCommand(nameOrPath: string, { socks, http, idle }: Pick<ProxyOptions, 'socks' | 'http' | 'idle'>): DaemonCommand {
  const places = { socks: socks === 'off' ? undefined : socks, http: http === 'off' ? undefined : http };
  return {
    name: 'proxy',
    flags: ['--socks', textOf(socks), '--http', textOf(http), '--idle', String(idle)],
    adapt: withoutDevice,
    startService: (tunnel, stop) => {
      const local = runFiles(loadConfig(nameOrPath).interface.name).proxy;
      return startProxies(tunnel, { ...places, local }, { idleMs: idle * 1000, onIdle: () => stop(`nobody has used it for ${idle} s`) });
    },
  };
}

/** The same configuration serves `up` and these. */
export function withoutDevice(config: TunnelConfig): TunnelConfig {
  return { ...config, interface: { ...config.interface, device: 'none' } };
}

function placeOf(text: string): ProxyPlace | 'off' {
  if (text === 'off') return text;
  const place = parseEndpoint(/^\d+$/.test(text) ? `127.0.0.1:${text}` : text);
  if (place === undefined) throw new InvalidArgumentError('write it as 127.0.0.1:1080, [::1]:1080 or 1080; or off');
  return place;
}

function textOf(place: ProxyPlace | 'off'): string {
  if (place === 'off') return place;
  return place.host.includes(':') ? `[${place.host}]:${place.port}` : `${place.host}:${place.port}`;
}
