/** An HTTP proxy into a tunnel: CONNECT (RFC 9110, 9.3.6), and plain requests by absolute URI (RFC 9112, 3.2.2). Names are resolved at the gateway. */

import { createServer, request as httpRequest, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { UserNetwork } from '../tunnel/user/user-network.js';
import { joinStreams } from './join-streams.js';

const HEADERS_MS = 10_000;
/** RFC 9110, 7.6.1: of this connection, not of the next. */
const HOP_HEADERS = new Set(['connection', 'proxy-connection', 'proxy-authorization', 'keep-alive', 'te', 'trailer', 'upgrade']);

const STATUS: Readonly<Record<string, string>> = {
  ECONNREFUSED: '502 Connection Refused',
  EHOSTUNREACH: '502 Host Unreachable',
  ENETUNREACH: '502 Network Unreachable',
  ENOTFOUND: '502 Name Not Found',
  ETIMEDOUT: '504 Gateway Timeout',
};

export function createHttpProxy(network: UserNetwork, maxConnections: number): Server {
  const server = createServer({ headersTimeout: HEADERS_MS, requestTimeout: 0 }, (request, response) =>
    forward(network, request, response),
  );
  server.maxConnections = maxConnections;
  server.on('connect', (request: IncomingMessage, client: Duplex, head: Buffer) => void connect(network, request, client, head));
  server.on('clientError', (_error, client) => client.destroy());
  return server;
}

async function connect(network: UserNetwork, { url = '' }: IncomingMessage, client: Duplex, head: Buffer): Promise<void> {
  client.on('error', () => client.destroy());
  const place = authorityOf(url);
  if (place === undefined) {
    client.end('HTTP/1.1 400 Bad Request\r\n\r\n');
    return;
  }
  try {
    const remote = await network.connect({ ...place, allowHalfOpen: true });
    client.write('HTTP/1.1 200 Connection Established\r\n\r\n');
    if (head.length > 0) remote.write(head);
    joinStreams(client, remote);
  } catch (error) {
    client.end(`HTTP/1.1 ${statusOf(error)}\r\n\r\n${(error as Error).message}\n`);
  }
}

function forward(network: UserNetwork, request: IncomingMessage, response: ServerResponse): void {
  let url: URL;
  try {
    url = new URL(request.url ?? '');
  } catch {
    response.writeHead(400).end('This is a proxy: ask it for whole URLs.\n');
    return;
  }
  if (url.protocol !== 'http:') {
    response.writeHead(501).end(`Ask for ${url.protocol}// by CONNECT.\n`);
    return;
  }
  const fail = (error: unknown): void => {
    if (response.headersSent) response.destroy();
    else response.writeHead(Number(statusOf(error).slice(0, 3))).end(`${(error as Error).message}\n`);
  };
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const remote = network.connect({ host, port: url.port === '' ? 80 : Number(url.port) });
  remote.then((socket) => {
    const onward = httpRequest({
      method: request.method ?? 'GET',
      path: `${url.pathname}${url.search}`,
      headers: { ...endToEnd(request.headers), host: url.host, connection: 'close' },
      createConnection: () => socket as never,
    });
    onward.on('response', (answer) => {
      response.writeHead(answer.statusCode ?? 502, endToEnd(answer.headers));
      answer.pipe(response);
      answer.on('error', fail);
    });
    onward.on('error', fail);
    response.on('close', () => socket.destroy());
    request.pipe(onward);
  }, fail);
}

function endToEnd(headers: IncomingMessage['headers']): Record<string, string | string[]> {
  return Object.fromEntries(
    Object.entries(headers).filter((entry): entry is [string, string | string[]] => entry[1] !== undefined && !HOP_HEADERS.has(entry[0])),
  );
}

function statusOf(error: unknown): string {
  return STATUS[(error as { code?: string }).code ?? ''] ?? '502 Bad Gateway';
}

/** "host:port", "[v6]:port" */
function authorityOf(text: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s/]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  return match === null || port < 1 || port > 65_535 ? undefined : { host: match[1] ?? match[2]!, port };
}
