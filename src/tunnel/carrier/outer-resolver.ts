/**
 * Names of peers' endpoints, asked beside the tunnel. The host's own resolver would ask the tunnel's DNS, or ask through the tunnel, which cannot come up before the
 * name is known; and a kill switch would refuse it. So the servers that the host has without the tunnel are asked from sockets that bear the mark of the tunnel's outer
 * packets: over the routing table, and over each uplink, since a provider's server often answers on its own link only.
 */

import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import {
  ADDRESS_BYTES,
  type NativeAddon,
  type OpenTableHandle,
  RX_DESCRIPTOR_INTS,
  RX_KIND,
  RX_KIND_RAW,
  RX_LENGTH,
  RX_OFFSET,
  type UdpHandle,
  type Watcher,
} from '../../tun/native.js';
import { TYPE_A, TYPE_AAAA } from '../dns-records.js';
import { emitAddressRecord } from '../path/address-record.js';
import { type AddressType, type DnsAnswer, emitDnsQuery, parseDnsAnswer } from './dns-message.js';
import { type ResolvedAddress, systemLookup } from './endpoint.js';

export interface OuterResolverOptions {
  native: NativeAddon;
  /** SO_MARK; 0: none. */
  mark: number;
  /** Whom to ask, now. */
  nameservers: () => readonly string[];
  /** Interfaces of uplinks, as they are now. */
  devices: () => readonly string[];
  randomBytes: (count: number) => Uint8Array;
  port?: number;
  attemptMs?: number;
  hostsFile?: string;
  /** Asked when no server of ours has an answer. */
  fallback?: (host: string) => Promise<ResolvedAddress[]>;
}

const DNS_PORT = 53;
const ATTEMPT_MS = 1500;
const ATTEMPTS = 3;
const SOCKETS_MAX_COUNT = 8;
const ARENA_BYTES = 256 * 1024;
const DESCRIPTORS = 64;
const BUFFER_BYTES = 256 * 1024;
/** Of ids: below 0x10 are no types of data datagrams, which `receive` would try to open. */
const ID_FIRST_BYTE_MASK = 0x0f;

export type HostLookup = (host: string) => Promise<ResolvedAddress[]>;

/** Rejects as dns.lookup does, with a `code`. */
export function createOuterResolver(options: OuterResolverOptions): HostLookup {
  const fallback = options.fallback ?? systemLookup;
  return async (host) => {
    const known = hostsFileAddresses(host, options.hostsFile ?? '/etc/hosts');
    if (known.length > 0) return known;
    const servers = options.nameservers();
    const found = servers.length === 0 ? [] : await ask(options, servers, host);
    return found.length > 0 ? found : fallback(host);
  };
}

/** hosts(5). */
function hostsFileAddresses(host: string, file: string): ResolvedAddress[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return [];
  }
  const wanted = host.toLowerCase();
  return text.split('\n').flatMap((line) => {
    const [address = '', ...names] = line.replace(/#.*/, '').trim().split(/\s+/);
    const family = isIP(address);
    return family !== 0 && names.some((name) => name.toLowerCase() === wanted) ? [{ address, family: family as 4 | 6 }] : [];
  });
}

/** All addresses of both families, IPv6 first as the system would; [] when nobody has answered. */
async function ask(options: OuterResolverOptions, servers: readonly string[], host: string): Promise<ResolvedAddress[]> {
  const [v6, v4] = await Promise.all([askFor(options, servers, host, TYPE_AAAA), askFor(options, servers, host, TYPE_A)]);
  return [...v6.map((address) => ({ address, family: 6 as const })), ...v4.map((address) => ({ address, family: 4 as const }))];
}

async function askFor(
  options: OuterResolverOptions,
  servers: readonly string[],
  host: string,
  type: AddressType,
): Promise<readonly string[]> {
  const [first, second] = options.randomBytes(2) as unknown as [number, number];
  const query = emitDnsQuery(((first & ID_FIRST_BYTE_MASK) << 8) | second, host, type);
  if (query === undefined) return [];
  const asker = new Asker(options, query);
  try {
    asker.open(servers);
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      asker.send(servers);
      const answer = await asker.answer(options.attemptMs ?? ATTEMPT_MS);
      if (answer !== undefined) return answer.kind === 'addresses' ? answer.addresses : [];
    }
    return [];
  } finally {
    asker.close();
  }
}

interface AskingSocket {
  readonly udp: UdpHandle;
  readonly family: 4 | 6;
  readonly watcher: Watcher;
}

/** One question, over as many sockets as there are ways. The first answer that says something counts. */
class Asker {
  readonly #options: OuterResolverOptions;
  readonly #query: Uint8Array;
  readonly #table: OpenTableHandle;
  readonly #arena = new Uint8Array(ARENA_BYTES);
  readonly #descriptors = new Int32Array(DESCRIPTORS * RX_DESCRIPTOR_INTS);
  readonly #addresses = new Uint8Array(DESCRIPTORS * ADDRESS_BYTES);
  #sockets: AskingSocket[] = [];
  #onAnswer: (answer: DnsAnswer) => void = () => {};

  constructor(options: OuterResolverOptions, query: Uint8Array) {
    this.#options = options;
    this.#query = query;
    this.#table = options.native.createOpenTable();
  }

  open(servers: readonly string[]): void {
    const { native, mark, devices } = this.#options;
    for (const device of [undefined, ...devices()].slice(0, SOCKETS_MAX_COUNT)) {
      for (const family of [4, 6] as const) {
        if (!servers.some((server) => isIP(server) === family)) continue;
        try {
          const udp = native.udpOpen({
            family,
            port: 0,
            ...(device === undefined ? {} : { device }),
            ...(mark === 0 ? {} : { mark }),
            receiveBufferBytes: BUFFER_BYTES,
            sendBufferBytes: BUFFER_BYTES,
          });
          this.#sockets.push({ udp, family, watcher: native.watchReadable(udp, () => this.#read(udp)) });
        } catch {
          // That way is not there now: the others are.
        }
      }
    }
  }

  /** A server that cannot be reached over one of the ways costs nothing. */
  send(servers: readonly string[]): void {
    const query = this.#query;
    for (const server of servers) {
      const record = emitAddressRecord(server, this.#options.port ?? DNS_PORT);
      for (const { udp, family } of this.#sockets)
        if (family === isIP(server)) this.#options.native.udpSendRaw(udp, record, query, 0, query.length);
    }
  }

  /** undefined: none within the time. */
  answer(withinMs: number): Promise<DnsAnswer | undefined> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, withinMs, undefined);
      this.#onAnswer = (answer) => {
        clearTimeout(timer);
        resolve(answer);
      };
    });
  }

  close(): void {
    for (const { udp, watcher } of this.#sockets) {
      watcher.close();
      this.#options.native.udpClose(udp);
    }
    this.#sockets = [];
    this.#options.native.closeOpenTable(this.#table);
  }

  #read(udp: UdpHandle): void {
    const count = this.#options.native.receive(udp, this.#table, this.#arena, this.#descriptors, this.#addresses, 1);
    for (let i = 0; i < count; i++) {
      const at = i * RX_DESCRIPTOR_INTS;
      if (this.#descriptors[at + RX_KIND] !== RX_KIND_RAW) continue;
      const offset = this.#descriptors[at + RX_OFFSET]!;
      const answer = parseDnsAnswer(this.#query, this.#arena.slice(offset, offset + this.#descriptors[at + RX_LENGTH]!));
      // A server that cannot say leaves the word to the others.
      if (typeof answer !== 'string' && answer.kind !== 'failed') this.#onAnswer(answer);
    }
  }
}
