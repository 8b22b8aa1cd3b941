/** The peers of a running tunnel: who they are, what is routed to them, what they may carry and have carried; how they come and go. */

import type { PeerConfig, TunnelConfig } from './config.js';
import { knownAre } from './did-you-mean.js';
import type { EventHub } from './event-hub.js';
import { AllowedIps } from './gateway/allowed-ips.js';
import { type LimitedPeer, PeerLimits } from './gateway/peer-limits.js';
import { RefusedSources } from './gateway/refused-sources.js';
import { RouteGuard } from './gateway/route-guard.js';
import type { PeerLink } from './link.js';
import type { CountingLinkLayer } from './link-layer.js';
import { carriedBy } from './peer-status.js';
import type { DatagramPlane } from './planes/datagram-plane.js';
import type { StreamPlane } from './planes/stream-plane.js';
import { PeerTotals, TOTALS_TICK_MS } from './totals/peer-totals.js';
import { TotalsFile } from './totals/totals-file.js';
import { TunnelError } from './tunnel-api.js';
import type { TunnelHost } from './user/untouched-host.js';

/** undefined before the tunnel is up, and when it closes. */
export interface PeerParts {
  readonly link: CountingLinkLayer | undefined;
  readonly streams: StreamPlane | undefined;
  readonly datagrams: DatagramPlane | undefined;
}

export interface TunnelPeersOptions {
  parts: PeerParts;
  /** As applied last. */
  config: () => TunnelConfig;
  events: EventHub;
  host: Pick<TunnelHost, 'addRoutes' | 'removeRoutes'>;
  /** Others come or go than those of the configuration. */
  onChange: () => void;
  wake: () => void;
}

export class TunnelPeers {
  readonly routes = new AllowedIps<PeerLink>();
  readonly limits = new PeerLimits((peer, direction) => this.#options.parts.datagrams!.outletOf(peer, direction));
  readonly refusedSources: RefusedSources;
  totals: PeerTotals | undefined;
  /** Being removed just now. */
  leaving: PeerLink | undefined;
  readonly #options: TunnelPeersOptions;
  readonly #routeGuard = new RouteGuard();
  /** Those that there are now, without holders of invites, by name. */
  readonly #configs = new Map<string, PeerConfig>();
  #totalsTicks: NodeJS.Timeout | undefined;

  constructor(options: TunnelPeersOptions) {
    this.#options = options;
    this.refusedSources = new RefusedSources((message) => options.events.log.warn(message));
  }

  get all(): readonly PeerLink[] {
    return this.#options.parts.link?.peers ?? [];
  }

  get configs(): readonly PeerConfig[] {
    return [...this.#configs.values()];
  }

  /** Those of the configuration, which the link layer knows: routed to from now on. */
  begin(configs: readonly PeerConfig[]): void {
    for (const config of configs) this.#configs.set(config.name, config);
    for (const peer of this.all) {
      const settings = this.#configs.get(peer.name)!;
      // The host's own routes stay those of allowed_ips.
      const anywhere = settings.acceptForwards === true ? ['0.0.0.0/0', '::/0'] : [];
      for (const prefix of [...peer.allowedIps, ...anywhere]) this.routes.add(prefix, peer);
    }
  }

  /** The planes are there. */
  beginLimits(): void {
    for (const peer of this.all) this.limits.setLimits(peer, this.#configs.get(peer.name)!);
  }

  /** From now on what they carry is counted. */
  watch(): void {
    const { parts, events, config } = this.#options;
    this.totals = new PeerTotals({
      peers: () => this.all,
      carried: (peer) => carriedBy(peer, parts.streams),
      file: new TotalsFile(config().interface.name, (message) => events.log.warn(message)),
    });
    this.#totalsTicks = setInterval(() => this.totals?.tick(), TOTALS_TICK_MS);
  }

  async close(): Promise<void> {
    clearInterval(this.#totalsTicks);
    await this.totals?.close();
  }

  /** Rejects with TunnelError where what `config` routes into the tunnel, to `peers`, is a network of this host. */
  checkRoutes(config: TunnelConfig, peers: readonly PeerConfig[] = config.peers): Promise<void> {
    return this.#routeGuard.check(config, peers);
  }

  /** An interface of this host has changed: what overlaps now, the first time that it is seen. */
  routeNews(): Promise<string | undefined> {
    return this.#routeGuard.news(this.#options.config(), this.configs);
  }

  async add(config: PeerConfig): Promise<void> {
    if (config.enrolling !== true) await this.checkRoutes(this.#options.config(), [...this.configs, config]);
    await this.admit(config);
  }

  /** Its routes have been checked. */
  async admit(config: PeerConfig): Promise<void> {
    const { parts, host, events, onChange } = this.#options;
    if (parts.link === undefined) throw new TunnelError('not-started', 'the tunnel is still starting: try again');
    let peer: PeerLink | undefined;
    try {
      peer = parts.link.addPeer(config);
      for (const prefix of config.allowedIps) this.routes.add(prefix, peer);
      await host.addRoutes(config.allowedIps);
    } catch (cause) {
      if (peer !== undefined) this.#drop(peer);
      if (!(cause instanceof RangeError)) throw cause;
      throw new TunnelError('peer-conflict', `peer ${config.name} cannot be added: ${cause.message}`, { cause });
    }
    if (config.enrolling === true) return;
    this.#configs.set(config.name, config);
    this.limits.setLimits(peer, config);
    events.emit({ type: 'configuration', what: `peer ${config.name} added` });
    onChange();
  }

  async remove(name: string): Promise<boolean> {
    const peer = this.all.find((one) => one.name === name);
    if (peer === undefined) return false;
    const { host, events, onChange } = this.#options;
    this.#drop(peer);
    this.refusedSources.forget(name);
    this.#configs.delete(name);
    if (!peer.enrolling) events.emit({ type: 'configuration', what: `peer ${name} removed` });
    await host.removeRoutes(peer.allowedIps);
    onChange();
    return true;
  }

  /** Throws TunnelError `no-such-peer`. */
  change(name: string, change: LimitedPeer): void {
    const config = this.#configs.get(name);
    if (config === undefined)
      throw new TunnelError('no-such-peer', `There is no peer "${name}" here: ${knownAre([...this.#configs.keys()])}.`);
    this.limit({ ...config, ...change });
  }

  /** What it may carry from now on. */
  limit(config: PeerConfig): void {
    const peer = this.all.find(({ name }) => name === config.name);
    if (peer === undefined) return;
    this.#configs.set(config.name, config);
    this.limits.setLimits(peer, config);
    this.#options.wake();
  }

  readonly refuseSource = (peer: PeerLink, source: Uint8Array): void => {
    this.refusedSources.refuse(peer.name, source, performance.now());
  };

  /** Resets first, then goodbye, then nothing. */
  #drop(peer: PeerLink): void {
    const { parts } = this.#options;
    this.leaving = peer;
    this.totals?.handlePeerRemoved(peer);
    parts.streams?.removePeer(peer, performance.now());
    this.routes.remove(peer);
    parts.link?.flush();
    parts.link?.removePeer(peer);
    parts.datagrams?.handlePeerDown(peer);
    this.limits.forget(peer);
    this.leaving = undefined;
  }
}
