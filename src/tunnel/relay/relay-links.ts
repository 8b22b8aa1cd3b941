/**
 * The relays of a tunnel: the legs of paths that we dial by one, and where we wait to be called. Whoever is called opens a socket for each call, so that a socket has one
 * way, and the relay knows by the source address where a datagram goes.
 */

import { randomBytes } from 'node:crypto';
import { importPrivateKey, type X25519KeyPair } from '../../crypto/x25519.js';
import type { Carrier } from '../carrier/carrier.js';
import type { ResolvedEndpoint } from '../carrier/endpoint.js';
import { UdpCarrier } from '../carrier/udp-carrier.js';
import { emitAddressRecord } from '../path/address-record.js';
import type { LinkContext } from '../path/link-context.js';
import type { Path } from '../path/path.js';
import type { Peer } from '../path/peer.js';
import type { SessionDriver } from '../path/session-driver.js';
import { TunnelError } from '../tunnel-api.js';
import { type BindingEvent, RelayBinding } from './relay-binding.js';
import { isSameRelay, type RelayConfig } from './relay-config.js';
import { NOBODY, relayIdOf, relayKeyOf, textOf } from './relay-identity.js';
import { RelayLeg } from './relay-leg.js';
import { WAY_BYTES } from './relay-messages.js';

/** A called leg whose caller is gone, and that no path uses, is closed after so long: the caller's NAT may just have forgotten it. */
const LEFT_ALONE_MS = 90_000;
/** Of one peer at one relay; a caller has a leg for each path, and those of its earlier life. */
const MAX_CALLED_PER_PEER = 64;
const SWEEP_MS = 5000;
/** A relay that is silent for so long is asked for under its next address. */
const SILENT_MS = 10_000;

export interface RelayLinksOptions {
  context: LinkContext;
  driver: SessionDriver;
  privateKey: Uint8Array;
  /** Where we wait. */
  relays: readonly RelayConfig[];
  mark: number | undefined;
  receive: (carrier: Carrier) => void;
  resolve: (endpoint: string) => Promise<ResolvedEndpoint>;
}

/** Who we are to one relay. */
interface Membership {
  readonly config: RelayConfig;
  readonly key: Uint8Array;
  readonly id: Uint8Array;
  readonly peerIds: WeakMap<Peer, string>;
}

interface Called {
  readonly peer: Peer;
  readonly leg: RelayLeg;
  readonly carrier: UdpCarrier;
}

/** A place at a relay where we wait. */
interface Place {
  readonly membership: Membership;
  /** Why it cannot be had, "" while nothing is known. */
  problem: string;
  carrier: UdpCarrier | undefined;
  leg: RelayLeg | undefined;
  readonly called: Map<string, Called>;
}

export class RelayLinks {
  readonly #options: RelayLinksOptions;
  readonly #own: X25519KeyPair;
  readonly #memberships: Membership[] = [];
  readonly #dialled = new Map<Path, RelayLeg>();
  readonly #places: Place[];
  #sweptMs = -Infinity;

  /** Throws TunnelError `relay-key` when a relay's key is weak. */
  constructor(options: RelayLinksOptions) {
    this.#options = options;
    this.#own = importPrivateKey(options.privateKey);
    this.#places = options.relays.map((config) => {
      const membership = this.#membershipOf(config);
      return { membership, problem: '', carrier: undefined, leg: undefined, called: new Map() };
    });
  }

  // ---- paths that we dial ----

  /** `path` goes over `carrier` to the relay at `address`, an address record. */
  add(path: Path, config: RelayConfig, carrier: Carrier, address: Uint8Array, nowMs: number): void {
    const membership = this.#membershipOf(config);
    const leg = this.#makeLeg(
      membership,
      path.peer,
      randomBytes(WAY_BYTES),
      carrier,
      address,
      (one, _event, at) => this.#handleDialled(path, one, at),
      nowMs,
    );
    this.#dialled.set(path, leg);
    this.#options.context.arm(nowMs);
  }

  remove(path: Path): void {
    const leg = this.#dialled.get(path);
    if (leg === undefined) return;
    leg.sayGoodbye();
    leg.carrier.relay = undefined;
    this.#dialled.delete(path);
  }

  /** The socket of `path` is another one. */
  handleReopened(path: Path, nowMs: number): void {
    this.#dialled.get(path)?.binding.restart(nowMs);
  }

  // ---- waiting ----

  /** What cannot be had yet is tried again by `retry`. */
  async start(): Promise<void> {
    for (const place of this.#places) await this.#trySettle(place);
  }

  /** A relay is to be found, or to be found again. */
  needsRetry(nowMs: number): boolean {
    for (const { leg } of this.#places) if (leg === undefined || isSilent(leg, nowMs)) return true;
    for (const leg of this.#dialled.values()) if (isSilent(leg, nowMs)) return true;
    return false;
  }

  async retry(): Promise<void> {
    const { resolve } = this.#options;
    for (const place of this.#places) {
      if (place.leg === undefined || isSilent(place.leg, performance.now())) await this.#trySettle(place);
    }
    for (const [path, leg] of [...this.#dialled]) {
      if (!isSilent(leg, performance.now())) continue;
      const endpoint = await resolve(leg.endpoint).catch(() => undefined);
      if (endpoint !== undefined && this.#dialled.get(path) === leg) this.#moveOn(path, leg, endpoint);
    }
  }

  // ---- driving ----

  handleTimeout(nowMs: number): void {
    for (const [path, leg] of this.#dialled) {
      if (path.state !== 'up') leg.binding.urge(nowMs);
      this.#drive(leg, nowMs);
      if (leg.binding.state !== leg.toldState || leg.problem !== leg.toldProblem) this.#handleDialled(path, leg, nowMs);
    }
    for (const place of this.#places) {
      if (place.leg !== undefined) this.#drive(place.leg, nowMs);
      for (const called of place.called.values()) {
        if (pathOver(called)?.state !== 'up') called.leg.binding.urge(nowMs);
        this.#drive(called.leg, nowMs);
      }
    }
    if (nowMs - this.#sweptMs >= SWEEP_MS) this.#sweep(nowMs);
  }

  close(): void {
    for (const path of [...this.#dialled.keys()]) this.remove(path);
    for (const place of this.#places) {
      for (const called of place.called.values()) closeCalled(called);
      place.called.clear();
      place.leg?.sayGoodbye();
      place.carrier?.close();
    }
  }

  #drive(leg: RelayLeg, nowMs: number): void {
    leg.handleTimeout(nowMs);
    this.#options.context.arm(leg.binding.nextTimeoutMs());
  }

  #makeLeg(
    { config, key, id, peerIds }: Membership,
    peer: Peer | undefined,
    way: Uint8Array,
    carrier: Carrier,
    address: Uint8Array,
    onEvent: (leg: RelayLeg, event: BindingEvent, nowMs: number) => void,
    nowMs: number,
  ): RelayLeg {
    const wanted = peer === undefined ? NOBODY : Buffer.from(idText(config, peerIds, peer), 'latin1');
    const binding = new RelayBinding({ key, sender: id, wanted, way, nowMs });
    const leg = new RelayLeg(config, binding, carrier, address, onEvent);
    carrier.relay = leg;
    return leg;
  }

  #membershipOf(config: RelayConfig): Membership {
    const known = this.#memberships.find((one) => isSameRelay(one.config, config));
    if (known !== undefined) return known;
    const key = relayKeyOf(this.#own, config.publicKey);
    if (key === undefined)
      throw new TunnelError('relay-key', `The key of relay ${config.endpoint} is none that a relay can have: copy it anew.`);
    const membership = { config, key, id: relayIdOf(config.publicKey, this.#own.publicKey), peerIds: new WeakMap<Peer, string>() };
    this.#memberships.push(membership);
    return membership;
  }

  /** The relay has told something about the leg of `path`, or is silent. */
  #handleDialled(path: Path, leg: RelayLeg, nowMs: number): void {
    const { context, driver } = this.#options;
    const { peer } = path;
    const { state } = leg.binding;
    const isPaired = state === 'paired' && leg.toldState !== 'paired';
    const isTrouble = leg.problem !== '' && leg.problem !== leg.toldProblem;
    leg.toldState = state;
    leg.toldProblem = leg.problem;
    if (path.isRelayed) path.seenAs = leg.seenAs;
    if (isPaired) {
      path.machine.probeSoon();
      if (peer.sendEpoch === undefined) {
        // What was sent before went nowhere.
        peer.routesText = '';
        driver.updateRoutes(peer, nowMs);
      }
    } else if (isTrouble && peer.state !== 'up') {
      peer.lastError = leg.problem;
      context.observer.onPeerChange(peer, nowMs);
    }
    context.pathChanged(path, nowMs);
  }

  #moveOn(path: Path, leg: RelayLeg, endpoint: ResolvedEndpoint): void {
    const next = nextAddress(leg.address, endpoint);
    if (next === undefined) return;
    const nowMs = performance.now();
    const wasRelayed = path.isRelayed;
    leg.address = next;
    leg.binding.restart(nowMs);
    if (wasRelayed) {
      path.target = next.slice();
      path.retarget(this.#options.context.epochs.values());
    }
    this.#options.context.arm(nowMs);
  }

  async #trySettle(place: Place): Promise<void> {
    try {
      await this.#settle(place);
    } catch (error) {
      if (!(error instanceof TunnelError)) throw error;
      // Once for each reason: it is tried every few seconds.
      if (error.message !== place.problem) this.#options.context.log.warn(error.message);
      place.problem = error.message;
    }
  }

  /** Rejects with TunnelError `endpoint-unresolved`, `listen`. */
  async #settle(place: Place): Promise<void> {
    const { context, resolve, mark, receive } = this.#options;
    const { config } = place.membership;
    const endpoint = await resolve(config.endpoint);
    if (context.closed) return;
    const nowMs = performance.now();
    const first = endpoint.addresses[0]!;
    const former = place.leg?.address;
    const address = (former && nextAddress(former, endpoint)) ?? emitAddressRecord(first.address, endpoint.port);
    const family = address[0] === 4 ? 4 : 6;
    place.problem = '';
    place.carrier?.close();
    place.carrier = new UdpCarrier(context.native, { family, port: 0, address: undefined, device: undefined, mark }, receive);
    try {
      place.carrier.open();
    } catch (cause) {
      place.leg = undefined;
      throw new TunnelError('listen', `A socket to relay ${config.endpoint} cannot be opened: ${(cause as Error).message}`, { cause });
    }
    const onEvent = (leg: RelayLeg, event: BindingEvent, at: number): void => {
      if (event.type === 'call') this.#handleCall(place, leg, event.caller, event.way, at);
    };
    place.leg = this.#makeLeg(place.membership, undefined, randomBytes(WAY_BYTES), place.carrier, address, onEvent, nowMs);
    context.arm(nowMs);
  }

  #handleCall(place: Place, { address }: RelayLeg, caller: Uint8Array, way: Uint8Array, nowMs: number): void {
    const { context, mark, receive } = this.#options;
    const { membership, called } = place;
    const callerText = textOf(caller);
    const known = called.get(callerText + textOf(way));
    if (known !== undefined) {
      known.leg.binding.urge(nowMs);
      this.#drive(known.leg, nowMs);
      return;
    }
    const peer = context.peers.find((one) => !one.initiator && idText(membership.config, membership.peerIds, one) === callerText);
    if (peer === undefined || !this.#makeRoom(place, peer)) return;
    const family = address[0] === 4 ? 4 : 6;
    const carrier = new UdpCarrier(context.native, { family, port: 0, address: undefined, device: undefined, mark }, receive);
    try {
      carrier.open();
    } catch (error) {
      context.log.warn(`a call by relay ${membership.config.endpoint} has no socket: ${(error as Error).message}`);
      return;
    }
    const leg = this.#makeLeg(membership, peer, way.slice(), carrier, address.slice(), () => context.arm(performance.now()), nowMs);
    called.set(callerText + textOf(way), { peer, leg, carrier });
    this.#drive(leg, nowMs);
  }

  /** For one more leg of that peer: the oldest that nobody uses goes. */
  #makeRoom({ called }: Place, peer: Peer): boolean {
    const own = [...called].filter(([, one]) => one.peer === peer);
    if (own.length < MAX_CALLED_PER_PEER) return true;
    const idle =
      own.find(([, one]) => pathOver(one) === undefined && one.leg.binding.state !== 'paired') ??
      own.find(([, one]) => pathOver(one) === undefined);
    if (idle === undefined) return false;
    closeCalled(idle[1]);
    called.delete(idle[0]);
    return true;
  }

  #sweep(nowMs: number): void {
    this.#sweptMs = nowMs;
    const { context } = this.#options;
    for (const { called } of this.#places) {
      for (const [name, one] of called) {
        const { binding } = one.leg;
        const isLeft = binding.state !== 'paired' && binding.inStateMs(nowMs) > LEFT_ALONE_MS && pathOver(one)?.state !== 'up';
        if (!isLeft && context.peers.includes(one.peer)) continue;
        closeCalled(one);
        called.delete(name);
      }
    }
    if (this.#places.some(({ called }) => called.size > 0)) context.arm(nowMs + SWEEP_MS);
  }
}

function isSilent({ binding }: RelayLeg, nowMs: number): boolean {
  return binding.state === 'silent' && binding.inStateMs(nowMs) > SILENT_MS;
}

function pathOver({ peer, carrier }: Called): Path | undefined {
  return peer.paths.find((path) => path.carrier === carrier);
}

function closeCalled({ leg, carrier }: Called): void {
  leg.sayGoodbye();
  carrier.close();
}

function idText({ publicKey }: RelayConfig, known: WeakMap<Peer, string>, peer: Peer): string {
  let text = known.get(peer);
  if (text === undefined) {
    text = textOf(relayIdOf(publicKey, peer.config.publicKey));
    known.set(peer, text);
  }
  return text;
}

/** Of the same IP version, in turn; undefined: there is no other. */
function nextAddress(current: Uint8Array, { addresses, port }: ResolvedEndpoint): Uint8Array | undefined {
  const records = addresses.filter(({ family }) => family === current[0]).map(({ address }) => emitAddressRecord(address, port));
  const at = records.findIndex((record) => record.every((byte, i) => i >= 20 || byte === current[i]));
  const next = records[(at + 1) % records.length];
  return at >= 0 && records.length === 1 ? undefined : next;
}
