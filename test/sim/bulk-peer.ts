import type { ByteStreamHandler } from '../../src/mptcp-over-udp/byte-stream.js';
import type { MptcpConnection } from '../../src/mptcp-over-udp/mptcp/connection.js';
import type { TwoHosts } from './two-hosts.js';

/** Writes without end, or not at all, and reads everything: what is inside is checked by other tests. */
export class BulkPeer implements ByteStreamHandler {
  readBytes = 0;
  connection: MptcpConnection | undefined;
  private readonly sends: boolean;
  private static readonly block = new Uint8Array(65_536);

  constructor(sends: boolean) {
    this.sends = sends;
  }

  onEstablished(): void {
    this.fill();
  }

  onData(_bytes: Uint8Array, _at: number, length: number): number {
    this.readBytes += length;
    return length;
  }

  onEnd(): void {}

  onWritable(): void {
    this.fill();
  }

  onClosed(): void {}

  private fill(): void {
    if (!this.sends || this.connection === undefined) return;
    while (this.connection.write(BulkPeer.block, 0, BulkPeer.block.length) === BulkPeer.block.length);
  }
}

export interface BulkServer {
  /** In the order in which their connections came. */
  readonly peers: BulkPeer[];
  readonly onIncoming: (connection: MptcpConnection) => void;
}

/** Events of a server that accepts whatever comes; `sends`: whether it writes on the n-th connection, from 0. Default: downloads all. */
export function bulkServer(sends: (index: number) => boolean = () => true): BulkServer {
  const peers: BulkPeer[] = [];
  return { peers, onIncoming: (connection) => peers.push(acceptBulk(connection, sends(peers.length))) };
}

export function acceptBulk(connection: MptcpConnection, sends: boolean): BulkPeer {
  const peer = new BulkPeer(sends);
  peer.connection = connection;
  connection.setHandler(peer);
  connection.accept();
  return peer;
}

/** A connection of the client's, an upload or none of its own; on the best path unless another is named. */
export function connectBulk(hosts: TwoHosts, sends: boolean, pathId?: number): BulkPeer {
  const peer = new BulkPeer(sends);
  peer.connection = hosts.connect(peer, pathId);
  return peer;
}
