/** A NAT in userspace between a client and a server on loopback: it can give the client a new outer port, and lose what goes either way. */

import { createSocket, type Socket } from 'node:dgram';

/** One outer port of the NAT. */
class Mapping {
  readonly socket: Socket;
  /** UDP payload bytes towards the server, and back. */
  outBytes = 0;
  backBytes = 0;
  /** The server's datagrams to this port vanish. */
  deafToServer = false;

  constructor(onBack: (bytes: Buffer) => void) {
    this.socket = createSocket('udp4');
    this.socket.on('message', (bytes) => {
      this.backBytes += bytes.length;
      if (!this.deafToServer) onBack(bytes);
    });
  }
}

export class Nat {
  readonly #serverPort: number;
  readonly #inner = createSocket('udp4');
  #clientPort = 0;
  readonly mappings: Mapping[] = [];
  /** The last datagrams that the client sent. */
  readonly seen: Buffer[] = [];

  private constructor(serverPort: number) {
    this.#serverPort = serverPort;
  }

  static async create(serverPort: number): Promise<Nat> {
    const nat = new Nat(serverPort);
    await new Promise<void>((resolve) => nat.#inner.bind(0, '127.0.0.1', resolve));
    nat.#inner.on('message', (bytes, from) => {
      nat.#clientPort = from.port;
      nat.seen.push(Buffer.from(bytes));
      if (nat.seen.length > 200) nat.seen.shift();
      nat.current.outBytes += bytes.length;
      nat.current.socket.send(bytes, nat.#serverPort, '127.0.0.1');
    });
    await nat.rebind();
    return nat;
  }

  /** Where the client sends. */
  get endpoint(): string {
    return `127.0.0.1:${this.#inner.address().port}`;
  }

  get current(): Mapping {
    return this.mappings.at(-1)!;
  }

  /** As the server sees the client, now or with an earlier mapping. */
  outer(mapping = this.current): string {
    return `127.0.0.1:${mapping.socket.address().port}`;
  }

  /** The client gets a new outer port; the old one still carries the server's datagrams to it. */
  async rebind(options: { deafToServer?: boolean } = {}): Promise<void> {
    const mapping = new Mapping((bytes) => this.#inner.send(bytes, this.#clientPort, '127.0.0.1'));
    mapping.deafToServer = options.deafToServer ?? false;
    await new Promise<void>((resolve) => mapping.socket.bind(0, '127.0.0.1', resolve));
    this.mappings.push(mapping);
  }

  close(): void {
    this.#inner.close();
    for (const mapping of this.mappings) mapping.socket.close();
  }
}
