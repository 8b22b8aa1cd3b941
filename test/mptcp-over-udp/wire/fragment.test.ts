import fc from 'fast-check';
import t from 'tap';
import { internetChecksum } from '../../../src/mptcp-over-udp/wire/checksum.js';
import { fragmentIpv4 } from '../../../src/mptcp-over-udp/wire/fragment.js';
import { createIpPacketFacts, emitIpHeader, parseIpPacket, patchIpLength } from '../../../src/mptcp-over-udp/wire/ip-header.js';
import { concat, hex, toHex, V4_A, V4_B } from './packets.js';

function packetOf(options: Uint8Array, payload: Uint8Array, fragmentField = 0): Uint8Array {
  const fixed = new Uint8Array(20);
  emitIpHeader(fixed, 0, 4, V4_A, V4_B, 9, 0x28, 17);
  const packet = concat(fixed, options, payload);
  packet[0] = 0x40 | ((20 + options.length) >>> 2);
  packet.set([0xab, 0xcd, fragmentField >>> 8, fragmentField], 4);
  patchIpLength(packet, 0, packet.length);
  return packet;
}

function fragments(packet: Uint8Array, mtuBytes: number): Uint8Array[] {
  const out: Uint8Array[] = [];
  const within = concat(hex('ffff'), packet, hex('ff'));
  const count = fragmentIpv4(within, 2, packet.length, mtuBytes, (bytes, length) => out.push(bytes.slice(0, length)));
  if (count !== out.length) throw new Error('wrong count');
  return out;
}

t.test('fragments fit the MTU and reassemble to the packet', async (t) => {
  fc.assert(
    fc.property(
      fc.constantFrom('', '94040000', '07040400 94040000'),
      fc.uint8Array({ minLength: 1, maxLength: 500 }),
      fc.integer({ min: 68, max: 300 }),
      fc.constantFrom(0, 0x2000, 0x0005, 0x2005),
      (options, payload, mtuBytes, field) => {
        const facts = createIpPacketFacts();
        const whole = packetOf(hex(options), payload, field);
        const cut = fragments(whole, mtuBytes);
        let next = (field & 0x1fff) * 8;
        let joined = '';
        cut.forEach((fragment, i) => {
          const isLast = i === cut.length - 1;
          if (fragment.length > mtuBytes) throw new Error('larger than the MTU');
          if (parseIpPacket(fragment, 0, fragment.length, facts) !== '') throw new Error('does not parse');
          if (internetChecksum(fragment, 0, facts.headerBytes) !== 0) throw new Error('header checksum');
          if (facts.identification !== 0xabcd || facts.fragmentOffset !== next) throw new Error('identification or offset');
          if (facts.moreFragments !== (!isLast || (field & 0x2000) !== 0)) throw new Error('MF');
          if (!isLast && (facts.totalBytes - facts.headerBytes) % 8 !== 0) throw new Error('not a multiple of 8');
          next += facts.totalBytes - facts.headerBytes;
          joined += toHex(fragment.subarray(facts.headerBytes));
        });
        return joined === toHex(payload);
      },
    ),
  );
  t.pass();
});

t.test('options with the copy flag go into every fragment, the others into the first (RFC 791, 3.1)', async (t) => {
  const [first, second] = fragments(packetOf(hex('07040400 94040000'), new Uint8Array(100)), 76);
  t.equal(toHex(first!.subarray(20, 28)), '0704040094040000');
  t.equal(second![0], 0x46);
  t.equal(toHex(second!.subarray(20, 24)), '94040000');
});

t.test('an MTU without room for 8 bytes of payload makes none', async (t) => {
  t.equal(fragments(packetOf(hex(''), new Uint8Array(100)), 27).length, 0);
  t.equal(fragments(packetOf(hex(''), new Uint8Array(100)), 28).length, 13);
});
