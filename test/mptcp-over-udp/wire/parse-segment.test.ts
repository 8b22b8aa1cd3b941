import fc from 'fast-check';
import t from 'tap';
import {
  FAULT_DATA_OFFSET,
  FAULT_FRAGMENT,
  FAULT_IP_LENGTH,
  FAULT_NOT_TCP,
  FAULT_SHORT,
  FAULT_VERSION,
  parseSegment,
  verifyTcpChecksum,
} from '../../../src/mptcp-over-udp/wire/parse-segment.js';
import { ACK, createTcpSegment, PSH, SYN, type TcpSegment } from '../../../src/mptcp-over-udp/wire/segment.js';
import {
  emitMss,
  emitSack,
  emitSackPermitted,
  emitTimestamps,
  emitWindowScale,
  padOptions,
} from '../../../src/mptcp-over-udp/wire/tcp-options.js';
import { concat, hex, tcpPacket, toHex, V4_A, V6_A, viewOf } from './packets.js';

function parse(packet: Uint8Array, coalesced = false, out: TcpSegment = createTcpSegment()): { fault: string; out: TcpSegment } {
  return { fault: parseSegment(packet, viewOf(packet), 0, packet.length, coalesced, out), out };
}

const SYN_OPTIONS = (() => {
  const out = new Uint8Array(40).fill(0xa5);
  let at = emitMss(out, 0, 1460);
  at += emitSackPermitted(out, at);
  at += emitTimestamps(out, at, 0x80000001, 0xfffffffe);
  at += emitWindowScale(out, at, 7);
  return out.slice(0, padOptions(out, 0, at));
})();

t.test('TCP options are emitted as in their RFCs, padded with NOP', async (t) => {
  t.equal(toHex(SYN_OPTIONS), '020405b4 0402 080a80000001fffffffe 030307 01'.replaceAll(' ', ''));
  const out = new Uint8Array(40).fill(0xa5);
  const edges = Uint32Array.of(0xfffffff0, 16, 100, 200);
  t.equal(emitSack(out, 3, edges, 2), 18);
  t.equal(toHex(out.subarray(3, 21)), '0512fffffff00000001000000064000000c8');
  t.equal(out[21], 0xa5);
  t.equal(padOptions(out, 3, 21), 23);
  t.equal(toHex(out.subarray(21, 24)), '0101a5');
});

t.test('every field of a segment, IPv4 and IPv6', async (t) => {
  for (const source of [V4_A, V6_A]) {
    const packet = tcpPacket({
      source,
      sourcePort: 0xfedc,
      destinationPort: 443,
      sequenceNumber: 0xfffffff0,
      acknowledgmentNumber: 0x80000000,
      flags: SYN | ACK,
      window: 0xfffe,
      options: SYN_OPTIONS,
      payload: hex('00112233'),
    });
    packet[1] = source.length === 4 ? 0x02 : packet[1]! | 0x20;
    const { fault, out } = parse(packet);
    t.equal(fault, '');
    t.match(out, {
      ipVersion: source.length === 4 ? 4 : 6,
      sourcePort: 0xfedc,
      destinationPort: 443,
      sequenceNumber: 0xfffffff0,
      acknowledgmentNumber: 0x80000000,
      flags: SYN | ACK,
      window: 0xfffe,
      payloadBytes: 4,
      ecn: 2,
      mss: 1460,
      windowScale: 7,
      sackPermitted: true,
      hasTimestamps: true,
      timestampValue: 0x80000001,
      timestampEcho: 0xfffffffe,
      sackCount: 0,
    });
    t.equal(out.bytes, packet);
    t.equal(toHex(packet.subarray(out.sourceAddressOffset, out.sourceAddressOffset + source.length)), toHex(source));
    t.equal(packet[out.destinationAddressOffset + source.length - 1], 2);
    t.equal(toHex(packet.subarray(out.payloadOffset, out.payloadOffset + out.payloadBytes)), '00112233');
  }
});

t.test('options that are absent are reset when the struct is used again', async (t) => {
  const out = createTcpSegment();
  parse(tcpPacket({ flags: SYN, options: concat(SYN_OPTIONS, hex('1e040101 1e04f0')) }), false, out);
  t.not(out.mptcp.seen, 0);
  t.equal(out.mptcp.malformedCount, 0);
  parse(tcpPacket({ flags: ACK, options: hex('050a 00000001 00000002 1e0340') }), false, out);
  t.match(out, {
    mss: 0,
    windowScale: -1,
    sackPermitted: false,
    hasTimestamps: false,
    sackCount: 1,
    mptcp: { seen: 0, malformedCount: 1 },
  });
  t.strictSame([...out.sack.subarray(0, 2)], [1, 2]);
  parse(tcpPacket({ flags: ACK }), false, out);
  t.match(out, {
    mss: 0,
    windowScale: -1,
    sackPermitted: false,
    hasTimestamps: false,
    sackCount: 0,
    mptcp: { seen: 0, malformedCount: 0 },
  });
});

t.test('a window scale above 14 is used as 14', async (t) => {
  t.equal(parse(tcpPacket({ flags: SYN, options: hex('0303ff') })).out.windowScale, 14);
});

t.test('options of a wrong length are ignored, a silly length ends the walk', async (t) => {
  t.match(parse(tcpPacket({ flags: SYN, options: hex('020305 0304 0700 0403 00 02040578') })).out, {
    mss: 0x578,
    windowScale: -1,
    sackPermitted: false,
  });
  t.equal(parse(tcpPacket({ flags: SYN, options: hex('0201 02040578') })).out.mss, 0);
  t.equal(parse(tcpPacket({ flags: ACK, options: hex('050b 00000001 00000002 00') })).out.sackCount, 0);
  t.equal(parse(tcpPacket({ flags: ACK, options: hex('0101011e') })).out.mptcp.malformedCount, 1, 'a kind 30 without a length');
  t.equal(parse(tcpPacket({ flags: ACK, options: hex('1e0c2003') })).out.mptcp.malformedCount, 1, 'a kind 30 that ends behind the header');
  t.equal(parse(tcpPacket({ flags: SYN, options: hex('00040578 02040578') })).out.mss, 0, 'end of option list');
});

t.test('the IP length trims the packet, and must fit in it', async (t) => {
  for (const source of [V4_A, V6_A]) {
    const packet = tcpPacket({ source, flags: ACK, payload: hex('0011') });
    const trailing = concat(packet, hex('ffffffff'));
    t.equal(parse(trailing).out.payloadBytes, 2);
    t.equal(parse(trailing, true).out.payloadBytes, 6, 'coalesced: the length given is the truth');
    t.equal(parse(packet.subarray(0, packet.length - 1)).fault, FAULT_IP_LENGTH);
    t.equal(parse(packet.subarray(0, packet.length - 1), true).fault, '', 'coalesced: the IP length speaks of the first segment only');
  }
});

t.test('an offset into a bigger buffer', async (t) => {
  const packet = tcpPacket({ flags: ACK | PSH, options: SYN_OPTIONS, payload: hex('616263') });
  const buffer = concat(hex('ffffffffff'), packet, hex('ffff')).subarray(2);
  const out = createTcpSegment();
  t.equal(parseSegment(buffer, viewOf(buffer), 3, packet.length, false, out), '');
  t.equal(Buffer.from(buffer.subarray(out.payloadOffset, out.payloadOffset + out.payloadBytes)).toString(), 'abc');
  t.equal(parseSegment(buffer, viewOf(buffer), 3, packet.length + 3, false, out), FAULT_SHORT, 'a length beyond the buffer');
});

t.test('faults', async (t) => {
  const v4 = tcpPacket({ flags: ACK });
  const v6 = tcpPacket({ source: V6_A, flags: ACK });
  const changed = (packet: Uint8Array, at: number, value: number): string => {
    const copy = packet.slice();
    copy[at] = value;
    return parse(copy).fault;
  };
  t.equal(parse(new Uint8Array(0)).fault, FAULT_SHORT);
  t.equal(parse(v4.subarray(0, 39)).fault, FAULT_SHORT);
  t.equal(changed(v4, 0, 0x55), FAULT_VERSION);
  t.equal(changed(v4, 0, 0x44), FAULT_IP_LENGTH);
  t.equal(changed(v4, 0, 0x46), FAULT_SHORT, 'IP options leave no room for TCP');
  t.equal(changed(v4, 3, 39), FAULT_SHORT);
  t.equal(changed(v4, 6, 0x20), FAULT_FRAGMENT);
  t.equal(changed(v4, 7, 1), FAULT_FRAGMENT);
  t.equal(changed(v4, 9, 17), FAULT_NOT_TCP);
  t.equal(changed(v4, 32, 0x40), FAULT_DATA_OFFSET);
  t.equal(changed(v4, 32, 0x60), FAULT_DATA_OFFSET);
  t.equal(changed(v6, 6, 0), FAULT_NOT_TCP, 'an IPv6 extension header');
  t.equal(changed(v6, 5, 19), FAULT_SHORT);
  t.equal(parse(v6.subarray(0, 59)).fault, FAULT_SHORT);
});

t.test('arbitrary bytes never throw and every offset stays within them', async (t) => {
  const out = createTcpSegment();
  const checked = (bytes: Uint8Array, coalesced: boolean): void => {
    if (parseSegment(bytes, viewOf(bytes), 0, bytes.length, coalesced, out) === '') {
      const ok = out.payloadOffset >= 40 && out.payloadBytes >= 0 && out.payloadOffset + out.payloadBytes <= bytes.length;
      if (!ok) throw new Error(`payload out of bounds: ${toHex(bytes)}`);
    }
    verifyTcpChecksum(bytes, 0, bytes.length);
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 120 }), fc.boolean(), checked), { numRuns: 2000 });
  // Valid packets with a few bytes changed get past the first checks.
  const base = tcpPacket({ flags: ACK, options: concat(SYN_OPTIONS, hex('1e082001b1b2b3b4')), payload: hex('0011') });
  const mutations = fc.array(fc.tuple(fc.nat(base.length - 1), fc.nat(255)), { maxLength: 6 });
  fc.assert(
    fc.property(mutations, fc.boolean(), (changes, coalesced) => {
      const bytes = base.slice();
      for (const [at, value] of changes) bytes[at] = value;
      checked(bytes, coalesced);
    }),
    { numRuns: 3000 },
  );
  t.pass();
});

/** The option walk written for reading, not for speed: what was seen, in words. */
function naiveWalk(options: readonly number[]): string[] {
  const seen: string[] = [];
  let rest = [...options];
  while (rest.length > 0 && rest[0] !== 0) {
    if (rest[0] === 1) {
      rest = rest.slice(1);
      continue;
    }
    const [kind, length = 0] = rest as [number, number?];
    if (length < 2 || length > rest.length) {
      if (kind === 30) seen.push('malformed');
      break;
    }
    const body = Buffer.from(rest.slice(2, length));
    rest = rest.slice(length);
    if (kind === 2 && length === 4) seen.push(`mss ${body.readUInt16BE(0)}`);
    if (kind === 3 && length === 3) seen.push(`scale ${Math.min(body[0]!, 14)}`);
    if (kind === 4 && length === 2) seen.push('sack permitted');
    if (kind === 8 && length === 10) seen.push(`ts ${body.readUInt32BE(0)} ${body.readUInt32BE(4)}`);
    if (kind === 5 && [10, 18, 26, 34].includes(length)) seen.push(`sack ${body.toString('hex')}`);
    if (kind === 30) {
      const subtype = length >= 3 ? body[0]! >> 4 : -1;
      const dataAck = subtype === 2 && length === 8 && (body[1]! & 0x1f & ~0x18) === 1;
      if (dataAck && !seen.some((text) => text.startsWith('data ack'))) seen.push(`data ack ${body.readUInt32BE(2)}`);
      else if (subtype === 5 && length === 3 && !seen.some((text) => text.startsWith('prio'))) seen.push(`prio ${body[0]! & 1}`);
      else if (subtype <= 8) seen.push('malformed');
    }
  }
  return seen;
}

/** The same words from the struct: the last of each kind but the MPTCP ones, where the first stands. */
function wordsOf(out: TcpSegment): string[] {
  const words: string[] = [];
  if (out.mss !== 0) words.push(`mss ${out.mss}`);
  if (out.windowScale !== -1) words.push(`scale ${out.windowScale}`);
  if (out.sackPermitted) words.push('sack permitted');
  if (out.hasTimestamps) words.push(`ts ${out.timestampValue} ${out.timestampEcho}`);
  if (out.sackCount > 0) {
    const bytes = Buffer.alloc(8 * out.sackCount);
    for (let i = 0; i < 2 * out.sackCount; i++) bytes.writeUInt32BE(out.sack[i]!, 4 * i);
    words.push(`sack ${bytes.toString('hex')}`);
  }
  if ((out.mptcp.seen & 4) !== 0) words.push(`data ack ${out.mptcp.dss.dataAckLow}`);
  if ((out.mptcp.seen & 32) !== 0) words.push(`prio ${out.mptcp.mpPrio.backup ? 1 : 0}`);
  for (let i = 0; i < out.mptcp.malformedCount; i++) words.push('malformed');
  return words;
}

t.test('the option walk agrees with a naive twin', async (t) => {
  const bytesOf = (length: number): fc.Arbitrary<number[]> => fc.array(fc.nat(255), { minLength: length, maxLength: length });
  const option = fc.oneof(
    fc.constantFrom([1], [0], [1, 1]),
    bytesOf(2).map((body) => [2, 4, ...body]),
    fc.nat(255).map((shift) => [3, 3, shift]),
    fc.constant([4, 2]),
    bytesOf(8).map((body) => [8, 10, ...body]),
    bytesOf(8).map((body) => [1, 1, 8, 10, ...body]),
    fc.integer({ min: 1, max: 4 }).chain((count) => bytesOf(8 * count).map((body) => [5, 2 + 8 * count, ...body])),
    bytesOf(4).map((body) => [30, 8, 0x20, 1, ...body]),
    fc.nat(15).map((low) => [30, 3, 0x50 | low]),
    fc.tuple(fc.constantFrom(2, 3, 4, 5, 8, 30, 253), fc.nat(12)).chain(([kind, length]) =>
      bytesOf(Math.max(0, length - 2)).map((body) =>
        // Subtypes that the twin does not know are left out.
        kind === 30 && body.length > 0 ? [kind, length, (body[0]! & 0x0f) | 0xf0, ...body.slice(1)] : [kind, length, ...body],
      ),
    ),
  );
  let compared = 0;
  fc.assert(
    fc.property(fc.array(option, { maxLength: 6 }), (list) => {
      const options = list.flat().slice(0, 40);
      while (options.length % 4 !== 0) options.push(0);
      const last = new Map<string, string>();
      const malformed: string[] = [];
      for (const word of naiveWalk(options)) {
        if (word === 'malformed') malformed.push(word);
        else last.set(word === 'sack permitted' ? word : (word.split(' ')[0] ?? word), word);
      }
      const expected = [...last.values()].filter((word) => word !== 'mss 0').concat(malformed);
      const { fault, out } = parse(tcpPacket({ flags: ACK, options: Uint8Array.from(options) }));
      if (fault !== '') throw new Error(fault);
      compared++;
      const words = wordsOf(out).sort().join(', ');
      if (words !== expected.sort().join(', ')) throw new Error(`parsed ${words}`);
    }),
    { numRuns: 2000 },
  );
  t.equal(compared >= 2000, true);
});

t.test('the TCP checksum is verified on request, and a changed bit is found', async (t) => {
  for (const source of [V4_A, V6_A]) {
    for (const payload of [hex(''), hex('01'), hex('0102030405')]) {
      const packet = tcpPacket({ source, flags: ACK, options: SYN_OPTIONS, payload });
      t.equal(verifyTcpChecksum(packet, 0, packet.length), true);
      t.equal(verifyTcpChecksum(concat(hex('ff'), packet, hex('ff')), 1, packet.length + 1), true);
      for (const at of [source.length === 4 ? 12 : 8, packet.length - 1, packet.length - 1 - payload.length]) {
        const broken = packet.slice();
        broken[at]! ^= 0x10;
        t.equal(verifyTcpChecksum(broken, 0, broken.length), false);
      }
    }
  }
});
