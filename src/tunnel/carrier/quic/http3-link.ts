/** HTTP/3 on a connection of the library: its streams are read and written here, and the datagrams of its session have a prefix. */

import { Http3Connection, type Http3Over, type Http3Role } from '../http3/http3-connection.js';
import { HTTP3_ERRORS } from '../http3/http3-error.js';
import { type QuicheConnection, SHUTDOWN_READ } from './quiche-binding.js';
import type { DatagramBatch } from './worker-messages.js';

const READ_BYTES = 16 * 1024;
/** A datagram of the library's is no longer. */
const DATAGRAM_BYTES = 65_536;

const piece = new Uint8Array(READ_BYTES);
const staged = new Uint8Array(DATAGRAM_BYTES);

interface Unsent {
  readonly streamId: number;
  readonly bytes: Uint8Array;
  readonly fin: boolean;
}

export class Http3Link {
  readonly #quiche: QuicheConnection;
  readonly #http3: Http3Connection;
  readonly #stopped = new Set<number>();
  #unsent: Unsent[] = [];
  #hasHeard = false;
  #prefix: Uint8Array = new Uint8Array(1);

  /** The handshake is done. `deliver`: datagrams that came otherwise than as such. */
  constructor(quiche: QuicheConnection, role: Http3Role, deliver: (batch: DatagramBatch) => void) {
    this.#quiche = quiche;
    this.#http3 = new Http3Connection(role, {
      send: (streamId, bytes, fin) => void this.#unsent.push({ streamId, bytes, fin }),
      stop: (streamId, error) => this.#stop(streamId, HTTP3_ERRORS[error]),
      onDatagrams: (bytes, lengths, count) => deliver(batchOf(bytes, lengths, count)),
    });
    this.#http3.start();
  }

  get isOpen(): boolean {
    return this.#http3.isOpen;
  }

  /** Something has come on a stream. */
  get hasHeard(): boolean {
    return this.#hasHeard;
  }

  get over(): Http3Over | undefined {
    return this.#http3.over;
  }

  get prefixBytes(): number {
    return this.#prefix.length;
  }

  /** Reads what has come on streams, and writes what may go. */
  pump(): void {
    for (const streamId of [...this.#quiche.readable()]) this.#read(streamId);
    this.#prefix = this.#http3.datagramPrefix;
    this.#write();
  }

  close(): void {
    this.#http3.close();
    this.#write();
  }

  /** With its prefix; borrowed until the next call. */
  wrap(datagram: Uint8Array): Uint8Array {
    const prefix = this.#prefix;
    staged.set(prefix);
    staged.set(datagram, prefix.length);
    return staged.subarray(0, prefix.length + datagram.length);
  }

  /** Of `length` bytes at `at`, without its prefix in the same place: how many are left; -1: it is none of the session's. */
  unwrap(bytes: Uint8Array, at: number, length: number): number {
    const prefixBytes = this.#http3.prefixOf(bytes.subarray(at, at + length));
    if (prefixBytes < 0) return -1;
    bytes.copyWithin(at, at + prefixBytes, at + length);
    return length - prefixBytes;
  }

  #read(streamId: number): void {
    try {
      while (this.over === undefined && !this.#stopped.has(streamId)) {
        const read = this.#quiche.streamRecv(streamId, piece);
        if (read === null) return;
        const [length, fin] = read;
        this.#hasHeard = true;
        this.#http3.handleStream(streamId, piece.subarray(0, length), fin);
        if (fin) return;
      }
    } catch {
      this.#http3.handleReset(streamId);
    }
    // What is still sent on it is thrown away by the library.
    this.#stopped.delete(streamId);
  }

  #stop(streamId: number, errorCode: number): void {
    this.#stopped.add(streamId);
    try {
      this.#quiche.streamShutdown(streamId, SHUTDOWN_READ, errorCode);
    } catch {
      // The peer has said all there already.
    }
  }

  /** In order, as far as the peer's windows go. */
  #write(): void {
    while (this.#unsent.length > 0) {
      const { streamId, bytes, fin } = this.#unsent[0]!;
      let taken: number | null;
      try {
        taken = this.#quiche.streamSend(streamId, bytes, fin);
      } catch (error) {
        // The peer has yet to allow it; or wants nothing of it.
        if ((error as Error).message !== 'StreamLimit') this.#unsent.shift();
        return;
      }
      if (taken === null) return;
      if (taken === bytes.length) this.#unsent.shift();
      else this.#unsent[0] = { streamId, bytes: bytes.subarray(taken), fin };
      if (taken < bytes.length) return;
    }
  }
}

function batchOf(bytes: Uint8Array, lengths: Int32Array, count: number): DatagramBatch {
  let used = 0;
  for (let i = 0; i < count; i++) used += lengths[i]!;
  const batch = { bytes: new Uint8Array(used), lengths: new Int32Array(count), count };
  batch.bytes.set(bytes.subarray(0, used));
  batch.lengths.set(lengths.subarray(0, count));
  return batch;
}
