/**
 * Hosts with a session endpoint each, a virtual clock, and links that lose, repeat and delay datagrams by a seeded generator. Data is really
 * sealed under the keys that the endpoints hand out, so that a wrong key shows.
 */

import { openDatagram, parseDataHeader, sealDatagram } from '../../../src/crypto/aead.js';
import { publicKeyOf } from '../../../src/crypto/x25519.js';
import type { SessionConstants } from '../../../src/tunnel/session/constants.js';
import { createSessionEndpoint } from '../../../src/tunnel/session/endpoint.js';
import type { EpochKeys, SessionEndpoint, SessionEndpointOptions, SessionEvent } from '../../../src/tunnel/session/session.js';

export type Random = () => number;

/** mulberry32: 0 .. 1, the same for the same seed. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function seededBytes(seed: number): (count: number) => Uint8Array {
  const random = seededRandom(seed);
  return (count) => Uint8Array.from({ length: count }, () => Math.floor(random() * 256));
}

export interface LinkOptions {
  delayMs: number;
  jitterMs: number;
  loss: number;
  duplicate: number;
}

export interface Datagram {
  bytes: Uint8Array;
  /** The route is the link's number, on both hosts. */
  link: number;
  from: Host;
  to: Host;
}

export interface HostOptions {
  seed: number;
  peers?: SessionEndpointOptions['peers'];
  aeads?: SessionEndpointOptions['aeads'];
  features?: number;
  constants?: Partial<SessionConstants>;
  wallClockMs?: number;
  privateKey?: Uint8Array;
}

export const KEYS = {
  client: new Uint8Array(32).fill(0x11),
  server: new Uint8Array(32).fill(0x22),
  stranger: new Uint8Array(32).fill(0x33),
};
export const PUBLIC = { client: publicKeyOf(KEYS.client), server: publicKeyOf(KEYS.server), stranger: publicKeyOf(KEYS.stranger) };
export const PEER = 1;
export const ALL_AEADS = [
  { name: 'aes-256-gcm', sealNs: 500 },
  { name: 'chacha20-poly1305', sealNs: 1000 },
] as const;
const DATA_TYPE = 0x12;
const MAX_STEPS = 200_000;

export class Host {
  readonly name: string;
  readonly endpoint: SessionEndpoint;
  readonly network: Network;
  readonly events: { atMs: number; event: SessionEvent }[] = [];
  readonly epochs = new Map<number, EpochKeys>();
  /** The epoch that we send under. */
  sending: EpochKeys | undefined;
  #packetNumber = 0;
  received = 0;
  receivedAtMs: number[] = [];
  /** Data under an index that we do not have (any longer), or with a tag that does not verify. */
  undeliverable = 0;
  #lastLink = 0;
  /** Send one datagram when an epoch becomes usable, as path challenges and their answers do. */
  greets = true;

  constructor(name: string, network: Network, options: HostOptions) {
    this.name = name;
    this.network = network;
    this.endpoint = createSessionEndpoint(
      {
        privateKey: options.privateKey ?? KEYS.client,
        peers: options.peers ?? [],
        aeads: options.aeads ?? ALL_AEADS,
        ...(options.features === undefined ? {} : { features: options.features }),
        randomBytes: seededBytes(options.seed),
        wallClockMs: options.wallClockMs ?? 1_700_000_000_000 + network.nowMs,
        nowMs: network.nowMs,
      },
      options.constants,
    );
  }

  /** Drains events and datagrams, as a caller must after each handle*. */
  drain(): void {
    for (let event = this.endpoint.pollEvent(); event !== undefined; event = this.endpoint.pollEvent()) this.#onEvent(event);
    const out = new Uint8Array(256).fill(0xa5);
    for (;;) {
      const sent = this.endpoint.pollTransmit(out, this.network.nowMs);
      if (sent === undefined) break;
      this.network.send(this, sent.route, out.slice(0, sent.length));
    }
  }

  #onEvent(event: SessionEvent): void {
    this.events.push({ atMs: this.network.nowMs, event });
    if (event.type === 'epoch-ready') {
      this.epochs.set(event.keys.localIndex, event.keys);
      if (event.confirmed) this.#sendUnder(event.keys, event.route);
    } else if (event.type === 'epoch-confirmed') {
      this.#sendUnder(this.epochs.get(event.localIndex)!, this.#lastLink);
    } else if (event.type === 'epoch-retired') {
      this.epochs.delete(event.localIndex);
      if (this.sending?.localIndex === event.localIndex) this.sending = undefined;
    }
  }

  #sendUnder(keys: EpochKeys, greetRoute: number): void {
    this.sending = keys;
    if (this.greets) this.sendData(greetRoute);
  }

  /** False when there is no epoch to send under. */
  sendData(link: number): boolean {
    const keys = this.sending;
    if (keys === undefined) return false;
    const header = { type: DATA_TYPE, pathId: link, receiverIndex: keys.remoteIndex, packetNumber: this.#packetNumber++ };
    this.network.send(this, link, sealDatagram(keys.aead, keys.sendKey, header, Uint8Array.of(1, 2, 3)));
    this.endpoint.handleDataSent(keys.localIndex, 1, this.network.nowMs);
    this.drain();
    return true;
  }

  receive(bytes: Uint8Array, link: number): void {
    if (bytes[0] === DATA_TYPE) this.#receiveData(bytes, link);
    else this.endpoint.handleDatagram(bytes, link, Uint8Array.of(10, link, this.name.length), this.network.nowMs);
    this.drain();
  }

  #receiveData(bytes: Uint8Array, link: number): void {
    const header = parseDataHeader(bytes);
    const keys = typeof header === 'string' ? undefined : this.epochs.get(header.receiverIndex);
    if (keys === undefined || typeof openDatagram(keys.aead, keys.receiveKey, bytes) === 'string') {
      this.undeliverable++;
      return;
    }
    this.received++;
    this.receivedAtMs.push(this.network.nowMs);
    this.#lastLink = link;
    this.endpoint.handleDataReceived(keys.localIndex, this.network.nowMs);
  }

  eventTypes(): string[] {
    return this.events.map(({ event }) => event.type);
  }

  of<T extends SessionEvent['type']>(type: T): Extract<SessionEvent, { type: T }>[] {
    return this.events.map(({ event }) => event).filter((event): event is Extract<SessionEvent, { type: T }> => event.type === type);
  }

  timeOf(type: SessionEvent['type']): number {
    return this.events.find(({ event }) => event.type === type)?.atMs ?? Number.NaN;
  }
}

export class Network {
  nowMs = 0;
  readonly log: Datagram[] = [];
  readonly #random: Random;
  readonly #links = new Map<number, LinkOptions>();
  #hosts: Host[] = [];
  #inFlight: { atMs: number; order: number; datagram: Datagram }[] = [];
  #order = 0;
  /** False: this datagram is lost. */
  filter: (datagram: Datagram) => boolean = () => true;
  /** Called at `everyMs`, for traffic. */
  tick: { everyMs: number; run: () => void } | undefined;
  #nextTickMs = 0;

  constructor(seed: number) {
    this.#random = seededRandom(seed);
  }

  setLink(link: number, options: Partial<LinkOptions> = {}): void {
    this.#links.set(link, { delayMs: 10, jitterMs: 0, loss: 0, duplicate: 0, ...options });
  }

  cutLink(link: number): void {
    this.setLink(link, { loss: 1 });
  }

  connect(a: Host, b: Host): void {
    this.#hosts = [a, b];
  }

  send(from: Host, link: number, bytes: Uint8Array): void {
    const to = this.#hosts.find((host) => host !== from);
    const options = this.#links.get(link);
    if (to === undefined) return;
    const datagram = { bytes, link, from, to };
    this.log.push(datagram);
    if (options === undefined || this.#random() < options.loss || !this.filter(datagram)) return;
    const copies = this.#random() < options.duplicate ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      const atMs = this.nowMs + options.delayMs + this.#random() * options.jitterMs;
      this.#inFlight.push({ atMs, order: this.#order++, datagram });
    }
  }

  /** Everything that happens up to and at `untilMs`, in order. */
  runUntil(untilMs: number): void {
    for (let step = 0; step < MAX_STEPS; step++) {
      this.#inFlight.sort((a, b) => a.atMs - b.atMs || a.order - b.order);
      const arrivalMs = this.#inFlight[0]?.atMs ?? Number.POSITIVE_INFINITY;
      const timeoutMs = Math.min(...this.#hosts.map((host) => host.endpoint.nextTimeoutMs()));
      const tickMs = this.tick === undefined ? Number.POSITIVE_INFINITY : this.#nextTickMs;
      const nextMs = Math.min(arrivalMs, timeoutMs, tickMs);
      if (nextMs > untilMs) {
        this.nowMs = untilMs;
        return;
      }
      this.nowMs = Math.max(this.nowMs, nextMs);
      if (arrivalMs === nextMs) this.#deliver();
      else if (timeoutMs === nextMs) this.#timeouts();
      else this.#runTick();
    }
    throw new Error(`the simulation does not come to rest: ${MAX_STEPS} steps at ${this.nowMs} ms`);
  }

  #deliver(): void {
    const { datagram } = this.#inFlight.shift()!;
    if (this.#hosts.includes(datagram.to)) datagram.to.receive(datagram.bytes, datagram.link);
  }

  #timeouts(): void {
    for (const host of this.#hosts) {
      host.endpoint.handleTimeout(this.nowMs);
      host.drain();
    }
  }

  #runTick(): void {
    this.#nextTickMs = this.nowMs + this.tick!.everyMs;
    this.tick!.run();
  }
}

export interface PairOptions {
  features?: readonly [client: number, server: number];
  seed?: number;
  links?: Partial<LinkOptions>[];
  presharedKeys?: [Uint8Array | undefined, Uint8Array | undefined];
  aeads?: [SessionEndpointOptions['aeads'], SessionEndpointOptions['aeads']];
  constants?: Partial<SessionConstants>;
  serverInitiates?: boolean;
}

/** A client that initiates and a server; links 0, 1, ... between them. Nothing happens before `setRoutes`. */
export function makePair(options: PairOptions = {}): { network: Network; client: Host; server: Host } {
  const seed = options.seed ?? 1;
  const network = new Network(seed);
  for (const [link, link_] of (options.links ?? [{}]).entries()) network.setLink(link, link_);
  const client = makeClient(network, options);
  const server = makeServer(network, options);
  network.connect(client, server);
  return { network, client, server };
}

function peerOf(publicKey: Uint8Array, initiator: boolean, presharedKey: Uint8Array | undefined) {
  return { peerId: PEER, publicKey, initiator, ...(presharedKey === undefined ? {} : { presharedKey }) };
}

export function makeClient(network: Network, options: PairOptions, seedOffset = 100): Host {
  return new Host('client', network, {
    seed: (options.seed ?? 1) + seedOffset,
    privateKey: KEYS.client,
    peers: [peerOf(PUBLIC.server, true, options.presharedKeys?.[0])],
    aeads: options.aeads?.[0] ?? ALL_AEADS,
    ...(options.features === undefined ? {} : { features: options.features[0] }),
    constants: options.constants ?? {},
  });
}

export function makeServer(network: Network, options: PairOptions, seedOffset = 200): Host {
  return new Host('server', network, {
    seed: (options.seed ?? 1) + seedOffset,
    privateKey: KEYS.server,
    peers: [peerOf(PUBLIC.client, options.serverInitiates ?? false, options.presharedKeys?.[1])],
    aeads: options.aeads?.[1] ?? ALL_AEADS,
    ...(options.features === undefined ? {} : { features: options.features[1] }),
    constants: options.constants ?? {},
  });
}

/** Handshake datagrams of one type that a host sent. */
export function sentBy(host: Host, type: number): Datagram[] {
  return host.network.log.filter((datagram) => datagram.from === host && datagram.bytes[0] === type);
}

export function setRoutes(host: Host, routes: readonly number[]): void {
  host.endpoint.setRoutes(PEER, routes, host.network.nowMs);
  host.drain();
}
