/**
 * The uplinks of a client and the paths that its peers have over them: they come, change and go while connections run.
 *
 * The id of a path is in the nonce of every datagram, and the peer keeps what it knows of a path by it: counts, round trips, subflows. So the id of a
 * path that was removed rests until the last epoch in which it was used has died.
 */

import { MAX_PATHS, type NativeAddon } from '../tun/native.js';
import type { Carrier } from './carrier/carrier.js';
import type { ResolvedAddress, ResolvedEndpoint } from './carrier/endpoint.js';
import type { InterfaceInfo } from './carrier/interface-info.js';
import { Uplink } from './carrier/uplink.js';
import type { PathConfig } from './config.js';
import { knownAre } from './did-you-mean.js';
import type { PathChange, PathRestriction } from './link.js';
import { emitAddressRecord, formatRemote } from './path/address-record.js';
import type { LinkContext } from './path/link-context.js';
import { Path } from './path/path.js';
import type { PathControl } from './path/path-control.js';
import type { Peer } from './path/peer.js';
import type { SessionDriver } from './path/session-driver.js';
import type { PathCarriers } from './path-carriers.js';
import { isSameRelay } from './relay/relay-config.js';
import type { RelayLinks } from './relay/relay-links.js';
import { TunnelError } from './tunnel-api.js';

export interface UplinksOptions {
  context: LinkContext;
  driver: SessionDriver;
  control: PathControl;
  native: NativeAddon;
  /** SO_MARK of the sockets. */
  mark: number | undefined;
  receive: (carrier: Carrier) => void;
  carriers: PathCarriers;
  relays: RelayLinks;
}

export class Uplinks {
  readonly #context: LinkContext;
  readonly #driver: SessionDriver;
  readonly #control: PathControl;
  readonly #native: NativeAddon;
  readonly #mark: number | undefined;
  readonly #receive: (carrier: Carrier) => void;
  readonly #carriers: PathCarriers;
  readonly #relays: RelayLinks;
  /** In order of id. */
  #uplinks: Uplink[] = [];
  /** Id of a removed path -> the newest epoch of that time. */
  readonly #resting = new Map<number, number>();
  readonly #endpoints = new Map<Peer, ResolvedEndpoint>();
  /** Of relays, by how they are written. */
  readonly #relayPlaces = new Map<string, ResolvedEndpoint>();

  constructor({ context, driver, control, native, mark, receive, carriers, relays }: UplinksOptions) {
    this.#context = context;
    this.#driver = driver;
    this.#control = control;
    this.#native = native;
    this.#mark = mark;
    this.#receive = receive;
    this.#carriers = carriers;
    this.#relays = relays;
  }

  get all(): readonly Uplink[] {
    return this.#uplinks;
  }

  /** One more, with a path to every peer whose endpoint is known; it waits for `refresh`. Throws TunnelError `path-exists`, `too-many-paths`. */
  add(config: PathConfig, nowMs: number): Uplink {
    const like = this.#uplinks.find(({ config: { name } }) => name === config.name) ?? this.#uplinks.find((one) => isSameWay(one, config));
    if (like !== undefined) {
      const what = like.config.name === config.name ? 'There is a path' : 'The same interface and address are those of path';
      throw new TunnelError('path-exists', `${what} "${like.config.name}" already: change that one, or remove it first.`);
    }
    const uplink = new Uplink(this.#native, this.#freeIndex(), config, this.#mark, this.#receive);
    this.#uplinks = [...this.#uplinks, uplink].sort((a, b) => a.index - b.index);
    for (const [peer, endpoint] of this.#endpoints) this.#createPath(uplink, peer, endpoint, nowMs);
    this.#noteChange(nowMs);
    return uplink;
  }

  /** Its connections go on over the other paths. Throws TunnelError `no-such-path`. */
  remove(name: string, nowMs: number): void {
    const uplink = this.#named(name);
    this.#uplinks = this.#uplinks.filter((one) => one !== uplink);
    for (const peer of this.#context.peers) {
      const path = peer.initiator ? peer.path(uplink.index) : undefined;
      if (path === undefined) continue;
      this.#context.removePath(path, nowMs);
      this.#forget(path);
    }
    uplink.close();
    this.#resting.set(uplink.index, this.#context.newestEpochSerial);
    this.#noteChange(nowMs);
  }

  /** Throws TunnelError `no-such-path`. */
  change(name: string, change: PathChange, nowMs: number): void {
    const uplink = this.#named(name);
    uplink.setPolicy(change);
    for (const peer of this.#context.peers) {
      const path = peer.initiator ? peer.path(uplink.index) : undefined;
      if (path === undefined) continue;
      this.#applyPolicy(uplink, path);
      this.#control.introduce(path, nowMs);
      this.#context.pathChanged(path, nowMs);
    }
  }

  /** Whatever its configuration says. Throws TunnelError `no-such-path`. */
  restrict(name: string, restriction: PathRestriction, reason: string, nowMs: number): Uplink {
    const uplink = this.#named(name);
    uplink.restriction = restriction;
    uplink.barred = restriction === 'off' ? reason : '';
    if (uplink.barred !== '') {
      this.lose(uplink, uplink.barred, nowMs);
      // Else it would seem that the peer does not answer.
      if (this.#uplinks.every((one) => one.barred !== ''))
        for (const peer of this.#context.peers) if (peer.initiator) peer.lastError = `path ${name}: ${uplink.barred}`;
    }
    this.change(name, {}, nowMs);
    return uplink;
  }

  #applyPolicy({ config, limit, restriction }: Uplink, path: Path): void {
    path.priority = config.priority ?? 0;
    path.backup = config.backup === true || restriction !== 'none';
    path.cost = config.cost ?? 0;
    path.peerLimitBytesPerSec = config.limitDownBytesPerSec ?? 0;
    path.useLimit(limit);
  }

  /** Makes the paths of a peer whose endpoint is known now. Throws TunnelError `address-family` when no uplink can reach it. */
  setEndpoint(peer: Peer, endpoint: ResolvedEndpoint, nowMs: number): void {
    this.#endpoints.set(peer, endpoint);
    for (const uplink of this.#uplinks) this.#createPath(uplink, peer, endpoint, nowMs);
    // One that goes by a relay waits until the relay is found.
    if (peer.paths.length > 0 || this.#uplinks.length === 0 || this.#uplinks.some(({ config }) => config.via !== undefined)) return;
    throw new TunnelError('address-family', `No path has an address of the IP version of endpoint ${peer.config.endpoint}.`);
  }

  /** Relays of our paths that are not found yet. */
  get unknownRelays(): string[] {
    const wanted = this.#uplinks.flatMap(({ config: { via } }) => (via === undefined ? [] : [via.endpoint]));
    return [...new Set(wanted)].filter((endpoint) => !this.#relayPlaces.has(endpoint));
  }

  /** Makes the paths that go by that relay. */
  setRelay(endpoint: string, places: ResolvedEndpoint, nowMs: number): void {
    this.#relayPlaces.set(endpoint, places);
    for (const uplink of this.#uplinks) {
      if (uplink.config.via?.endpoint !== endpoint) continue;
      for (const [peer, own] of this.#endpoints) this.#createPath(uplink, peer, own, nowMs);
    }
  }

  /** The peer is gone: no path to it is made any more. */
  forgetPeer(peer: Peer): void {
    for (const path of peer.paths) this.#forget(path);
    for (const uplink of this.#uplinks) uplink.closeOwnedCarrier(peer.peerId);
    this.#endpoints.delete(peer);
  }

  /**
   * Nobody answers where the peer's paths lead: each goes on to the next address of `endpoint` that its uplink can reach. True when one leads elsewhere
   * now.
   */
  moveOn(peer: Peer, endpoint: ResolvedEndpoint, nowMs: number): boolean {
    // It may be gone.
    if (!this.#endpoints.has(peer)) return false;
    this.#endpoints.set(peer, endpoint);
    let moved = false;
    for (const uplink of this.#uplinks) {
      const path = peer.path(uplink.index);
      const places = endpoint.addresses.filter(({ family }) => uplink.canReach(family));
      if (path === undefined || places.length === 0 || uplink.config.via !== undefined) continue;
      const at = places.findIndex(({ address }) => isAt(path, address, endpoint.port));
      const next = (at + 1) % places.length;
      if (next === at) continue;
      this.#point(uplink, path, places[next]!, endpoint.port, nowMs);
      moved = true;
    }
    if (moved) {
      // The handshake begins anew, where the paths lead now.
      peer.routesText = '';
      this.#driver.updateRoutes(peer, nowMs);
    }
    return moved;
  }

  /** Looks at one uplink, with the interfaces that there are now. */
  refresh(uplink: Uplink, interfaces: readonly InterfaceInfo[], nowMs: number): void {
    uplink.look(interfaces);
    this.#leaveUnreachable(uplink, nowMs);
    const opened: readonly Carrier[] = uplink.refresh(interfaces);
    for (const peer of this.#context.peers) {
      const path = peer.initiator ? peer.path(uplink.index) : undefined;
      if (path?.carrier !== undefined && opened.includes(path.carrier)) {
        path.retarget(this.#context.epochs.values());
        this.#relays.handleReopened(path, nowMs);
      }
    }
    if (uplink.problem !== '') {
      this.lose(uplink, uplink.problem, nowMs);
      return;
    }
    for (const peer of this.#context.peers) {
      const path = peer.initiator ? peer.path(uplink.index) : undefined;
      if (path !== undefined) this.#restore(uplink, path, opened, nowMs);
    }
  }

  /** The uplink cannot be used. */
  lose(uplink: Uplink, problem: string, nowMs: number): void {
    uplink.problem = problem;
    for (const peer of this.#context.peers) {
      const path = peer.initiator ? peer.path(uplink.index) : undefined;
      if (path === undefined) continue;
      const isNews = !path.machine.linkLost;
      this.#carriers.handleLinkLost(path);
      path.machine.handleLinkLost(nowMs, problem);
      if (!isNews) continue;
      this.#control.tellDown(path);
      this.#context.pathChanged(path, nowMs);
    }
  }

  /** It has a problem that may pass, or a path that is down: worth another look from time to time. */
  waits(uplink: Uplink): boolean {
    if (uplink.problem !== '') return true;
    return this.#context.peers.some((peer) => {
      const path = peer.initiator ? peer.path(uplink.index) : undefined;
      return path?.carrier?.needsReopen === true || path?.state === 'down';
    });
  }

  close(): void {
    for (const uplink of this.#uplinks) uplink.close();
  }

  #named(name: string): Uplink {
    const uplink = this.#uplinks.find(({ config }) => config.name === name);
    if (uplink !== undefined) return uplink;
    const names = this.#uplinks.map(({ config }) => config.name);
    throw new TunnelError('no-such-path', `There is no path "${name}" here: ${knownAre(names)}.`);
  }

  #freeIndex(): number {
    for (let index = 0; index < MAX_PATHS; index++) {
      if (!this.#uplinks.some((uplink) => uplink.index === index) && !this.#rests(index)) return index;
    }
    const hint =
      this.#uplinks.length >= MAX_PATHS ? 'remove one first' : 'wait a few minutes, until the numbers of removed paths are free again';
    throw new TunnelError('too-many-paths', `A tunnel has ${MAX_PATHS} paths at most: ${hint}.`);
  }

  #rests(index: number): boolean {
    const serial = this.#resting.get(index);
    if (serial === undefined) return false;
    for (const epoch of this.#context.epochs.values()) if (epoch.serial <= serial) return true;
    this.#resting.delete(index);
    return false;
  }

  /** No transport and no relay is kept for it. */
  #forget(path: Path): void {
    this.#carriers.remove(path);
    this.#relays.remove(path);
  }

  #createPath(uplink: Uplink, peer: Peer, ownEndpoint: ResolvedEndpoint, nowMs: number): void {
    if (peer.path(uplink.index) !== undefined) return;
    const { via } = uplink.config;
    const endpoint = via === undefined ? ownEndpoint : this.#relayPlaces.get(via.endpoint);
    // Its relay is not found yet; or the peer is to be had by relays alone, and the uplink names none.
    if (endpoint === undefined || (via === undefined && peer.config.endpoint === undefined)) return;
    const place = endpoint.addresses.find(({ family }) => uplink.onlyFamily === undefined || uplink.onlyFamily === family);
    if (place === undefined) {
      const { name, address } = uplink.config;
      this.#context.log.warn(
        `path ${name}: ${address} and ${via === undefined ? `endpoint ${peer.config.endpoint}` : `relay ${via.endpoint}`} are of different IP versions`,
      );
      return;
    }
    const socket = uplink.carrier(place.family, via === undefined ? undefined : peer.peerId);
    const target = emitAddressRecord(place.address, endpoint.port);
    const kinds = this.#carriers.kindsOf(uplink.config, peer.config);
    const path = new Path(this.#context, {
      id: uplink.index,
      name: uplink.config.name,
      peer,
      carrier: kinds.includes('udp') ? socket : undefined,
      target,
      validation: this.#driver.newValidation(nowMs),
      guarded: false,
      localAddress: '',
      outerMtuBytes: uplink.mtuBytes,
      nowMs,
    });
    this.#applyPolicy(uplink, path);
    if (via === undefined) this.#carriers.add(uplink, path, place, nowMs);
    else this.#relays.add(path, via, socket, target.slice(), nowMs);
    peer.addPath(path);
    path.useEpoch(peer.sendEpoch);
    // Until the sockets are open there is no link.
    path.machine.handleLinkLost(nowMs, 'no socket yet');
  }

  /** An interface that has no address of the IP version to which its path leads, but the peer has addresses of the other. */
  #leaveUnreachable(uplink: Uplink, nowMs: number): void {
    for (const [peer, { addresses, port }] of this.#endpoints) {
      const path = peer.path(uplink.index);
      if (path === undefined || uplink.config.via !== undefined || uplink.canReach(familyOf(path))) continue;
      const place = addresses.find(({ family }) => uplink.canReach(family));
      if (place !== undefined) this.#point(uplink, path, place, port, nowMs);
    }
  }

  #point(uplink: Uplink, path: Path, { address, family }: ResolvedAddress, port: number, nowMs: number): void {
    const before = familyOf(path);
    this.#carriers.point(path, { address, family });
    if (this.#carriers.kindsOf(uplink.config, path.peer.config).includes('udp')) path.carrier = uplink.carrier(family);
    path.target = emitAddressRecord(address, port);
    path.validated = false;
    path.validation = this.#driver.newValidation(nowMs);
    path.helloPending = true;
    path.localAddress = '';
    path.retarget(this.#context.epochs.values());
    const isUsed = this.#context.peers.some((peer) => {
      const other = peer.initiator ? peer.path(uplink.index) : undefined;
      return other !== undefined && familyOf(other) === before;
    });
    if (!isUsed) uplink.closeCarrier(before);
    path.machine.probeSoon();
    this.#context.pathChanged(path, nowMs);
  }

  #restore(uplink: Uplink, path: Path, opened: readonly Carrier[], nowMs: number): void {
    let changed = path.setOuterMtu(uplink.mtuBytes);
    // The peer learns the new size from the next challenge.
    if (changed) path.helloPending = true;
    const localAddress = uplink.localAddress(path.target[0] === 4 ? 4 : 6);
    if (localAddress !== '' && localAddress !== path.localAddress) {
      path.localAddress = localAddress;
      changed = true;
    }
    changed ||= path.carrier !== undefined && opened.includes(path.carrier);
    this.#carriers.handleLinkBack(path, nowMs);
    // Without UDP it waits for a carrier to be dialled.
    if (path.machine.linkLost && path.carrier !== undefined) {
      path.machine.handleLinkBack(nowMs);
      changed = true;
    }
    if (path.state !== 'up' || changed) path.machine.probeSoon();
    if (changed) this.#context.pathChanged(path, nowMs);
    this.#context.arm(path.nextTimeoutMs(nowMs));
  }

  /** Which paths there are is another matter now: the peers are told on every path, until they answer. */
  #noteChange(nowMs: number): void {
    this.#context.pathsSerial++;
    for (const peer of this.#context.peers) {
      if (!peer.initiator) continue;
      for (const path of peer.paths) this.#control.introduce(path, nowMs);
    }
  }
}

function familyOf(path: Path): 4 | 6 {
  return path.target[0] === 4 ? 4 : 6;
}

function isAt(path: Path, address: string, port: number): boolean {
  return formatRemote(emitAddressRecord(address, port)) === path.remote;
}

function isSameWay({ config }: Uplink, { interface: device, address, via }: PathConfig): boolean {
  return config.interface === device && config.address === address && isSameRelay(config.via, via);
}
