/** What all that read messages of DNS have in common (RFC 1035, 4.1; RFC 3596): numbers of the protocol, and the way from one resource record to the next. Pure. */

export const DNS_HEADER_BYTES = 12;
export const FLAG_RESPONSE = 0x8000;
export const RCODE_MASK = 0x000f;
export const CLASS_IN = 1;
export const TYPE_A = 1;
export const TYPE_CNAME = 5;
export const TYPE_AAAA = 28;
/** Of a name, encoded (RFC 1035, 2.3.4). */
export const NAME_MAX_BYTES = 255;
/** The highest two bits of a length: a pointer to an earlier place (RFC 1035, 4.1.4). */
export const POINTER_BITS = 0xc0;

/** Type, class, TTL, length of the data. */
const FIXED_BYTES = 10;

/** Where a record's fields are. */
export interface DnsRecordPlace {
  type: number;
  recordClass: number;
  ttlAt: number;
  dataAt: number;
  dataBytes: number;
}

/**
 * Visits up to `count` records from `at` on, in order, each until return; a visitor that returns false ends it. `endOfName`: where the name that begins there ends, -1: it is malformed.
 * Why it ended: all were visited, or the visitor had enough (""), a name, or the end of the message at `end`.
 */
export function visitRecords(
  bytes: Uint8Array,
  at: number,
  end: number,
  count: number,
  endOfName: (at: number) => number,
  visit: (record: Readonly<DnsRecordPlace>) => boolean,
): '' | 'name' | 'short' {
  const record: DnsRecordPlace = { type: 0, recordClass: 0, ttlAt: 0, dataAt: 0, dataBytes: 0 };
  let next = at;
  for (let i = 0; i < count; i++) {
    const fixedAt = endOfName(next);
    if (fixedAt < 0) return 'name';
    if (fixedAt + FIXED_BYTES > end) return 'short';
    record.type = u16(bytes, fixedAt);
    record.recordClass = u16(bytes, fixedAt + 2);
    record.ttlAt = fixedAt + 4;
    record.dataAt = fixedAt + FIXED_BYTES;
    record.dataBytes = u16(bytes, fixedAt + 8);
    next = record.dataAt + record.dataBytes;
    if (next > end) return 'short';
    if (!visit(record)) return '';
  }
  return '';
}

/** Bytes of an address of that type of record; undefined: it holds none. */
export function addressBytesOf(type: number): number | undefined {
  return type === TYPE_A ? 4 : type === TYPE_AAAA ? 16 : undefined;
}

export function u16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}
