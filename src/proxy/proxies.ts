/** The proxies of a tunnel without a TUN, as long as it runs. */

import type { Server, Socket } from 'node:net';
import { listenPrivately } from '../control/private-listen.js';
import { type Tunnel, TunnelError } from '../tunnel/tunnel-api.js';
import { createHttpProxy } from './http-proxy.js';
import { createSocksServer } from './socks-server.js';

export interface ProxyPlace {
  readonly host: string;
  readonly port: number;
}

export interface ProxyPlaces {
  readonly socks: ProxyPlace | undefined;
  readonly http: ProxyPlace | undefined;
  /** A Unix socket: HTTP for this user's own programs. */
  readonly local?: string;
}

export interface Idleness {
  /** Without a connection to any of them; 0: it does not matter. */
  readonly idleMs: number;
  readonly onIdle: () => void;
}

const MAX_CONNECTIONS = 4096;
/** At the end: for what is under way to hear that the tunnel closes. */
const CLOSE_PATIENCE_MS = 1_000;

/** Rejects with TunnelError `listen`, and then listens nowhere. Resolves to what ends them. */
export async function startProxies(
  { user }: Tunnel,
  { socks, http, local }: ProxyPlaces,
  { idleMs, onIdle }: Idleness = { idleMs: 0, onIdle: () => {} },
): Promise<() => Promise<void>> {
  if (user === undefined) throw new TunnelError('no-client', 'no [[peer]] has an endpoint: a proxy is for a client');
  const servers: Server[] = [];
  const connections = new Connections(idleMs, onIdle);
  const close = async (): Promise<void> => {
    connections.close();
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  };
  try {
    if (socks !== undefined) servers.push(await listen(createSocksServer(user, MAX_CONNECTIONS), socks));
    if (http !== undefined) servers.push(await listen(createHttpProxy(user, MAX_CONNECTIONS), http));
    if (local !== undefined) {
      const server = createHttpProxy(user, MAX_CONNECTIONS);
      await listenPrivately(server, local);
      servers.push(server);
    }
  } catch (error) {
    await close();
    throw error;
  }
  for (const server of servers) server.on('connection', (socket: Socket) => connections.add(socket));
  return close;
}

/** Those that there are, of all servers. */
class Connections {
  readonly #sockets = new Set<Socket>();
  readonly #idleMs: number;
  readonly #onIdle: () => void;
  #idle: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(idleMs: number, onIdle: () => void) {
    this.#idleMs = idleMs;
    this.#onIdle = onIdle;
    this.#watch();
  }

  add(socket: Socket): void {
    this.#sockets.add(socket);
    clearTimeout(this.#idle);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      this.#watch();
    });
  }

  /** Those that nothing ends by itself, as a UDP association, are ended. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#idle);
    setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, CLOSE_PATIENCE_MS).unref();
  }

  #watch(): void {
    if (this.#idleMs === 0 || this.#closed || this.#sockets.size > 0) return;
    clearTimeout(this.#idle);
    this.#idle = setTimeout(this.#onIdle, this.#idleMs);
  }
}

function listen<S extends Server>(server: S, { host, port }: ProxyPlace): Promise<S> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const why =
        cause.code === 'EADDRINUSE'
          ? 'is taken: choose another, or stop the program that holds it'
          : cause.code === 'EACCES'
            ? 'needs root: choose a port above 1023'
            : `cannot be listened on: ${cause.message}`;
      reject(new TunnelError('listen', `${host} port ${port} ${why}`, { cause }));
    });
    server.listen(port, host, () => resolve(server));
  });
}
