/** What an invite says of the server: where it is, and what may be sent through it. */

import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { formatPrefix, networkOf, parseIp, parsePrefix } from '../../tun/ip-prefix.js';
import type { TunnelConfig } from '../config.js';
import { parseEndpoint } from '../config-schema.js';
import { formatEndpoint } from '../path/address-record.js';
import { TunnelError } from '../tunnel-api.js';
import { type AddressClass, classifyAddress } from './egress-policy.js';

const ENDPOINTS_MAX_COUNT = 4;

export interface ServerPlace {
  readonly endpoints: readonly string[];
  readonly warning: string;
}

/** `written`: "vpn.example.org", "203.0.113.1:5180"; undefined: the host's own addresses, those of the public Internet alone where there are such. */
export function serverEndpoints(written: string | undefined, port: number, tunnelDevice: string): ServerPlace {
  if (written !== undefined) {
    const endpoint = parseEndpoint(written) === undefined ? formatEndpoint(written, port) : written;
    if (parseEndpoint(endpoint) === undefined)
      throw new TunnelError(
        'bad-endpoint',
        `"${written}" is no address that clients could reach: write it as vpn.example.org or 203.0.113.1:5180`,
      );
    return { endpoints: [endpoint], warning: '' };
  }
  const own = hostAddresses(tunnelDevice);
  const open = own.filter((address) => kindOf(address) === 'public');
  const usable = (open.length > 0 ? open : own).slice(0, ENDPOINTS_MAX_COUNT);
  if (usable.length === 0)
    throw new TunnelError(
      'no-endpoint',
      'this host has no address that clients could reach: give --endpoint HOST, or endpoint in [interface]',
    );
  return {
    endpoints: usable.map((address) => formatEndpoint(address, port)),
    warning:
      open.length > 0 ? '' : `this host has no public address: ${usable.join(', ')} reaches it only from near; else give --endpoint HOST`,
  };
}

/** Everything, where the server leads to the Internet (by IPv6 if it has that); else the tunnel's own networks and what is allowed. */
export function defaultRoutes(config: TunnelConfig): string[] {
  const networks = config.interface.addresses.map((address) => networkOf(parsePrefix(address)!));
  const { allow: allowed = [], deny: denied = [] } = config.egress ?? {};
  if (config.egress === undefined) return networks.map(formatPrefix);
  const isWhole = (family: 4 | 6): boolean =>
    !denied.includes(family === 4 ? '0.0.0.0/0' : '::/0') &&
    networks.some((network) => network.family === family) &&
    (family === 4 || hostAddresses(config.interface.name).some(isGlobalIpv6));
  const whole = ([4, 6] as const).filter(isWhole);
  const others = [...networks.map(formatPrefix), ...allowed].filter((prefix) => !whole.includes(parsePrefix(prefix)!.family));
  return [...new Set([...whole.map((family) => (family === 4 ? '0.0.0.0/0' : '::/0')), ...others])];
}

/** IPv4 first. */
function hostAddresses(tunnelDevice: string): string[] {
  return Object.entries(networkInterfaces())
    .filter(([name]) => name !== tunnelDevice)
    .flatMap(([, addresses]) => addresses ?? [])
    .map(({ address }) => address)
    .filter((address) => {
      const kind = kindOf(address);
      return kind !== undefined && kind !== 'loopback' && kind !== 'link-local' && kind !== 'unspecified';
    })
    .sort((a, b) => isIP(a) - isIP(b));
}

function kindOf(address: string): AddressClass | undefined {
  const bytes = parseIp(address);
  return bytes === undefined ? undefined : classifyAddress(bytes, 0, bytes.length === 4 ? 4 : 16);
}

/** 2000::/3 */
function isGlobalIpv6(address: string): boolean {
  return isIP(address) === 6 && ((parseIp(address)?.[0] ?? 0) & 0xe0) === 0x20;
}
