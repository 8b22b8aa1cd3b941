/** A relay on a UDP socket: messages for itself go to its table, all else from one leg of a way to the other, byte for byte as it came. */

import { randomBytes } from 'node:crypto';
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { publicKeyOf } from '../../crypto/x25519.js';
import { parseEndpoint } from '../config-schema.js';
import { emitAddressRecord, formatRemote } from '../path/address-record.js';
import { TunnelError } from '../tunnel-api.js';
import { RELAY_MESSAGE } from './relay-messages.js';
import { type RelayForwarder, type RelayLimits, RelayTable } from './relay-table.js';

const SWEEP_MS = 5000;
/** As much as the kernel gives: a burst of many sessions shall find room. */
const BUFFER_BYTES = 4 * 1024 * 1024;
const BURST_SECONDS = 0.25;
/** Of IP and UDP, which a rate counts. */
const HEADER_BYTES = 28;
const MAPPED = '::ffff:';
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

/** Where datagrams of one leg go, and what its way may still carry. */
interface Outlet {
  readonly session: number;
  readonly host: string;
  readonly port: number;
  readonly allowance: Allowance;
}

/** A bucket of a quarter of a second, shared by both legs of a way. */
class Allowance {
  readonly #bytesPerSec: number;
  #bytes: number;
  #atMs = performance.now();

  constructor(bytesPerSec: number) {
    this.#bytesPerSec = bytesPerSec;
    this.#bytes = bytesPerSec * BURST_SECONDS;
  }

  take(bytes: number): boolean {
    if (this.#bytesPerSec === 0) return true;
    const nowMs = performance.now();
    this.#bytes = Math.min(this.#bytes + ((nowMs - this.#atMs) * this.#bytesPerSec) / 1000, this.#bytesPerSec * BURST_SECONDS);
    this.#atMs = nowMs;
    if (bytes > this.#bytes) return false;
    this.#bytes -= bytes;
    return true;
  }
}

export class RelayServer implements RelayForwarder {
  readonly #options: RelayServerOptions;
  readonly #table: RelayTable;
  readonly #outlets = new Map<string, Outlet>();
  /** Of each session, the names of its places. */
  readonly #places = new Map<number, readonly [string, string]>();
  readonly #startedMs = performance.now();
  readonly #traffic = { forwardedDatagrams: 0, forwardedBytes: 0, unknownSources: 0, overRate: 0, sendErrors: 0 };
  #socket: Socket | undefined;
  #isIpv6 = true;
  #sweep: NodeJS.Timeout | undefined;

  /** Throws RangeError for a key that no host can have. */
  constructor(options: RelayServerOptions) {
    this.#options = options;
    const { privateKey, allowed } = options;
    this.#table = new RelayTable({
      privateKey,
      allowed,
      limits: options,
      randomBytes: (count) => randomBytes(count),
      forwarder: this,
      send: (bytes, length, address) => this.#send(Uint8Array.from(bytes.subarray(0, length)), ...this.#nameOf(address)),
      nowMs: performance.now(),
    });
  }

  /** Rejects with TunnelError `listen`. */
  async start(): Promise<void> {
    const { address, port } = this.#options;
    try {
      if (address === undefined || address.includes(':')) await this.#openDual(address === undefined);
      else await this.#open('udp4');
    } catch (cause) {
      throw listenError(port, cause);
    }
    this.#sweep = setInterval(() => this.#table.handleTimeout(performance.now()), SWEEP_MS);
  }

  get port(): number {
    return this.#socket?.address().port ?? 0;
  }

  status(): RelayStatus {
    return {
      uptimeMs: Math.round(performance.now() - this.#startedMs),
      port: this.port,
      publicKey: publicKeyOf(this.#options.privateKey),
      connectedSessions: this.#table.connectedCount,
      sessions: this.#table.sessionCount,
      waitingHosts: this.#table.waitingCount,
      counters: { ...this.#traffic, ...this.#table.counters },
    };
  }

  connect(session: number, a: Uint8Array, b: Uint8Array): void {
    const [from, to] = [this.#nameOf(a), this.#nameOf(b)];
    const allowance = new Allowance(this.#options.rateBytesPerSec);
    const [fromName, toName] = [placeName(...from), placeName(...to)];
    this.#places.set(session, [fromName, toName]);
    this.#outlets.set(fromName, { session, host: to[0], port: to[1], allowance });
    this.#outlets.set(toName, { session, host: from[0], port: from[1], allowance });
  }

  disconnect(session: number): void {
    for (const name of this.#places.get(session) ?? []) if (this.#outlets.get(name)?.session === session) this.#outlets.delete(name);
    this.#places.delete(session);
  }

  async close(): Promise<void> {
    clearInterval(this.#sweep);
    const socket = this.#socket;
    this.#socket = undefined;
    if (socket !== undefined) await new Promise<void>((resolve) => socket.close(resolve));
  }

  /** IPv4 alone where the kernel has no IPv6, if that may be. */
  async #openDual(orIpv4: boolean): Promise<void> {
    try {
      await this.#open('udp6');
    } catch (error) {
      if (!orIpv4 || !NO_IPV6_CODES.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
      await this.#open('udp4');
    }
  }

  async #open(type: 'udp4' | 'udp6'): Promise<void> {
    const { port, address } = this.#options;
    this.#isIpv6 = type === 'udp6';
    const socket = createSocket({ type, recvBufferSize: BUFFER_BYTES, sendBufferSize: BUFFER_BYTES });
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.bind({ port, ...(address === undefined ? {} : { address }) }, () => {
        socket.off('error', reject);
        resolve();
      });
    }).catch((error: unknown) => {
      socket.close();
      throw error;
    });
    socket.on('error', () => void this.#traffic.sendErrors++);
    socket.on('message', (bytes, from) => this.#handleDatagram(bytes, from));
    this.#socket = socket;
  }

  #handleDatagram(bytes: Buffer, from: RemoteInfo): void {
    if (bytes[0] === RELAY_MESSAGE) {
      const address = from.address.startsWith(MAPPED) ? from.address.slice(MAPPED.length) : from.address;
      this.#table.handleMessage(bytes, emitAddressRecord(withoutZone(address), from.port), performance.now());
      return;
    }
    const outlet = this.#outlets.get(placeName(from.address, from.port));
    if (outlet === undefined) this.#traffic.unknownSources++;
    else if (!outlet.allowance.take(bytes.length + HEADER_BYTES)) this.#traffic.overRate++;
    else {
      this.#traffic.forwardedDatagrams++;
      this.#traffic.forwardedBytes += bytes.length;
      this.#send(bytes, outlet.host, outlet.port);
    }
  }

  #send(bytes: Uint8Array, host: string, port: number): void {
    this.#socket?.send(bytes, port, host, this.#countFailure);
  }

  readonly #countFailure = (error: Error | null): void => {
    if (error !== null) this.#traffic.sendErrors++;
  };

  /** As the socket names it: a socket of IPv6 has IPv4 as mapped addresses. */
  #nameOf(record: Uint8Array): [host: string, port: number] {
    const { host, port } = parseEndpoint(formatRemote(record))!;
    return [this.#isIpv6 && !host.includes(':') ? MAPPED + host : host, port];
  }
}

function placeName(host: string, port: number): string {
  return `${host} ${port}`;
}

function withoutZone(address: string): string {
  return address.replace(/%.*$/, '');
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
