/**
 * A relay at which we wait to be called. For each call there is a socket of its own, so that a socket has one way, and the relay knows by the source address where a datagram
 * goes.
 */

import { randomBytes } from 'node:crypto';
import { UdpCarrier } from '../carrier/udp-carrier.js';
import { emitAddressRecord } from '../path/address-record.js';
import type { Path } from '../path/path.js';
import type { Peer } from '../path/peer.js';
import type { RelayPlaceStatus } from '../status.js';
import { TunnelError } from '../tunnel-api.js';
import { textOf } from './relay-identity.js';
import type { RelayLeg } from './relay-leg.js';
import type { RelayLinksOptions } from './relay-links.js';
import { isSilent, nextAddress, type RelayMembership } from './relay-memberships.js';
import { WAY_BYTES } from './relay-messages.js';

/** A called leg whose caller is gone, and that no path uses, is closed after so long: the caller's NAT may just have forgotten it. */
const LEFT_ALONE_MS = 90_000;
/** Of one peer; a caller has a leg for each path, and those of its earlier life. */
const MAX_CALLED_PER_PEER = 64;
const SWEEP_MS = 5000;

interface Called {
  readonly peer: Peer;
  readonly leg: RelayLeg;
  readonly carrier: UdpCarrier;
}

export class RelayPlace {
  readonly #membership: RelayMembership;
  readonly #options: RelayLinksOptions;
  /** By caller and way. */
  readonly #called = new Map<string, Called>();
  #carrier: UdpCarrier | undefined;
  #leg: RelayLeg | undefined;
  /** Why it cannot be had, "" while nothing is known. */
  #problem = '';
  #sweptMs = -Infinity;

  constructor(membership: RelayMembership, options: RelayLinksOptions) {
    this.#membership = membership;
    this.#options = options;
  }

  get status(): RelayPlaceStatus {
    const leg = this.#leg;
    const waits = leg?.binding.state === 'waiting';
    const problem = leg === undefined ? this.#problem : waits ? '' : leg.problem;
    const paired = [...this.#called.values()].filter(({ leg: { binding } }) => binding.state === 'paired').length;
    return { relay: this.#membership.config.endpoint, waits, seenAs: leg?.seenAs ?? '', problem, called: paired };
  }

  needsRetry(nowMs: number): boolean {
    return this.#leg === undefined || isSilent(this.#leg, nowMs);
  }

  /** Finds the relay, and asks it to be waited at; what fails is told, and to be tried again. */
  async settle(): Promise<void> {
    try {
      await this.#settle();
    } catch (error) {
      if (!(error instanceof TunnelError)) throw error;
      // Once for each reason: it is tried every few seconds.
      if (error.message !== this.#problem) this.#options.context.log.warn(error.message);
      this.#problem = error.message;
    }
  }

  handleTimeout(nowMs: number): void {
    if (this.#leg !== undefined) this.#drive(this.#leg, nowMs);
    for (const called of this.#called.values()) {
      if (pathOver(called)?.state !== 'up') called.leg.binding.urge(nowMs);
      this.#drive(called.leg, nowMs);
    }
    if (nowMs - this.#sweptMs >= SWEEP_MS) this.#sweep(nowMs);
  }

  close(): void {
    for (const called of this.#called.values()) closeCalled(called);
    this.#called.clear();
    this.#leg?.sayGoodbye();
    this.#carrier?.close();
  }

  /** Rejects with TunnelError `endpoint-unresolved`, `listen`. */
  async #settle(): Promise<void> {
    const { context, resolve } = this.#options;
    const endpoint = await resolve(this.#membership.config.endpoint);
    if (context.closed) return;
    const former = this.#leg?.address;
    const address = (former && nextAddress(former, endpoint)) ?? emitAddressRecord(endpoint.addresses[0]!.address, endpoint.port);
    this.#carrier?.close();
    this.#leg = undefined;
    try {
      this.#carrier = this.#openSocket(address);
    } catch (cause) {
      const message = `A socket to relay ${this.#membership.config.endpoint} cannot be opened: ${(cause as Error).message}`;
      throw new TunnelError('listen', message, { cause });
    }
    this.#problem = '';
    const nowMs = performance.now();
    const way = randomBytes(WAY_BYTES);
    this.#leg = this.#membership.makeLeg(
      undefined,
      way,
      this.#carrier,
      address,
      (leg, event, atMs) => {
        if (event.type === 'call') this.#handleCall(leg, event.caller, event.way, atMs);
      },
      nowMs,
    );
    context.arm(nowMs);
  }

  #handleCall({ address }: RelayLeg, caller: Uint8Array, way: Uint8Array, nowMs: number): void {
    const { context } = this.#options;
    const callerText = textOf(caller);
    const name = callerText + textOf(way);
    const known = this.#called.get(name);
    if (known !== undefined) {
      known.leg.binding.urge(nowMs);
      this.#drive(known.leg, nowMs);
      return;
    }
    const peer = context.peers.find((one) => !one.initiator && this.#membership.idOf(one) === callerText);
    if (peer === undefined || !this.#makeRoom(peer)) return;
    let carrier: UdpCarrier;
    try {
      carrier = this.#openSocket(address);
    } catch (error) {
      context.log.warn(`a call by relay ${this.#membership.config.endpoint} has no socket: ${(error as Error).message}`);
      return;
    }
    const leg = this.#membership.makeLeg(peer, way.slice(), carrier, address.slice(), () => context.arm(performance.now()), nowMs);
    this.#called.set(name, { peer, leg, carrier });
    this.#drive(leg, nowMs);
  }

  #openSocket(address: Uint8Array): UdpCarrier {
    const { context, mark, receive } = this.#options;
    const family = address[0] === 4 ? 4 : 6;
    const carrier = new UdpCarrier(context.native, { family, port: 0, address: undefined, device: undefined, mark }, receive);
    carrier.open();
    return carrier;
  }

  #drive(leg: RelayLeg, nowMs: number): void {
    leg.handleTimeout(nowMs);
    this.#options.context.arm(leg.binding.nextTimeoutMs());
  }

  /** For one more leg of that peer: the oldest that nobody uses goes. */
  #makeRoom(peer: Peer): boolean {
    const own = [...this.#called].filter(([, one]) => one.peer === peer);
    if (own.length < MAX_CALLED_PER_PEER) return true;
    const unused = own.filter(([, one]) => pathOver(one) === undefined);
    const idle = unused.find(([, one]) => one.leg.binding.state !== 'paired') ?? unused[0];
    if (idle === undefined) return false;
    closeCalled(idle[1]);
    this.#called.delete(idle[0]);
    return true;
  }

  #sweep(nowMs: number): void {
    this.#sweptMs = nowMs;
    const { context } = this.#options;
    for (const [name, one] of this.#called) {
      const { binding } = one.leg;
      const isLeft = binding.state !== 'paired' && binding.inStateMs(nowMs) > LEFT_ALONE_MS && pathOver(one)?.state !== 'up';
      if (!isLeft && context.peers.includes(one.peer)) continue;
      closeCalled(one);
      this.#called.delete(name);
    }
    if (this.#called.size > 0) context.arm(nowMs + SWEEP_MS);
  }
}

function pathOver({ peer, carrier }: Called): Path | undefined {
  return peer.paths.find((path) => path.carrier === carrier);
}

function closeCalled({ leg, carrier }: Called): void {
  leg.sayGoodbye();
  carrier.close();
}
