/** Takes a super-packet from the TUN apart, for a path that is so slow that it must not leave at once. */

import { cutDatagram } from '../../mptcp-over-udp/wire/cut-datagram.js';
import { cutSegments } from '../../mptcp-over-udp/wire/cut-segments.js';
import { GSO_ECN, GSO_FIXED_ID, GSO_UDP_L4 } from '../../tun/native.js';

const MAX_PACKET_BYTES = 65_535;
const TCP_DATA_OFFSET_AT = 12;
let piece: Uint8Array | undefined;

/** One packet, as in `PathLink.sendPacket` without GSO. Borrowed until return. */
export type EmitPiece = (packet: Uint8Array, length: number, csumStart: number, csumOffset: number) => void;

/** Each packet that packet[offset .. offset + length) stands for, in order. False: it is not what its vnet fields say. */
export function cutSuperPacket(
  packet: Uint8Array,
  offset: number,
  length: number,
  gsoType: number,
  gsoSize: number,
  csumStart: number,
  csumOffset: number,
  emit: EmitPiece,
): boolean {
  if (gsoSize <= 0 || csumStart <= 0 || csumStart + TCP_DATA_OFFSET_AT >= length) return false;
  if ((gsoType & ~(GSO_FIXED_ID | GSO_ECN)) === GSO_UDP_L4) {
    piece ??= new Uint8Array(MAX_PACKET_BYTES);
    const idStep = (gsoType & GSO_FIXED_ID) === 0 ? 1 : 0;
    for (let i = 0; ; i++) {
      const bytes = cutDatagram(piece, packet, offset, length, csumStart, gsoSize, i, idStep);
      if (bytes === 0) return true;
      emit(piece, bytes, csumStart, csumOffset);
    }
  }
  const headerBytes = csumStart + ((packet[offset + csumStart + TCP_DATA_OFFSET_AT]! >>> 4) << 2);
  if (headerBytes >= length || !isPlain(packet, offset, csumStart)) return false;
  const header = packet.subarray(offset, offset + headerBytes);
  cutSegments(header, headerBytes, packet, offset + headerBytes, length - headerBytes, gsoSize, (segment, bytes) =>
    emit(segment, bytes, 0, 0),
  );
  return true;
}

/** TCP right behind the IP header: extension headers of IPv6 are not looked for. */
function isPlain(packet: Uint8Array, offset: number, csumStart: number): boolean {
  const first = packet[offset]!;
  return first >>> 4 === 4 ? (first & 0x0f) << 2 === csumStart : first >>> 4 === 6 && csumStart === 40;
}
