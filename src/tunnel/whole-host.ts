/** From a configuration to what the tunnel does with the whole host, and how it finds its server when the host's names are asked through it. */

import { randomBytes } from 'node:crypto';
import { dnsPlace, outerNameservers } from '../tun/host-dns.js';
import type { LinkFacts } from '../tun/link-watch.js';
import type { NativeAddon } from '../tun/native.js';
import { runDirectory } from '../tun/run-directory.js';
import type { WholeHostPlan } from '../tun/whole-host.js';
import { type ResolvedEndpoint, resolveEndpoint } from './carrier/endpoint.js';
import { createOuterResolver } from './carrier/outer-resolver.js';
import type { TunnelConfig } from './config.js';
import type { RelayConfig } from './relay/relay-config.js';

export function wholeHostPlan({ interface: { killSwitch }, dns, lan }: TunnelConfig): WholeHostPlan {
  return { ...(killSwitch && { killSwitch }), ...(dns && { dns }), ...(lan && { lan }) };
}

/** Of the paths, and where this host waits. */
export function relaysOf({ interface: { relays = [] }, paths }: TunnelConfig): RelayConfig[] {
  return [...relays, ...paths.flatMap(({ via }) => (via === undefined ? [] : [via]))];
}

/**
 * How to resolve endpoints beside the tunnel; undefined where the host's own resolver does not depend on it. `links`: interfaces of the host, as they are at the time
 * of asking.
 */
export function outerResolve(
  config: TunnelConfig,
  native: NativeAddon,
  mark: number,
  links: () => readonly LinkFacts[],
): ((endpoint: string) => Promise<ResolvedEndpoint>) | undefined {
  if (mark === 0 && config.dns === undefined) return undefined;
  const place = dnsPlace(runDirectory());
  const named = config.paths.flatMap((path) => (path.interface === undefined ? [] : [path.interface]));
  const devices = (): string[] => {
    const present = links();
    const automatic =
      config.autoPaths === undefined ? [] : present.filter((link) => link.usable && link.hasDefaultRoute).map(({ name }) => name);
    return [...new Set([...named, ...automatic])].filter((name) => name !== config.interface.name);
  };
  const ask = createOuterResolver({ native, mark, nameservers: () => outerNameservers(place), devices, randomBytes });
  return (endpoint) => resolveEndpoint(endpoint, ask);
}
