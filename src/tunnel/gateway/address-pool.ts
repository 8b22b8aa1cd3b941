/** Addresses for clients, of the prefixes that the server's own addresses lie in. Pure: who has what comes in as text. */

import { formatIp, type IpPrefix, networkOf, parsePrefix } from '../../tun/ip-prefix.js';
import { AllowedIps } from './allowed-ips.js';

/** Of an IPv6 prefix so many hosts are given out, and of a large IPv4 one. */
const HOSTS_MAX_COUNT = 1 << 20;

const TAKEN = {};

/**
 * One address of each network: "10.77.0.2/32", "fd77::2/128". `own`: the server's, with their prefix lengths. `taken`: prefixes that peers or invites have, or that
 * are kept for somebody. undefined: a network is full, or has room for none but the server.
 */
export function allocateAddresses(own: readonly string[], taken: readonly string[]): string[] | undefined {
  const used = new AllowedIps<typeof TAKEN>();
  for (const prefix of [...own.map((address) => address.split('/')[0] ?? ''), ...taken]) used.add(prefix, TAKEN);
  const addresses: string[] = [];
  let host = 1;
  for (const text of own) {
    const prefix = parsePrefix(text)!;
    const network = networkOf(prefix);
    // The same number in all of them, where it is free.
    const found = firstFree(network, host, used) ?? firstFree(network, 1, used);
    if (found === undefined) return undefined;
    host = found;
    addresses.push(`${formatIp(hostOf(network, found))}/${network.bytes.length * 8}`);
  }
  return addresses;
}

function firstFree(network: IpPrefix, from: number, used: AllowedIps<typeof TAKEN>): number | undefined {
  const hostBits = network.bytes.length * 8 - network.length;
  // The first is the network itself (the anycast of routers in IPv6), the last of IPv4 the broadcast address.
  const last = Math.min(HOSTS_MAX_COUNT, 2 ** Math.min(hostBits, 30) - (network.family === 4 ? 2 : 1));
  for (let host = from; host <= last; host++) {
    if (used.lookup(hostOf(network, host), 0, network.family === 4 ? 4 : 16) === undefined) return host;
  }
  return undefined;
}

function hostOf(network: IpPrefix, host: number): Uint8Array {
  const bytes = Uint8Array.from(network.bytes);
  const view = new DataView(bytes.buffer);
  const at = bytes.length - 4;
  view.setUint32(at, (view.getUint32(at) | host) >>> 0);
  return bytes;
}
