/** RFC 7413, 4.1.1: the Fast Open option. */

import fc from 'fast-check';
import t from 'tap';
import { emitFastOpen, fastOpenCookieOf } from '../../../src/mptcp-over-udp/wire/fast-open.js';
import { parseSegment } from '../../../src/mptcp-over-udp/wire/parse-segment.js';
import { ACK, createTcpSegment, SYN } from '../../../src/mptcp-over-udp/wire/segment.js';
import { hex, tcpPacket, toHex, viewOf } from './packets.js';

function cookieIn(options: Uint8Array, flags = SYN): Uint8Array | undefined {
  const packet = tcpPacket({ flags, options, payload: hex('aabb') });
  const segment = createTcpSegment();
  if (parseSegment(packet, viewOf(packet), 0, packet.length, false, segment) !== '') throw new Error('does not parse');
  return fastOpenCookieOf(segment);
}

t.test('vectors', async (t) => {
  t.equal(cookieIn(hex('2202'))?.length, 0, 'a request');
  t.equal(toHex(cookieIn(hex('22 0a 0102030405060708')) as Uint8Array), '0102030405060708');
  t.equal(toHex(cookieIn(hex('020405b4 2206 01020304')) as Uint8Array), '01020304', 'behind another option');
  t.equal(cookieIn(hex('020405b4')), undefined, 'no option');
  t.equal(cookieIn(hex('2202'), ACK), undefined, 'only a SYN has it');
});

t.test('lengths that RFC 7413 does not know are ignored', async (t) => {
  for (let bytes = 1; bytes <= 20; bytes++) {
    const option = new Uint8Array(2 + bytes).fill(7);
    option[0] = 34;
    option[1] = option.length;
    const isKnown = bytes >= 4 && bytes <= 16 && bytes % 2 === 0;
    t.equal(cookieIn(option)?.length, isKnown ? bytes : undefined, `${bytes} bytes`);
  }
});

t.test('what was emitted into a dirty buffer is parsed again, at any place', async () => {
  const cookies = fc
    .integer({ min: 1, max: 8 })
    .chain((half) => fc.uint8Array({ minLength: half === 1 ? 0 : 2 * half, maxLength: half === 1 ? 0 : 2 * half }));
  fc.assert(
    fc.property(cookies, fc.integer({ min: 0, max: 20 }), (cookie, at) => {
      const out = new Uint8Array(40).fill(0xa5);
      out.fill(1, 0, at);
      const end = at + emitFastOpen(out, at, cookie);
      return toHex(cookieIn(out.subarray(0, end)) as Uint8Array) === toHex(cookie) && out.subarray(end).every((byte) => byte === 0xa5);
    }),
  );
});

t.test('one segment does not inherit the cookie of the one before', async (t) => {
  const segment = createTcpSegment();
  for (const options of [hex('22 06 01020304'), hex('020405b4')]) {
    const packet = tcpPacket({ flags: SYN, options });
    parseSegment(packet, viewOf(packet), 0, packet.length, false, segment);
  }
  t.equal(fastOpenCookieOf(segment), undefined);
});
