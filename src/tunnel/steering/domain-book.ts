/** Which addresses the domains of rules have, as answers of DNS have said. They stay for their TTL and a grace, since applications keep them too. Bounded. */

import { formatIp } from '../../tun/ip-prefix.js';
import type { KnownAddress } from './nft-rules.js';

/** Applications and browsers hold on to addresses longer than they should. */
const GRACE_MS = 300_000;
const MAX_TTL_SECONDS = 86_400;
/** For all domains together; the kernel's sets hold as many. */
export const MAX_ADDRESSES = 16_384;

export class DomainBook {
  /** By pattern and address (its bytes as characters): until when. Oldest first. */
  readonly #known = new Map<string, Map<string, number>>();
  #count = 0;

  get addressCount(): number {
    return this.#count;
  }

  /** "example.org", "*.example.org". What is known of those that stay is kept. */
  setPatterns(patterns: Iterable<string>): void {
    const wanted = new Set(patterns);
    for (const [pattern, addresses] of this.#known) {
      if (wanted.has(pattern)) continue;
      this.#count -= addresses.size;
      this.#known.delete(pattern);
    }
    for (const pattern of wanted) if (!this.#known.has(pattern)) this.#known.set(pattern, new Map());
  }

  /** The patterns that one of the names fits. */
  patternsOf(names: readonly string[]): string[] {
    return [...new Set(names.flatMap((name) => this.#candidates(name)))];
  }

  /** An address of these patterns. Returns until when it is kept. */
  learn(patterns: readonly string[], address: Uint8Array, ttlSeconds: number, nowMs: number): number {
    const untilMs = nowMs + Math.min(ttlSeconds, MAX_TTL_SECONDS) * 1000 + GRACE_MS;
    const key = keyOf(address, 0, address.length);
    for (const pattern of patterns) {
      const addresses = this.#known.get(pattern);
      if (addresses === undefined) continue;
      const before = addresses.get(key);
      if (before !== undefined) addresses.delete(key);
      else this.#makeRoom(addresses, nowMs);
      addresses.set(key, Math.max(untilMs, before ?? 0));
    }
    return untilMs;
  }

  /** Has one of the patterns this address? */
  has(patterns: readonly string[], bytes: Uint8Array, at: number, addressBytes: number, nowMs: number): boolean {
    const key = keyOf(bytes, at, addressBytes);
    return patterns.some((pattern) => (this.#known.get(pattern)?.get(key) ?? 0) > nowMs);
  }

  /** Each once. */
  addressesOf(patterns: readonly string[], nowMs: number): KnownAddress[] {
    const until = new Map<string, number>();
    for (const pattern of patterns) {
      for (const [key, untilMs] of this.#known.get(pattern) ?? [])
        if (untilMs > nowMs) until.set(key, Math.max(untilMs, until.get(key) ?? 0));
    }
    return [...until].map(([key, untilMs]) => ({ address: formatIp(bytesOf(key)), remainingMs: untilMs - nowMs }));
  }

  /** Call every now and then. */
  expire(nowMs: number): void {
    for (const addresses of this.#known.values()) {
      for (const [key, untilMs] of addresses) {
        if (untilMs > nowMs) continue;
        addresses.delete(key);
        this.#count--;
      }
    }
  }

  /** "a.b.example.org" fits "a.b.example.org", "*.b.example.org", "*.example.org" and "*.org". */
  #candidates(name: string): string[] {
    const found = this.#known.has(name) ? [name] : [];
    for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1)) {
      const wildcard = `*${name.slice(dot)}`;
      if (this.#known.has(wildcard)) found.push(wildcard);
    }
    return found;
  }

  /** For one more in this list: the one that was heard of least lately makes room, here or, when nothing is here, anywhere. */
  #makeRoom(addresses: Map<string, number>, nowMs: number): void {
    this.#count++;
    if (this.#count <= MAX_ADDRESSES) return;
    this.expire(nowMs);
    if (this.#count <= MAX_ADDRESSES) return;
    const from = addresses.size > 0 ? addresses : [...this.#known.values()].find(({ size }) => size > 0)!;
    from.delete(from.keys().next().value!);
    this.#count--;
  }
}

function keyOf(bytes: Uint8Array, at: number, length: number): string {
  let key = '';
  for (let i = at; i < at + length; i++) key += String.fromCharCode(bytes[i]!);
  return key;
}

function bytesOf(key: string): Uint8Array {
  return Uint8Array.from(key, (character) => character.charCodeAt(0));
}
