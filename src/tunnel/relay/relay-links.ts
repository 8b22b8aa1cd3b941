/** The relays of a tunnel: the legs of paths that we dial by one, and the places where we wait to be called. */

import { randomBytes } from 'node:crypto';
import type { Carrier } from '../carrier/carrier.js';
import type { ResolvedEndpoint } from '../carrier/endpoint.js';
import type { LinkContext } from '../path/link-context.js';
import type { Path } from '../path/path.js';
import type { SessionDriver } from '../path/session-driver.js';
import type { RelayPlaceStatus } from '../status.js';
import type { RelayConfig } from './relay-config.js';
import type { RelayLeg } from './relay-leg.js';
import { isSilent, nextAddress, RelayMemberships } from './relay-memberships.js';
import { WAY_BYTES } from './relay-messages.js';
import { RelayPlace } from './relay-place.js';

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

export class RelayLinks {
  readonly #options: RelayLinksOptions;
  readonly #memberships: RelayMemberships;
  readonly #dialled = new Map<Path, RelayLeg>();
  readonly #places: RelayPlace[];

  /** Throws TunnelError `relay-key` when a relay's key is weak. */
  constructor(options: RelayLinksOptions) {
    this.#options = options;
    this.#memberships = new RelayMemberships(options.privateKey);
    this.#places = options.relays.map((config) => new RelayPlace(this.#memberships.of(config), options));
  }

  get places(): RelayPlaceStatus[] {
    return this.#places.map(({ status }) => status);
  }

  /** `path` goes over `carrier` to the relay at `address`, an address record. Throws TunnelError `relay-key`. */
  add(path: Path, config: RelayConfig, carrier: Carrier, address: Uint8Array, nowMs: number): void {
    const membership = this.#memberships.of(config);
    const tell = (leg: RelayLeg, _event: unknown, atMs: number): void => this.#handleNews(path, leg, atMs);
    this.#dialled.set(path, membership.makeLeg(path.peer, randomBytes(WAY_BYTES), carrier, address, tell, nowMs));
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

  /** Begins to wait; what cannot be had yet is tried again by `retry`. */
  async start(): Promise<void> {
    for (const place of this.#places) await place.settle();
  }

  /** A relay is to be found, or to be found again. */
  needsRetry(nowMs: number): boolean {
    for (const place of this.#places) if (place.needsRetry(nowMs)) return true;
    for (const leg of this.#dialled.values()) if (isSilent(leg, nowMs)) return true;
    return false;
  }

  async retry(): Promise<void> {
    for (const place of this.#places) if (place.needsRetry(performance.now())) await place.settle();
    for (const [path, leg] of [...this.#dialled]) {
      if (!isSilent(leg, performance.now())) continue;
      // As it was, when the name cannot be resolved.
      const endpoint = await this.#options.resolve(leg.endpoint).catch(() => undefined);
      if (endpoint !== undefined && this.#dialled.get(path) === leg) this.#moveOn(path, leg, endpoint);
    }
  }

  handleTimeout(nowMs: number): void {
    for (const [path, leg] of this.#dialled) {
      if (path.state !== 'up') leg.binding.urge(nowMs);
      leg.handleTimeout(nowMs);
      this.#options.context.arm(leg.binding.nextTimeoutMs());
      if (leg.binding.state !== leg.toldState || leg.problem !== leg.toldProblem) this.#handleNews(path, leg, nowMs);
    }
    for (const place of this.#places) place.handleTimeout(nowMs);
  }

  close(): void {
    for (const path of [...this.#dialled.keys()]) this.remove(path);
    for (const place of this.#places) place.close();
  }

  /** The relay has told something about the leg of `path`, or is silent. */
  #handleNews(path: Path, leg: RelayLeg, nowMs: number): void {
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
    const { context } = this.#options;
    const nowMs = performance.now();
    const wasRelayed = path.isRelayed;
    leg.address = next;
    leg.binding.restart(nowMs);
    if (wasRelayed) {
      path.target = next.slice();
      path.retarget(context.epochs.values());
    }
    context.arm(nowMs);
  }
}
