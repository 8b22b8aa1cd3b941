/**
 * Peers beside the configuration: NAME.peers.d/PEER.toml, each file the keys of one [[peer]], named by the file. Enrolment writes them, an administrator may
 * too. One file a peer: adding or removing one touches no other, and a thousand of them are no burden.
 */

import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { formatKey } from '../crypto/keys.js';
import { publicKeyOf } from '../crypto/x25519.js';
import { writePrivateFile } from '../tun/private-file.js';
import type { PeerConfig, TunnelConfig } from './config.js';
import { ConfigError, type ConfigErrorCode, type ConfigWarning } from './config-error.js';
import { schemaFault } from './config-messages.js';
import { NAME_MAX_CHARACTERS, peerSchema } from './config-schema.js';
import { besideConfig, parseToml, peerConfigOf, placeOfKey } from './config-values.js';
import { formatRate } from './path-policy.js';
import type { KeyPath } from './toml-lines.js';

const EXTENSION = '.toml';
const PEER_NAME = /^\w[\w.-]*$/;

/** `configFile` is absolute: /etc/mptunnel/home.toml -> /etc/mptunnel/home.peers.d */
export function peerDirectory(configFile: string): string {
  return besideConfig(configFile, 'peers.d');
}

/** undefined: `name` can be a peer's. */
export function peerNameFault(name: string): string | undefined {
  if (name.length > NAME_MAX_CHARACTERS) return `"${name}" is longer than ${NAME_MAX_CHARACTERS} characters`;
  return PEER_NAME.test(name)
    ? undefined
    : `"${name}" is no name of a peer: use letters, digits, "-", "_" and ".", and begin with a letter or digit`;
}

/** Its peers, by name. Each must fit those of `config` and one another. A folder that is not there holds none. Throws ConfigError. */
export function readPeerDirectory(directory: string, config: TunnelConfig, warn: ConfigWarning = () => {}): PeerConfig[] {
  const taken = new TakenByPeers(config);
  return peerFiles(directory).map((file) => {
    const reader = new PeerFile(join(directory, file), file.slice(0, -EXTENSION.length));
    const peer = reader.read(warn);
    taken.add(peer, reader);
    return peer;
  });
}

function peerFiles(directory: string): string[] {
  try {
    return readdirSync(directory)
      .filter((file) => file.endsWith(EXTENSION) && !file.startsWith('.'))
      .sort();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return [];
    throw new ConfigError('unreadable', `${directory}: cannot be read: ${code === 'EACCES' ? 'permission denied: run as root' : code}`, {
      cause,
    });
  }
}

class PeerFile {
  readonly #file: string;
  readonly #name: string;
  #document = '';

  constructor(file: string, name: string) {
    this.#file = file;
    this.#name = name;
  }

  read(warn: ConfigWarning): PeerConfig {
    const nameFault = peerNameFault(this.#name);
    if (nameFault !== undefined) throw new ConfigError('bad-value', `${this.#file}: the file's name is the peer's, but ${nameFault}`);
    const raw = this.#parse();
    const result = peerSchema.safeParse(raw);
    if (!result.success) {
      // In the words of the main file, where peers are tables of a list.
      const issues = result.error.issues.map((issue) => ({ ...issue, path: ['peer', 0, ...issue.path] }));
      const { code, path, what } = schemaFault(issues, { peer: [raw] });
      throw this.error(code, path.slice(2), what);
    }
    const { name, accept_forwards: acceptForwards } = result.data;
    if (acceptForwards === true)
      throw this.error('conflict', ['accept_forwards'], "is for the [[peer]] of a client's own file: its gateway");
    if (name !== undefined && name !== this.#name)
      throw this.error('conflict', ['name'], `is "${name}", but the file's name says "${this.#name}": leave the key out`);
    const peer = peerConfigOf(result.data, this.#name);
    if (peer.allowedIps.length === 0) warn(`${this.#file}: has no allowed_ips: nothing is routed to this peer, nor accepted from it`);
    return peer;
  }

  error(code: ConfigErrorCode, path: KeyPath, what: string): ConfigError {
    return new ConfigError(code, `${placeOfKey(this.#document, this.#file, path)}: ${path.join('.')} ${what}`);
  }

  #parse(): unknown {
    try {
      this.#document = readFileSync(this.#file, 'utf8');
    } catch (cause) {
      throw new ConfigError('unreadable', `${this.#file}: cannot be read: ${(cause as NodeJS.ErrnoException).code}`, { cause });
    }
    return parseToml(this.#document, this.#file);
  }
}

/** What may not be given twice. */
class TakenByPeers {
  readonly #ownKey: string;
  readonly #names = new Set<string>();
  readonly #ownerOfKey = new Map<string, string>();
  readonly #ownerOfPrefix = new Map<string, string>();

  constructor(config: TunnelConfig) {
    this.#ownKey = formatKey(publicKeyOf(config.interface.privateKey));
    for (const peer of config.peers) this.#note(peer);
  }

  add(peer: PeerConfig, file: PeerFile): void {
    const key = formatKey(peer.publicKey);
    if (this.#names.has(peer.name)) throw file.error('conflict', [], `the name "${peer.name}" is that of another peer: rename the file`);
    if (key === this.#ownKey)
      throw file.error('conflict', ['public_key'], 'is the public key of this side: put that of the other side here');
    const holder = this.#ownerOfKey.get(key);
    if (holder !== undefined) throw file.error('conflict', ['public_key'], `is that of peer "${holder}" too: remove one of the two`);
    for (const prefix of peer.allowedIps) {
      const owner = this.#ownerOfPrefix.get(prefix);
      if (owner !== undefined)
        throw file.error('conflict', ['allowed_ips'], `${prefix} belongs to peer "${owner}" already: a prefix has one peer`);
    }
    this.#note(peer);
  }

  #note(peer: PeerConfig): void {
    this.#names.add(peer.name);
    this.#ownerOfKey.set(formatKey(peer.publicKey), peer.name);
    for (const prefix of peer.allowedIps) this.#ownerOfPrefix.set(prefix, peer.name);
  }
}

/** The text of a peer's file. `comment` is its first line. */
export function formatPeerFile(peer: PeerConfig, comment: string): string {
  return [
    `# ${comment.replaceAll(/[\r\n]+/g, ' ')}`,
    `public_key = "${formatKey(peer.publicKey)}"`,
    ...(peer.presharedKey === undefined ? [] : [`preshared_key = "${formatKey(peer.presharedKey)}"`]),
    ...(peer.endpoint === undefined ? [] : [`endpoint = "${peer.endpoint}"`]),
    `allowed_ips = ${JSON.stringify(peer.allowedIps)}`,
    ...(peer.limitUpBytesPerSec === undefined ? [] : [`limit_up = "${formatRate(peer.limitUpBytesPerSec)}"`]),
    ...(peer.limitDownBytesPerSec === undefined ? [] : [`limit_down = "${formatRate(peer.limitDownBytesPerSec)}"`]),
    '',
  ].join('\n');
}

export function writePeerFile(directory: string, peer: PeerConfig, comment: string): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  writePrivateFile(join(directory, `${peer.name}${EXTENSION}`), formatPeerFile(peer, comment));
}

/** False: there is none of that name. */
export function removePeerFile(directory: string, name: string): boolean {
  try {
    rmSync(join(directory, `${name}${EXTENSION}`));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
