/** What is written in configuration files, whichever: where a fault lies, and what the values mean. */

import { parse, TomlError } from 'smol-toml';
import type { z } from 'zod';
import { formatPrefix, networkOf, parsePrefix } from '../tun/ip-prefix.js';
import type { AutoPathsConfig, PathConfig, PeerConfig } from './config.js';
import { ConfigError } from './config-error.js';
import { type ConfigDocument, decodeKey, type PathTable, type peerSchema } from './config-schema.js';
import { parseRate, policyOf } from './path-policy.js';
import { parseRelay, type RelayConfig } from './relay/relay-config.js';
import { type KeyPath, lineOfKey } from './toml-lines.js';

/** Modems for mobile broadband, as the kernel and systemd name them. */
const METERED_INTERFACES = ['ww*'];

/** `file` names the document in messages. Throws ConfigError `syntax`, with the place. */
export function parseToml(document: string, file: string): unknown {
  try {
    return parse(document);
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause;
    const reason = (cause.message.split('\n')[0] ?? '').replace('Invalid TOML document: ', '');
    throw new ConfigError('syntax', `${file}:${cause.line}: is not valid TOML: ${reason} (column ${cause.column})`, { cause });
  }
}

/** "home.toml:12", or the file alone when the key is not found in it. */
export function placeOfKey(document: string, file: string, path: KeyPath): string {
  const line = lineOfKey(document, path);
  return line === undefined ? file : `${file}:${line}`;
}

/** /etc/mptunnel/home.toml, "peers.d" -> /etc/mptunnel/home.peers.d */
export function besideConfig(configFile: string, extension: string): string {
  return `${configFile.replace(/\.toml$/, '')}.${extension}`;
}

/** What a [[path]] table, or a request to add a path, means. */
export function pathConfigOf({ name, interface: device, address, via, carrier, ...policy }: PathTable): PathConfig {
  return {
    name,
    interface: device,
    address,
    ...(via === undefined ? {} : { via: relayOf(via) }),
    ...(carrier === undefined ? {} : { carrier }),
    ...policyOf(policy),
  };
}

/** Its text was checked. */
export function relayOf(text: string): RelayConfig {
  return parseRelay(text, () => true)!;
}

/** What [paths] with auto = true means. */
export function autoPathsOf(table: NonNullable<ConfigDocument['paths']>, lanInterfaces: readonly string[] = []): AutoPathsConfig {
  const { include, exclude = [], metered, metered_interfaces: interfaces } = table;
  // Who says which are metered wants something done about it.
  const use = metered ?? (interfaces === undefined ? undefined : 'backup');
  return {
    include,
    exclude: [...exclude, ...lanInterfaces],
    ...(use === undefined ? {} : { metered: use, meteredInterfaces: interfaces ?? METERED_INTERFACES }),
  };
}

/** What a [[peer]] table, or the file of a peer, means. Its `name` may be left out there: the caller knows it. */
export function peerConfigOf(table: z.infer<typeof peerSchema>, name: string): PeerConfig {
  return {
    name,
    publicKey: decodeKey(table.public_key)!,
    presharedKey: table.preshared_key === undefined ? undefined : decodeKey(table.preshared_key),
    endpoint: table.endpoint,
    allowedIps: networks(table.allowed_ips),
    ...(table.quic_port === undefined ? {} : { quicPort: table.quic_port }),
    ...(table.webtransport_port === undefined ? {} : { webtransportPort: table.webtransport_port }),
    ...(table.server_name === undefined ? {} : { serverName: table.server_name }),
    ...(table.certificate_sha256 === undefined
      ? {}
      : { certificateSha256: Uint8Array.from(Buffer.from(table.certificate_sha256.replaceAll(':', ''), 'hex')) }),
    ...(table.accept_forwards === undefined ? {} : { acceptForwards: table.accept_forwards }),
    ...limit('limitUpBytesPerSec', table.limit_up),
    ...limit('limitDownBytesPerSec', table.limit_down),
  };
}

/** "off" is no limit. Its text was checked. */
function limit<K extends string>(key: K, rate: string | undefined): { [P in K]?: number } {
  const bytesPerSec = rate === undefined ? 0 : parseRate(rate)!;
  return (bytesPerSec === 0 ? {} : { [key]: bytesPerSec }) as { [P in K]?: number };
}

/** Host bits cleared, each once. */
export function networks(prefixes: readonly string[] | undefined): string[] {
  return [...new Set((prefixes ?? []).map((prefix) => formatPrefix(networkOf(parsePrefix(prefix)!))))];
}
