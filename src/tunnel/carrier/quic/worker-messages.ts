/** What the worker that runs QUIC and the thread of the tunnel say to each other. Buffers are handed over. */

import type { DialOptions, TransportAddress } from '../transport.js';
import type { QuicProtocol } from './quiche.js';

/** Datagrams back to back. */
export interface DatagramBatch {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly lengths: Int32Array<ArrayBuffer>;
  readonly count: number;
}

export type ToWorker =
  | { readonly type: 'dial'; readonly id: number; readonly protocol: QuicProtocol; readonly options: DialOptions }
  | {
      readonly type: 'listen';
      readonly id: number;
      readonly port: number;
      readonly mark: number | undefined;
      readonly certificate: string;
      readonly privateKey: string;
      readonly protocols: readonly QuicProtocol[];
    }
  /** A listener: what may be spoken there from now on. */
  | { readonly type: 'offer'; readonly id: number; readonly protocols: readonly QuicProtocol[] }
  | { readonly type: 'send'; readonly id: number; readonly batch: DatagramBatch }
  /** A connection, or a listener with its connections. */
  | { readonly type: 'close'; readonly id: number }
  /** The proof was right: that source may begin connections; or wrong. */
  | { readonly type: 'admit'; readonly listener: number; readonly source: string; readonly proof: Uint8Array }
  | { readonly type: 'refuse'; readonly listener: number; readonly source: string }
  /** For tests of the watchdog: it does not return; natively: not even when it is ended. */
  | { readonly type: 'hang'; readonly nativelyMs: number };

export type FromWorker =
  | { readonly type: 'ready' }
  | {
      readonly type: 'listening';
      readonly id: number;
      readonly port: number;
      readonly descriptor: number;
      readonly errorCode: string;
      readonly message: string;
    }
  | { readonly type: 'proof'; readonly listener: number; readonly proof: Uint8Array; readonly source: string }
  | {
      readonly type: 'accepted';
      readonly id: number;
      readonly listener: number;
      readonly protocol: QuicProtocol;
      readonly facts: OpenFacts;
    }
  | { readonly type: 'open'; readonly id: number; readonly facts: OpenFacts }
  | { readonly type: 'datagrams'; readonly id: number; readonly batch: DatagramBatch }
  | { readonly type: 'dropped'; readonly id: number; readonly dropped: number }
  | { readonly type: 'closed'; readonly id: number; readonly reason: string }
  | { readonly type: 'counters'; readonly listener: number; readonly counters: Readonly<Record<string, number>> };

export interface OpenFacts {
  readonly maxDatagramBytes: number;
  readonly local: TransportAddress;
  readonly remote: TransportAddress;
}

/** Counts that both threads see, modulo 2^32: by them each side knows how much the other has yet to take, and drops what would be too much. */
export const SHARED = { heartbeats: 0, bytesTakenByWorker: 1, bytesTakenByTunnel: 2 } as const;
export const SHARED_INTS = 3;
/** Between the threads, each way, of all connections: about 30 ms at 500 Mbit/s. */
export const MAX_BYTES_BETWEEN = 2 * 1024 * 1024;

export interface WorkerData {
  /** Raised by the worker while its loop turns, and by who takes datagrams. */
  readonly shared: Int32Array<SharedArrayBuffer>;
}
