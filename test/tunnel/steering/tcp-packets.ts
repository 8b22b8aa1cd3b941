/** TCP packets for tests. */

import { emitIpHeader, patchIpLength } from '../../../src/mptcp-over-udp/wire/ip-header.js';
import { parseIp } from '../../../src/tun/ip-prefix.js';

/** Without a checksum. */
export function tcpPacket(
  from: string,
  to: string,
  sourcePort: number,
  port: number,
  sequence: number,
  flags: number,
  payload: Uint8Array,
): Uint8Array {
  const packet = new Uint8Array(40 + payload.length);
  emitIpHeader(packet, 0, 4, parseIp(from)!, parseIp(to)!, 64, 0, 6);
  const view = new DataView(packet.buffer);
  view.setUint16(20, sourcePort);
  view.setUint16(22, port);
  view.setUint32(24, sequence);
  packet[32] = 5 << 4;
  packet[33] = flags;
  packet.set(payload, 40);
  patchIpLength(packet, 0, packet.length);
  return packet;
}
