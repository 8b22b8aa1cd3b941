/** One UDP association of SOCKS5: a local socket for the program, a port inside the tunnel. Names in datagrams are resolved at the gateway. */

import { createSocket, type Socket } from 'node:dgram';
import { isIP } from 'node:net';
import { formatIp, parseIp } from '../tun/ip-prefix.js';
import type { UserUdpSocket } from '../tunnel/user/user-datagrams.js';
import type { UserNetwork } from '../tunnel/user/user-network.js';
import { emitSocksDatagram, parseSocksDatagram, type SocksAddress } from './socks-messages.js';

export class SocksUdp {
  readonly address: SocksAddress;
  readonly #socket: Socket;
  readonly #network: UserNetwork;
  readonly #program: string;
  /** Where the program sends from: the first datagram says so. */
  #port = 0;
  #inner: UserUdpSocket | undefined;

  /** `local`: where the program reached the proxy; `program`: its address. Rejects when there is no socket for it. */
  static async open(network: UserNetwork, local: string, program: string): Promise<SocksUdp> {
    const host = plain(local);
    const socket = createSocket(isIP(host) === 6 ? 'udp6' : 'udp4');
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.bind(0, host, resolve);
    });
    return new SocksUdp(network, socket, { host, port: socket.address().port }, plain(program));
  }

  private constructor(network: UserNetwork, socket: Socket, address: SocksAddress, program: string) {
    this.address = address;
    this.#network = network;
    this.#socket = socket;
    this.#program = program;
    this.#inner = network.openUdp((payload, from) => {
      if (this.#port === 0) return;
      const datagram = emitSocksDatagram({ host: formatIp(from.address), port: from.port }, payload);
      socket.send(datagram, this.#port, this.#program);
    });
    socket.on('message', (bytes, from) => {
      // RFC 1928, 7: from elsewhere nothing is taken.
      if (plain(from.address) !== this.#program || (this.#port !== 0 && from.port !== this.#port)) return;
      this.#port = from.port;
      void this.#forward(bytes);
    });
    socket.on('error', () => this.close());
  }

  close(): void {
    this.#inner?.close();
    this.#inner = undefined;
    this.#socket.removeAllListeners('message');
    try {
      this.#socket.close();
    } catch {
      // It is closed already.
    }
  }

  async #forward(bytes: Uint8Array): Promise<void> {
    const datagram = parseSocksDatagram(bytes);
    if (datagram === undefined) return;
    const { host, port } = datagram.to;
    const address = parseIp(host) ?? (await this.#resolve(host));
    if (address !== undefined) this.#inner?.send(datagram.payload, { address, port });
  }

  async #resolve(name: string): Promise<Uint8Array | undefined> {
    const [first] = await this.#network.resolve(name).catch(() => []);
    return first === undefined ? undefined : parseIp(first);
  }
}

/** Without a zone, and IPv4 as such. */
function plain(address: string): string {
  return address.replace(/^::ffff:/, '').replace(/%.*$/, '');
}
