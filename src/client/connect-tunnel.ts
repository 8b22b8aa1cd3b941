/** The tunnel for programs: connections, datagrams and events of a client without a TUN, as `mptunnel proxy` has them. Needs no privilege. */

import type { Agent as HttpAgent } from 'node:http';
import type { Agent as HttpsAgent } from 'node:https';
import type { Duplex } from 'node:stream';
import { configPath, loadConfig, parseConfig } from '../tunnel/config-file.js';
import type { TunnelEvent } from '../tunnel/events.js';
import type { TunnelStatus } from '../tunnel/status.js';
import { startTunnel } from '../tunnel/tunnel.js';
import { type Tunnel, TunnelError } from '../tunnel/tunnel-api.js';
import type { ConnectOptions, UserNetwork } from '../tunnel/user/user-network.js';
import { TunnelHttpAgent, TunnelHttpsAgent } from './agents.js';
import { ClientSocket } from './client-socket.js';
import { UdpSocket } from './udp-socket.js';
import { type ConnectForUndici, undiciConnector } from './undici-connector.js';

export interface ConnectTunnelOptions {
  /** A file, or NAME for /etc/mptunnel/NAME.toml; or `configText`. */
  config?: string;
  /** The configuration itself; files that it names are relative to the working directory. */
  configText?: string;
  /** How long it may take to reach the gateway. Default 10,000; 0: for ever. */
  timeoutMs?: number;
  /** What the tunnel warns of. Default: process.emitWarning. */
  onWarning?: (message: string) => void;
}

/** A tunnel of this program's own. Errors have the codes of node:net: ECONNREFUSED, EHOSTUNREACH, ENOTFOUND, ... */
export interface ClientTunnel {
  /** As net.connect: a Duplex at once, which emits `connect` when the far side has answered, or `error`. Names are resolved at the gateway. */
  connect(options: ConnectOptions, onConnect?: () => void): ClientSocket;
  connect(port: number, host: string, onConnect?: () => void): ClientSocket;
  /** Addresses of a name as the gateway sees it. */
  resolve(name: string): Promise<readonly string[]>;
  createUdpSocket(): UdpSocket;
  /** For `http.request({ agent })`, kept alive. */
  readonly httpAgent: HttpAgent;
  /** For `https.request({ agent })`. */
  readonly httpsAgent: HttpsAgent;
  /** For undici: `new Agent({ connect: tunnel.undiciConnect })`. */
  readonly undiciConnect: ConnectForUndici;
  /** What `mptunnel status --json` prints. */
  status(): TunnelStatus;
  /** Hears every event from now on; returns what ends that. */
  onEvent(listener: (event: TunnelEvent) => void): () => void;
  /** Ends connections, says goodbye. Idempotent. */
  close(): Promise<void>;
}

const DEFAULT_TIMEOUT_MS = 10_000;
/** The longest that a timer can hold. */
const FOREVER_MS = 0x7fff_ffff;

/** Resolves when the gateway has answered. Rejects with ConfigError or TunnelError, whose `code` is stable and whose message says what to do. */
export async function connectTunnel(options: ConnectTunnelOptions): Promise<ClientTunnel> {
  const { timeoutMs = DEFAULT_TIMEOUT_MS, onWarning = (message: string) => process.emitWarning(message, 'MptunnelWarning') } = options;
  const written = readConfig(options, onWarning);
  const config = { ...written, interface: { ...written.interface, device: 'none' as const } };
  const tunnel = await startTunnel({ config, log: { info: () => {}, warn: onWarning } });
  try {
    const { user } = tunnel;
    if (user === undefined) throw new TunnelError('no-client', 'no [[peer]] has an endpoint: this is the configuration of a server');
    await tunnel.ready(timeoutMs === 0 ? FOREVER_MS : timeoutMs);
    return new RunningClient(tunnel, user);
  } catch (error) {
    await tunnel.close();
    throw error;
  }
}

function readConfig({ config, configText }: ConnectTunnelOptions, warn: (message: string) => void) {
  if ((config === undefined) === (configText === undefined)) throw new TypeError('give one of config and configText');
  return configText === undefined ? loadConfig(config!, warn) : parseConfig(configText, configPath('./tunnel.toml'), warn);
}

class RunningClient implements ClientTunnel {
  readonly httpAgent: HttpAgent;
  readonly httpsAgent: HttpsAgent;
  readonly undiciConnect: ConnectForUndici;
  readonly #tunnel: Tunnel;
  readonly #user: UserNetwork;
  readonly #open = new Set<Duplex>();

  constructor(tunnel: Tunnel, user: UserNetwork) {
    this.#tunnel = tunnel;
    this.#user = user;
    const connect = (options: ConnectOptions): ClientSocket => this.connect(options);
    this.httpAgent = new TunnelHttpAgent(connect);
    this.httpsAgent = new TunnelHttpsAgent(connect);
    this.undiciConnect = undiciConnector(connect);
  }

  connect(options: ConnectOptions, onConnect?: () => void): ClientSocket;
  connect(port: number, host: string, onConnect?: () => void): ClientSocket;
  connect(first: ConnectOptions | number, second?: string | (() => void), third?: () => void): ClientSocket {
    const options = typeof first === 'number' ? { port: first, host: second as string } : first;
    const onConnect = typeof first === 'number' ? third : (second as (() => void) | undefined);
    const socket = new ClientSocket(this.#user.connect({ ...options, allowHalfOpen: true }), options);
    if (onConnect !== undefined) socket.once('connect', onConnect);
    this.#open.add(socket);
    socket.once('close', () => this.#open.delete(socket));
    return socket;
  }

  resolve(name: string): Promise<readonly string[]> {
    return this.#user.resolve(name);
  }

  createUdpSocket(): UdpSocket {
    return new UdpSocket(this.#user);
  }

  status(): TunnelStatus {
    return this.#tunnel.status();
  }

  onEvent(listener: (event: TunnelEvent) => void): () => void {
    return this.#tunnel.onEvent(listener);
  }

  async close(): Promise<void> {
    this.httpAgent.destroy();
    this.httpsAgent.destroy();
    for (const socket of this.#open) socket.destroy();
    await this.#tunnel.close();
  }
}
