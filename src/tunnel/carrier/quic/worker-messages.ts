/** What the worker that runs QUIC and the thread of the tunnel say to each other. Buffers are handed over. */

import type { DialOptions, TransportAddress } from '../transport.js';

/** Datagrams back to back. */
export interface DatagramBatch {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly lengths: Int32Array<ArrayBuffer>;
  readonly count: number;
}

export type ToWorker =
  | { readonly type: 'dial'; readonly id: number; readonly options: DialOptions }
  | {
      readonly type: 'listen';
      readonly id: number;
      readonly port: number;
      readonly mark: number | undefined;
      readonly certificate: string;
      readonly privateKey: string;
    }
  | { readonly type: 'send'; readonly id: number; readonly batch: DatagramBatch }
  /** A connection, or a listener with its connections. */
  | { readonly type: 'close'; readonly id: number }
  /** The proof was right: that source may begin connections. */
  | { readonly type: 'admit'; readonly listener: number; readonly source: string }
  /** For tests of the watchdog: it does not return. */
  | { readonly type: 'hang' };

export type FromWorker =
  | { readonly type: 'ready' }
  | { readonly type: 'listening'; readonly id: number; readonly port: number; readonly errorCode: string; readonly message: string }
  | { readonly type: 'proof'; readonly listener: number; readonly proof: Uint8Array; readonly source: string }
  | { readonly type: 'accepted'; readonly id: number; readonly listener: number; readonly facts: OpenFacts }
  | { readonly type: 'open'; readonly id: number; readonly facts: OpenFacts }
  | { readonly type: 'datagrams'; readonly id: number; readonly batch: DatagramBatch; readonly dropped: number }
  | { readonly type: 'closed'; readonly id: number; readonly reason: string }
  | { readonly type: 'counters'; readonly listener: number; readonly counters: Readonly<Record<string, number>> };

export interface OpenFacts {
  readonly maxDatagramBytes: number;
  readonly local: TransportAddress;
  readonly remote: TransportAddress;
}

export interface WorkerData {
  /** One Int32: raised by the worker while its loop turns. */
  readonly heartbeat: Int32Array<SharedArrayBuffer>;
}
