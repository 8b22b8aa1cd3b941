/** What a program without a TUN does with a tunnel: connections, names and datagrams of its own, under the tunnel's addresses. */

import { isIP } from 'node:net';
import type { ByteStream, ByteStreamHandler } from '../../mptcp-over-udp/byte-stream.js';
import type { FourTuple } from '../../mptcp-over-udp/tcp/header-template.js';
import { parseIp } from '../../tun/ip-prefix.js';
import { NameClient, type Resolve, type Resolved } from './name-service.js';
import { StreamError, StreamSocket } from './stream-socket.js';
import { type TakeDatagram, UserDatagrams, type UserUdpSocket } from './user-datagrams.js';
import type { UserDevice } from './user-device.js';

export interface UserNetworkOptions {
  device: UserDevice;
  /** Our tunnel addresses, 4 or 16 bytes. */
  own: readonly Uint8Array[];
  /** Opens a connection, or says why there is none. */
  dial: (tuple: FourTuple, handler: ByteStreamHandler) => ByteStream | 'no-peer' | 'not-up';
  sendToGateway: (message: Resolve) => boolean;
  wake: () => void;
  random: () => number;
}

export interface ConnectOptions {
  /** An IP address, or a name, which the gateway resolves. */
  host: string;
  port: number;
  /** Default false, as of node:net. */
  allowHalfOpen?: boolean;
}

/** Between two tries of a name's addresses (RFC 8305). */
const NEXT_ADDRESS_MS = 250;
const FIRST_PORT = 32_768;
const LAST_PORT = 60_999;

export class UserNetwork {
  readonly #options: UserNetworkOptions;
  readonly #names: NameClient;
  readonly #datagrams: UserDatagrams;
  /** "port destination port" of connections that are there. */
  readonly #taken = new Set<string>();
  #nextPort: number;

  constructor(options: UserNetworkOptions) {
    this.#options = options;
    this.#names = new NameClient(options.sendToGateway);
    this.#datagrams = new UserDatagrams(options.device, options.own, options.random);
    this.#nextPort = FIRST_PORT + Math.floor(options.random() * (LAST_PORT - FIRST_PORT));
  }

  get counters(): Readonly<Record<string, number>> {
    return { ...this.#datagrams.counters, ...this.#options.device.counters };
  }

  /** Resolves when the far side has answered. Rejects with StreamError or NameError, whose `code` is that of node:net. */
  async connect({ host, port, allowHalfOpen = false }: ConnectOptions): Promise<StreamSocket> {
    if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new StreamError('ERR_SOCKET_BAD_PORT', `${port} is no port`);
    const addresses = (isIP(host) === 0 ? await this.#names.resolve(host) : [host]).filter(
      (address) => this.#ownFor(address) !== undefined,
    );
    if (addresses.length === 0) throw new StreamError('EAFNOSUPPORT', `${host}: the tunnel has no address of its IP version`);
    return this.#race(addresses, port, allowHalfOpen);
  }

  /** As the gateway sees the name. Rejects with NameError. */
  resolve(name: string): Promise<readonly string[]> {
    return this.#names.resolve(name);
  }

  /** undefined: there are too many. */
  openUdp(take: TakeDatagram): UserUdpSocket | undefined {
    return this.#datagrams.open(take);
  }

  handleResolved(message: Resolved): void {
    this.#names.handleAnswer(message);
  }

  close(): void {
    this.#names.close();
  }

  /** One after the other, each with a head start; the first that answers is taken. */
  #race(addresses: readonly string[], port: number, allowHalfOpen: boolean): Promise<StreamSocket> {
    return new Promise((resolve, reject) => {
      const tried: StreamSocket[] = [];
      let failures = 0;
      let timer: NodeJS.Timeout | undefined;
      let settled = false;
      const next = (): void => {
        clearTimeout(timer);
        const address = addresses[tried.length];
        if (settled || address === undefined) return;
        const socket = this.#open(address, port, allowHalfOpen);
        tried.push(socket);
        timer = setTimeout(next, NEXT_ADDRESS_MS);
        socket.once('error', (error) => {
          if (settled) return;
          if (++failures < addresses.length) {
            next();
            return;
          }
          settled = true;
          clearTimeout(timer);
          reject(error);
        });
        socket.once('connect', () => {
          settled = true;
          clearTimeout(timer);
          for (const other of tried) if (other !== socket) other.resetAndDestroy();
          resolve(socket);
        });
      };
      next();
    });
  }

  #ownFor(address: string): Uint8Array | undefined {
    const length = isIP(address) === 4 ? 4 : 16;
    return this.#options.own.find((own) => own.length === length);
  }

  #open(address: string, port: number, allowHalfOpen: boolean): StreamSocket {
    const { dial, wake } = this.#options;
    const socket = new StreamSocket({ remoteAddress: address, remotePort: port, allowHalfOpen, wake });
    const remoteAddress = parseIp(address)!;
    const localPort = this.#freePort(`${address} ${port}`);
    const key = `${localPort} ${address} ${port}`;
    const ipVersion = remoteAddress.length === 4 ? 4 : 6;
    const opened = dial({ ipVersion, localAddress: this.#ownFor(address)!, localPort, remoteAddress, remotePort: port }, socket);
    if (typeof opened === 'string') {
      const what = opened === 'no-peer' ? 'is in no allowed_ips of a peer' : 'cannot be reached: the tunnel is not up';
      setImmediate(() => socket.destroy(new StreamError('ENETUNREACH', `${address} ${what}`)));
      return socket;
    }
    this.#taken.add(key);
    socket.once('close', () => this.#taken.delete(key));
    socket.attach(opened);
    wake();
    return socket;
  }

  #freePort(destination: string): number {
    for (let i = FIRST_PORT; i < LAST_PORT; i++) {
      this.#nextPort = this.#nextPort === LAST_PORT ? FIRST_PORT : this.#nextPort + 1;
      if (!this.#taken.has(`${this.#nextPort} ${destination}`)) break;
    }
    return this.#nextPort;
  }
}
