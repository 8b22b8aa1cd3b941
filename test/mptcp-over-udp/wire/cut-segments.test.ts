import fc from 'fast-check';
import t from 'tap';
import { internetChecksum } from '../../../src/mptcp-over-udp/wire/checksum.js';
import { cutSegments } from '../../../src/mptcp-over-udp/wire/cut-segments.js';
import { parseSegment, verifyTcpChecksum } from '../../../src/mptcp-over-udp/wire/parse-segment.js';
import { ACK, CWR, createTcpSegment, FIN, PSH } from '../../../src/mptcp-over-udp/wire/segment.js';
import { hex, tcpPacket, toHex, V4_A, V6_A, viewOf } from './packets.js';

const DSS = hex('1e16200db1b2b3b40102030485060708000000011000');

function cut(header: Uint8Array, payload: Uint8Array, segmentBytes: number, payloadOffset = 0): Uint8Array[] {
  const packets: Uint8Array[] = [];
  cutSegments(header, header.length, payload, payloadOffset, payload.length - payloadOffset, segmentBytes, (packet, length) =>
    packets.push(packet.slice(0, length)),
  );
  return packets;
}

t.test('segments carry the payload in order, options repeated, checksums right', async (t) => {
  fc.assert(
    fc.property(
      fc.constantFrom(V4_A, V6_A),
      fc.uint8Array({ maxLength: 400 }),
      fc.integer({ min: 1, max: 200 }),
      fc.integer({ min: 0, max: 0xffffffff }),
      (source, payload, segmentBytes, sequenceNumber) => {
        const header = tcpPacket({ source, flags: ACK | PSH | FIN | CWR, options: DSS, sequenceNumber });
        header.fill(0xa5, source.length === 4 ? 2 : 4, source.length === 4 ? 8 : 6);
        const packets = cut(header, payload, segmentBytes);
        if (packets.length !== Math.max(1, Math.ceil(payload.length / segmentBytes))) throw new Error('wrong number of segments');
        const out = createTcpSegment();
        let joined = '';
        packets.forEach((packet, i) => {
          if (parseSegment(packet, viewOf(packet), 0, packet.length, false, out) !== '') throw new Error('segment does not parse');
          if (!verifyTcpChecksum(packet, 0, packet.length)) throw new Error('TCP checksum');
          if (source.length === 4 && internetChecksum(packet, 0, 20) !== 0) throw new Error('IPv4 checksum');
          if (source.length === 4 && toHex(packet.subarray(4, 8)) !== '00004000') throw new Error('IPv4 id and DF');
          if (out.sequenceNumber !== (sequenceNumber + i * segmentBytes) >>> 0) throw new Error('sequence number');
          const isLast = i === packets.length - 1;
          if (out.flags !== (ACK | (i === 0 ? CWR : 0) | (isLast ? FIN | PSH : 0))) throw new Error(`flags ${out.flags} of segment ${i}`);
          if (out.mptcp.dss.dsnLow !== 0x85060708 || out.mptcp.dss.dataLength !== 0x1000) throw new Error('mapping not repeated');
          if (!isLast && out.payloadBytes !== segmentBytes) throw new Error('short segment before the last');
          joined += toHex(packet.subarray(out.payloadOffset, out.payloadOffset + out.payloadBytes));
        });
        return joined === toHex(payload);
      },
    ),
  );
  t.pass();
});

t.test('no payload makes one bare segment; segmentBytes 0 makes one segment of all', async (t) => {
  const header = tcpPacket({ flags: ACK | FIN });
  t.strictSame(cut(header, new Uint8Array(0), 1400).map(toHex), [toHex(header)]);
  t.strictSame(cut(header, hex('ffff0102'), 0, 2).map(toHex), [toHex(tcpPacket({ flags: ACK | FIN, payload: hex('0102') }))]);
});

t.test('the template is left as it was, and one that is none is refused', async (t) => {
  const header = tcpPacket({ flags: ACK });
  const before = toHex(header);
  cut(header, new Uint8Array(100), 10);
  t.equal(toHex(header), before);
  const emit = (): void => {};
  const payload = new Uint8Array(10);
  t.throws(() => cutSegments(header, header.length + 1, payload, 0, 10, 5, emit), RangeError);
  t.throws(() => cutSegments(header, 39, payload, 0, 10, 5, emit), RangeError);
  t.throws(() => cutSegments(header, header.length, payload, 1, 10, 5, emit), RangeError);
  t.throws(() => cutSegments(new Uint8Array(60).fill(0x55), 60, payload, 0, 10, 5, emit), RangeError);
  const longer = tcpPacket({ flags: ACK, options: DSS });
  t.throws(() => cutSegments(longer, longer.length - 4, payload, 0, 10, 5, emit), RangeError);
});
