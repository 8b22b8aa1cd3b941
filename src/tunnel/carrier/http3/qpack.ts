/**
 * Header fields as QPACK writes them (RFC 9204, 4.5) where there is no dynamic table: a prefix, then a line for each field.
 *
 *   Required Insert Count (8+), here 0 | S, Delta Base (7+) |
 *   |1|T| index (6+) |                                       both, of the static table where T is set
 *   |0|1|N|T| name index (4+) | H, length (7+) | value |     the name from a table
 *   |0|0|1|N|H| length (3+) | name | H, length (7+) | value |
 *   |0|0|0|1|..., |0|0|0|0|N|...                             after the base: of the dynamic table, so never right
 */

import { decodeHuffman } from './huffman.js';
import { type Field, STATIC_TABLE } from './qpack-static-table.js';

export type { Field } from './qpack-static-table.js';

/** RFC 9114, 4.2.2: what each field counts beside its name and value. */
const FIELD_OVERHEAD_BYTES = 32;
/** Of prefixed integers (RFC 7541, 5.1): more is beyond every limit. */
const MAX_SHIFT = 21;

/** No Huffman code, which a reader need not see. */
export function encodeFields(fields: readonly Field[]): Uint8Array {
  const out = [0, 0];
  for (const [name, value] of fields) {
    const both = STATIC_TABLE.findIndex((entry) => entry[0] === name && entry[1] === value);
    const named = STATIC_TABLE.findIndex((entry) => entry[0] === name);
    if (both >= 0) {
      putInteger(out, 0xc0, 6, both);
      continue;
    }
    if (named >= 0) putInteger(out, 0x50, 4, named);
    else putString(out, 0x20, 3, name);
    putString(out, 0, 7, value);
  }
  return Uint8Array.from(out);
}

/** The fields of a whole section; undefined: it cannot be decoded, or is larger than `limitBytes` (RFC 9114, 4.2.2). */
export function decodeFields(section: Uint8Array, limitBytes: number): Field[] | undefined {
  const reader = new SectionReader(section, limitBytes);
  const insertCount = reader.integer(8);
  const isNegativeBase = (reader.peek() & 0x80) !== 0;
  const deltaBase = reader.integer(7);
  if (insertCount !== 0 || isNegativeBase || deltaBase < 0) return undefined;
  const fields: Field[] = [];
  let left = limitBytes;
  while (!reader.atEnd) {
    const field = readField(reader);
    if (field === undefined) return undefined;
    left -= field[0].length + field[1].length + FIELD_OVERHEAD_BYTES;
    if (left < 0) return undefined;
    fields.push(field);
  }
  return fields;
}

function readField(reader: SectionReader): Field | undefined {
  const first = reader.peek();
  if ((first & 0x80) !== 0) return (first & 0x40) === 0 ? undefined : STATIC_TABLE[reader.integer(6)];
  let name: string | undefined;
  if ((first & 0x40) !== 0) name = (first & 0x10) === 0 ? undefined : STATIC_TABLE[reader.integer(4)]?.[0];
  else if ((first & 0x20) !== 0) name = reader.string(3);
  if (name === undefined) return undefined;
  const value = reader.string(7);
  return value === undefined ? undefined : [name, value];
}

class SectionReader {
  readonly #bytes: Uint8Array;
  readonly #limitBytes: number;
  #at = 0;

  constructor(bytes: Uint8Array, limitBytes: number) {
    this.#bytes = bytes;
    this.#limitBytes = limitBytes;
  }

  get atEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  /** 0 at the end. */
  peek(): number {
    return this.#bytes[this.#at] ?? 0;
  }

  /** One with a prefix of so many bits (RFC 7541, 5.1); -1: it is cut off, or too large. */
  integer(prefixBits: number): number {
    if (this.atEnd) return -1;
    const mask = 2 ** prefixBits - 1;
    let value = this.#bytes[this.#at++]! & mask;
    if (value < mask) return value;
    for (let shift = 0; shift <= MAX_SHIFT; shift += 7) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) return -1;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    return -1;
  }

  /** The bit above the prefix says whether it is Huffman-coded. */
  string(prefixBits: number): string | undefined {
    const isCoded = (this.peek() & (1 << prefixBits)) !== 0;
    const length = this.integer(prefixBits);
    if (length < 0 || length > this.#bytes.length - this.#at || length > this.#limitBytes) return undefined;
    const raw = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    const text = isCoded ? decodeHuffman(raw, this.#limitBytes) : raw;
    return text && Buffer.from(text).toString('latin1');
  }
}

function putInteger(out: number[], bits: number, prefixBits: number, value: number): void {
  const mask = 2 ** prefixBits - 1;
  if (value < mask) {
    out.push(bits | value);
    return;
  }
  out.push(bits | mask);
  let rest = value - mask;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) out.push(0x80 | (rest % 0x80));
  out.push(rest);
}

function putString(out: number[], bits: number, prefixBits: number, text: string): void {
  const bytes = Buffer.from(text, 'latin1');
  putInteger(out, bits, prefixBits, bytes.length);
  out.push(...bytes);
}
