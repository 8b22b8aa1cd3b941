/**
 * The addresses in an answer of DNS (RFC 1035, 4.1; RFC 3596), with the names that lead to them. Read, never written. Bytes come from strangers: whatever is wrong
 * with them is a fault string, and no name or chain can make it take longer than the message is.
 *
 *   +------+-------+----+----+----+----+
 *   |  id  | flags | qd | an | ns | ar |   two bytes each, then qd questions, an answers ...
 *   +------+-------+----+----+----+----+
 */

import {
  addressBytesOf,
  CLASS_IN,
  DNS_HEADER_BYTES,
  FLAG_RESPONSE,
  NAME_MAX_BYTES,
  POINTER_BITS,
  RCODE_MASK,
  TYPE_CNAME,
  u16,
  visitRecords,
} from '../dns-records.js';

const OPCODE_MASK = 0x7800;
const MAX_ALIASES = 16;
/** More than fit into the largest answers that resolvers give. */
const MAX_RECORDS = 512;

export interface DnsAddress {
  /** What was asked for, then its aliases (CNAME) down to the one that has the address; lower case, without a dot at the end. */
  readonly names: readonly string[];
  /** 4 or 16 bytes, a copy. */
  readonly address: Uint8Array;
  /** The least of the chain's. */
  readonly ttlSeconds: number;
}

export const FAULT_DNS_SHORT = 'DNS message cut short';
export const FAULT_DNS_NAME = 'DNS name malformed';
export const FAULT_DNS_NO_ANSWER = 'no answer of DNS to one question';

interface Owned {
  readonly owner: string;
  readonly type: number;
  readonly ttlSeconds: number;
  readonly target: string;
  readonly address: Uint8Array | undefined;
}

/** A DNS message without the length that TCP puts before it. The addresses, maybe none, or a fault string. */
export function parseDnsAnswer(bytes: Uint8Array, offset: number, length: number): DnsAddress[] | string {
  const end = offset + length;
  if (length < DNS_HEADER_BYTES || end > bytes.length) return FAULT_DNS_SHORT;
  const flags = u16(bytes, offset + 2);
  const isAnswer = (flags & (FLAG_RESPONSE | OPCODE_MASK | RCODE_MASK)) === FLAG_RESPONSE && u16(bytes, offset + 4) === 1;
  if (!isAnswer) return FAULT_DNS_NO_ANSWER;
  const reader = new NameReader(bytes, offset, end);
  const question = reader.read(offset + DNS_HEADER_BYTES);
  if (question === undefined) return FAULT_DNS_NAME;
  const at = reader.next + 4;
  if (at > end) return FAULT_DNS_SHORT;
  const records = readRecords(reader, bytes, at, end, Math.min(MAX_RECORDS, u16(bytes, offset + 6)));
  return typeof records === 'string' ? records : follow(question, records);
}

/** What a truncated answer (TC) still holds counts. */
function readRecords(reader: NameReader, bytes: Uint8Array, start: number, end: number, count: number): Owned[] | string {
  const records: Owned[] = [];
  let owner = '';
  let hasBadTarget = false;
  const endOfOwner = (at: number): number => {
    const name = reader.read(at);
    if (name === undefined) return -1;
    owner = name;
    return reader.next;
  };
  const ended = visitRecords(bytes, start, end, count, endOfOwner, ({ type, recordClass, ttlAt, dataAt, dataBytes }) => {
    if (recordClass !== CLASS_IN) return true;
    const ttlSeconds = ttl(bytes, ttlAt);
    if (type === TYPE_CNAME) {
      const target = reader.read(dataAt);
      hasBadTarget = target === undefined;
      if (target !== undefined) records.push({ owner, type, ttlSeconds, target, address: undefined });
    } else if (addressBytesOf(type) === dataBytes) {
      records.push({ owner, type, ttlSeconds, target: '', address: bytes.slice(dataAt, dataAt + dataBytes) });
    }
    return !hasBadTarget;
  });
  if (ended === 'name' || hasBadTarget) return FAULT_DNS_NAME;
  return ended === 'short' ? FAULT_DNS_SHORT : records;
}

function follow(question: string, records: readonly Owned[]): DnsAddress[] {
  const found: DnsAddress[] = [];
  const names = [question];
  let ttlSeconds = Number.POSITIVE_INFINITY;
  for (;;) {
    const name = names.at(-1)!;
    for (const { owner, address, ttlSeconds: own } of records)
      if (owner === name && address !== undefined) found.push({ names: [...names], address, ttlSeconds: Math.min(ttlSeconds, own) });
    const alias = records.find(({ owner, type }) => owner === name && type === TYPE_CNAME);
    if (alias === undefined || names.includes(alias.target) || names.length > MAX_ALIASES) return found;
    ttlSeconds = Math.min(ttlSeconds, alias.ttlSeconds);
    names.push(alias.target);
  }
}

/** Names, compressed or not (RFC 1035, 4.1.4). */
class NameReader {
  /** After `read`: where what follows the name begins. */
  next = 0;
  readonly #bytes: Uint8Array;
  readonly #start: number;
  readonly #end: number;

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.#bytes = bytes;
    this.#start = start;
    this.#end = end;
  }

  /** Lower case, labels joined by dots; undefined: malformed. */
  read(at: number): string | undefined {
    const bytes = this.#bytes;
    let name = '';
    let place = at;
    // INVARIANT: a pointer leads before all that was read of this name, so there are no loops.
    let before = at;
    let jumped = false;
    for (;;) {
      if (place >= this.#end) return undefined;
      const size = bytes[place]!;
      if (size === 0) {
        if (!jumped) this.next = place + 1;
        return name;
      }
      if ((size & POINTER_BITS) === POINTER_BITS) {
        if (place + 2 > this.#end) return undefined;
        if (!jumped) this.next = place + 2;
        jumped = true;
        place = this.#start + (u16(bytes, place) & 0x3fff);
        if (place >= before) return undefined;
        before = place;
        continue;
      }
      if ((size & POINTER_BITS) !== 0 || place + 1 + size > this.#end || name.length + size + 1 > NAME_MAX_BYTES) return undefined;
      const label = labelText(bytes, place + 1, size);
      name = name === '' ? label : `${name}.${label}`;
      place += 1 + size;
    }
  }
}

/** What is no plain character becomes one that no configured name has. */
function labelText(bytes: Uint8Array, at: number, size: number): string {
  let text = '';
  for (let i = at; i < at + size; i++) {
    const code = bytes[i]!;
    text += code > 0x20 && code < 0x7f && code !== 0x2e ? String.fromCharCode(code >= 0x41 && code <= 0x5a ? code | 0x20 : code) : '?';
  }
  return text;
}

/** RFC 2181 (8): with the highest bit set it counts as zero. */
function ttl(bytes: Uint8Array, at: number): number {
  return bytes[at]! >= 0x80 ? 0 : u16(bytes, at) * 0x1_0000 + u16(bytes, at + 2);
}
