/** The proxies of a tunnel without a TUN, as long as it runs. */

import type { Server } from 'node:net';
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
}

const MAX_CONNECTIONS = 4096;

/** Rejects with TunnelError `listen`, and then listens nowhere. Resolves to what ends them. */
export async function startProxies({ user }: Tunnel, { socks, http }: ProxyPlaces): Promise<() => Promise<void>> {
  if (user === undefined) throw new TunnelError('no-client', 'no [[peer]] has an endpoint: a proxy is for a client');
  const servers: Server[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  };
  try {
    if (socks !== undefined) servers.push(await listen(createSocksServer(user, MAX_CONNECTIONS), socks));
    if (http !== undefined) servers.push(await listen(createHttpProxy(user, MAX_CONNECTIONS), http));
  } catch (error) {
    await close();
    throw error;
  }
  return close;
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
