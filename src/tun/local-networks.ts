/** The networks that this host reaches without the tunnel: those of its interfaces, and what its main routing table knows beyond. */

import { queryIp } from './ip-command.js';
import { formatPrefix, networkOf, parsePrefix } from './ip-prefix.js';

export interface LocalNetwork {
  /** "10.1.0.0/24" */
  readonly prefix: string;
  readonly interface: string;
  /** Of a network behind a router: "10.1.0.254"; undefined: the interface's own. */
  readonly gateway: string | undefined;
}

interface AddressRecord {
  readonly ifname: string;
  readonly addr_info?: readonly { readonly local?: string; readonly prefixlen?: number; readonly scope?: string }[];
}

interface RouteRecord {
  readonly dst: string;
  readonly dev?: string;
  readonly gateway?: string;
  /** Absent for unicast. */
  readonly type?: string;
  readonly nexthops?: readonly { readonly dev?: string; readonly gateway?: string }[];
}

/** Up to this length a route is a default route by another name. */
const DEFAULT_LIKE_LENGTH = 1;

/** Without what leads to `device`, which is the tunnel's own, default routes, loopback and link-local addresses. Each network once. */
export async function readLocalNetworks(device: string): Promise<LocalNetwork[]> {
  const [addresses, v4, v6] = await Promise.all([
    queryIp<AddressRecord>(['addr', 'show']),
    queryIp<RouteRecord>(['-4', 'route', 'show', 'table', 'main']),
    queryIp<RouteRecord>(['-6', 'route', 'show', 'table', 'main']),
  ]);
  const own = addresses.flatMap(({ ifname, addr_info = [] }) =>
    addr_info
      .filter(({ scope }) => scope !== 'link' && scope !== 'host')
      .flatMap(({ local, prefixlen }) => localNetwork(`${local}/${prefixlen}`, ifname, undefined)),
  );
  const routed = [...v4, ...v6]
    .filter(({ type }) => type === undefined || type === 'unicast')
    .flatMap(({ dst, dev, gateway, nexthops = [] }) =>
      [{ dev, gateway }, ...nexthops].flatMap((hop) => (hop.dev === undefined ? [] : localNetwork(dst, hop.dev, hop.gateway))),
    );
  const found = new Map<string, LocalNetwork>();
  for (const network of [...own, ...routed])
    if (network.interface !== device && !found.has(network.prefix)) found.set(network.prefix, network);
  return [...found.values()];
}

function localNetwork(text: string, device: string, gateway: string | undefined): LocalNetwork[] {
  const prefix = text === 'default' ? undefined : parsePrefix(text);
  if (prefix === undefined || prefix.length <= DEFAULT_LIKE_LENGTH) return [];
  const isLinkLocal = prefix.family === 6 && prefix.bytes[0] === 0xfe && (prefix.bytes[1]! & 0xc0) === 0x80;
  return isLinkLocal ? [] : [{ prefix: formatPrefix(networkOf(prefix)), interface: device, gateway }];
}
