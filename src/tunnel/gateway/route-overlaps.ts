/**
 * Two places that claim the same addresses: two peers with the same prefix, or a peer and a network of this host. Where packets went would then hang on what
 * was configured last, so it is refused, with both by name. A prefix within another peer's is no fault: the longest match counts, as in WireGuard.
 */

import { type IpPrefix, parsePrefix, prefixContains } from '../../tun/ip-prefix.js';
import type { LocalNetwork } from '../../tun/local-networks.js';
import type { PeerConfig } from '../config.js';

export interface RouteClaims {
  readonly peers: readonly Pick<PeerConfig, 'name' | 'allowedIps' | 'endpoint'>[];
  readonly local: readonly LocalNetwork[];
  /**
   * A site with hosts behind it (`[egress] mode = "tun"`): a peer's prefix may neither hold a network of ours nor lie in one. Elsewhere, as on a laptop in somebody
   * else's network, only the very same prefix is a fault: of others the kernel takes the longest.
   */
  readonly isSite: boolean;
}

/** "Everything else" overlaps with nothing. */
const DEFAULT_LIKE_LENGTH = 1;

/** One line that tells what to do, or undefined. Texts that are no prefix are a caller's bug: TypeError. */
export function findRouteOverlap({ peers, local, isSite }: RouteClaims): string | undefined {
  const owners = new Map<string, string>();
  const networks = local.map((network) => ({ network, prefix: requirePrefix(network.prefix) }));
  for (const peer of peers) {
    for (const text of peer.allowedIps) {
      const owner = owners.get(text);
      if (owner !== undefined && owner !== peer.name)
        return `${text} is in allowed_ips of peer ${owner} and of peer ${peer.name}: a prefix has one peer: remove it from one of the two`;
      owners.set(text, peer.name);
      const prefix = requirePrefix(text);
      if (prefix.length <= DEFAULT_LIKE_LENGTH) continue;
      const clash = networks.find((one) =>
        isSite ? overlaps(prefix, one.prefix) : isSame(prefix, one.prefix) && !leadsToItself(peer, prefix),
      );
      if (clash !== undefined) return clashMessage(peer.name, text, clash.network);
    }
  }
  return undefined;
}

function clashMessage(peer: string, text: string, { prefix, interface: device, gateway }: LocalNetwork): string {
  const relation = text === prefix ? 'is also' : 'overlaps with';
  const where = gateway === undefined ? `the network of ${device} here` : `a route of this host (via ${gateway} on ${device})`;
  const network = text === prefix ? '' : `${prefix}, `;
  return `allowed_ips of peer ${peer}: ${text} ${relation} ${network}${where}: take it out of allowed_ips, or give one of the two sites other addresses`;
}

function overlaps(a: IpPrefix, b: IpPrefix): boolean {
  return prefixContains(a, b) || prefixContains(b, a);
}

function isSame(a: IpPrefix, b: IpPrefix): boolean {
  return a.length === b.length && prefixContains(a, b);
}

/** The server stands in the very network whose traffic goes through it, as with a wireless network that is not trusted. */
function leadsToItself({ endpoint }: Pick<PeerConfig, 'endpoint'>, prefix: IpPrefix): boolean {
  const address = endpoint === undefined ? undefined : parsePrefix(endpoint.slice(0, endpoint.lastIndexOf(':')).replace(/^\[|\]$/g, ''));
  return address !== undefined && prefixContains(prefix, address);
}

function requirePrefix(text: string): IpPrefix {
  const prefix = parsePrefix(text);
  if (prefix === undefined) throw new TypeError(`not an IP prefix: ${text}`);
  return prefix;
}
