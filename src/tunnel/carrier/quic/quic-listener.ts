/**
 * A port on which peers come in. The library sees no byte of a source that has not shown a peer's proof: its datagrams are dropped, or wait, a few of them, while the
 * proof is looked at. Nothing is answered to strangers.
 */

import { randomBytes, timingSafeEqual } from 'node:crypto';
import { ADDRESS_BYTES, type NativeAddon } from '../../../tun/native.js';
import { formatRemote } from '../../path/address-record.js';
import { proofOf } from '../session-request.js';
import { ANY_PATH, type QuicConnection } from './quic-connection.js';
import { QuicSocket } from './quic-socket.js';
import { CONNECTION_ID_BYTES, connectionIdText, parseQuicDatagram } from './quic-wire.js';
import { type Quiche, type QuicheConfig, type QuicheConnection, type QuicProtocol, serverConfig } from './quiche.js';

export interface QuicListenerOptions {
  readonly native: NativeAddon;
  readonly quiche: Quiche;
  readonly port: number;
  readonly mark: number | undefined;
  readonly certificate: string;
  readonly privateKey: string;
  readonly protocols: readonly QuicProtocol[];
  /** `admit` follows if it is right. */
  readonly askProof: (proof: Uint8Array, source: string) => void;
  /** `isPeer`: a path shows the proof by which the source was let in. */
  readonly create: (
    quiche: QuicheConnection,
    socket: QuicSocket,
    remote: Uint8Array,
    offered: readonly QuicProtocol[],
    isPeer: (path: string) => boolean,
  ) => QuicConnection;
  readonly touch: (connection: QuicConnection) => void;
  /** It takes too long to begin. */
  readonly end: (connection: QuicConnection) => void;
  readonly endBatch: () => void;
  /** From time to time, when they have changed. */
  readonly report: (counters: Readonly<Record<string, number>>) => void;
}

/** How long a source may begin connections after its knock, and how many. */
const ADMITTED_MS = 15_000;
const ADMITTED_CONNECTIONS = 4;
const MAX_CONNECTIONS = 2048;
/** Not established yet. */
const MAX_OPENING = 256;
/** The library's own deadline begins with the first packet that it can read, which may never come. */
const OPENING_MS = 10_000;
/** Proofs that are being looked at, what waits for each, and how many are asked for in a second. */
const MAX_PENDING = 128;
const MAX_HELD = 6;
const PENDING_MS = 2000;
const MAX_PROOFS_PER_SEC = 4000;
const REPORT_MS = 1000;

interface Admitted {
  readonly untilMs: number;
  readonly proof: Uint8Array;
  left: number;
}

interface Pending {
  readonly sinceMs: number;
  readonly held: { readonly bytes: Uint8Array; readonly address: Uint8Array }[];
}

export class QuicListener {
  readonly #options: QuicListenerOptions;
  #offered: readonly QuicProtocol[];
  #configs: Readonly<Record<4 | 6, QuicheConfig>>;
  readonly #socket: QuicSocket;
  /** By each connection id that leads to it. */
  readonly #byId = new Map<string, QuicConnection>();
  readonly #idsOf = new Map<QuicConnection, string[]>();
  readonly #pending = new Map<string, Pending>();
  readonly #admitted = new Map<string, Admitted>();
  readonly #counters = { connections: 0, strangers: 0, malformed: 0, refusedTooMany: 0, proofsAsked: 0, refusedProofs: 0 };
  readonly #sweep: NodeJS.Timeout;
  #proofsLeft = MAX_PROOFS_PER_SEC;
  #reported = '';

  /** Throws as udpOpen does, and when the certificate cannot be used. */
  constructor(options: QuicListenerOptions) {
    this.#options = options;
    this.#offered = options.protocols;
    this.#configs = configsOf(options, options.protocols);
    this.#socket = this.#open(options);
    this.#sweep = setInterval(() => this.#tick(), REPORT_MS);
  }

  get port(): number {
    return this.#socket.port;
  }

  get descriptor(): number {
    return this.#socket.descriptor;
  }

  /** All, also those that are not established. */
  connections(): QuicConnection[] {
    return [...this.#idsOf.keys()];
  }

  /** From now on these are spoken on what begins. */
  offer(protocols: readonly QuicProtocol[]): void {
    this.#offered = protocols;
    this.#configs = configsOf(this.#options, protocols);
  }

  /** Its proof was right. What waited goes on. */
  admit(source: string, proof: Uint8Array): void {
    this.#admitted.set(source, { untilMs: performance.now() + ADMITTED_MS, proof, left: ADMITTED_CONNECTIONS });
    const pending = this.#pending.get(source);
    this.#pending.delete(source);
    for (const { bytes, address } of pending?.held ?? []) this.#take(bytes, address);
  }

  /** Its proof was wrong. */
  refuse(source: string): void {
    if (this.#pending.delete(source)) this.#counters.refusedProofs++;
  }

  forget(connection: QuicConnection): void {
    for (const id of this.#idsOf.get(connection) ?? []) this.#byId.delete(id);
    if (this.#idsOf.delete(connection)) this.#counters.connections--;
  }

  close(): void {
    clearInterval(this.#sweep);
    this.#socket.close();
  }

  #open({ native, port, mark, endBatch }: QuicListenerOptions): QuicSocket {
    const open = (family: 4 | 6): QuicSocket =>
      new QuicSocket(
        native,
        { family, port, address: undefined, device: undefined, mark },
        (bytes, address) => this.#take(bytes, address),
        endBatch,
      );
    try {
      return open(6);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAFNOSUPPORT') throw error;
      return open(4);
    }
  }

  #take(bytes: Uint8Array, address: Uint8Array): void {
    const datagram = parseQuicDatagram(bytes);
    if (datagram === undefined) {
      this.#counters.malformed++;
      return;
    }
    if (datagram.kind === 'knock') {
      this.#handleKnock(datagram.proof, address);
      return;
    }
    const known = this.#byId.get(datagram.connectionId);
    const connection = known ?? (datagram.kind === 'initial' ? this.#accept(datagram.connectionId, bytes, address) : undefined);
    if (connection === undefined) {
      if (datagram.kind === 'other') this.#counters.strangers++;
      return;
    }
    connection.receive(bytes, address);
    this.#options.touch(connection);
  }

  #handleKnock(proof: Uint8Array, address: Uint8Array): void {
    const source = formatRemote(address);
    if (this.#pending.has(source) || this.#admitted.has(source)) return;
    if (this.#proofsLeft === 0 || this.#pending.size >= MAX_PENDING) {
      this.#counters.refusedTooMany++;
      return;
    }
    this.#proofsLeft--;
    this.#counters.proofsAsked++;
    this.#pending.set(source, { sinceMs: performance.now(), held: [] });
    this.#options.askProof(proof.slice(), source);
  }

  /** undefined: not from there, not now, or it waits. */
  #accept(connectionId: string, bytes: Uint8Array, address: Uint8Array): QuicConnection | undefined {
    const source = formatRemote(address);
    const admitted = this.#admitted.get(source);
    if (admitted === undefined || admitted.left === 0 || admitted.untilMs < performance.now()) {
      const pending = this.#pending.get(source);
      if (pending === undefined) this.#counters.strangers++;
      else if (pending.held.length < MAX_HELD) pending.held.push({ bytes: bytes.slice(), address: address.slice(0, ADDRESS_BYTES) });
      return undefined;
    }
    if (this.#idsOf.size >= MAX_CONNECTIONS || this.#openingCount() >= MAX_OPENING) {
      this.#counters.refusedTooMany++;
      return undefined;
    }
    admitted.left--;
    const own = randomBytes(CONNECTION_ID_BYTES);
    const { quiche, create } = this.#options;
    const config = this.#configs[source.startsWith('[') ? 6 : 4];
    const isPeer = (path: string): boolean => {
      const shown = proofOf(path);
      return shown !== undefined && timingSafeEqual(shown, admitted.proof);
    };
    const accepted = quiche.Connection.accept(own, null, ANY_PATH.to, ANY_PATH.from, config);
    const connection = create(accepted, this.#socket, address, this.#offered, isPeer);
    this.#counters.connections++;
    const ids = [connectionId, connectionIdText(own)];
    this.#idsOf.set(connection, ids);
    for (const id of ids) this.#byId.set(id, connection);
    return connection;
  }

  #openingCount(): number {
    let count = 0;
    for (const connection of this.#idsOf.keys()) if (!connection.isOpen) count++;
    return count;
  }

  #tick(): void {
    this.#proofsLeft = MAX_PROOFS_PER_SEC;
    const nowMs = performance.now();
    for (const [source, { sinceMs }] of this.#pending) if (nowMs - sinceMs > PENDING_MS) this.#pending.delete(source);
    for (const [source, { untilMs }] of this.#admitted) if (untilMs < nowMs) this.#admitted.delete(source);
    for (const connection of this.connections()) {
      if (!connection.isOpen && nowMs - connection.createdMs > OPENING_MS) this.#options.end(connection);
    }
    const text = JSON.stringify(this.#counters);
    if (text === this.#reported) return;
    this.#reported = text;
    this.#options.report({ ...this.#counters });
  }
}

function configsOf({ quiche, certificate, privateKey }: QuicListenerOptions, protocols: readonly QuicProtocol[]) {
  return {
    4: serverConfig(quiche, certificate, privateKey, 4, protocols),
    6: serverConfig(quiche, certificate, privateKey, 6, protocols),
  };
}
