/** UDP packets for tests. */

import { emitIpHeader, patchIpLength } from '../../../src/mptcp-over-udp/wire/ip-header.js';
import { parseIp } from '../../../src/tun/ip-prefix.js';

/** Without a checksum, which IPv4 allows. */
export function udpPacket(from: string, to: string, sourcePort: number, port: number, payload: Uint8Array): Uint8Array {
  const packet = new Uint8Array(28 + payload.length);
  emitIpHeader(packet, 0, 4, parseIp(from)!, parseIp(to)!, 64, 0, 17);
  const view = new DataView(packet.buffer);
  view.setUint16(20, sourcePort);
  view.setUint16(22, port);
  view.setUint16(24, packet.length - 20);
  packet.set(payload, 28);
  patchIpLength(packet, 0, packet.length);
  return packet;
}
