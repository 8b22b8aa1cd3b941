/** Datagrams through the tunnel, in the manner of node:dgram. */

import { EventEmitter } from 'node:events';
import { formatIp, parseIp } from '../tun/ip-prefix.js';
import { TunnelError } from '../tunnel/tunnel-api.js';
import type { UserUdpSocket } from '../tunnel/user/user-datagrams.js';
import type { UserNetwork } from '../tunnel/user/user-network.js';

export interface DatagramSource {
  readonly address: string;
  readonly family: 'IPv4' | 'IPv6';
  readonly port: number;
}

/** Emits `message` (Buffer, DatagramSource), `error` when a name is none, and `close`. */
export class UdpSocket extends EventEmitter {
  readonly #network: UserNetwork;
  #socket: UserUdpSocket | undefined;

  /** Throws TunnelError when there are too many. */
  constructor(network: UserNetwork) {
    super();
    this.#network = network;
    this.#socket = network.openUdp((payload, { address, port }) => {
      const family = address.length === 4 ? 'IPv4' : 'IPv6';
      this.emit('message', Buffer.from(payload), { address: formatIp(address), family, port } satisfies DatagramSource);
    });
    if (this.#socket === undefined) throw new TunnelError('too-many', 'the tunnel has no UDP port left: close some');
  }

  /** Inside the tunnel. */
  get port(): number {
    return this.#socket?.port ?? 0;
  }

  /** `host`: an IP address, or a name, which the gateway resolves. As with every datagram, nobody knows whether it arrives. */
  send(message: Uint8Array | string, port: number, host: string): void {
    const payload = typeof message === 'string' ? Buffer.from(message) : message;
    const address = parseIp(host);
    if (address !== undefined) {
      this.#socket?.send(payload, { address, port });
      return;
    }
    // It is sent later: the caller may write over it.
    const copy = payload.slice();
    this.#network.resolve(host).then(
      ([first]) => {
        const resolved = first === undefined ? undefined : parseIp(first);
        if (resolved !== undefined) this.#socket?.send(copy, { address: resolved, port });
      },
      (error: Error) => this.emit('error', error),
    );
  }

  close(): void {
    if (this.#socket === undefined) return;
    this.#socket.close();
    this.#socket = undefined;
    this.emit('close');
  }
}
