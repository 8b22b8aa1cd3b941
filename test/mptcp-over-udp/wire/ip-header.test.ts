import fc from 'fast-check';
import t from 'tap';
import { internetChecksum } from '../../../src/mptcp-over-udp/wire/checksum.js';
import {
  createIpPacketFacts,
  emitIpHeader,
  FAULT_IP_EXTENSION,
  FAULT_IP_HEADER_LENGTH,
  FAULT_IP_SHORT,
  FAULT_IP_TOTAL_LENGTH,
  FAULT_IP_VERSION,
  parseIpPacket,
  patchIpLength,
} from '../../../src/mptcp-over-udp/wire/ip-header.js';
import { concat, hex, toHex, V4_A, V4_B, V6_A, V6_B } from './packets.js';

t.test('IPv4: DF, identification 0, checksum over the header', async (t) => {
  const out = new Uint8Array(30).fill(0xa5);
  t.equal(emitIpHeader(out, 3, 4, V4_A, V4_B, 64, 0xb9), 20);
  patchIpLength(out, 3, 1500);
  t.equal(toHex(out.subarray(3, 23)), '45b905dc 0000 4000 4006 2061 0a000001 0a000002'.replaceAll(' ', ''));
  t.equal(internetChecksum(out, 3, 20), 0);
  t.equal(out[2], 0xa5);
  t.equal(out[23], 0xa5);
});

t.test('IPv6: traffic class, payload length without the header', async (t) => {
  const out = new Uint8Array(50).fill(0xa5);
  t.equal(emitIpHeader(out, 3, 6, V6_A, V6_B, 63, 0xb9, 58), 40);
  patchIpLength(out, 3, 1500);
  t.equal(toHex(out.subarray(3, 43)), `6b90000005b43a3f${toHex(V6_A)}${toHex(V6_B)}`);
  t.equal(out[43], 0xa5);
});

function facts(packet: Uint8Array): { fault: string; out: ReturnType<typeof createIpPacketFacts> } {
  const out = createIpPacketFacts();
  return { fault: parseIpPacket(packet, 0, packet.length, out), out };
}

function v4(protocol: number, fragment: number, payload: Uint8Array): Uint8Array {
  const packet = concat(new Uint8Array(20), payload);
  emitIpHeader(packet, 0, 4, V4_A, V4_B, 9, 0, protocol);
  packet[6] = fragment >>> 8;
  packet[7] = fragment;
  packet[5] = 77;
  patchIpLength(packet, 0, packet.length);
  return packet;
}

function v6(next: number, payload: Uint8Array): Uint8Array {
  const packet = concat(new Uint8Array(40), payload);
  emitIpHeader(packet, 0, 6, V6_A, V6_B, 9, 0x2e, next);
  patchIpLength(packet, 0, packet.length);
  return packet;
}

t.test('the facts of IPv4 packets', async (t) => {
  const udp = facts(v4(17, 0x4000, hex('0035ffff00080000')));
  t.equal(udp.fault, '');
  t.match(udp.out, {
    version: 4,
    headerBytes: 20,
    totalBytes: 28,
    protocol: 17,
    upperOffset: 20,
    addressBytes: 4,
    sourceAddressOffset: 12,
    destinationAddressOffset: 16,
    hopLimit: 9,
    hasPorts: true,
    sourcePort: 53,
    destinationPort: 65535,
    dontFragment: true,
    isFragment: false,
  });
  t.match(facts(v4(17, 0x2000, hex('0035ffff'))).out, {
    isFragment: true,
    moreFragments: true,
    fragmentOffset: 0,
    hasPorts: true,
    identification: 77,
  });
  t.match(facts(v4(17, 0x0003, hex('0035ffff'))).out, { isFragment: true, moreFragments: false, fragmentOffset: 24, hasPorts: false });
  t.match(facts(v4(1, 0, hex('08000000'))).out, { hasPorts: false, dontFragment: false });
  t.match(facts(v4(17, 0, hex('0035ff'))).out, { hasPorts: false }, 'too short for ports');
  const options = v4(17, 0, hex('01010101 00350036'));
  options[0] = 0x46;
  t.match(facts(options).out, { headerBytes: 24, upperOffset: 24, sourcePort: 53, destinationPort: 54 });
});

t.test('the facts of IPv6 packets, behind extension headers', async (t) => {
  t.match(facts(v6(17, hex('00350036'))).out, {
    version: 6,
    protocol: 17,
    upperOffset: 40,
    dscpEcn: 0x2e,
    dontFragment: true,
    sourcePort: 53,
  });
  const hopByHop = hex('3c00010400000000');
  const destination = hex('1101010c000000000000000000000000');
  t.match(facts(v6(0, concat(hopByHop, destination, hex('00350036')))).out, {
    protocol: 17,
    upperOffset: 64,
    sourcePort: 53,
    hasPorts: true,
  });
  const authentication = hex('1104000000000000000000000000000000000000000000aa');
  t.match(facts(v6(51, concat(authentication, hex('00350036')))).out, { protocol: 17, upperOffset: 64, destinationPort: 54 });
  t.match(facts(v6(44, hex('1100 0001 0a0b0c0d 00350036'))).out, {
    isFragment: true,
    moreFragments: true,
    fragmentOffset: 0,
    identification: 0x0a0b0c0d,
    hasPorts: true,
  });
  t.match(facts(v6(44, hex('3c00 0010 00000001 ffffffff'))).out, { isFragment: true, fragmentOffset: 16, protocol: 60, hasPorts: false });
  t.match(
    facts(v6(44, hex('1100 0000 00000001 00350036'))).out,
    { isFragment: false, hasPorts: true },
    'an atomic fragment is a whole packet',
  );
  t.match(facts(v6(59, hex(''))).out, { protocol: 59, upperOffset: 40 });
});

t.test('faults', async (t) => {
  t.equal(facts(new Uint8Array(19)).fault, FAULT_IP_SHORT);
  t.equal(facts(new Uint8Array(20).fill(0x50)).fault, FAULT_IP_VERSION);
  t.equal(facts(new Uint8Array(20).fill(0x44)).fault, FAULT_IP_HEADER_LENGTH);
  t.equal(facts(new Uint8Array(20).fill(0x46)).fault, FAULT_IP_HEADER_LENGTH);
  t.equal(facts(v4(17, 0, hex('0035')).subarray(0, 21)).fault, FAULT_IP_TOTAL_LENGTH);
  t.equal(facts(v6(17, hex('0035')).subarray(0, 41)).fault, FAULT_IP_TOTAL_LENGTH);
  t.equal(facts(new Uint8Array(39).fill(0x60)).fault, FAULT_IP_SHORT);
  t.equal(facts(v6(0, hex('3c0001040000'))).fault, FAULT_IP_EXTENSION);
  t.equal(facts(v6(0, hex('3c02010400000000'))).fault, FAULT_IP_EXTENSION);
});

t.test('arbitrary bytes never throw and offsets stay within them', async (t) => {
  const out = createIpPacketFacts();
  const bytes = fc.tuple(
    fc.constantFrom(0x45, 0x46, 0x60),
    fc.constantFrom(0, 43, 44, 51, 60, 17),
    fc.uint8Array({ minLength: 19, maxLength: 120 }),
  );
  fc.assert(
    fc.property(bytes, ([first, next, rest]) => {
      const packet = concat(Uint8Array.of(first), rest);
      packet[first === 0x60 ? 4 : 2] = 0;
      packet[6] = next;
      if (parseIpPacket(packet, 0, packet.length, out) !== '') return true;
      return (
        out.upperOffset <= out.totalBytes &&
        out.totalBytes <= packet.length &&
        out.destinationAddressOffset + out.addressBytes <= packet.length
      );
    }),
    { numRuns: 2000 },
  );
  t.pass();
});
