/** Packets for tests: hex to bytes, and whole TCP packets with right lengths and checksums. */

import { emitIpHeader, patchIpLength } from '../../../src/mptcp-over-udp/wire/ip-header.js';
import { emitTcpHeader, patchTcpChecksum, patchTcpHeaderLength } from '../../../src/mptcp-over-udp/wire/tcp-header.js';

export function hex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'));
}

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts));
}

export const V4_A = hex('0a000001');
export const V4_B = hex('0a000002');
export const V6_A = hex('fd770000000000000000000000000001');
export const V6_B = hex('fd770000000000000000000000000002');

export interface TcpPacketParts {
  source?: Uint8Array;
  destination?: Uint8Array;
  sourcePort?: number;
  destinationPort?: number;
  sequenceNumber?: number;
  acknowledgmentNumber?: number;
  flags: number;
  window?: number;
  /** Padded with NOP. */
  options?: Uint8Array;
  payload?: Uint8Array;
}

/** The version follows from the length of `source`. */
export function tcpPacket(parts: TcpPacketParts): Uint8Array {
  const source = parts.source ?? V4_A;
  const destination = parts.destination ?? (source.length === 4 ? V4_B : V6_B);
  const payload = parts.payload ?? new Uint8Array(0);
  const options = parts.options ?? new Uint8Array(0);
  const optionsBytes = (options.length + 3) & ~3;
  const ipBytes = source.length === 4 ? 20 : 40;
  const packet = new Uint8Array(ipBytes + 20 + optionsBytes + payload.length).fill(1);
  emitIpHeader(packet, 0, source.length === 4 ? 4 : 6, source, destination, 64, 0);
  emitTcpHeader(
    packet,
    ipBytes,
    parts.sourcePort ?? 40000,
    parts.destinationPort ?? 443,
    parts.sequenceNumber ?? 1000,
    parts.acknowledgmentNumber ?? 0,
    parts.flags,
    parts.window ?? 65535,
  );
  packet.set(options, ipBytes + 20);
  packet.set(payload, ipBytes + 20 + optionsBytes);
  patchTcpHeaderLength(packet, ipBytes, 20 + optionsBytes);
  patchIpLength(packet, 0, packet.length);
  patchTcpChecksum(packet, 0, ipBytes, packet.length - ipBytes);
  return packet;
}
