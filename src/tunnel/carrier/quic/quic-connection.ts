/** One connection of QUIC in the worker: its datagrams, its packets, its deadlines. */

import { createHash, timingSafeEqual } from 'node:crypto';
import { ADDRESS_BYTES } from '../../../tun/native.js';
import type { Http3Role } from '../http3/http3-connection.js';
import { HTTP3_ERRORS, http3ErrorName } from '../http3/http3-error.js';
import { Http3Link } from './http3-link.js';
import type { QuicSocket } from './quic-socket.js';
import type { QuicheConnection, QuicProtocol } from './quiche.js';
import type { DatagramBatch } from './worker-messages.js';

/** Of the library's path: addresses are our matter, and the session's inside. */
const ANY_HOST = { host: '127.0.0.1', port: 1 };
export const ANY_PATH = { from: ANY_HOST, to: ANY_HOST };
/** Datagrams that wait longer for the congestion control are late: dropped. */
const QUEUE_MAX_MS = 30;
const KEEPALIVE_MS = 3000;
const BATCH_BYTES = 256 * 1024;
const PACKET_BYTES = 65_536;
/** What comes before the session of HTTP/3 is there may wait for it, so many. */
const MAX_EARLY_DATAGRAMS = 16;

const packet = new Uint8Array(PACKET_BYTES);
const discarded = new Uint8Array(PACKET_BYTES);

export interface QuicConnectionEvents {
  onOpen(connection: QuicConnection): void;
  onDatagrams(connection: QuicConnection, batch: DatagramBatch): void;
  onClosed(connection: QuicConnection, reason: string): void;
}

export interface QuicConnectionOptions {
  /** Of the other side; undefined: the library has checked what is to be checked. */
  readonly certificateSha256: Uint8Array | undefined;
  /** What may be spoken. */
  readonly protocols: readonly QuicProtocol[];
  /** What we are where HTTP/3 is. */
  readonly http3: Http3Role;
}

export class QuicConnection {
  readonly id: number;
  readonly quiche: QuicheConnection;
  readonly remote = new Uint8Array(ADDRESS_BYTES);
  readonly socket: QuicSocket;
  readonly createdMs = performance.now();
  /** Something came or is to be sent; kept by the owner. */
  touched = false;
  droppedDatagrams = 0;
  readonly #events: QuicConnectionEvents;
  readonly #options: QuicConnectionOptions;
  #isEstablished = false;
  /** Where HTTP/3 is spoken, once that is known. */
  #http3: Http3Link | undefined;
  #isOpen = false;
  #closed = false;
  /** Datagrams that the library was given, ever; and in order of time, what batches of them may still wait there: until which of all. */
  #queued = 0;
  readonly #batches: { readonly sentMs: number; readonly endsAt: number }[] = [];
  #keptAliveMs = 0;

  constructor(
    id: number,
    quiche: QuicheConnection,
    socket: QuicSocket,
    remote: Uint8Array,
    events: QuicConnectionEvents,
    options: QuicConnectionOptions,
  ) {
    this.id = id;
    this.quiche = quiche;
    this.socket = socket;
    this.remote.set(remote);
    this.#events = events;
    this.#options = options;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** What is spoken; of one that is open. */
  get protocol(): QuicProtocol {
    return this.#http3 === undefined ? 'mptunnel' : 'h3';
  }

  /** Of one that is open; 0: none can be sent. */
  get maxDatagramBytes(): number {
    return Math.max(0, (this.quiche.dgramMaxWritableLen() ?? 0) - (this.#http3?.prefixBytes ?? 0));
  }

  /** A packet from `remote`. Who is behind a NAT may come from elsewhere: it is followed once the packet has proved to be the peer's. */
  receive(bytes: Uint8Array, remote: Uint8Array): void {
    const moved = !isSameAddress(this.remote, remote);
    const before = moved ? this.quiche.stats().recv : 0;
    try {
      this.quiche.recv(bytes, ANY_PATH);
    } catch {
      // Not of this connection, or its end: `flush` finds out.
    }
    if (moved && this.quiche.stats().recv > before) this.remote.set(remote);
  }

  send({ bytes, lengths, count }: DatagramBatch, nowMs: number): void {
    let at = 0;
    for (let i = 0; i < count; i++) {
      const length = lengths[i]!;
      try {
        if (this.quiche.isDgramSendQueueFull()) this.droppedDatagrams++;
        else {
          const datagram = bytes.subarray(at, at + length);
          this.quiche.dgramSend(this.#http3 === undefined ? datagram : this.#http3.wrap(datagram));
          this.#queued++;
        }
      } catch {
        this.droppedDatagrams++;
      }
      at += length;
    }
    this.#batches.push({ sentMs: nowMs, endsAt: this.#queued });
  }

  /** Hands up what has come, sends what may be sent, and sees whether it opens or ends. */
  flush(nowMs: number): void {
    if (this.#closed) return;
    this.#establish();
    this.#http3?.pump();
    if (this.#closed) return;
    if (this.#isReady()) this.#open();
    if (this.#isOpen) this.#takeDatagrams();
    else this.#handleEarly();
    const over = this.#http3?.over;
    if (over !== undefined) {
      this.close();
      this.#events.onClosed(this, over.reason);
      return;
    }
    this.#transmit();
    if (this.#batches.length > 0) this.#dropLate(nowMs);
    if (this.quiche.isClosed()) this.#finish(this.#closeReason());
  }

  /** Absolute; Infinity: none. */
  nextTimeoutMs(nowMs: number): number {
    const timeoutMs = this.quiche.timeout();
    return Math.min(
      timeoutMs === null ? Number.POSITIVE_INFINITY : nowMs + timeoutMs,
      this.#isOpen ? this.#keptAliveMs + KEEPALIVE_MS : Number.POSITIVE_INFINITY,
    );
  }

  handleTimeout(nowMs: number): void {
    if (this.quiche.timeout() === 0) this.quiche.onTimeout();
    if (this.#isOpen && nowMs - this.#keptAliveMs >= KEEPALIVE_MS) {
      this.#keptAliveMs = nowMs;
      this.quiche.sendAckEliciting();
    }
  }

  /** Its goodbye leaves; nothing is told any more. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#http3?.close();
    // What streams have to say goes before it.
    this.#transmit();
    const errorCode = this.#http3 === undefined ? 0 : HTTP3_ERRORS[this.#http3.over?.error ?? 'H3_NO_ERROR'];
    try {
      this.quiche.close(true, errorCode, new Uint8Array(0));
    } catch {
      // It was ending already.
    }
    this.#transmit();
    this.socket.flush();
  }

  #establish(): void {
    if (this.#isEstablished || !this.quiche.isEstablished()) return;
    this.#isEstablished = true;
    const { certificateSha256, protocols, http3 } = this.#options;
    if (certificateSha256 !== undefined && !this.#isExpected(certificateSha256)) {
      this.close();
      this.#events.onClosed(this, 'TLS: the certificate is not the one that was announced');
      return;
    }
    const protocol: string = Buffer.from(this.quiche.applicationProto()).toString('latin1');
    // Where HTTP/3 cannot be meant, it is the former name of ours.
    if (protocol !== 'h3' || !protocols.includes('h3')) return;
    this.#http3 = new Http3Link(this.quiche, http3, (batch) => this.#events.onDatagrams(this, batch));
  }

  #isReady(): boolean {
    return !this.#isOpen && this.#isEstablished && (this.#http3 === undefined || this.#http3.isOpen);
  }

  #open(): void {
    this.#isOpen = true;
    this.#keptAliveMs = performance.now();
    this.#events.onOpen(this);
  }

  #isExpected(sha256: Uint8Array): boolean {
    const [leaf] = this.quiche.peerCertChain() ?? [];
    if (leaf === undefined) return false;
    const digest = createHash('sha256').update(leaf).digest();
    return digest.length === sha256.length && timingSafeEqual(digest, sha256);
  }

  #handleEarly(): void {
    const waiting = this.quiche.dgramRecvQueueLen();
    // HTTP/3 begins with streams: who sends datagrams alone speaks ours by its former name.
    if (waiting > 0 && this.#http3?.hasHeard === false && this.#options.protocols.includes('mptunnel')) {
      this.#http3 = undefined;
      this.#open();
      this.#takeDatagrams();
    } else if (waiting > MAX_EARLY_DATAGRAMS) {
      while (this.quiche.dgramRecvQueueLen() > 0) this.quiche.dgramRecv(discarded);
    }
  }

  #takeDatagrams(): void {
    const waiting = this.quiche.dgramRecvQueueLen();
    if (waiting === 0) return;
    let left = waiting;
    while (left > 0) {
      const bytes = new Uint8Array(Math.min(this.quiche.dgramRecvQueueByteSize(), BATCH_BYTES));
      const lengths = new Int32Array(left);
      let [used, count, taken] = [0, 0, 0];
      while (taken < left) {
        const next = this.quiche.dgramRecvFrontLen();
        if (next === null || next > bytes.length - used) break;
        const length = this.quiche.dgramRecv(bytes.subarray(used));
        if (length === null) break;
        taken++;
        const own = this.#http3 === undefined ? length : this.#http3.unwrap(bytes, used, length);
        if (own < 0) continue;
        lengths[count++] = own;
        used += own;
      }
      if (taken === 0) return;
      if (count > 0) this.#events.onDatagrams(this, { bytes, lengths, count });
      left -= taken;
    }
  }

  #transmit(): void {
    for (;;) {
      let sent: readonly [number, unknown] | null;
      try {
        sent = this.quiche.send(packet);
      } catch {
        return;
      }
      if (sent === null) return;
      this.socket.stage(this.remote, packet, sent[0]);
    }
  }

  /** Those that have waited too long go; what came later stays. */
  #dropLate(nowMs: number): void {
    const waiting = this.quiche.dgramSendQueueLen();
    const gone = this.#queued - waiting;
    let late = 0;
    while (this.#batches.length > 0) {
      const { sentMs, endsAt } = this.#batches[0]!;
      if (endsAt > gone && nowMs - sentMs <= QUEUE_MAX_MS) break;
      late = Math.max(late, endsAt - gone);
      this.#batches.shift();
    }
    if (late === 0) return;
    this.droppedDatagrams += late;
    let left = late;
    this.quiche.dgramPurgeOutgoing(() => left-- > 0);
  }

  #closeReason(): string {
    if (this.quiche.isTimedOut()) return this.#isOpen ? 'no answer for ten seconds' : 'no answer';
    const error = this.quiche.peerError() ?? this.quiche.localError();
    if (error === null) return 'the connection is closed';
    const reason = Buffer.from(error.reason)
      .toString('latin1')
      .replaceAll(/[^\x20-\x7e]/g, '');
    const isHttp3 = this.#http3 !== undefined && error.isApp;
    if (error.errorCode === (isHttp3 ? HTTP3_ERRORS.H3_NO_ERROR : 0) && reason === '') return 'the other side closed it';
    const what = isHttp3 ? http3ErrorName(error.errorCode) : `QUIC error ${error.errorCode}`;
    return reason === '' ? what : `${what}: ${reason}`;
  }

  #finish(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#events.onClosed(this, reason);
  }
}

function isSameAddress(a: Uint8Array, b: Uint8Array): boolean {
  // Family, port and remote address; which of our own addresses it reached may differ.
  for (let i = 0; i < 20; i++) if (a[i] !== b[i]) return false;
  return true;
}
