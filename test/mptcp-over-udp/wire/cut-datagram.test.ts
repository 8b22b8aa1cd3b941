import t from 'tap';
import { foldSum, internetChecksum, pseudoHeaderSum } from '../../../src/mptcp-over-udp/wire/checksum.js';
import { cutDatagram } from '../../../src/mptcp-over-udp/wire/cut-datagram.js';
import { emitIpHeader, patchIpLength } from '../../../src/mptcp-over-udp/wire/ip-header.js';

const SEGMENT_BYTES = 100;
const PAYLOAD = Uint8Array.from({ length: 250 }, (_, i) => i * 7);

/** 250 bytes in datagrams of 100, at offset 3 of a buffer. */
function superPacket(version: 4 | 6): { bytes: Uint8Array; length: number; udpAt: number } {
  const udpAt = version === 4 ? 20 : 40;
  const length = udpAt + 8 + PAYLOAD.length;
  const bytes = new Uint8Array(3 + length);
  const address = (last: number) => Uint8Array.from({ length: version === 4 ? 4 : 16 }, (_, i) => (i === 3 ? last : 10));
  emitIpHeader(bytes, 3, version, address(1), address(2), 64, 0, 17);
  if (version === 4) bytes.set([0xff, 0xff], 3 + 4);
  patchIpLength(bytes, 3, length);
  bytes.set([0x13, 0x88, 0x13, 0x89], 3 + udpAt);
  bytes.set(PAYLOAD, 3 + udpAt + 8);
  return { bytes, length, udpAt };
}

for (const version of [4, 6] as const) {
  t.test(`IPv${version}: the datagrams of a super-packet, one by one, with lengths and pseudo-header sums of their own`, async (t) => {
    const { bytes, length, udpAt } = superPacket(version);
    const sizes: number[] = [];
    for (const idStep of [0, 1]) {
      for (let i = 0; ; i++) {
        const out = new Uint8Array(2000).fill(0xa5);
        const packetBytes = cutDatagram(out, bytes, 3, length, udpAt, SEGMENT_BYTES, i, idStep);
        if (packetBytes === 0) break;
        const payloadBytes = packetBytes - udpAt - 8;
        if (idStep === 0) sizes.push(payloadBytes);
        t.strictSame(out.subarray(udpAt + 8, packetBytes), PAYLOAD.subarray(i * SEGMENT_BYTES, i * SEGMENT_BYTES + payloadBytes));
        t.equal((out[udpAt + 4]! << 8) | out[udpAt + 5]!, payloadBytes + 8, 'UDP length');
        const sum = foldSum(pseudoHeaderSum(out, version === 4 ? 12 : 8, version, 17, payloadBytes + 8));
        t.equal((out[udpAt + 6]! << 8) | out[udpAt + 7]!, sum);
        t.ok(
          out.subarray(packetBytes).every((byte) => byte === 0xa5),
          'nothing behind it is touched',
        );
        if (version === 6) continue;
        t.equal((out[4]! << 8) | out[5]!, (0xffff + i * idStep) & 0xffff, 'identification');
        t.equal(internetChecksum(out, 0, 20), 0, 'IPv4 header checksum');
      }
    }
    t.strictSame(sizes, [100, 100, 50]);
  });
}
