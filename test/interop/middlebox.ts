/** What a middlebox does that nftables cannot: bytes changed with the checksum put right, loss, packets twice, packets overtaken. Seeded. */

import type * as seg from '../../src/mptcp-over-udp/wire/segment.js';
import { patchTcpChecksum } from '../../src/mptcp-over-udp/wire/tcp-header.js';
import { createPrng } from '../sim/prng.js';
import type { HandlePacket } from './kernel-rig.js';
import { parsePacket } from './tapped-device.js';

/** In the payload of a segment. */
export const CHANGED_AT = 3;

/** Changes the byte at the offset that `find` gives, once per packet, and puts the TCP checksum right. */
export function bending(direction: 'in' | 'out', find: (segment: seg.TcpSegment, packet: Uint8Array) => number): HandlePacket {
  return (way, packet) => {
    const segment = way === direction ? parsePacket(packet) : undefined;
    const at = segment === undefined ? -1 : find(segment, packet);
    if (segment === undefined || at < 0) return packet;
    const bent = packet.slice();
    bent[at] = (bent[at] as number) ^ 0x55;
    const tcpAt = segment.ipVersion === 4 ? 20 : 40;
    patchTcpChecksum(bent, 0, tcpAt, bent.length - tcpAt);
    return bent;
  };
}

/** Where an MPTCP option of this subtype and length starts, -1: not there. */
export function optionAt(packet: Uint8Array, subtype: number, length: number): number {
  for (let at = 40; at + length <= packet.length && at < 80; at++) {
    if (packet[at] === 30 && packet[at + 1] === length && (packet[at + 2] as number) >> 4 === subtype) return at;
  }
  return -1;
}

/** One payload byte of the n-th data segment on a link; `onBent` gets the changed payload. */
export function corruptOnce(direction: 'in' | 'out', nth: number, onLink?: number, onBent?: (payload: Buffer) => void): HandlePacket {
  let count = 0;
  const bend = bending(direction, (segment) => segment.payloadOffset + CHANGED_AT);
  return (way, packet, link) => {
    if (way !== direction || (onLink !== undefined && link !== onLink)) return packet;
    if ((parsePacket(packet)?.payloadBytes ?? 0) < 100 || ++count !== nth) return packet;
    const bent = bend(way, packet, link) as Uint8Array;
    onBent?.(Buffer.from(bent.subarray(parsePacket(bent)?.payloadOffset)));
    return bent;
  };
}

/** Seeded; the same for both directions. */
export function lossy(seed: number, ratio: number): HandlePacket {
  const prng = createPrng(seed);
  return (_way, packet) => (prng.uniform() < ratio ? undefined : packet);
}

/** Some of the packets twice. */
export function duplicating(seed: number, ratio: number): HandlePacket {
  const prng = createPrng(seed);
  return (_way, packet) => (prng.uniform() < ratio ? [packet, packet.slice()] : packet);
}

/** Some of the packets with payload are overtaken by the one or two behind them, each way and link for itself. */
export function reordering(seed: number, ratio: number): HandlePacket {
  const prng = createPrng(seed);
  const held = new Map<string, { packet: Uint8Array; left: number }>();
  return (way, packet, link) => {
    const key = `${way} ${link}`;
    const behind = held.get(key);
    if (behind !== undefined) {
      behind.left--;
      if (behind.left > 0) return packet;
      held.delete(key);
      return [packet, behind.packet];
    }
    if ((parsePacket(packet)?.payloadBytes ?? 0) < 1000 || prng.uniform() >= ratio) return packet;
    held.set(key, { packet, left: 1 + Math.round(prng.uniform()) });
    return undefined;
  };
}
