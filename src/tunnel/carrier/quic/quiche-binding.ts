/**
 * The part that we use of quiche's binding for Node.js (of @matrixai/quic; its own JavaScript, with a socket of its own, we have no use for). A method that has nothing to give
 * returns null; what went wrong is thrown, its message being quiche's name for it.
 */

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

export interface QuicheConfig {
  verifyPeer(verify: boolean): void;
  grease(grease: boolean): void;
  setApplicationProtos(protocols: string[]): void;
  setMaxIdleTimeout(timeoutMs: number): void;
  setInitialMaxData(bytes: number): void;
  setInitialMaxStreamDataBidiLocal(bytes: number): void;
  setInitialMaxStreamDataBidiRemote(bytes: number): void;
  setInitialMaxStreamDataUni(bytes: number): void;
  setInitialMaxStreamsBidi(count: number): void;
  setInitialMaxStreamsUni(count: number): void;
  setMaxRecvUdpPayloadSize(bytes: number): void;
  setMaxSendUdpPayloadSize(bytes: number): void;
  setDisableActiveMigration(disabled: boolean): void;
  setCcAlgorithmName(name: string): void;
  enablePacing(enabled: boolean): void;
  enableDgram(enabled: boolean, receiveQueueLength: number, sendQueueLength: number): void;
}

export interface ConnectionError {
  readonly isApp: boolean;
  readonly errorCode: number;
  readonly reason: Uint8Array;
}

export const SHUTDOWN_READ = 0;

export interface QuicheConnection {
  /** Bytes that were processed. */
  recv(packet: Uint8Array, path: { readonly from: HostPort; readonly to: HostPort }): number;
  /** Writes the next packet; its length first. */
  send(out: Uint8Array): readonly [number, unknown] | null;
  applicationProto(): Uint8Array;
  /** Streams with something to read, or that were reset. */
  readable(): Iterable<number>;
  /** Bytes, and whether they are the last. Throws when it was reset. */
  streamRecv(streamId: number, out: Uint8Array): readonly [number, boolean] | null;
  /** Bytes that were taken. */
  streamSend(streamId: number, bytes: Uint8Array, fin: boolean): number | null;
  streamShutdown(streamId: number, direction: typeof SHUTDOWN_READ, errorCode: number): void;
  dgramSend(datagram: Uint8Array): void;
  dgramRecv(out: Uint8Array): number | null;
  dgramRecvFrontLen(): number | null;
  dgramRecvQueueLen(): number;
  dgramRecvQueueByteSize(): number;
  dgramSendQueueLen(): number;
  isDgramSendQueueFull(): boolean;
  dgramPurgeOutgoing(isPurged: (datagram: Uint8Array) => boolean): void;
  /** null before it is established. */
  dgramMaxWritableLen(): number | null;
  /** Milliseconds until `onTimeout` is due. */
  timeout(): number | null;
  onTimeout(): void;
  sendAckEliciting(): void;
  close(isApp: boolean, errorCode: number, reason: Uint8Array): void;
  /** DER, the leaf first. */
  peerCertChain(): Uint8Array[] | null;
  isEstablished(): boolean;
  isClosed(): boolean;
  isTimedOut(): boolean;
  peerError(): ConnectionError | null;
  localError(): ConnectionError | null;
  stats(): { readonly recv: number };
}

export interface Quiche {
  readonly Config: {
    /** PEM: authorities (null: none), keys, and as many chains. */
    withBoringSslCtx(
      verifyPeer: boolean,
      allowsFailure: boolean,
      authorities?: Uint8Array | null,
      keys?: Uint8Array[] | null,
      certificates?: Uint8Array[] | null,
    ): QuicheConfig;
  };
  readonly Connection: {
    connect(serverName: string | null, sourceId: Uint8Array, local: HostPort, remote: HostPort, config: QuicheConfig): QuicheConnection;
    accept(sourceId: Uint8Array, originalId: Uint8Array | null, local: HostPort, remote: HostPort, config: QuicheConfig): QuicheConnection;
  };
}
