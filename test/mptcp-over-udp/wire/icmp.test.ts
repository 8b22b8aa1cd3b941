import fc from 'fast-check';
import t from 'tap';
import { internetChecksum } from '../../../src/mptcp-over-udp/wire/checksum.js';
import {
  createIcmpError,
  emitIcmpError,
  FAULT_ICMP_CHECKSUM,
  FAULT_NOT_ICMP_ERROR,
  type IcmpErrorKind,
  MAX_ICMP_ERROR_BYTES,
  parseIcmpError,
} from '../../../src/mptcp-over-udp/wire/icmp.js';
import { emitIpHeader, patchIpLength } from '../../../src/mptcp-over-udp/wire/ip-header.js';
import { ACK } from '../../../src/mptcp-over-udp/wire/segment.js';
import { concat, hex, tcpPacket, toHex, V4_A, V4_B, V6_A, V6_B } from './packets.js';

const ROUTER_V4 = hex('0a0000fe');
const ROUTER_V6 = hex('fd7700000000000000000000000000fe');

function ipPacket(protocol: number, payload: Uint8Array, source: Uint8Array = V4_A, destination?: Uint8Array): Uint8Array {
  const isV4 = source.length === 4;
  const packet = concat(new Uint8Array(isV4 ? 20 : 40), payload);
  emitIpHeader(packet, 0, isV4 ? 4 : 6, source, destination ?? (isV4 ? V4_B : V6_B), 1, 0, protocol);
  patchIpLength(packet, 0, packet.length);
  return packet;
}

function answer(kind: IcmpErrorKind, packet: Uint8Array, mtuBytes = 0): Uint8Array {
  const out = new Uint8Array(MAX_ICMP_ERROR_BYTES + 8).fill(0xa5);
  const length = emitIcmpError(out, kind, mtuBytes, packet[0]! >>> 4 === 4 ? ROUTER_V4 : ROUTER_V6, packet, 0, packet.length);
  if (out.subarray(length).some((byte) => byte !== 0xa5)) throw new Error('wrote behind its end');
  return out.slice(0, length);
}

t.test('each kind of error has its type and code, right checksums, and reads back', async (t) => {
  const kinds: readonly [IcmpErrorKind, string, string][] = [
    ['time-exceeded', '0b00', '0300'],
    ['net-unreachable', '0300', '0100'],
    ['host-unreachable', '0301', '0103'],
    ['port-unreachable', '0303', '0104'],
    ['admin-prohibited', '030d', '0101'],
    ['packet-too-big', '0304', '0200'],
  ];
  const udp = hex('0035003600100000 6162636465666768');
  for (const [kind, v4, v6] of kinds) {
    for (const packet of [ipPacket(17, udp), ipPacket(17, udp, V6_A)]) {
      const isV4 = packet[0]! >>> 4 === 4;
      const error = answer(kind, packet, 1280);
      const at = isV4 ? 20 : 40;
      t.equal(toHex(error.subarray(at, at + 2)), isV4 ? v4 : v6);
      t.equal(toHex(error.subarray(isV4 ? 16 : 24, at)), toHex(isV4 ? V4_A : V6_A), 'goes to the source of the packet');
      t.equal(toHex(error.subarray(at + 8)), toHex(packet), 'quotes the whole packet where it fits');
      t.equal(toHex(error.subarray(at + 4, at + 8)), kind === 'packet-too-big' ? '00000500' : '00000000');
      if (isV4) t.equal(internetChecksum(error, 0, 20), 0);
      const read = createIcmpError();
      t.equal(parseIcmpError(error, 0, error.length, read), '', 'checksum included');
      t.match(read, { kind, mtuBytes: kind === 'packet-too-big' ? 1280 : 0, quotedOffset: at + 8, quotedBytes: packet.length });
    }
  }
});

t.test('a long packet is quoted up to 576 bytes in all, or 1280 over IPv6', async (t) => {
  t.equal(answer('time-exceeded', tcpPacket({ flags: ACK, payload: new Uint8Array(1400) })).length, 576);
  t.equal(answer('time-exceeded', tcpPacket({ source: V6_A, flags: ACK, payload: new Uint8Array(1400) })).length, 1280);
});

t.test('no error is sent in answer to what RFC 1122, 1812 and 4443 forbid', async (t) => {
  const none = (packet: Uint8Array, why: string, kind: IcmpErrorKind = 'time-exceeded'): void => {
    t.equal(answer(kind, packet).length, 0, why);
  };
  for (const type of [3, 4, 5, 11, 12]) none(ipPacket(1, Uint8Array.of(type, 0, 0, 0, 0, 0, 0, 0)), `ICMPv4 type ${type}`);
  for (const type of [1, 2, 3, 4, 100, 127, 137]) none(ipPacket(58, Uint8Array.of(type, 0, 0, 0, 0, 0, 0, 0), V6_A), `ICMPv6 type ${type}`);
  t.not(answer('time-exceeded', ipPacket(1, hex('0800000000000000'))).length, 0, 'an echo request is answered');
  t.not(answer('time-exceeded', ipPacket(58, hex('8000000000000000'), V6_A)).length, 0, 'an ICMPv6 echo request is answered');
  none(ipPacket(1, hex('')), 'an ICMP message without a type');
  const fragment = ipPacket(17, hex('0102030405060708'));
  fragment[7] = 1;
  none(fragment, 'a fragment other than the first');
  none(ipPacket(44, hex('1100000900000001 0102030405060708'), V6_A), 'an IPv6 fragment other than the first');
  none(ipPacket(17, hex('00'), V4_A, hex('e0000001')), 'to multicast');
  none(ipPacket(17, hex('00'), V4_A, hex('ffffffff')), 'to limited broadcast');
  none(ipPacket(17, hex('00'), hex('00000000')), 'from the unspecified address');
  none(ipPacket(17, hex('00'), hex('e0000001')), 'from multicast');
  none(ipPacket(17, hex('00'), hex('7f000001')), 'from loopback');
  const multicast = hex('ff020000000000000000000000000001');
  none(ipPacket(17, hex('00'), V6_A, multicast), 'to IPv6 multicast');
  t.not(answer('packet-too-big', ipPacket(17, hex('00'), V6_A, multicast)).length, 0, 'but packet too big may be (RFC 4443, 2.4 e.3)');
  none(ipPacket(17, hex('00'), new Uint8Array(16)), 'from ::');
  none(ipPacket(17, hex('00'), multicast), 'from IPv6 multicast', 'packet-too-big');
  none(new Uint8Array(10), 'to what is no packet');
});

t.test('what is no error, or broken, is told apart', async (t) => {
  const read = createIcmpError();
  const echo = ipPacket(1, hex('0800f7ff00000000'));
  t.equal(parseIcmpError(echo, 0, echo.length, read), FAULT_NOT_ICMP_ERROR);
  const error = answer('port-unreachable', ipPacket(17, hex('0035003600080000'), V6_A));
  error[error.length - 1]! ^= 1;
  t.equal(parseIcmpError(error, 0, error.length, read), FAULT_ICMP_CHECKSUM);
  fc.assert(
    fc.property(fc.constantFrom(0x45, 0x60), fc.uint8Array({ minLength: 19, maxLength: 100 }), (first, rest) => {
      const bytes = concat(Uint8Array.of(first), rest);
      bytes[first === 0x45 ? 2 : 4] = 0;
      bytes[first === 0x45 ? 9 : 6] = first === 0x45 ? 1 : 58;
      parseIcmpError(bytes, 0, bytes.length, read);
      emitIcmpError(
        new Uint8Array(MAX_ICMP_ERROR_BYTES),
        'time-exceeded',
        0,
        first === 0x45 ? ROUTER_V4 : ROUTER_V6,
        bytes,
        0,
        bytes.length,
      );
    }),
    { numRuns: 1000 },
  );
});
