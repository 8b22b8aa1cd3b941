import t from 'tap';
import { foldSum, pseudoHeaderSum, sumBytes } from '../../../src/mptcp-over-udp/wire/checksum.js';
import { ACK, FIN, PSH } from '../../../src/mptcp-over-udp/wire/segment.js';
import { GSO_FIXED_ID, GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4 } from '../../../src/tun/native.js';
import { cutSuperPacket } from '../../../src/tunnel/path/cut-super-packet.js';
import { hex, tcpPacket } from '../../mptcp-over-udp/wire/packets.js';
import { CLIENT_HOST, numberedUdp, SERVER_HOST } from '../../sim/two-planes.js';

const OFFSET = 7;
const V6 = Uint8Array.from({ length: 16 }, (_, i) => i + 1);

/** The super-packet stands in the middle of something else, as in the TUN's arena. */
function cut(superPacket: Uint8Array, gsoType: number, gsoSize: number, csumStart: number, csumOffset: number): Uint8Array[] | undefined {
  const arena = new Uint8Array(superPacket.length + 20).fill(0xa5);
  arena.set(superPacket, OFFSET);
  const pieces: Uint8Array[] = [];
  const isCut = cutSuperPacket(arena, OFFSET, superPacket.length, gsoType, gsoSize, csumStart, csumOffset, (piece, length) => {
    pieces.push(piece.slice(0, length));
  });
  return isCut ? pieces : undefined;
}

t.test('segments of TCP are what they stood for, byte for byte and with checksums of their own', async (t) => {
  const payload = Uint8Array.from({ length: 3500 }, (_, i) => i * 7);
  for (const [version, more] of [
    [4, {}],
    [6, { source: V6, destination: V6.toReversed() }],
  ] as const) {
    const options = hex('0101080a0000000100000002');
    const whole = tcpPacket({ ...more, flags: ACK | PSH | FIN, options, payload, sequenceNumber: 0xffff_fff0 });
    const at = version === 4 ? 20 : 40;
    const pieces = cut(whole, version === 4 ? GSO_TCPV4 : GSO_TCPV6, 1000, at, 16)!;
    t.same(
      pieces.map(({ length }) => length - at - 32),
      [1000, 1000, 1000, 500],
    );
    for (const [i, piece] of pieces.entries()) {
      const expected = tcpPacket({
        ...more,
        flags: i === 3 ? ACK | PSH | FIN : ACK,
        options,
        payload: payload.subarray(i * 1000, (i + 1) * 1000),
        sequenceNumber: (0xffff_fff0 + i * 1000) >>> 0,
      });
      t.same(piece.subarray(at), expected.subarray(at), `segment ${i} of IPv${version}`);
    }
  }
});

t.test('datagrams of UDP likewise, with the sum that their checksum begins with', async (t) => {
  const datagrams = [1, 2, 3].map((number) => numberedUdp(CLIENT_HOST, SERVER_HOST, 40_000, 5004, number, number === 3 ? 90 : 128));
  const joined = new Uint8Array(28 + 100 + 100 + 62);
  joined.set(datagrams[0]!.subarray(0, 28));
  for (const [i, packet] of datagrams.entries()) joined.set(packet.subarray(28), 28 + i * 100);
  const pieces = cut(joined, GSO_UDP_L4 | GSO_FIXED_ID, 100, 20, 6)!;
  t.equal(pieces.length, 3);
  for (const [i, piece] of pieces.entries()) {
    t.same(piece.subarray(28), datagrams[i]!.subarray(28));
    const udpBytes = piece.length - 20;
    t.equal((piece[24]! << 8) | piece[25]!, udpBytes);
    t.equal((piece[26]! << 8) | piece[27]!, foldSum(pseudoHeaderSum(piece, 12, 4, 17, udpBytes)));
    t.equal(foldSum(sumBytes(piece, 0, 20, 0)), 0xffff, 'the header of IPv4 has a checksum of its own');
  }
});

t.test('what is not what its fields say stays whole', async (t) => {
  const whole = tcpPacket({ flags: ACK, payload: new Uint8Array(3000) });
  t.equal(cut(whole, GSO_TCPV4, 0, 20, 16), undefined);
  t.equal(cut(whole, GSO_TCPV4, 1000, 24, 16), undefined);
  t.equal(cut(whole, GSO_TCPV4, 1000, whole.length, 16), undefined);
  t.equal(cut(whole.subarray(0, 40), GSO_TCPV4, 1000, 20, 16), undefined, 'no payload');
  t.equal(cut(whole, GSO_NONE, 0, 0, 0), undefined);
});
