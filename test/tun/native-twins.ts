/**
 * Naive twins of what the addon does natively, written from the RFCs and independent of it: checksums, cutting, joining, the data datagram. Slow
 * on purpose: every packet is built from nothing, and every checksum is summed 16 bits at a time.
 */

import { createCipheriv, createDecipheriv } from 'node:crypto';
import type { AeadName } from '../../src/tun/native.js';

/** RFC 1071 over the concatenation of the parts. */
export function internetChecksum(...parts: Uint8Array[]): number {
  const bytes = Buffer.concat(parts);
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return ~sum & 0xffff;
}

function version(packet: Uint8Array): number {
  return packet[0]! >> 4;
}

function pseudoHeader(packet: Uint8Array, protocol: number, length: number): Uint8Array {
  const addresses = version(packet) === 4 ? packet.subarray(12, 20) : packet.subarray(8, 40);
  const rest = Buffer.alloc(8);
  rest.writeUInt32BE(length, 0);
  rest.writeUInt32BE(protocol, 4);
  return Buffer.concat([addresses, rest]);
}

/** Writes the IP length and checksum and the transport checksum of a whole packet. `transport`: where its header starts. */
export function finishPacket(packet: Buffer, protocol: 6 | 17, transport: number): Buffer {
  if (version(packet) === 4) {
    packet.writeUInt16BE(packet.length, 2);
    packet.writeUInt16BE(0, 10);
    packet.writeUInt16BE(internetChecksum(packet.subarray(0, transport)), 10);
  } else {
    packet.writeUInt16BE(packet.length - 40, 4);
  }
  const at = transport + (protocol === 6 ? 16 : 6);
  packet.writeUInt16BE(0, at);
  const body = packet.subarray(transport);
  const sum = internetChecksum(pseudoHeader(packet, protocol, body.length), body);
  packet.writeUInt16BE(protocol === 17 && sum === 0 ? 0xffff : sum, at);
  return packet;
}

/** Whether IP length, IPv4 header checksum and transport checksum of a packet without IPv6 extension headers are right. */
export function isValidPacket(packet: Buffer): boolean {
  const v4 = version(packet) === 4;
  const transport = v4 ? (packet[0]! & 15) * 4 : 40;
  const protocol = v4 ? packet[9]! : packet[6]!;
  const lengthRight = v4 ? packet.readUInt16BE(2) === packet.length : packet.readUInt16BE(4) + 40 === packet.length;
  const body = packet.subarray(transport);
  return (
    lengthRight &&
    (!v4 || internetChecksum(packet.subarray(0, transport)) === 0) &&
    internetChecksum(pseudoHeader(packet, protocol, body.length), body) === 0
  );
}

/** The segments that a TCP super-segment stands for. `idStep`: what the IPv4 identification grows by. */
export function cutTcp(header: Buffer, payload: Buffer, segmentBytes: number, transport: number, idStep = 0): Buffer[] {
  const packets: Buffer[] = [];
  const count = Math.max(1, Math.ceil(payload.length / segmentBytes));
  for (let i = 0; i < count; i++) {
    const packet = Buffer.concat([header, payload.subarray(i * segmentBytes, (i + 1) * segmentBytes)]);
    if (version(packet) === 4) packet.writeUInt16BE((header.readUInt16BE(4) + i * idStep) % 0x10000, 4);
    packet.writeUInt32BE((header.readUInt32BE(transport + 4) + i * segmentBytes) % 2 ** 32, transport + 4);
    let flags = header[transport + 13]!;
    if (i < count - 1) flags &= ~(0x01 | 0x08);
    if (i > 0) flags &= ~0x80;
    packet[transport + 13] = flags;
    packets.push(finishPacket(packet, 6, transport));
  }
  return packets;
}

/** The datagrams that a UDP super-packet stands for. `headerBytes`: IP + UDP. */
export function cutUdp(packet: Buffer, headerBytes: number, segmentBytes: number): Buffer[] {
  const packets: Buffer[] = [];
  for (let at = headerBytes, i = 0; at < packet.length; at += segmentBytes, i++) {
    const one = Buffer.concat([packet.subarray(0, headerBytes), packet.subarray(at, at + segmentBytes)]);
    if (version(one) === 4) one.writeUInt16BE((packet.readUInt16BE(4) + i) % 0x10000, 4);
    one.writeUInt16BE(one.length - headerBytes + 8, headerBytes - 4);
    packets.push(finishPacket(one, 17, headerBytes - 8));
  }
  return packets;
}

export interface DatagramFields {
  type: number;
  pathId: number;
  receiverIndex: number;
  packetNumber: number;
}

function dataHeader(fields: DatagramFields): Buffer {
  const header = Buffer.alloc(12);
  header[0] = fields.type;
  header[1] = fields.pathId;
  header.writeUInt32BE(fields.receiverIndex, 2);
  header.writeUIntBE(fields.packetNumber, 6, 6);
  return header;
}

function nonceOf(pathId: number, packetNumber: number): Buffer {
  const nonce = Buffer.alloc(12);
  nonce[3] = pathId;
  nonce.writeUIntBE(packetNumber, 6, 6);
  return nonce;
}

/** A data datagram sealed by node:crypto, with another header where one is given. */
export function sealDatagram(
  aead: AeadName,
  key: Uint8Array,
  fields: DatagramFields,
  plaintext: Uint8Array,
  header = dataHeader(fields),
): Buffer {
  const cipher = createCipheriv(aead as 'aes-256-gcm', key, nonceOf(fields.pathId, fields.packetNumber), { authTagLength: 16 });
  cipher.setAAD(header, { plaintextLength: plaintext.length } as never);
  return Buffer.concat([header, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

/** Opens one with node:crypto; throws when it is forged. */
export function openDatagram(aead: AeadName, key: Uint8Array, datagram: Buffer): DatagramFields & { plaintext: Buffer } {
  const fields = {
    type: datagram[0]!,
    pathId: datagram[1]!,
    receiverIndex: datagram.readUInt32BE(2),
    packetNumber: datagram.readUIntBE(6, 6),
  };
  const decipher = createDecipheriv(aead as 'aes-256-gcm', key, nonceOf(fields.pathId, fields.packetNumber), { authTagLength: 16 });
  decipher.setAAD(datagram.subarray(0, 12), { plaintextLength: datagram.length - 28 } as never);
  decipher.setAuthTag(datagram.subarray(-16));
  return { ...fields, plaintext: Buffer.concat([decipher.update(datagram.subarray(12, -16)), decipher.final()]) };
}

export interface Joined {
  packet: Buffer;
  segmentBytes: number;
  datagrams: number;
  headerLength: number;
}

interface Parsed {
  transport: number;
  headerBytes: number;
  payload: Buffer;
  flags: number;
  sequenceNumber: number;
}

function parseJoinable(packet: Buffer): Parsed | undefined {
  const v4 = version(packet) === 4;
  const transport = v4 ? (packet[0]! & 15) * 4 : 40;
  if ((v4 ? packet[9] : packet[6]) !== 6) return undefined;
  const headerBytes = transport + (packet[transport + 12]! >> 4) * 4;
  const flags = packet[transport + 13]!;
  const payload = packet.subarray(headerBytes);
  // ACK, and nothing beyond PSH, FIN, ECE, CWR.
  if (payload.length === 0 || (flags & 0x10) === 0 || (flags & 0x26) !== 0) return undefined;
  return { transport, headerBytes, payload, flags, sequenceNumber: packet.readUInt32BE(transport + 4) };
}

/** Everything that must be equal, as text: the header without IP length and checksum, sequence number, TCP checksum, FIN, PSH, CWR. */
function flowKey(packet: Buffer, parsed: Parsed): string {
  const header = Buffer.from(packet.subarray(0, parsed.headerBytes));
  if (version(packet) === 4) {
    header.writeUInt16BE(0, 2);
    header.writeUInt16BE(0, 10);
  } else header.writeUInt16BE(0, 4);
  header.writeUInt32BE(0, parsed.transport + 4);
  header[parsed.transport + 13]! &= ~0x89;
  header.writeUInt16BE(0, parsed.transport + 16);
  return header.toString('hex');
}

/** What `receive` makes of packets that arrive in this order, `lane` telling paths and keys apart. */
export function joinSegments(arrivals: readonly { packet: Buffer; lane: string }[]): Joined[] {
  const result: Joined[] = [];
  let open: { first: Parsed; key: string; lane: string; payloads: Buffer[]; last: Joined } | undefined;
  for (const { packet, lane } of arrivals) {
    const parsed = parseJoinable(packet);
    const size = open === undefined ? 0 : open.payloads.reduce((sum, one) => sum + one.length, open.first.headerBytes);
    if (
      open !== undefined &&
      parsed !== undefined &&
      lane === open.lane &&
      flowKey(packet, parsed) === open.key &&
      (parsed.flags & 0x80) === 0 &&
      parsed.payload.length <= open.first.payload.length &&
      parsed.sequenceNumber === (open.first.sequenceNumber + size - open.first.headerBytes) % 2 ** 32 &&
      size + parsed.payload.length <= 65535
    ) {
      open.payloads.push(parsed.payload);
      const { last, first } = open;
      const header = Buffer.from(last.packet.subarray(0, first.headerBytes));
      header[first.transport + 13]! |= parsed.flags & 0x09;
      last.packet = Buffer.concat([header, ...open.payloads]);
      last.datagrams++;
      last.segmentBytes = first.payload.length;
      last.headerLength = first.headerBytes;
      if ((parsed.flags & 0x09) !== 0 || parsed.payload.length < first.payload.length) open = undefined;
      continue;
    }
    const last: Joined = { packet: Buffer.from(packet), segmentBytes: 0, datagrams: 1, headerLength: 0 };
    result.push(last);
    open =
      parsed === undefined || (parsed.flags & 0x09) !== 0
        ? undefined
        : { first: parsed, key: flowKey(packet, parsed), lane, payloads: [parsed.payload], last };
  }
  for (const joined of result) {
    if (joined.datagrams === 1) continue;
    const p = joined.packet;
    if (version(p) === 4) {
      p.writeUInt16BE(p.length, 2);
      p.writeUInt16BE(0, 10);
      p.writeUInt16BE(internetChecksum(p.subarray(0, (p[0]! & 15) * 4)), 10);
    } else p.writeUInt16BE(p.length - 40, 4);
  }
  return result;
}
