/**
 * The gateway's table of nftables as text: masquerading of what peers send beyond this host, and ports of this host that lead to peers. Pure. Connections keep what was decided
 * for their first packet (conntrack), so the table may be replaced while they run.
 */

import { isIP } from 'node:net';
import { formatIp, type IpFamily, networkOf, parsePrefix, prefixContains } from '../../tun/ip-prefix.js';
import type { ForwardConfig } from '../config.js';

export const GATEWAY_PURPOSE = 'gateway';

export interface GatewayTablePlan {
  readonly device: string;
  /** Peers' packets leave with this host's address, and nobody outside begins anything with a peer but by a forward. */
  readonly nat: boolean;
  /** Hosts of the networks in `allow` see peers' own addresses; default false. */
  readonly isSite?: boolean;
  /** Prefixes that may begin connections to peers all the same: `allow` of [egress], which peers reach as well. */
  readonly allow: readonly string[];
  readonly forwards: readonly ForwardConfig[];
  readonly peers: readonly ForwardPeer[];
}

export interface ForwardPeer {
  readonly name: string;
  readonly allowedIps: readonly string[];
}

/** A forward whose peer is there. */
export interface ResolvedForward {
  readonly forward: ForwardConfig;
  readonly family: IpFamily;
  /** Of the peer. */
  readonly target: string;
}

/** A peer's address is its first allowed IP of the family that is one host. An address is a peer's where one has it in its allowed IPs. */
export function resolveForwards(forwards: readonly ForwardConfig[], peers: readonly ForwardPeer[]): ResolvedForward[] {
  return forwards.flatMap((forward) => targetsOf(forward, peers).map(({ family, target }) => ({ forward, family, target })));
}

/** Why a forward leads nowhere now, for people; undefined: it does lead somewhere. */
export function forwardFault(forward: ForwardConfig, peers: readonly ForwardPeer[]): string | undefined {
  if (targetsOf(forward, peers).length > 0) return undefined;
  const { peer, address } = forward.to;
  if (peer === undefined) return `no peer has ${address} in its allowed_ips`;
  const known = peers.find(({ name }) => name === peer);
  if (known === undefined) return `there is no peer "${peer}" yet`;
  const family = forward.address === undefined ? 0 : isIP(forward.address);
  const what =
    family === 4
      ? 'no IPv4 address of its own (a /32)'
      : family === 6
        ? 'no IPv6 address of its own (a /128)'
        : 'no address of its own (a /32 or /128)';
  return `peer "${peer}" has ${what} in its allowed_ips`;
}

function targetsOf({ address, to }: ForwardConfig, peers: readonly ForwardPeer[]): { family: IpFamily; target: string }[] {
  const wanted = ([4, 6] as const).filter((family) => address === undefined || isIP(address) === family);
  if (to.address !== undefined) {
    const prefix = parsePrefix(to.address)!;
    const isPeers = peers.some((peer) => peer.allowedIps.some((allowed) => prefixContains(parsePrefix(allowed)!, prefix)));
    return isPeers && wanted.includes(prefix.family) ? [{ family: prefix.family, target: formatIp(prefix.bytes) }] : [];
  }
  const prefixes = peers.find(({ name }) => name === to.peer)?.allowedIps.map((allowed) => parsePrefix(allowed)!) ?? [];
  return wanted.flatMap((family) => {
    const host = prefixes.find((prefix) => prefix.family === family && prefix.length === prefix.bytes.length * 8);
    return host === undefined ? [] : [{ family, target: formatIp(host.bytes) }];
  });
}

/** undefined: nothing is to be done by nftables. */
export function gatewayTable(plan: GatewayTablePlan): string | undefined {
  const resolved = resolveForwards(plan.forwards, plan.peers);
  if (!plan.nat && resolved.length === 0) return undefined;
  const device = quoted(plan.device);
  const chains: string[] = [];
  if (resolved.length > 0)
    chains.push(
      chain('arriving', 'type nat hook prerouting priority dstnat', [
        `iifname ${device} return`,
        ...resolved.map((one) => forwardRule(one)),
      ]),
    );
  if (plan.nat) {
    const kept = plan.isSite === true ? plan.allow.map((prefix) => `${daddrWords(prefix)} return`) : [];
    chains.push(
      chain('leaving', 'type nat hook postrouting priority srcnat', [...kept, `iifname ${device} oifname != ${device} masquerade`]),
    );
    chains.push(
      chain('passing', 'type filter hook forward priority filter', [
        `oifname != ${device} return`,
        `iifname ${device} return`,
        'ct status dnat return',
        ...plan.allow.map((prefix) => `${familyWord(parsePrefix(prefix)!.family)} saddr ${networkText(prefix)} return`),
        'ct state new counter drop',
      ]),
    );
  }
  return chains.join('\n');
}

/** `fib daddr type local`: what is addressed to this host, on whichever of its addresses. */
function forwardRule({ forward, family, target }: ResolvedForward): string {
  const { protocol, ports, address, to } = forward;
  const word = familyWord(family);
  const [first, last] = ports;
  const where = address === undefined ? `meta nfproto ${family === 4 ? 'ipv4' : 'ipv6'}` : `${word} daddr ${address}`;
  const host = family === 6 && to.port !== undefined ? `[${target}]` : target;
  const place = to.port === undefined ? host : `${host}:${to.port}`;
  return `${where} ${protocol} dport ${first === last ? first : `${first}-${last}`} fib daddr type local counter dnat ${word} to ${place}`;
}

function chain(name: string, hook: string, rules: readonly string[]): string {
  return [`  chain ${name} {`, `    ${hook}; policy accept;`, ...rules.map((rule) => `    ${rule}`), '  }'].join('\n');
}

function familyWord(family: IpFamily): 'ip' | 'ip6' {
  return family === 4 ? 'ip' : 'ip6';
}

function daddrWords(prefix: string): string {
  return `${familyWord(parsePrefix(prefix)!.family)} daddr ${networkText(prefix)}`;
}

function networkText(prefix: string): string {
  const { bytes, length } = networkOf(parsePrefix(prefix)!);
  return `${formatIp(bytes)}/${length}`;
}

/** Interface names have no quote and no backslash (config-schema.ts). */
function quoted(device: string): string {
  return `"${device}"`;
}
