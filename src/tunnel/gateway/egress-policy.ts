/**
 * Where a gateway may connect to on behalf of its peers: the public Internet, its own tunnel addresses, and what the configuration allows
 * beyond, less what it denies; never its own loopback, link or private networks. Classes after the IANA special-purpose registries (RFC 6890).
 */

import { formatPrefix, parsePrefix } from '../../tun/ip-prefix.js';
import type { TunnelConfig } from '../config.js';
import { AllowedIps, parseAllowedIp } from './allowed-ips.js';

export type AddressClass =
  | 'public'
  | 'unspecified'
  | 'loopback'
  | 'link-local'
  /** RFC 1918, RFC 4193, and the deprecated site-local range. */
  | 'private'
  /** RFC 6598, carrier-grade NAT. */
  | 'shared'
  | 'multicast'
  /** Broadcast, future use, protocol assignments, benchmarking, discard-only. */
  | 'reserved';

/** Documentation prefixes count as public: nothing sensitive is ever there, and examples and tests live in them. */
export function classifyAddress(bytes: Uint8Array, offset: number, addressBytes: 4 | 16): AddressClass {
  return addressBytes === 4 ? classifyV4(bytes, offset) : classifyV6(bytes, offset);
}

export function isSpecialPurpose(bytes: Uint8Array, offset: number, addressBytes: 4 | 16): boolean {
  return classifyAddress(bytes, offset, addressBytes) !== 'public';
}

function classifyV4(bytes: Uint8Array, at: number): AddressClass {
  const a = bytes[at]!;
  const b = bytes[at + 1]!;
  if (a === 0) return 'unspecified';
  if (a === 10 || (a === 172 && b >= 16 && b < 32) || (a === 192 && b === 168)) return 'private';
  if (a === 127) return 'loopback';
  if (a === 169 && b === 254) return 'link-local';
  if (a === 100 && b >= 64 && b < 128) return 'shared';
  if (a === 192 && b === 0 && bytes[at + 2] === 0) return 'reserved';
  if (a === 198 && (b === 18 || b === 19)) return 'reserved';
  if (a >= 240) return 'reserved';
  return a >= 224 ? 'multicast' : 'public';
}

function classifyV6(bytes: Uint8Array, at: number): AddressClass {
  const first = (bytes[at]! << 8) | bytes[at + 1]!;
  if (first >>> 8 === 0xff) return 'multicast';
  if ((first & 0xffc0) === 0xfe80) return 'link-local';
  if ((first & 0xffc0) === 0xfec0 || (first & 0xfe00) === 0xfc00) return 'private';
  // Addresses that carry an IPv4 address lead where that one leads: 6to4 (RFC 3056), NAT64 (RFC 6052), IPv4-mapped (RFC 4291).
  if (first === 0x2002) return classifyV4(bytes, at + 2);
  if (startsWith(bytes, at, NAT64)) return classifyV4(bytes, at + 12);
  if (startsWith(bytes, at, NAT64_LOCAL)) return 'private';
  if (startsWith(bytes, at, MAPPED)) return classifyV4(bytes, at + 12);
  if (startsWith(bytes, at, DISCARD)) return 'reserved';
  if (!startsWith(bytes, at, new Uint8Array(12))) return 'public';
  // ::/96: unspecified, loopback, and the deprecated IPv4-compatible addresses.
  if (!startsWith(bytes, at, new Uint8Array(15))) return 'reserved';
  return bytes[at + 15] === 0 ? 'unspecified' : bytes[at + 15] === 1 ? 'loopback' : 'reserved';
}

const NAT64 = Uint8Array.of(0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0);
/** RFC 8215, 64:ff9b:1::/48. */
const NAT64_LOCAL = Uint8Array.of(0, 0x64, 0xff, 0x9b, 0, 1);
const MAPPED = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff);
/** RFC 6666, 100::/64. */
const DISCARD = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0);

function startsWith(bytes: Uint8Array, at: number, prefix: Uint8Array): boolean {
  for (let i = 0; i < prefix.length; i++) if (bytes[at + i] !== prefix[i]) return false;
  return true;
}

export interface EgressPolicyOptions {
  /** Prefixes permitted whatever they are. */
  allow: readonly string[];
  /** Prefixes refused; of those here and in `allow` the longest that holds an address counts. No prefix may be in both. */
  deny?: readonly string[];
  /** The tunnel's own addresses; a prefix length ("10.77.0.1/24") is not looked at: the host's address is meant. */
  own: readonly string[];
  /** False: a gateway without egress, which lets peers reach only `own` and `allow`. Default true. */
  publicInternet?: boolean;
}

/** Verdict on a prefix. */
const ALLOW = { permits: true };
const DENY = { permits: false };

export interface EgressPolicy {
  /** 4 or 16 bytes. An IPv4-mapped address is judged as the IPv4 address that it carries. */
  permits(address: Uint8Array): boolean;
}

/** Throws RangeError on a malformed prefix or address. */
export function createEgressPolicy(options: EgressPolicyOptions): EgressPolicy {
  const verdicts = new AllowedIps<typeof ALLOW>();
  for (const prefix of options.allow) verdicts.add(prefix, ALLOW);
  const denied = (options.deny ?? []).map((prefix) => formatPrefix(parseAllowedIp(prefix)));
  for (const prefix of denied) verdicts.add(prefix, DENY);
  for (const text of options.own) {
    const address = parsePrefix(text);
    if (address === undefined) throw new RangeError(`own address "${text}" is neither an IPv4 nor an IPv6 address`);
    const own = formatPrefix({ ...address, length: address.bytes.length * 8 });
    if (!denied.includes(own)) verdicts.add(own, ALLOW);
  }
  const publicInternet = options.publicInternet ?? true;
  return {
    permits(address: Uint8Array): boolean {
      if (address.length !== 4 && address.length !== 16) throw new RangeError('address must have 4 or 16 bytes');
      const isMapped = address.length === 16 && startsWith(address, 0, MAPPED);
      const offset = isMapped ? 12 : 0;
      const addressBytes = isMapped || address.length === 4 ? 4 : 16;
      const verdict = verdicts.lookup(address, offset, addressBytes);
      return verdict?.permits ?? (publicInternet && !isSpecialPurpose(address, offset, addressBytes));
    },
  };
}

/** Without [egress] only the tunnel's own addresses are served. */
export function egressPolicyOf({ egress, interface: { addresses } }: Pick<TunnelConfig, 'egress' | 'interface'>): EgressPolicy {
  return createEgressPolicy({
    allow: egress?.allow ?? [],
    deny: egress?.deny ?? [],
    own: addresses,
    publicInternet: egress !== undefined,
  });
}
