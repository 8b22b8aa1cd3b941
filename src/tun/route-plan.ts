/**
 * Decides which prefixes go into the main table and which need policy routing. Pure.
 *
 * A prefix that covers a peer's endpoint (0.0.0.0/0 always does) would swallow the tunnel's own outer packets. Such prefixes get a table of
 * their own and two rules, as wg-quick does it for the default route, here for any length L:
 *
 *     from all lookup main suppress_prefixlength L     what main knows more precisely goes where main says
 *     not from all fwmark M lookup T                   all else, save what carries our mark, into the tunnel
 *
 * Prefixes of different length get pairs of their own, the longer first, so that the longest match still wins.
 */

import { formatPrefix, type IpFamily, type IpPrefix, networkOf, parsePrefix, prefixContains } from './ip-prefix.js';

export interface PolicyGroup {
  readonly family: IpFamily;
  readonly prefixLength: number;
  readonly prefixes: readonly string[];
}

export interface RoutePlan {
  /** For the main table. */
  readonly main: readonly string[];
  /** Longest prefixes first within a family. */
  readonly policy: readonly PolicyGroup[];
}

/** Up to this length a prefix is taken to cover the endpoints, known or not: "0.0.0.0/1, 128.0.0.0/1" is a default route by another name. */
const DEFAULT_LIKE_LENGTH = 1;

/**
 * `routes`: allowed IPs of all peers. `deviceAddresses`: of the tunnel device, with lengths: their own prefixes need no route.
 * `outerAddresses`: endpoints of the peers. Texts that are no prefix are a caller's bug: TypeError.
 */
export function planRoutes(routes: readonly string[], deviceAddresses: readonly string[], outerAddresses: readonly string[]): RoutePlan {
  const connected = deviceAddresses.map(requirePrefix);
  const outer = outerAddresses.map(requirePrefix);
  const main: string[] = [];
  const policy: IpPrefix[] = [];
  for (const text of new Set(routes.map((route) => formatPrefix(networkOf(requirePrefix(route)))))) {
    const prefix = requirePrefix(text);
    const covers = prefix.length <= DEFAULT_LIKE_LENGTH || outer.some((address) => prefixContains(prefix, address));
    if (covers) policy.push(prefix);
    else if (!connected.some((network) => prefixContains(network, prefix))) main.push(text);
  }
  return { main, policy: policyGroups(policy) };
}

/** Prefixes for tables of their own, whatever they cover: what carries the mark goes past them. Texts as of `planRoutes`. */
export function planPolicy(prefixes: readonly string[]): PolicyGroup[] {
  return policyGroups(prefixes.map(requirePrefix));
}

function policyGroups(prefixes: readonly IpPrefix[]): PolicyGroup[] {
  const groups = new Map<string, { family: IpFamily; prefixLength: number; prefixes: string[] }>();
  for (const prefix of prefixes) {
    const key = `${prefix.family}/${prefix.length}`;
    const group = groups.get(key) ?? { family: prefix.family, prefixLength: prefix.length, prefixes: [] };
    group.prefixes.push(formatPrefix(prefix));
    groups.set(key, group);
  }
  return [...groups.values()].sort((a, b) => b.prefixLength - a.prefixLength);
}

function requirePrefix(text: string): IpPrefix {
  const prefix = parsePrefix(text);
  if (prefix === undefined) throw new TypeError(`not an IP prefix: ${text}`);
  return prefix;
}
