/**
 * Drives the session: datagrams and timeouts in, handshake datagrams and epochs out. A *route* is a number for (socket, remote address): on the initiator one
 * for each path, on the responder a slot of a ring that is overwritten in turn, so that strangers' datagrams make nothing grow.
 */

import { ADDRESS_BYTES, MAX_PATHS, type OpenTableHandle } from '../../tun/native.js';
import type { Carrier } from '../carrier/carrier.js';
import { errnoName } from '../carrier/errno-names.js';
import { FEATURE_HEADER_COMPRESSION, FEATURE_PATH_POLICY } from '../session/messages.js';
import type { EpochKeys, SessionEndpoint, SessionEvent, SessionPeerConfig } from '../session/session.js';
import { sameRemote } from './address-record.js';
import { AddressValidation, TOKEN_BYTES } from './address-validation.js';
import { Epoch } from './epoch.js';
import type { LinkContext } from './link-context.js';
import type { Path } from './path.js';
import type { Peer } from './peer.js';

const RING_ROUTES = 1024;
const FIRST_RING_ROUTE = 1 << 24;
const HANDSHAKE_BYTES = 512;
/** Family, zero, port and remote address: what a cookie is bound to. */
const SOURCE_ADDRESS_BYTES = 20;
const NO_PATHS: readonly Path[] = [];

export class SessionDriver {
  readonly #context: LinkContext;
  readonly #table: OpenTableHandle;
  readonly #session: SessionEndpoint;
  readonly #randomBytes: (count: number) => Uint8Array;
  readonly #out = new Uint8Array(HANDSHAKE_BYTES);
  readonly #ringAddresses = new Uint8Array(RING_ROUTES * ADDRESS_BYTES);
  readonly #ringCarriers: (Carrier | undefined)[] = new Array(RING_ROUTES).fill(undefined);
  #ringNext = 0;

  constructor(context: LinkContext, table: OpenTableHandle, session: SessionEndpoint, randomBytes: (count: number) => Uint8Array) {
    this.#context = context;
    this.#table = table;
    this.#session = session;
    this.#randomBytes = randomBytes;
    context.onFlushed = (nowMs) => this.#reportSent(nowMs);
  }

  get counters(): Readonly<Record<string, number>> {
    return this.#session.counters;
  }

  newValidation(nowMs: number): AddressValidation {
    return new AddressValidation(this.#randomBytes(TOKEN_BYTES), nowMs);
  }

  /** A datagram that is not data; `index` is its source in `addresses`. */
  handleRaw(carrier: Carrier, bytes: Uint8Array, addresses: Uint8Array, index: number, nowMs: number): void {
    const base = index * ADDRESS_BYTES;
    const route = this.#routeOf(carrier, addresses, index);
    this.#session.handleDatagram(bytes, route, addresses.subarray(base, base + SOURCE_ADDRESS_BYTES), nowMs);
    this.drain(nowMs);
  }

  /** Data was opened under `epoch`: at least once per batch. */
  handleDataReceived(epoch: Epoch, nowMs: number): void {
    this.#session.handleDataReceived(epoch.localIndex, nowMs);
    if (!epoch.confirmed) this.drain(nowMs);
  }

  handleTimeout(nowMs: number): void {
    if (this.#session.nextTimeoutMs() <= nowMs) this.#session.handleTimeout(nowMs);
    this.drain(nowMs);
  }

  /** Which paths of an initiator may carry handshakes: all that have a socket. */
  updateRoutes(peer: Peer, nowMs: number): void {
    if (!peer.initiator) return;
    const routes: number[] = [];
    for (const path of peer.paths) {
      if (path.carrier?.handle !== undefined && !path.machine.linkLost) routes.push(peer.peerId * MAX_PATHS + path.id);
    }
    const text = routes.join();
    if (text === peer.routesText) return;
    peer.routesText = text;
    this.#session.setRoutes(peer.peerId, routes, nowMs);
    this.drain(nowMs);
  }

  /** A route leads elsewhere now: the handshake, if one is due, begins anew there. */
  restartRoutes(peer: Peer, nowMs: number): void {
    if (peer.sendEpoch === undefined) this.#session.setRoutes(peer.peerId, [], nowMs);
    peer.routesText = '';
    this.updateRoutes(peer, nowMs);
  }

  /** The peer said goodbye: its keys are worth nothing any longer; an initiator begins anew. */
  forget(peer: Peer, nowMs: number): void {
    this.#session.removePeer(peer.peerId);
    for (const epoch of [...this.#context.epochs.values()]) if (epoch.peer === peer) this.#retire(epoch);
    this.#lose(peer, nowMs);
    this.#session.addPeer(sessionPeer(peer));
    peer.routesText = '';
    this.updateRoutes(peer, nowMs);
    this.drain(nowMs);
  }

  /** Its handshakes are heard from now on. Throws RangeError when its key is another's, our own, or weak. */
  add(peer: Peer): void {
    this.#session.addPeer(sessionPeer(peer));
    this.#context.addPeer(peer);
  }

  /** Its sessions end and its paths go, whichever side made them. */
  remove(peer: Peer, nowMs: number): void {
    this.#session.removePeer(peer.peerId);
    for (const epoch of [...this.#context.epochs.values()]) if (epoch.peer === peer) this.#retire(epoch);
    this.#dropPaths(peer, nowMs);
    if (peer.updateState()) this.#context.observer.onPeerChange(peer, nowMs);
    this.#context.removePeer(peer);
    this.drain(nowMs);
  }

  /** Events first: what is to be sent may need what they bring. */
  drain(nowMs: number): void {
    for (let event = this.#session.pollEvent(); event !== undefined; event = this.#session.pollEvent()) this.#handleEvent(event, nowMs);
    const out = this.#out;
    for (let due = this.#session.pollTransmit(out, nowMs); due !== undefined; due = this.#session.pollTransmit(out, nowMs)) {
      this.#transmit(due.route, due.length, nowMs);
    }
    this.#context.arm(this.#session.nextTimeoutMs());
  }

  /** Retires every epoch and forgets the peers. */
  close(): void {
    for (const epoch of [...this.#context.epochs.values()]) this.#retire(epoch);
    for (const peer of this.#context.peers) this.#session.removePeer(peer.peerId);
  }

  #reportSent(nowMs: number): void {
    for (const epoch of this.#context.takeDirtyEpochs()) {
      epoch.reportDue = false;
      if (!epoch.retired) this.#session.handleDataSent(epoch.localIndex, epoch.unreportedDatagrams, nowMs);
      epoch.unreportedDatagrams = 0;
    }
    this.#context.arm(this.#session.nextTimeoutMs());
  }

  #routeOf(carrier: Carrier, addresses: Uint8Array, index: number): number {
    if (carrier !== this.#context.listener) {
      for (const peer of this.#context.peers) {
        for (const path of peer.paths) {
          if (path.carrier === carrier && sameRemote(path.target, addresses, index)) return peer.peerId * MAX_PATHS + path.id;
        }
      }
    }
    const slot = this.#ringNext;
    this.#ringNext = (slot + 1) % RING_ROUTES;
    const base = index * ADDRESS_BYTES;
    this.#ringAddresses.set(addresses.subarray(base, base + ADDRESS_BYTES), slot * ADDRESS_BYTES);
    this.#ringCarriers[slot] = carrier;
    return FIRST_RING_ROUTE + slot;
  }

  #transmit(route: number, length: number, nowMs: number): void {
    const context = this.#context;
    let carrier: Carrier | undefined;
    let address: Uint8Array | undefined;
    if (route >= FIRST_RING_ROUTE) {
      const slot = route - FIRST_RING_ROUTE;
      carrier = this.#ringCarriers[slot];
      address = this.#ringAddresses.subarray(slot * ADDRESS_BYTES, (slot + 1) * ADDRESS_BYTES);
    } else {
      const path = context.peer(Math.floor(route / MAX_PATHS))?.path(route % MAX_PATHS);
      carrier = path?.carrier;
      address = path?.target;
    }
    if (carrier?.handle === undefined || address === undefined) return;
    const sent = carrier.sendRaw(address, this.#out, length);
    if (sent < 0) context.handleSendError(carrier, errnoName(sent), NO_PATHS, nowMs);
  }

  #handleEvent(event: SessionEvent, nowMs: number): void {
    const peer = this.#context.peer(event.peerId);
    if (peer === undefined) return;
    switch (event.type) {
      case 'epoch-ready':
        this.#addEpoch(peer, event.keys, event.confirmed, nowMs);
        return;
      case 'epoch-confirmed': {
        const epoch = this.#context.epochs.get(event.localIndex);
        if (epoch !== undefined) this.#use(epoch, nowMs);
        return;
      }
      case 'epoch-retired': {
        const epoch = this.#context.epochs.get(event.localIndex);
        if (epoch === undefined) return;
        this.#retire(epoch);
        if (peer.sendEpoch === undefined) this.#lose(peer, nowMs);
        return;
      }
      case 'peer-unreachable':
        this.#handleUnreachable(peer, event.reason, nowMs);
        return;
    }
  }

  #addEpoch(peer: Peer, keys: EpochKeys, confirmed: boolean, nowMs: number): void {
    const { native } = this.#context;
    const sealer = native.createSealer({ aead: keys.aead, key: keys.sendKey, receiverIndex: keys.remoteIndex });
    const compressed = (keys.features & FEATURE_HEADER_COMPRESSION) !== 0;
    native.addOpener(this.#table, { receiverIndex: keys.localIndex, aead: keys.aead, key: keys.receiveKey, compressed });
    keys.sendKey.fill(0);
    keys.receiveKey.fill(0);
    const epoch = new Epoch(native, peer, sealer, keys.localIndex, compressed, ++this.#context.newestEpochSerial);
    epoch.obeysPolicy = (keys.features & FEATURE_PATH_POLICY) !== 0;
    this.#context.epochs.set(keys.localIndex, epoch);
    if (confirmed) this.#use(epoch, nowMs);
  }

  /** We send under `epoch` from now on. */
  #use(epoch: Epoch, nowMs: number): void {
    const { peer } = epoch;
    epoch.confirmed = true;
    peer.sendEpoch = epoch;
    for (const path of peer.paths) {
      path.useEpoch(epoch);
      if (peer.initiator) {
        // The peer may be a new one that knows none of our paths: show them under the new keys.
        path.validation = this.newValidation(nowMs);
        path.helloPending = true;
        path.machine.probeSoon();
      }
      this.#context.arm(path.nextTimeoutMs(nowMs));
    }
    if (peer.updateState()) this.#context.observer.onPeerChange(peer, nowMs);
  }

  #retire(epoch: Epoch): void {
    this.#context.epochs.delete(epoch.localIndex);
    this.#context.native.removeOpener(this.#table, epoch.localIndex);
    epoch.retire();
    const { peer } = epoch;
    for (const path of peer.paths) {
      if (path.receiveEpoch === epoch) {
        path.receiveEpoch = undefined;
        path.acks = undefined;
      }
    }
    if (peer.sendEpoch !== epoch) return;
    peer.sendEpoch = undefined;
    for (const path of peer.paths) path.useEpoch(undefined);
  }

  /** No keys are left: a client's paths wait for new ones, a server's go. */
  #lose(peer: Peer, nowMs: number): void {
    if (!peer.initiator) this.#dropPaths(peer, nowMs);
    else for (const path of peer.paths) if (path.machine.handleSessionLost(nowMs)) this.#context.pathChanged(path, nowMs);
    if (peer.updateState()) this.#context.observer.onPeerChange(peer, nowMs);
  }

  #dropPaths(peer: Peer, nowMs: number): void {
    const paths = peer.paths;
    peer.clearPaths();
    for (const path of paths) {
      path.useLimit(undefined);
      path.machine.handleLinkLost(nowMs, 'the session ended');
      this.#context.observer.onPathChange(peer, path, nowMs);
    }
  }

  #handleUnreachable(peer: Peer, reason: string, nowMs: number): void {
    if (peer.reachable && peer.sendEpoch !== undefined) return;
    const where = peer.config.endpoint === undefined ? '' : ` at ${peer.config.endpoint}`;
    peer.lastError = `${peer.name}${where}: ${reason}`;
    if (peer.sendEpoch === undefined && !peer.initiator) this.#lose(peer, nowMs);
    peer.updateState();
    this.#context.observer.onPeerChange(peer, nowMs);
  }
}

export function sessionPeer(peer: Peer): SessionPeerConfig {
  const { publicKey, presharedKey } = peer.config;
  return {
    peerId: peer.peerId,
    publicKey,
    ...(presharedKey === undefined ? {} : { presharedKey }),
    initiator: peer.initiator,
  };
}
