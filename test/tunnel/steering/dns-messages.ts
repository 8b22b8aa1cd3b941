/** Makes messages of DNS for tests, in the plainest way. */

import { parseIp } from '../../../src/tun/ip-prefix.js';

const TYPES = { A: 1, CNAME: 5, AAAA: 28 } as const;

export interface DnsRecord {
  name: string;
  type: keyof typeof TYPES;
  ttl: number;
  data: string;
}

export interface DnsOptions {
  id?: number;
  /** Owners that equal the question become a pointer to it. */
  compress?: boolean;
  type?: keyof typeof TYPES;
}

export function dnsQuery(name: string, { id = 1, type = 'A' }: DnsOptions = {}): Uint8Array {
  return Buffer.concat([header(id, 0x0100, 0), question(name, type)]);
}

export function dnsAnswer(
  name: string,
  records: readonly DnsRecord[],
  { id = 1, compress = false, type = 'A' }: DnsOptions = {},
): Uint8Array {
  const body = records.map((record) => {
    const owner = compress && record.name === name ? Buffer.from([0xc0, 12]) : nameBytes(record.name);
    const data = record.type === 'CNAME' ? nameBytes(record.data) : Buffer.from(parseIp(record.data)!);
    const fixed = Buffer.alloc(10);
    fixed.writeUInt16BE(TYPES[record.type], 0);
    fixed.writeUInt16BE(1, 2);
    fixed.writeUInt32BE(record.ttl, 4);
    fixed.writeUInt16BE(data.length, 8);
    return Buffer.concat([owner, fixed, data]);
  });
  return new Uint8Array(Buffer.concat([header(id, 0x8180, records.length), question(name, type), ...body]));
}

function header(id: number, flags: number, answers: number): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt16BE(id, 0);
  bytes.writeUInt16BE(flags, 2);
  bytes.writeUInt16BE(1, 4);
  bytes.writeUInt16BE(answers, 6);
  return bytes;
}

function question(name: string, type: keyof typeof TYPES): Buffer {
  return Buffer.concat([nameBytes(name), Buffer.from([0, TYPES[type], 0, 1])]);
}

function nameBytes(name: string): Buffer {
  return Buffer.concat([...name.split('.').map((label) => Buffer.from(`${String.fromCharCode(label.length)}${label}`)), Buffer.alloc(1)]);
}
