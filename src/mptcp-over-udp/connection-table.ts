/** Connections by four-tuple: a hash of addresses and ports, chained in an array for the rare collision. No string per packet. */

import type { FourTuple } from './tcp/header-template.js';
import type { TcpConnection } from './tcp/tcp-connection.js';
import type { TcpSegment } from './wire/segment.js';

/** FNV-1a over address bytes, from the sender's view turned to ours: local is the segment's destination. */
function mix(hash: number, bytes: Uint8Array, at: number, length: number): number {
  let h = hash;
  for (let i = 0; i < length; i++) h = Math.imul(h ^ (bytes[at + i] as number), 0x0100_0193);
  return h;
}

function hashOf(
  local: Uint8Array,
  localAt: number,
  remote: Uint8Array,
  remoteAt: number,
  addressBytes: number,
  localPort: number,
  remotePort: number,
): number {
  let h = mix(0x811c_9dc5 ^ addressBytes, local, localAt, addressBytes);
  h = mix(h, remote, remoteAt, addressBytes);
  h = Math.imul(h ^ localPort, 0x0100_0193);
  return Math.imul(h ^ remotePort, 0x0100_0193) >>> 0;
}

function tupleHash(tuple: FourTuple): number {
  return hashOf(tuple.localAddress, 0, tuple.remoteAddress, 0, tuple.localAddress.length, tuple.localPort, tuple.remotePort);
}

function bytesEqual(a: Uint8Array, b: Uint8Array, at: number): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[at + i]) return false;
  return true;
}

function matches(tuple: FourTuple, segment: TcpSegment): boolean {
  return (
    tuple.localPort === segment.destinationPort &&
    tuple.remotePort === segment.sourcePort &&
    tuple.ipVersion === segment.ipVersion &&
    bytesEqual(tuple.remoteAddress, segment.bytes, segment.sourceAddressOffset) &&
    bytesEqual(tuple.localAddress, segment.bytes, segment.destinationAddressOffset)
  );
}

function sameTuple(a: FourTuple, b: FourTuple): boolean {
  return (
    a.localPort === b.localPort &&
    a.remotePort === b.remotePort &&
    a.ipVersion === b.ipVersion &&
    bytesEqual(a.remoteAddress, b.remoteAddress, 0) &&
    bytesEqual(a.localAddress, b.localAddress, 0)
  );
}

export class ConnectionTable<T extends TcpConnection> {
  size = 0;
  private readonly buckets = new Map<number, T | T[]>();

  find(segment: TcpSegment): T | undefined {
    const length = segment.ipVersion === 4 ? 4 : 16;
    const hash = hashOf(
      segment.bytes,
      segment.destinationAddressOffset,
      segment.bytes,
      segment.sourceAddressOffset,
      length,
      segment.destinationPort,
      segment.sourcePort,
    );
    const found = this.buckets.get(hash);
    if (found === undefined) return undefined;
    if (!Array.isArray(found)) return matches(found.tuple, segment) ? found : undefined;
    for (const connection of found) if (matches(connection.tuple, segment)) return connection;
    return undefined;
  }

  findTuple(tuple: FourTuple): T | undefined {
    const found = this.buckets.get(tupleHash(tuple));
    if (found === undefined) return undefined;
    if (!Array.isArray(found)) return sameTuple(found.tuple, tuple) ? found : undefined;
    return found.find((connection) => sameTuple(connection.tuple, tuple));
  }

  add(connection: T): void {
    const hash = tupleHash(connection.tuple);
    const found = this.buckets.get(hash);
    if (found === undefined) this.buckets.set(hash, connection);
    else if (Array.isArray(found)) found.push(connection);
    else this.buckets.set(hash, [found, connection]);
    this.size++;
  }

  remove(connection: T): void {
    const hash = tupleHash(connection.tuple);
    const found = this.buckets.get(hash);
    if (found === connection) this.buckets.delete(hash);
    else if (Array.isArray(found)) {
      const i = found.indexOf(connection);
      if (i < 0) return;
      found.splice(i, 1);
      if (found.length === 0) this.buckets.delete(hash);
    } else return;
    this.size--;
  }
}

/** The tuple of a segment as its receiver sees it, with copies of the addresses. */
export function tupleOfSegment(segment: TcpSegment): FourTuple {
  const length = segment.ipVersion === 4 ? 4 : 16;
  return {
    ipVersion: segment.ipVersion,
    localAddress: segment.bytes.slice(segment.destinationAddressOffset, segment.destinationAddressOffset + length),
    remoteAddress: segment.bytes.slice(segment.sourceAddressOffset, segment.sourceAddressOffset + length),
    localPort: segment.destinationPort,
    remotePort: segment.sourcePort,
  };
}
