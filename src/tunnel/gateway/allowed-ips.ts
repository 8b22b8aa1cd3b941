/**
 * Which peer a destination belongs to, and which sources a peer may use: WireGuard's cryptokey routing. One table, longest prefix first, on raw
 * address bytes: a path-compressed binary trie per IP version, as deep as prefixes nest and not as addresses are long.
 */

import { formatPrefix, type IpPrefix, networkOf, parsePrefix } from '../../tun/ip-prefix.js';

/** "10.0.0.0/8", "fd77::1". Host bits are cleared, as `wg` does. Throws RangeError that says what is wrong. */
export function parseAllowedIp(text: string): IpPrefix {
  const prefix = parsePrefix(text);
  if (prefix !== undefined) return networkOf(prefix);
  const length = /^[^/]+\/(.*)$/.exec(text)?.[1];
  const address = text.split('/')[0] ?? '';
  if (length !== undefined && parsePrefix(address) !== undefined) {
    throw new RangeError(`"${text}": the prefix length must be a number from 0 to ${address.includes(':') ? 128 : 32}`);
  }
  throw new RangeError(`"${text}" is neither an IPv4 nor an IPv6 prefix; write it like "10.0.0.0/8" or "fd00::/8"`);
}

interface TrieNode<T> {
  readonly bytes: Uint8Array;
  readonly length: number;
  /** undefined: only a fork. */
  value: T | undefined;
  zero: TrieNode<T> | undefined;
  one: TrieNode<T> | undefined;
}

export class AllowedIps<T extends object> {
  #v4: TrieNode<T> | undefined;
  #v6: TrieNode<T> | undefined;
  readonly #owners = new Map<string, T>();
  readonly #prefixes = new Map<T, IpPrefix[]>();

  /** Throws RangeError on a malformed prefix, or one that another value has already. */
  add(text: string, value: T): void {
    const prefix = parseAllowedIp(text);
    const key = formatPrefix(prefix);
    const owner = this.#owners.get(key);
    if (owner === value) return;
    if (owner !== undefined) throw new RangeError(`"${text}" is routed to two peers; give it to one of them`);
    this.#owners.set(key, value);
    const prefixes = this.#prefixes.get(value);
    if (prefixes === undefined) this.#prefixes.set(value, [prefix]);
    else prefixes.push(prefix);
    if (prefix.family === 4) this.#v4 = inserted(this.#v4, prefix, value);
    else this.#v6 = inserted(this.#v6, prefix, value);
  }

  /** Takes away every prefix of `value`; costs what they are deep, not how many there are of others. */
  remove(value: T): void {
    for (const prefix of this.#prefixes.get(value) ?? []) {
      this.#owners.delete(formatPrefix(prefix));
      if (prefix.family === 4) this.#v4 = removed(this.#v4, prefix);
      else this.#v6 = removed(this.#v6, prefix);
    }
    this.#prefixes.delete(value);
  }

  get size(): number {
    return this.#owners.size;
  }

  /** Whose longest prefix contains the address at bytes[offset .. offset + addressBytes). */
  lookup(bytes: Uint8Array, offset: number, addressBytes: 4 | 16): T | undefined {
    let node = addressBytes === 4 ? this.#v4 : this.#v6;
    const addressBits = addressBytes << 3;
    let best: T | undefined;
    while (node !== undefined && contains(node, bytes, offset)) {
      if (node.value !== undefined) best = node.value;
      if (node.length === addressBits) break;
      node = bitAt(bytes, offset, node.length) === 0 ? node.zero : node.one;
    }
    return best;
  }

  /** True when this source address, in a packet that came from `value`, leads back to it. */
  isAllowedSource(value: T, bytes: Uint8Array, offset: number, addressBytes: 4 | 16): boolean {
    return this.lookup(bytes, offset, addressBytes) === value;
  }
}

/** The trie below `node` with the prefix in it. */
function inserted<T>(node: TrieNode<T> | undefined, prefix: IpPrefix, value: T): TrieNode<T> {
  const leaf: TrieNode<T> = { bytes: prefix.bytes, length: prefix.length, value, zero: undefined, one: undefined };
  if (node === undefined) return leaf;
  const common = commonBits(node.bytes, prefix.bytes, Math.min(node.length, prefix.length));
  if (common === node.length) {
    if (prefix.length === node.length) node.value = value;
    else setChild(node, prefix.bytes, inserted(childFor(node, prefix.bytes), prefix, value));
    return node;
  }
  if (common === prefix.length) {
    setChild(leaf, node.bytes, node);
    return leaf;
  }
  const fork: TrieNode<T> = { bytes: prefix.bytes, length: common, value: undefined, zero: undefined, one: undefined };
  setChild(fork, node.bytes, node);
  setChild(fork, leaf.bytes, leaf);
  return fork;
}

/** The trie below `node` without the prefix, which is in it; no fork stays that parts nothing. */
function removed<T>(node: TrieNode<T> | undefined, prefix: IpPrefix): TrieNode<T> | undefined {
  if (node === undefined) return undefined;
  if (node.length === prefix.length) node.value = undefined;
  else if (bitAt(prefix.bytes, 0, node.length) === 0) node.zero = removed(node.zero, prefix);
  else node.one = removed(node.one, prefix);
  if (node.value !== undefined || (node.zero !== undefined && node.one !== undefined)) return node;
  return node.zero ?? node.one;
}

function childFor<T>(node: TrieNode<T>, bytes: Uint8Array): TrieNode<T> | undefined {
  return bitAt(bytes, 0, node.length) === 0 ? node.zero : node.one;
}

function setChild<T>(node: TrieNode<T>, bytes: Uint8Array, child: TrieNode<T>): void {
  if (bitAt(bytes, 0, node.length) === 0) node.zero = child;
  else node.one = child;
}

function bitAt(bytes: Uint8Array, offset: number, bit: number): number {
  return (bytes[offset + (bit >>> 3)]! >>> (7 - (bit & 7))) & 1;
}

function commonBits(a: Uint8Array, b: Uint8Array, limit: number): number {
  let bit = 0;
  while (bit < limit && bitAt(a, 0, bit) === bitAt(b, 0, bit)) bit++;
  return bit;
}

function contains<T>(node: TrieNode<T>, bytes: Uint8Array, offset: number): boolean {
  const whole = node.length >>> 3;
  for (let i = 0; i < whole; i++) if (node.bytes[i] !== bytes[offset + i]) return false;
  const rest = node.length & 7;
  return rest === 0 || (node.bytes[whole]! ^ bytes[offset + whole]!) >>> (8 - rest) === 0;
}
