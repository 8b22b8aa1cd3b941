/** What a configuration says of the host around the tunnel: its DNS, its kill switch, the hosts behind it. */

import { type IpPrefix, parsePrefix, prefixContains } from '../tun/ip-prefix.js';
import { NAMESERVERS_MAX_COUNT } from '../tun/resolv-conf.js';
import { type DnsConfig, type InterfaceConfig, isDialled, type LanConfig, type PathConfig, type PeerConfig } from './config.js';
import type { ConfigError, ConfigErrorCode, ConfigWarning } from './config-error.js';
import type { ConfigDocument } from './config-schema.js';
import { networks } from './config-values.js';
import type { KeyPath } from './toml-lines.js';

/** What is known of the document already, and how to complain. */
export interface ConfigPlace {
  readonly name: string;
  readonly paths: readonly PathConfig[];
  readonly peers: readonly PeerConfig[];
  readonly file: string;
  readonly warn: ConfigWarning;
  readonly error: (code: ConfigErrorCode, path: KeyPath, what: string) => ConfigError;
}

/** Throws ConfigError. */
export function readKillSwitch({ interface: table }: ConfigDocument, place: ConfigPlace): Pick<InterfaceConfig, 'killSwitch'> {
  const { kill_switch: wanted = false, kill_switch_allow: allow } = table;
  if (!wanted) {
    if (allow !== undefined) place.warn(`${place.file}: kill_switch_allow has no effect without kill_switch = true`);
    return {};
  }
  if (!place.peers.some(isDialled))
    throw place.error('conflict', ['interface', 'kill_switch'], 'is for a client: no [[peer]] has an endpoint here');
  return { killSwitch: { allow: networks(allow) } };
}

/** Throws ConfigError. */
export function readDns(
  { dns: table, interface: { address, kill_switch: killSwitch } }: ConfigDocument,
  place: ConfigPlace,
): { dns?: DnsConfig } {
  if (table === undefined) return {};
  const servers = [...new Set(table.servers)];
  if (servers.length === 0)
    throw place.error('bad-value', ['dns', 'servers'], 'is empty: name one, as servers = ["10.77.0.1"], or leave [dns] out');
  if (servers.length > NAMESERVERS_MAX_COUNT)
    throw place.error(
      'bad-value',
      ['dns', 'servers', NAMESERVERS_MAX_COUNT],
      `is one too many: resolvers ask ${NAMESERVERS_MAX_COUNT} at most`,
    );
  const inside = [...address, ...place.peers.flatMap(({ allowedIps }) => allowedIps)].map((text) => parsePrefix(text)!);
  const reaches = (server: IpPrefix): boolean => inside.some((prefix) => prefixContains(prefix, server));
  for (const server of servers) {
    if (reaches(parsePrefix(server)!)) continue;
    const consequence =
      killSwitch === true ? 'the kill switch may refuse what is asked there' : 'what is asked there goes beside the tunnel';
    place.warn(`${place.file}: DNS server ${server} is in no allowed_ips: ${consequence}`);
  }
  return { dns: { servers, search: table.search ?? [] } };
}

/** Throws ConfigError. */
export function readLan({ lan: table }: ConfigDocument, place: ConfigPlace): { lan?: LanConfig } {
  if (table === undefined) return {};
  if (table.interfaces.length === 0)
    throw place.error('bad-value', ['lan', 'interfaces'], 'is empty: name the interface of your network, as interfaces = ["br0"]');
  table.interfaces.forEach((name, index) => {
    const where: KeyPath = ['lan', 'interfaces', index];
    if (name === place.name) throw place.error('conflict', where, `"${name}" is the tunnel itself: name the interface of your network`);
    const path = place.paths.find((one) => one.interface === name);
    if (path !== undefined) throw place.error('conflict', where, `"${name}" is the uplink of path "${path.name}": it cannot be both`);
  });
  return { lan: { interfaces: [...new Set(table.interfaces)], masquerade: table.masquerade ?? false } };
}
