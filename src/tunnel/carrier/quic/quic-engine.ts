/** All connections of QUIC of this process, in a worker: what is dialled, and what comes to the ports that are listened on. */

import { spawnSync } from 'node:child_process';
import type { NativeAddon } from '../../../tun/native.js';
import { formatLocalAddress, formatRemote } from '../../path/address-record.js';
import type { TransportAddress } from '../transport.js';
import { QuicConnection, type QuicConnectionEvents } from './quic-connection.js';
import { dialQuic } from './quic-dialling.js';
import { QuicListener } from './quic-listener.js';
import type { Quiche } from './quiche.js';
import { type DatagramBatch, type FromWorker, MAX_BYTES_BETWEEN, type OpenFacts, SHARED, type ToWorker } from './worker-messages.js';

const MIN_DATAGRAM_BYTES = 1280;
const MIN_TIMER_MS = 1;

export class QuicEngine {
  readonly #native: NativeAddon;
  readonly #quiche: Quiche;
  readonly #shared: Int32Array<SharedArrayBuffer>;
  readonly #post: (message: FromWorker, transfer?: ArrayBuffer[]) => void;
  readonly #connections = new Map<number, QuicConnection>();
  readonly #listeners = new Map<number, QuicListener>();
  readonly #timers = new Map<QuicConnection, { timer: NodeJS.Timeout; atMs: number }>();
  readonly #ends = new Map<QuicConnection, () => void>();
  #touched: QuicConnection[] = [];
  #postedBytes = 0;
  /** Dropped datagrams, by connection. */
  readonly #told = new Map<number, number>();

  constructor(
    native: NativeAddon,
    quiche: Quiche,
    shared: Int32Array<SharedArrayBuffer>,
    post: (message: FromWorker, transfer?: ArrayBuffer[]) => void,
  ) {
    this.#native = native;
    this.#quiche = quiche;
    this.#shared = shared;
    this.#post = post;
  }

  handle(message: ToWorker): void {
    switch (message.type) {
      case 'dial':
        this.#dial(message);
        return;
      case 'listen':
        this.#listen(message);
        return;
      case 'offer':
        this.#listeners.get(message.id)?.offer(message.protocols);
        return;
      case 'send': {
        Atomics.add(this.#shared, SHARED.bytesTakenByWorker, message.batch.bytes.length);
        const connection = this.#connections.get(message.id);
        if (connection === undefined) return;
        connection.send(message.batch, performance.now());
        this.#touch(connection);
        this.#endBatch();
        return;
      }
      case 'close':
        this.#close(message.id);
        return;
      case 'admit':
        this.#listeners.get(message.listener)?.admit(message.source, message.proof);
        this.#endBatch();
        return;
      case 'refuse':
        this.#listeners.get(message.listener)?.refuse(message.source);
        return;
      case 'hang':
        if (message.nativelyMs > 0) spawnSync('sleep', [String(message.nativelyMs / 1000)]);
        else for (;;);
    }
  }

  /** Tells what was dropped since it was asked last. */
  reportDropped(): void {
    for (const { id, droppedDatagrams } of this.#connections.values()) {
      const told = this.#told.get(id) ?? 0;
      if (droppedDatagrams === told) continue;
      this.#told.set(id, droppedDatagrams);
      this.#post({ type: 'dropped', id, dropped: droppedDatagrams });
    }
  }

  // ---- beginnings ----

  #dial({ id, protocol, options }: Extract<ToWorker, { type: 'dial' }>): void {
    try {
      const { connection, end } = dialQuic({
        native: this.#native,
        quiche: this.#quiche,
        id,
        protocol,
        options,
        events: this.#events((_, facts) => this.#post({ type: 'open', id, facts })),
        touch: (one) => this.#touch(one),
        endBatch: () => this.#endBatch(),
        giveUp: (one) => this.#end(one, 'no answer'),
      });
      this.#connections.set(id, connection);
      this.#ends.set(connection, end);
      this.#touch(connection);
      this.#endBatch();
    } catch (error) {
      this.#post({ type: 'closed', id, reason: (error as Error).message });
    }
  }

  #listen({ id, port, mark, certificate, privateKey, protocols }: Extract<ToWorker, { type: 'listen' }>): void {
    try {
      const listener: QuicListener = new QuicListener({
        native: this.#native,
        quiche: this.#quiche,
        port,
        mark,
        certificate,
        privateKey,
        protocols,
        askProof: (proof, source) => this.#post({ type: 'proof', listener: id, proof, source }),
        create: (quiche, socket, remote, offered, isPeer) => {
          const own = this.#nextOwnId--;
          const events = this.#events(({ protocol }, facts) => this.#post({ type: 'accepted', id: own, listener: id, protocol, facts }));
          const http3 = { name: 'server', isPeer } as const;
          const connection = new QuicConnection(own, quiche, socket, remote, events, {
            certificateSha256: undefined,
            protocols: offered,
            http3,
          });
          this.#connections.set(own, connection);
          this.#ends.set(connection, () => listener.forget(connection));
          return connection;
        },
        touch: (connection) => this.#touch(connection),
        end: (connection) => this.#end(connection, 'it did not begin'),
        endBatch: () => this.#endBatch(),
        report: (counters) => this.#post({ type: 'counters', listener: id, counters }),
      });
      this.#listeners.set(id, listener);
      this.#post({ type: 'listening', id, port: listener.port, descriptor: listener.descriptor, errorCode: '', message: '' });
    } catch (error) {
      const { code = 'listen', message } = error as NodeJS.ErrnoException;
      this.#post({ type: 'listening', id, port: 0, descriptor: -1, errorCode: code, message });
    }
  }

  /** Of accepted connections: below zero, so that they never meet those of the other thread. */
  #nextOwnId = -1;

  #events(opened: (connection: QuicConnection, facts: OpenFacts) => void): QuicConnectionEvents {
    return {
      onOpen: (connection) => {
        const { maxDatagramBytes } = connection;
        if (maxDatagramBytes < MIN_DATAGRAM_BYTES) this.#end(connection, `datagrams of ${maxDatagramBytes} bytes are too small`);
        else opened(connection, { maxDatagramBytes, local: localOf(connection), remote: addressOf(formatRemote(connection.remote)) });
      },
      onDatagrams: (connection, batch) => this.#deliver(connection, batch),
      onClosed: (connection, reason) => {
        this.#post({ type: 'closed', id: connection.id, reason });
        this.#forget(connection);
      },
    };
  }

  /** What the tunnel has no time for is dropped here, as a full socket would. */
  #deliver(connection: QuicConnection, batch: DatagramBatch): void {
    const waitingBytes = (this.#postedBytes - Atomics.load(this.#shared, SHARED.bytesTakenByTunnel)) | 0;
    if (waitingBytes > MAX_BYTES_BETWEEN) {
      connection.droppedDatagrams += batch.count;
      return;
    }
    this.#postedBytes = (this.#postedBytes + batch.bytes.length) | 0;
    this.#post({ type: 'datagrams', id: connection.id, batch }, [batch.bytes.buffer, batch.lengths.buffer]);
  }

  // ---- driving ----

  #touch(connection: QuicConnection): void {
    if (connection.touched) return;
    connection.touched = true;
    this.#touched.push(connection);
  }

  #endBatch(): void {
    const touched = this.#touched;
    if (touched.length === 0) return;
    this.#touched = [];
    const nowMs = performance.now();
    for (const connection of touched) {
      connection.touched = false;
      connection.flush(nowMs);
      this.#arm(connection, nowMs);
    }
    for (const { socket } of touched) socket.flush();
  }

  #arm(connection: QuicConnection, nowMs: number): void {
    if (connection.closed) return;
    const atMs = connection.nextTimeoutMs(nowMs);
    const armed = this.#timers.get(connection);
    // One that fires too early looks again.
    if (armed !== undefined && armed.atMs <= atMs) return;
    clearTimeout(armed?.timer);
    const timer = setTimeout(() => this.#expire(connection), Math.max(MIN_TIMER_MS, Math.ceil(atMs - nowMs)));
    this.#timers.set(connection, { timer, atMs });
  }

  #expire(connection: QuicConnection): void {
    this.#timers.delete(connection);
    if (connection.closed) return;
    connection.handleTimeout(performance.now());
    this.#touch(connection);
    this.#endBatch();
  }

  // ---- ends ----

  #close(id: number): void {
    const connection = this.#connections.get(id);
    if (connection !== undefined) {
      connection.close();
      this.#forget(connection);
      return;
    }
    const listener = this.#listeners.get(id);
    if (listener === undefined) return;
    this.#listeners.delete(id);
    for (const one of listener.connections()) {
      one.close();
      this.#forget(one);
    }
    listener.close();
  }

  #end(connection: QuicConnection, reason: string): void {
    connection.close();
    this.#post({ type: 'closed', id: connection.id, reason });
    this.#forget(connection);
  }

  #forget(connection: QuicConnection): void {
    clearTimeout(this.#timers.get(connection)?.timer);
    this.#timers.delete(connection);
    this.#connections.delete(connection.id);
    this.#told.delete(connection.id);
    this.#ends.get(connection)?.();
    this.#ends.delete(connection);
  }
}

function localOf({ remote, socket }: QuicConnection): TransportAddress {
  return { address: formatLocalAddress(remote), port: socket.port };
}

/** "192.0.2.1:443", "[2001:db8::1]:443" */
function addressOf(text: string): TransportAddress {
  const at = text.lastIndexOf(':');
  return { address: text.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(text.slice(at + 1)) };
}
