import fc from 'fast-check';
import t from 'tap';
import { finishSum, pseudoHeaderSum, sumBytes } from '../../../src/mptcp-over-udp/wire/checksum.js';
import { emitUdpPacket, parseUdpPacket, UDP_PACKET_OVERHEAD_BYTES } from '../../../src/tunnel/user/udp-packet.js';
import { forEachDatagram } from '../../../src/tunnel/user/user-datagrams.js';

const ADDRESSES = [
  [Uint8Array.of(10, 77, 0, 2), Uint8Array.of(198, 51, 100, 2)],
  [Uint8Array.of(0xfd, 0x77, ...new Array(13).fill(0), 2), Uint8Array.of(0xfd, 0x98, ...new Array(13).fill(0), 2)],
] as const;

t.test('a datagram comes back from its packet, whose checksum is right', (t) => {
  for (const [from, to] of ADDRESSES) {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1500 }), fc.nat(65_535), fc.nat(65_535), (payload, sourcePort, destinationPort) => {
        const out = new Uint8Array(1500 + UDP_PACKET_OVERHEAD_BYTES).fill(0xa5);
        const length = emitUdpPacket(out, { address: from, port: sourcePort }, { address: to, port: destinationPort }, payload);
        const found = parseUdpPacket(out, 0, length)!;
        const headerBytes = from.length === 4 ? 20 : 40;
        const sum = pseudoHeaderSum(out, from.length === 4 ? 12 : 8, from.length === 4 ? 4 : 6, 17, length - headerBytes);
        return (
          finishSum(sumBytes(out, headerBytes, length - headerBytes, sum)) === 0 &&
          found.source.port === sourcePort &&
          found.destination.port === destinationPort &&
          Buffer.compare(found.source.address, from) === 0 &&
          Buffer.compare(found.destination.address, to) === 0 &&
          Buffer.compare(found.payload, payload) === 0
        );
      }),
    );
  }
  t.pass();
  t.end();
});

t.test('what is no whole UDP packet is none', (t) => {
  const out = new Uint8Array(100);
  const [from, to] = ADDRESSES[0];
  const length = emitUdpPacket(out, { address: from, port: 1 }, { address: to, port: 2 }, new Uint8Array(10));
  for (let i = 0; i < 28; i++) t.equal(parseUdpPacket(out, 0, i), undefined, `${i} bytes`);
  const tcp = out.slice(0, length);
  tcp[9] = 6;
  t.equal(parseUdpPacket(tcp, 0, length), undefined);
  fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => void parseUdpPacket(bytes, 0, bytes.length)));
  t.end();
});

t.test('joined datagrams are taken apart', (t) => {
  const address = { address: new Uint8Array(4), port: 1 };
  const sizes = (bytes: number, segmentBytes: number): number[] => {
    const all: number[] = [];
    forEachDatagram({ source: address, destination: address, payload: new Uint8Array(bytes) }, segmentBytes, ({ length }) =>
      all.push(length),
    );
    return all;
  };
  t.same(sizes(1000, 0), [1000]);
  t.same(sizes(1000, 300), [300, 300, 300, 100]);
  t.same(sizes(900, 300), [300, 300, 300]);
  t.same(sizes(0, 0), [0]);
  t.end();
});
