/** A port that accepts. */

import { equalAddress } from './endpoint-text.js';
import type { MptcpSocket } from './mptcp-socket.js';

export interface ListenOptions {
  /** Only on this address of the host. */
  address?: string;
  /** Default true: our side stays open after the peer's has ended. */
  allowHalfOpen?: boolean;
  /** Default mptcp where the peer asks for it; tcp: never. */
  protocol?: 'mptcp' | 'tcp';
}

export class Listener {
  readonly port: number;
  readonly options: ListenOptions;
  private readonly address: Uint8Array | undefined;
  private readonly onConnection: (socket: MptcpSocket) => void;
  private readonly forget: () => void;
  private readonly open = new Set<MptcpSocket>();
  private refusing = false;

  constructor(
    port: number,
    address: Uint8Array | undefined,
    options: ListenOptions,
    onConnection: (socket: MptcpSocket) => void,
    forget: () => void,
  ) {
    this.port = port;
    this.address = address;
    this.options = options;
    this.onConnection = onConnection;
    this.forget = forget;
  }

  /** Its open connections. */
  get connections(): readonly MptcpSocket[] {
    return [...this.open];
  }

  takes(localAddress: Uint8Array): boolean {
    return !this.refusing && (this.address === undefined || equalAddress(this.address, localAddress));
  }

  deliver(socket: MptcpSocket): void {
    this.open.add(socket);
    void socket.whenClosed.then(() => this.open.delete(socket));
    this.onConnection(socket);
  }

  /** No more connections from now on. */
  refuse(): void {
    this.refusing = true;
    this.forget();
  }

  /** No more connections; resolves when the last of those that it gave is closed. */
  async close(): Promise<void> {
    this.refuse();
    await Promise.all([...this.open].map((socket) => socket.whenClosed));
  }
}
