/** Agents of node:http and node:https whose connections go through the tunnel, and are kept alive. */

import { type AgentOptions, Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import type { ConnectOptions } from '../tunnel/user/user-network.js';
import type { ClientSocket } from './client-socket.js';

export type Connect = (options: ConnectOptions) => ClientSocket;

interface RequestPlace {
  readonly host?: string | null;
  readonly hostname?: string | null;
  readonly port?: number | string | null;
}

const OPTIONS: AgentOptions = { keepAlive: true };

export class TunnelHttpAgent extends HttpAgent {
  readonly #connect: Connect;

  constructor(connect: Connect) {
    super(OPTIONS);
    this.#connect = connect;
  }

  override createConnection(options: RequestPlace): Socket {
    return this.#connect(placeOf(options, 80)) as unknown as Socket;
  }
}

export class TunnelHttpsAgent extends HttpsAgent {
  readonly #connect: Connect;

  constructor(connect: Connect) {
    super(OPTIONS);
    this.#connect = connect;
  }

  override createConnection(options: RequestPlace & ConnectionOptions): Socket {
    const socket = this.#connect(placeOf(options, 443));
    return connectTls({ ...options, socket: socket as unknown as Socket });
  }
}

function placeOf({ host, hostname, port }: RequestPlace, usual: number): ConnectOptions {
  return { host: host ?? hostname ?? 'localhost', port: Number(port ?? usual), allowHalfOpen: false };
}
