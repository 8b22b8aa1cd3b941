/** A relay on a UDP socket: messages for itself go to its table, all else natively from one leg of a way to the other, byte for byte as it came. */

import { randomBytes } from 'node:crypto';
import { isIP } from 'node:net';
import { publicKeyOf } from '../../crypto/x25519.js';
import {
  ADDRESS_BYTES,
  loadNative,
  type NativeAddon,
  RELAY_DESCRIPTOR_INTS,
  type RelayHandle,
  type UdpHandle,
  type Watcher,
} from '../../tun/native.js';
import { TunnelError } from '../tunnel-api.js';
import { BIND_BYTES, RELAY_MESSAGE } from './relay-messages.js';
import { type RelayForwarder, type RelayLimits, RelayTable } from './relay-table.js';

const SWEEP_MS = 5000;
/** As much as the kernel gives: a burst of many sessions shall find room. */
const BUFFER_BYTES = 4 * 1024 * 1024;
const MAX_MESSAGES = 256;
/** Receive rounds in one turn of the event loop: the timer and signals want theirs. */
const ROUNDS = 64;
const SEED_BYTES = 8;
/** The kernel has no IPv6. */
const NO_IPV6_CODES: ReadonlySet<string> = new Set(['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EPROTONOSUPPORT']);

export interface RelayServerOptions extends RelayLimits {
  port: number;
  /** Of this host; undefined: all. */
  address?: string;
  privateKey: Uint8Array;
  allowed: readonly Uint8Array[];
  /** Of IP packets of one session, both directions together; 0: as much as there is. */
  rateBytesPerSec: number;
}

export interface RelayStatus {
  uptimeMs: number;
  port: number;
  publicKey: Uint8Array;
  /** Ways of which both legs are there, all of them, and hosts that wait to be called. */
  connectedSessions: number;
  sessions: number;
  waitingHosts: number;
  counters: Record<string, number>;
}

export class RelayServer implements RelayForwarder {
  readonly #options: RelayServerOptions;
  readonly #native: NativeAddon;
  readonly #table: RelayTable;
  readonly #startedMs = performance.now();
  /** Of each session that is connected. */
  readonly #places = new Map<number, readonly [Uint8Array, Uint8Array]>();
  readonly #arena = new Uint8Array(MAX_MESSAGES * BIND_BYTES);
  readonly #descriptors = new Int32Array(MAX_MESSAGES * RELAY_DESCRIPTOR_INTS);
  readonly #addresses = new Uint8Array(MAX_MESSAGES * ADDRESS_BYTES);
  #udp: UdpHandle | undefined;
  #relay: RelayHandle | undefined;
  #watcher: Watcher | undefined;
  #sweep: NodeJS.Timeout | undefined;
  #receiveErrors = 0;

  /** Throws RangeError for a key that no host can have. */
  constructor(options: RelayServerOptions, native: NativeAddon = loadNative()) {
    this.#options = options;
    this.#native = native;
    const { privateKey, allowed } = options;
    this.#table = new RelayTable({
      privateKey,
      allowed,
      limits: options,
      randomBytes: (count) => randomBytes(count),
      forwarder: this,
      send: (bytes, length, address) => {
        if (this.#udp !== undefined) native.udpSendRaw(this.#udp, address, bytes, 0, length);
      },
      nowMs: performance.now(),
    });
  }

  /** Throws TunnelError `listen`. */
  start(): void {
    const { address, port } = this.#options;
    try {
      this.#udp = address === undefined ? this.#openDual() : this.#open(isIP(address) === 6 ? 6 : 4);
    } catch (cause) {
      throw listenError(port, cause);
    }
    this.#relay = this.#native.relayCreate(this.#udp, randomBytes(SEED_BYTES));
    this.#watcher = this.#native.watchReadable(this.#udp, () => this.#receive());
    this.#sweep = setInterval(() => this.#table.handleTimeout(performance.now()), SWEEP_MS);
  }

  get port(): number {
    return this.#udp === undefined ? 0 : this.#native.udpPort(this.#udp);
  }

  status(): RelayStatus {
    const { segmentationFallbacks: _, maxSegments: __, ...sent } = this.#native.udpCounters(this.#udp!);
    return {
      uptimeMs: Math.round(performance.now() - this.#startedMs),
      port: this.port,
      publicKey: publicKeyOf(this.#options.privateKey),
      connectedSessions: this.#table.connectedCount,
      sessions: this.#table.sessionCount,
      waitingHosts: this.#table.waitingCount,
      counters: { ...this.#native.relayCounters(this.#relay!), receiveErrors: this.#receiveErrors, ...sent, ...this.#table.counters },
    };
  }

  connect(session: number, a: Uint8Array, b: Uint8Array): void {
    const places = [a.slice(), b.slice()] as const;
    this.#places.set(session, places);
    this.#native.relayConnect(this.#relay!, ...places, this.#options.rateBytesPerSec);
  }

  disconnect(session: number): void {
    for (const place of this.#places.get(session) ?? []) this.#native.relayDisconnect(this.#relay!, place);
    this.#places.delete(session);
  }

  close(): void {
    clearInterval(this.#sweep);
    this.#watcher?.close();
    if (this.#relay !== undefined) this.#native.relayClose(this.#relay);
    if (this.#udp !== undefined) this.#native.udpClose(this.#udp);
    this.#relay = undefined;
    this.#udp = undefined;
  }

  #receive(): void {
    const [arena, descriptors, addresses] = [this.#arena, this.#descriptors, this.#addresses];
    const count = this.#native.relayForward(this.#relay!, RELAY_MESSAGE, arena, descriptors, addresses, ROUNDS);
    if (count < 0) this.#receiveErrors++;
    const nowMs = performance.now();
    for (let i = 0; i < count; i++) {
      const [base, at] = [i * RELAY_DESCRIPTOR_INTS, descriptors[i * RELAY_DESCRIPTOR_INTS + 2]! * ADDRESS_BYTES];
      const [offset, length] = [descriptors[base]!, descriptors[base + 1]!];
      const source = addresses.subarray(at, at + ADDRESS_BYTES);
      this.#table.handleMessage(arena.subarray(offset, offset + length), source, nowMs);
    }
  }

  /** IPv4 alone where the kernel has no IPv6. */
  #openDual(): UdpHandle {
    try {
      return this.#open(6);
    } catch (error) {
      if (!NO_IPV6_CODES.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
      return this.#open(4);
    }
  }

  #open(family: 4 | 6): UdpHandle {
    const { port, address } = this.#options;
    return this.#native.udpOpen({
      family,
      port,
      ...(address === undefined ? {} : { address }),
      receiveBufferBytes: BUFFER_BYTES,
      sendBufferBytes: BUFFER_BYTES,
    });
  }
}

function listenError(port: number, cause: unknown): TunnelError {
  const { code, message } = cause as NodeJS.ErrnoException;
  const what =
    code === 'EADDRINUSE'
      ? `is taken: choose another port with --listen, or stop the program that holds it ("ss -lunp" shows it)`
      : code === 'EACCES'
        ? 'needs root or CAP_NET_BIND_SERVICE: choose a port above 1023 with --listen'
        : `cannot be opened: ${message}`;
  return new TunnelError('listen', `UDP port ${port} ${what}.`, { cause });
}
