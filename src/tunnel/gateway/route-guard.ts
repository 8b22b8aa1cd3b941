/** Looks that what is routed into the tunnel is nobody else's: before a configuration is applied, and when networks of this host come. */

import { type LocalNetwork, readLocalNetworks } from '../../tun/local-networks.js';
import type { PeerConfig, TunnelConfig } from '../config.js';
import { TunnelError } from '../tunnel-api.js';
import { findRouteOverlap } from './route-overlaps.js';

export class RouteGuard {
  private readonly readNetworks: (device: string) => Promise<LocalNetwork[]>;
  private warned: string | undefined;

  constructor(readNetworks = readLocalNetworks) {
    this.readNetworks = readNetworks;
  }

  /** Rejects with TunnelError `route-overlap`. */
  async check(config: TunnelConfig, peers: readonly PeerConfig[]): Promise<void> {
    const overlap = await this.overlap(config, peers);
    if (overlap !== undefined) throw new TunnelError('route-overlap', overlap);
  }

  /** An interface of this host has changed: what overlaps now, the first time that it is seen. Only of a site, which stays where it is. */
  async news(config: TunnelConfig, peers: readonly PeerConfig[]): Promise<string | undefined> {
    if (config.egress?.mode !== 'tun') return undefined;
    const overlap = await this.overlap(config, peers);
    const isNews = overlap !== this.warned;
    this.warned = overlap;
    return isNews ? overlap : undefined;
  }

  private async overlap({ interface: { name }, egress }: TunnelConfig, peers: readonly PeerConfig[]): Promise<string | undefined> {
    return findRouteOverlap({ peers, local: await this.readNetworks(name), isSite: egress?.mode === 'tun' });
  }
}
