/** Reads the configuration of a tunnel from TOML. Every refusal is one line: file, line, key, what is wrong, what to do. */

import { existsSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { publicKeyOf } from '../crypto/x25519.js';
import { formatIp, formatPrefix, parsePrefix } from '../tun/ip-prefix.js';
import {
  type EgressConfig,
  type ForwardConfig,
  isDialled,
  type MetricsConfig,
  type PathConfig,
  type PeerConfig,
  type RuleConfig,
  type TunnelConfig,
} from './config.js';
import { readCarriers } from './config-carriers.js';
import { ConfigError, type ConfigErrorCode, type ConfigWarning } from './config-error.js';
import { describe, missingHint, schemaFault } from './config-messages.js';
import {
  type ConfigDocument,
  configSchema,
  DEFAULT_MTU_BYTES,
  decodeKey,
  interfaceNameFault,
  PRIVATE_KEY_FAULT,
  parseEndpoint,
} from './config-schema.js';
import { autoPathsOf, networks, parseToml, pathConfigOf, peerConfigOf, placeOfKey, relayOf } from './config-values.js';
import { readDns, readKillSwitch, readLan } from './config-whole-host.js';
import { readForwards } from './gateway/forward-config.js';
import { peerDirectory, readPeerDirectory } from './peer-directory.js';
import { readRules } from './rule-reader.js';
import { parsePorts } from './rule-schema.js';
import type { KeyPath } from './toml-lines.js';

export { ConfigError, type ConfigErrorCode, type ConfigWarning } from './config-error.js';

export const CONFIG_DIRECTORY = '/etc/mptunnel';
/** As MAX_PATHS on the wire. */
const PATHS_MAX_COUNT = 32;
/** RFC 8200 (5). */
const IPV6_MINIMUM_MTU_BYTES = 1280;

/** The file that a user means: a path, or the NAME of /etc/mptunnel/NAME.toml. */
export function configPath(nameOrPath: string): string {
  if (nameOrPath.includes('/') || (existsSync(nameOrPath) && statSync(nameOrPath).isFile())) return resolve(nameOrPath);
  return resolve(CONFIG_DIRECTORY, nameOrPath.endsWith('.toml') ? nameOrPath : `${nameOrPath}.toml`);
}

/** Throws ConfigError. */
export function loadConfig(nameOrPath: string, warn: ConfigWarning = () => {}): TunnelConfig {
  const file = configPath(nameOrPath);
  const document = readConfigText(file, nameOrPath);
  const config = parseConfig(document, file, warn);
  return { ...config, peers: [...config.peers, ...readPeerDirectory(peerDirectory(file), config, warn)] };
}

function readConfigText(file: string, asked: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === 'ENOENT') {
      const hint = asked.includes('/') ? 'check the path' : `create it, or give the path of another file (as ./${basename(asked)})`;
      throw new ConfigError('not-found', `${file}: there is no such file: ${hint}`, { cause });
    }
    const reason = code === 'EACCES' ? 'permission denied: run as root' : code === 'EISDIR' ? 'is a folder: name a file in it' : code;
    throw new ConfigError('unreadable', `${file}: cannot be read: ${reason}`, { cause });
  }
}

/** `file` names the document in messages, gives the default interface name, and is the base of private_key_file. Throws ConfigError. */
export function parseConfig(document: string, file: string, warn: ConfigWarning = () => {}): TunnelConfig {
  return new ConfigReader(document, file, warn).read();
}

class ConfigReader {
  readonly #document: string;
  readonly #file: string;
  readonly #warn: ConfigWarning;

  constructor(document: string, file: string, warn: ConfigWarning) {
    this.#document = document;
    this.#file = file;
    this.#warn = warn;
  }

  read(): TunnelConfig {
    const raw = parseToml(this.#document, this.#file);
    const result = configSchema.safeParse(raw);
    if (!result.success) {
      const { code, path, what } = schemaFault(result.error.issues, raw);
      throw this.#error(code, path, what);
    }
    const document = result.data;
    const privateKey = this.#privateKey(document.interface);
    const name = this.#interfaceName(document.interface.name);
    this.#checkAddresses(document.interface);
    const peers = this.#peers(document, privateKey);
    this.#checkRoles(document, peers);
    const paths = this.#paths(document, name);
    const place = { name, paths, peers, file: this.#file, warn: this.#warn, error: this.#error.bind(this) };
    return {
      interface: {
        name,
        ...(document.interface.device === 'none' ? { device: 'none' as const } : {}),
        privateKey,
        addresses: document.interface.address.map((address) => formatPrefix(parsePrefix(address)!)),
        listenPort: document.interface.listen_port,
        ...(document.interface.relays === undefined ? {} : { relays: document.interface.relays.map(relayOf) }),
        ...(document.interface.endpoint === undefined ? {} : { publicEndpoint: document.interface.endpoint }),
        mtuBytes: document.interface.mtu ?? DEFAULT_MTU_BYTES,
        ...this.#nativeMptcp(document),
        ...readKillSwitch(document, place),
        ...readCarriers(document, place),
      },
      paths,
      ...(document.paths?.auto === true ? { autoPaths: autoPathsOf(document.paths, document.lan?.interfaces) } : {}),
      peers,
      egress: document.egress && this.#egress(document.egress),
      stream: {
        scheduler: document.stream?.scheduler ?? 'ecf',
        congestionControl: document.stream?.congestion_control ?? 'bbr',
        steer: document.stream?.steer ?? 'aggregate',
        headerCompression: document.stream?.header_compression ?? true,
      },
      ...(document.metrics === undefined ? {} : { metrics: this.#metrics(document.metrics) }),
      ...(document.forward === undefined ? {} : { forwards: this.#forwards(document) }),
      ...readDns(document, place),
      ...readLan(document, place),
      ...(document.rule === undefined ? {} : { rules: this.#rules(document.rule, document.paths?.auto === true ? [] : paths) }),
    };
  }

  #egress({ mode = 'socket', allow, deny, nat }: NonNullable<ConfigDocument['egress']>): EgressConfig {
    const config = {
      mode,
      allow: networks(allow),
      ...(deny === undefined ? {} : { deny: networks(deny) }),
      ...(nat === undefined ? {} : { nat }),
    };
    const both = config.allow.find((prefix) => config.deny?.includes(prefix));
    if (both !== undefined) throw this.#error('conflict', ['egress', 'deny'], `holds ${both}, as \`allow\` does: remove one of the two`);
    return config;
  }

  #metrics({ listen, socket, allow_remote: allowRemote = false }: NonNullable<ConfigDocument['metrics']>): MetricsConfig {
    if (listen === undefined && socket === undefined)
      throw this.#error(
        'missing-key',
        ['metrics', 'listen'],
        'is missing: give listen = "127.0.0.1:9150", or socket = "/run/mptunnel.metrics"',
      );
    const place = listen === undefined ? undefined : parseEndpoint(listen);
    if (place !== undefined && !isLoopback(place.host) && !allowRemote)
      throw this.#error(
        'conflict',
        ['metrics', 'listen'],
        `"${listen}" can be read by other hosts: use 127.0.0.1, or add allow_remote = true`,
      );
    return { listen: place, socketPath: socket === undefined ? undefined : resolve(dirname(this.#file), socket) };
  }

  #privateKey(table: ConfigDocument['interface']): Uint8Array {
    const { private_key: inline, private_key_file: keyFile } = table;
    if (inline !== undefined && keyFile !== undefined)
      throw this.#error('conflict', ['interface', 'private_key_file'], 'stands beside private_key: keep one of the two');
    if (keyFile !== undefined) return this.#privateKeyFromFile(keyFile);
    if (inline === undefined)
      throw this.#error(
        'missing-key',
        ['interface', 'private_key'],
        'is missing: make one with `mptunnel genkey` (or name private_key_file)',
      );
    this.#warnIfWorldReadable(this.#file);
    return decodeKey(inline)!;
  }

  #privateKeyFromFile(keyFile: string): Uint8Array {
    const path = resolve(dirname(this.#file), keyFile);
    const where: KeyPath = ['interface', 'private_key_file'];
    let content: string;
    try {
      content = readFileSync(path, 'utf8');
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code;
      if (code === 'ENOENT') throw this.#error('key-file', where, `${path} does not exist: make it with \`mptunnel genkey > ${path}\``);
      throw this.#error('key-file', where, `${path} cannot be read (${code}): run as root, or check its owner`);
    }
    const key = decodeKey(content);
    if (key === undefined) throw this.#error('key-file', where, `${path} ${PRIVATE_KEY_FAULT}`);
    this.#warnIfWorldReadable(path);
    return key;
  }

  #warnIfWorldReadable(path: string): void {
    const mode = statSync(path, { throwIfNoEntry: false })?.mode ?? 0;
    if ((mode & 0o004) !== 0) this.#warn(`${path}: everybody on this machine can read this private key: run \`chmod 600 ${path}\``);
  }

  #interfaceName(written: string | undefined): string {
    if (written !== undefined) return written;
    const name = basename(this.#file).replace(/\.toml$/, '');
    const fault = interfaceNameFault(name);
    if (fault !== undefined)
      throw this.#error('missing-key', ['interface', 'name'], `is missing, and the file's name cannot serve: ${fault}`);
    return name;
  }

  #checkAddresses(table: ConfigDocument['interface']): void {
    if (table.address.length === 0)
      throw this.#error('bad-value', ['interface', 'address'], 'is empty: give at least one, as address = ["10.77.0.2/24"]');
    const hasIpv6 = table.address.some((address) => parsePrefix(address)!.family === 6);
    if (hasIpv6 && table.mtu !== undefined && table.mtu < IPV6_MINIMUM_MTU_BYTES)
      throw this.#error(
        'bad-value',
        ['interface', 'mtu'],
        `must be at least ${IPV6_MINIMUM_MTU_BYTES} for the IPv6 address in \`address\``,
      );
    this.#checkUnique(
      table.address,
      (address) => formatPrefix(parsePrefix(address)!),
      (_, address) => this.#error('conflict', ['interface', 'address'], `holds ${address} twice: remove one`),
    );
  }

  #nativeMptcp(document: ConfigDocument): { nativeMptcpAddresses?: readonly string[] } {
    const { native_mptcp: wanted = false, native_mptcp_addresses: written = [], address: own } = document.interface;
    const where: KeyPath = ['interface', wanted ? 'native_mptcp' : 'native_mptcp_addresses'];
    if (!wanted && written.length === 0) return {};
    if (!wanted) throw this.#error('conflict', where, 'has no effect: add native_mptcp = true, or remove it');
    if (!hasEndpoint(document) && !dialsByRelay(document))
      throw this.#error('conflict', where, 'is for clients: a server has no paths of its own to give addresses to');
    if (written.length === 0)
      throw this.#error(
        'missing-key',
        ['interface', 'native_mptcp_addresses'],
        "is missing: give one address for each path beyond the first, and list them in this client's allowed_ips at the server",
      );
    const addresses = written.map((text) => formatIp(parsePrefix(text)!.bytes));
    const taken = new Set(own.map((text) => formatIp(parsePrefix(text)!.bytes)));
    for (const address of addresses) {
      if (taken.has(address))
        throw this.#error('conflict', ['interface', 'native_mptcp_addresses'], `holds ${address}, which is given already: remove it`);
      taken.add(address);
    }
    return { nativeMptcpAddresses: addresses };
  }

  #peers(document: ConfigDocument, privateKey: Uint8Array): PeerConfig[] {
    const tables = document.peer ?? [];
    // A server may wait for the first that it invites.
    if (tables.length === 0 && !waits(document))
      throw this.#error('missing-key', ['peer'], `is ${document.peer === undefined ? 'missing' : 'empty'}${missingHint(['peer'])}`);
    const own = Buffer.from(publicKeyOf(privateKey)).toString('base64');
    const peers = tables.map((table, index) => {
      if (table.public_key.trim() === own)
        throw this.#error('conflict', ['peer', index, 'public_key'], 'is the public key of this side: put the key of the other side here');
      const byRelay = table.endpoint === undefined && dialsByRelay(document);
      return { ...peerConfigOf(table, table.name ?? `peer${index + 1}`), ...(byRelay ? { dialledByRelay: true as const } : {}) };
    });
    this.#checkForwardsFrom(peers);
    this.#checkUnique(
      tables,
      (table) => table.public_key.trim(),
      (index) =>
        this.#error('conflict', ['peer', index, 'public_key'], 'is that of another [[peer]] too: join the two, or correct one key'),
    );
    this.#checkUnique(
      peers,
      (peer) => peer.name,
      (index, peer) => this.#error('conflict', ['peer', index, 'name'], `"${peer.name}" is taken by another [[peer]]: choose another`),
    );
    this.#checkAllowedIps(peers);
    return peers;
  }

  /** Only the side that dials can know where a stranger's packets must come from, and answers can go to one place alone. */
  #checkForwardsFrom(peers: readonly PeerConfig[]): void {
    const accepting = peers.flatMap((peer, index) => (peer.acceptForwards === true ? [{ peer, index }] : []));
    for (const { peer, index } of accepting)
      if (!isDialled(peer))
        throw this.#error('conflict', ['peer', index, 'accept_forwards'], 'is for a client: this peer has no endpoint, so it dials us');
    const [first, second] = accepting;
    const defaultOwner = peers.find((peer) => peer !== first?.peer && peer.allowedIps.some((prefix) => prefix.endsWith('/0')));
    if (first !== undefined && defaultOwner !== undefined)
      throw this.#error(
        'conflict',
        ['peer', first.index, 'accept_forwards'],
        `does not go with the default route of peer "${defaultOwner.name}": answers would go there`,
      );
    if (second !== undefined)
      throw this.#error(
        'conflict',
        ['peer', second.index, 'accept_forwards'],
        'is set for another [[peer]] too: answers can go to one gateway',
      );
  }

  #checkAllowedIps(peers: readonly PeerConfig[]): void {
    const owners = new Map<string, PeerConfig>();
    peers.forEach((peer, index) => {
      if (peer.allowedIps.length === 0)
        this.#warn(`${this.#file}: peer "${peer.name}" has no allowed_ips: nothing is routed to it, nor accepted from it`);
      for (const prefix of peer.allowedIps) {
        const owner = owners.get(prefix);
        if (owner !== undefined && owner !== peer)
          throw this.#error(
            'conflict',
            ['peer', index, 'allowed_ips'],
            `${prefix} belongs to peer "${owner.name}" already: a prefix has one peer`,
          );
        owners.set(prefix, peer);
      }
    });
  }

  #checkRoles(document: ConfigDocument, peers: readonly PeerConfig[]): void {
    const isClient = peers.some(isDialled);
    if (!waits(document) && !isClient)
      throw this.#error(
        'missing-key',
        ['interface', 'listen_port'],
        'is missing and no [[peer]] has an endpoint: a server needs listen_port (or relays), a client needs endpoint (or a [[path]] with via)',
      );
    if (!isClient && document.path !== undefined && document.path.length > 0)
      this.#warn(`${this.#file}: [[path]] has no effect: no [[peer]] has an endpoint, and a server answers each path where it comes from`);
  }

  #paths(document: ConfigDocument, tunnelName: string): PathConfig[] {
    const tables = document.path ?? [];
    if (tables.length > PATHS_MAX_COUNT)
      throw this.#error('bad-value', ['path', PATHS_MAX_COUNT], `is one more than the ${PATHS_MAX_COUNT} that a tunnel can have`);
    this.#checkUnique(
      tables,
      (table) => table.name,
      (index, table) => this.#error('conflict', ['path', index, 'name'], `"${table.name}" is taken by another [[path]]: choose another`),
    );
    this.#checkUnique(
      tables,
      (table) => `${table.interface ?? ''} ${table.address ?? ''} ${table.via ?? ''}`,
      (index, table) =>
        this.#error(
          'conflict',
          ['path', index],
          `"${table.name}" leaves by the same interface and address as another [[path]]: each needs an uplink of its own`,
        ),
    );
    tables.forEach((table, index) => {
      if (table.interface === tunnelName)
        throw this.#error(
          'conflict',
          ['path', index, 'interface'],
          `"${tunnelName}" is the tunnel itself: name the interface of an uplink`,
        );
    });
    const isClient = hasEndpoint(document) || dialsByRelay(document);
    if (document.paths?.auto === true) return this.#overridesOfAuto(tables);
    if (tables.length === 0 && isClient) return [{ name: 'default', interface: undefined, address: undefined }];
    return tables.map(pathConfigOf);
  }

  /** Beside automatic paths an entry says more of one interface. */
  #overridesOfAuto(tables: NonNullable<ConfigDocument['path']>): PathConfig[] {
    tables.forEach((table, index) => {
      if (table.interface !== undefined || table.address !== undefined) return;
      throw this.#error('missing-key', ['path', index, 'interface'], 'is missing: beside paths = "auto" an entry is about one interface');
    });
    return tables.map(pathConfigOf);
  }

  #forwards(document: ConfigDocument): ForwardConfig[] {
    return readForwards(document.forward ?? [], {
      listenPort: document.interface.listen_port,
      parsePorts,
      fault: (code, path, what) => this.#error(code, path, what),
      warn: (message) => this.#warn(`${this.#file}: ${message}`),
    });
  }

  #rules(tables: NonNullable<ConfigDocument['rule']>, paths: readonly PathConfig[]): RuleConfig[] {
    return readRules(tables, {
      paths,
      networks,
      error: (code, path, what) => this.#error(code, path, what),
      warn: (message) => this.#warn(`${this.#file}: ${message}`),
    });
  }

  #checkUnique<T>(items: readonly T[], key: (item: T) => string, error: (index: number, item: T) => ConfigError): void {
    const seen = new Set<string>();
    items.forEach((item, index) => {
      if (seen.has(key(item))) throw error(index, item);
      seen.add(key(item));
    });
  }

  #error(code: ConfigErrorCode, path: KeyPath, what: string): ConfigError {
    return new ConfigError(code, `${placeOfKey(this.#document, this.#file, path)}: ${describe(path)} ${what}`);
  }
}

function hasEndpoint({ peer }: ConfigDocument): boolean {
  return (peer ?? []).some(({ endpoint }) => endpoint !== undefined);
}

/** Peers come to it. */
function waits({ interface: { listen_port: port, relays = [] } }: ConfigDocument): boolean {
  return port !== undefined || relays.length > 0;
}

/** It dials peers without an endpoint too: nobody comes to it, and there is a way to them. */
function dialsByRelay(document: ConfigDocument): boolean {
  return !waits(document) && (document.path ?? []).some(({ via }) => via !== undefined);
}

function isLoopback(host: string): boolean {
  return host === '::1' || /^127\./.test(host);
}
