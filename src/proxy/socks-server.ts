/** A SOCKS5 proxy into a tunnel: TCP (CONNECT) and datagrams (UDP ASSOCIATE); names are resolved at the gateway. */

import { createServer, type Server, type Socket } from 'node:net';
import type { UserNetwork } from '../tunnel/user/user-network.js';
import { joinStreams } from './join-streams.js';
import {
  COMMAND_CONNECT,
  COMMAND_UDP_ASSOCIATE,
  emitReply,
  METHOD_NONE,
  METHOD_REFUSED,
  type Parsed,
  parseGreeting,
  parseRequest,
  REPLY,
  SOCKS_VERSION,
  type SocksAddress,
} from './socks-messages.js';
import { SocksUdp } from './socks-udp.js';

const HANDSHAKE_MS = 10_000;
const REQUEST_MAX_BYTES = 1024;

const REPLIES: Readonly<Record<string, number>> = {
  ECONNREFUSED: REPLY.refused,
  EHOSTUNREACH: REPLY.hostUnreachable,
  ENOTFOUND: REPLY.hostUnreachable,
  ENETUNREACH: REPLY.netUnreachable,
  ETIMEDOUT: REPLY.expired,
  EAFNOSUPPORT: REPLY.badAddressType,
};

export function createSocksServer(network: UserNetwork, maxConnections: number): Server {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => void serve(network, socket));
  server.maxConnections = maxConnections;
  return server;
}

async function serve(network: UserNetwork, client: Socket): Promise<void> {
  client.on('error', () => client.destroy());
  client.setTimeout(HANDSHAKE_MS, () => client.destroy());
  const reader = new MessageReader(client);
  try {
    const greeting = await reader.read(parseGreeting);
    if (!greeting.offersNone) {
      client.end(Uint8Array.of(SOCKS_VERSION, METHOD_REFUSED));
      return;
    }
    client.write(Uint8Array.of(SOCKS_VERSION, METHOD_NONE));
    const { command, address } = await reader.read(parseRequest);
    client.setTimeout(0);
    if (address === undefined) client.end(emitReply(REPLY.badAddressType));
    else if (command === COMMAND_CONNECT) await connect(network, client, address, reader.rest());
    else if (command === COMMAND_UDP_ASSOCIATE) await associate(network, client, reader);
    else client.end(emitReply(REPLY.badCommand));
  } catch {
    client.destroy();
  }
}

async function connect(network: UserNetwork, client: Socket, { host, port }: SocksAddress, early: Uint8Array): Promise<void> {
  client.pause();
  try {
    const remote = await network.connect({ host, port, allowHalfOpen: true });
    client.write(emitReply(REPLY.succeeded));
    if (early.length > 0) remote.write(early);
    joinStreams(client, remote);
  } catch (error) {
    client.end(emitReply(REPLIES[(error as { code?: string }).code ?? ''] ?? REPLY.failure));
    client.resume();
  }
}

/** It lives as long as the connection that asked for it (RFC 1928, 7). */
async function associate(network: UserNetwork, client: Socket, reader: MessageReader): Promise<void> {
  const local = client.localAddress ?? '127.0.0.1';
  const udp = await SocksUdp.open(network, local, client.remoteAddress ?? '');
  reader.close();
  client.resume();
  const end = (): void => {
    udp.close();
    client.destroy();
  };
  client.on('close', end);
  client.on('end', end);
  if (client.destroyed) end();
  else client.write(emitReply(REPLY.succeeded, udp.address));
}

/** Whole messages of a stream, one after the other. */
class MessageReader {
  readonly #socket: Socket;
  #bytes: Buffer = Buffer.alloc(0);
  #wake: () => void = () => {};
  #ended = false;
  readonly #onData = (chunk: Buffer): void => {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    this.#wake();
  };
  readonly #onEnd = (): void => {
    this.#ended = true;
    this.#wake();
  };

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', this.#onData);
    for (const event of ['end', 'close'] as const) socket.on(event, this.#onEnd);
  }

  /** Rejects when it is malformed, too long, or does not come. */
  async read<T extends object>(parse: (bytes: Uint8Array) => Parsed<T>): Promise<T> {
    for (;;) {
      const found = parse(this.#bytes);
      if (typeof found === 'string') throw new Error(found);
      if (found !== undefined) {
        this.#bytes = this.#bytes.subarray(found.bytes);
        return found;
      }
      if (this.#ended || this.#bytes.length > REQUEST_MAX_BYTES) throw new Error('it ended, or is too long');
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** What came beyond the messages; nothing is read any more. */
  rest(): Uint8Array {
    this.close();
    return this.#bytes;
  }

  close(): void {
    this.#socket.off('data', this.#onData);
    for (const event of ['end', 'close'] as const) this.#socket.off(event, this.#onEnd);
  }
}
