/** Serves metrics over HTTP on a TCP port or a unix socket. */

import { createServer, type RequestListener, type Server } from 'node:http';
import type { MetricsConfig } from '../tunnel/config.js';
import { ControlError } from './control-protocol.js';
import { METRICS_CONTENT_TYPE } from './metrics-text.js';
import { listenPrivately, removeSocket } from './private-listen.js';

const CONNECTIONS_MAX_COUNT = 16;
const REQUEST_TIMEOUT_MS = 5000;
const HEADERS_MAX_BYTES = 8192;

export interface MetricsServer {
  /** Of the first TCP listener; 0 without one. */
  readonly port: number;
  close(): Promise<void>;
}

/** `text` makes what is served at GET /metrics. Throws ControlError when it cannot listen. */
export async function serveMetrics(config: MetricsConfig, text: () => string): Promise<MetricsServer> {
  const servers: Server[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(servers.map(closeServer));
    if (config.socketPath !== undefined) removeSocket(config.socketPath);
  };
  try {
    if (config.listen !== undefined) servers.push(await listen(text, config.listen));
    if (config.socketPath !== undefined) servers.push(await listen(text, { path: config.socketPath }));
  } catch (error) {
    await Promise.all(servers.map(closeServer));
    throw error;
  }
  const address = servers[0]?.address();
  return { port: typeof address === 'object' && address !== null ? address.port : 0, close };
}

async function listen(text: () => string, where: { host: string; port: number } | { path: string }): Promise<Server> {
  const options = { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS, maxHeaderSize: HEADERS_MAX_BYTES };
  const server = createServer({ ...options, connectionsCheckingInterval: REQUEST_TIMEOUT_MS }, answer(text));
  server.maxConnections = CONNECTIONS_MAX_COUNT;
  try {
    await ('path' in where ? listenPrivately(server, where.path) : listenOn(server, where));
  } catch (cause) {
    throw listenError(where, cause as NodeJS.ErrnoException);
  }
  return server;
}

function listenOn(server: Server, place: { host: string; port: number }): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    server.on('error', reject);
    server.listen(place, resolve);
  });
}

function answer(text: () => string): RequestListener {
  return (request, response) => {
    request.resume();
    const { pathname } = new URL(request.url ?? '/', 'http://localhost');
    const isRead = request.method === 'GET' || request.method === 'HEAD';
    if (!isRead) response.writeHead(405, { allow: 'GET, HEAD' }).end();
    else if (pathname !== '/metrics') response.writeHead(404, { 'content-type': 'text/plain' }).end('metrics are at /metrics\n');
    else response.writeHead(200, { 'content-type': METRICS_CONTENT_TYPE }).end(request.method === 'HEAD' ? undefined : text());
  };
}

function closeServer(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeAllConnections();
  return closed;
}

function listenError(where: { host: string; port: number } | { path: string }, cause: NodeJS.ErrnoException): ControlError {
  const place = 'path' in where ? where.path : `${where.host} port ${where.port}`;
  const what =
    cause.code === 'EADDRINUSE'
      ? 'is taken: choose another in [metrics]'
      : cause.code === 'EADDRNOTAVAIL'
        ? 'is no address of this host: correct [metrics] listen'
        : `cannot be had (${cause.code}): correct [metrics]`;
  return new ControlError('no-metrics', `${place} ${what}`, { cause });
}
