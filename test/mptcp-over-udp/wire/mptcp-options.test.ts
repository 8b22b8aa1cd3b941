import fc from 'fast-check';
import t from 'tap';
import { addAddrLength, emitAddAddr } from '../../../src/mptcp-over-udp/wire/add-addr.js';
import { dssLength, emitDss } from '../../../src/mptcp-over-udp/wire/dss.js';
import { emitFastclose } from '../../../src/mptcp-over-udp/wire/fastclose.js';
import { emitMpCapable } from '../../../src/mptcp-over-udp/wire/mp-capable.js';
import { emitMpFail } from '../../../src/mptcp-over-udp/wire/mp-fail.js';
import { emitMpJoin } from '../../../src/mptcp-over-udp/wire/mp-join.js';
import { emitMpPrio } from '../../../src/mptcp-over-udp/wire/mp-prio.js';
import { parseSegment } from '../../../src/mptcp-over-udp/wire/parse-segment.js';
import { emitRemoveAddr } from '../../../src/mptcp-over-udp/wire/remove-addr.js';
import * as seg from '../../../src/mptcp-over-udp/wire/segment.js';
import { emitTcpRst } from '../../../src/mptcp-over-udp/wire/tcp-rst.js';
import { hex, tcpPacket, toHex, viewOf } from './packets.js';

const KEY_A = hex('0102030405060708');
const KEY_B = hex('f1f2f3f4f5f6f7f8');
const HMAC_20 = hex('000102030405060708090a0b0c0d0e0f10111213');

/** Parses one packet that carries exactly these options. */
function parseOptions(options: Uint8Array, flags: number): seg.TcpSegment {
  const packet = tcpPacket({ flags, options });
  const out = seg.createTcpSegment();
  const fault = parseSegment(packet, viewOf(packet), 0, packet.length, false, out);
  if (fault !== '') throw new Error(fault);
  return out;
}

/** Emits into the middle of a 0xa5-filled buffer, asserts that nothing around it was touched, and returns what was written. */
function emitted(emit: (out: Uint8Array, at: number) => number): Uint8Array {
  const out = new Uint8Array(64).fill(0xa5);
  const length = emit(out, 7);
  if (out.subarray(0, 7).some((byte) => byte !== 0xa5) || out.subarray(7 + length).some((byte) => byte !== 0xa5)) {
    throw new Error('emit wrote outside of the bytes that it claims');
  }
  // A second time over other dirt: a byte that was claimed but not written shows.
  const other = new Uint8Array(64).fill(0x5a);
  emit(other, 7);
  if (toHex(out.subarray(7, 7 + length)) !== toHex(other.subarray(7, 7 + length))) throw new Error('emit left claimed bytes unwritten');
  return out.slice(7, 7 + length);
}

t.test('MP_CAPABLE has the forms of RFC 8684, 3.1, as Linux sends them', async (t) => {
  const option = { ...seg.createTcpSegment().mptcp.mpCapable, version: 1, flags: 0x01, senderKey: KEY_A, receiverKey: KEY_B };
  const vectors: readonly [number, number, string][] = [
    [4, seg.SYN, '1e040101'],
    [12, seg.SYN | seg.ACK, '1e0c01010102030405060708'],
    [20, seg.ACK, '1e1401010102030405060708f1f2f3f4f5f6f7f8'],
    [22, seg.ACK | seg.PSH, '1e1601010102030405060708f1f2f3f4f5f6f7f80578'],
    [24, seg.ACK | seg.PSH, '1e1801010102030405060708f1f2f3f4f5f6f7f80578beef'],
  ];
  for (const [length, flags, vector] of vectors) {
    const bytes = emitted((out, at) => emitMpCapable(out, at, { ...option, length, dataLength: 0x578, checksum: 0xbeef }));
    t.equal(toHex(bytes), vector);
    const parsed = parseOptions(bytes, flags).mptcp;
    t.equal(parsed.seen, seg.SEEN_MP_CAPABLE);
    t.match(parsed.mpCapable, { version: 1, flags: 1, length, dataLength: length >= 22 ? 0x578 : 0, checksum: length === 24 ? 0xbeef : 0 });
    if (length >= 12) t.equal(toHex(parsed.mpCapable.senderKey), toHex(KEY_A));
    if (length >= 20) t.equal(toHex(parsed.mpCapable.receiverKey), toHex(KEY_B));
  }
  t.throws(() => emitMpCapable(new Uint8Array(64), 0, { ...option, length: 21 }), RangeError);
});

t.test('MP_JOIN has one form for each segment of its handshake, and another one there is malformed', async (t) => {
  const option = {
    ...seg.createTcpSegment().mptcp.mpJoin,
    backup: true,
    addressId: 5,
    token: 0xdeadbeef,
    nonce: 0xcafebabe,
    hmac: HMAC_20,
  };
  const vectors: readonly [number, number, string][] = [
    [12, seg.SYN, '1e0c1105deadbeefcafebabe'],
    [16, seg.SYN | seg.ACK, '1e1011050001020304050607cafebabe'],
    [24, seg.ACK, '1e181000000102030405060708090a0b0c0d0e0f10111213'],
  ];
  for (const [length, flags, vector] of vectors) {
    const bytes = emitted((out, at) => emitMpJoin(out, at, { ...option, length }));
    t.equal(toHex(bytes), vector);
    const parsed = parseOptions(bytes, flags).mptcp;
    t.equal(parsed.seen, seg.SEEN_MP_JOIN);
    t.equal(parsed.mpJoin.backup, length !== 24);
    t.equal(parsed.mpJoin.addressId, length === 24 ? 0 : 5);
    t.equal(parsed.mpJoin.token, length === 12 ? 0xdeadbeef : 0);
    t.equal(parsed.mpJoin.nonce, length === 24 ? 0 : 0xcafebabe);
    const hmacBytes = length === 12 ? 0 : length === 16 ? 8 : 20;
    t.equal(toHex(parsed.mpJoin.hmac.subarray(0, hmacBytes)), toHex(HMAC_20.subarray(0, hmacBytes)));
    for (const [, otherFlags] of vectors) {
      if (otherFlags === flags) continue;
      const wrong = parseOptions(bytes, otherFlags).mptcp;
      t.equal(wrong.seen, 0);
      t.equal(wrong.malformedCount, 1);
    }
  }
});

t.test('DSS as Linux sends it', async (t) => {
  const base = seg.createTcpSegment().mptcp.dss;
  const mapping = { dsnHigh: 0x01020304, dsnLow: 0x85060708, subflowSequenceNumber: 1, dataLength: 0x1000 };
  const ack = { dataAckHigh: 0xa1a2a3a4, dataAckLow: 0xb1b2b3b4 };
  const vectors: readonly [string, seg.Dss][] = [
    ['1e082001b1b2b3b4', { ...base, ...ack, dataAckBytes: 4 }],
    ['1e0c2003a1a2a3a4b1b2b3b4', { ...base, ...ack, dataAckBytes: 8 }],
    ['1e16200db1b2b3b40102030485060708000000011000', { ...base, ...ack, ...mapping, dataAckBytes: 4, dsnBytes: 8 }],
    [
      '1e18200db1b2b3b40102030485060708000000011000beef',
      { ...base, ...ack, ...mapping, dataAckBytes: 4, dsnBytes: 8, hasChecksum: true, checksum: 0xbeef },
    ],
    [
      '1e1c201fa1a2a3a4b1b2b3b40102030485060708000000011000beef',
      { ...base, ...ack, ...mapping, dataAckBytes: 8, dsnBytes: 8, hasChecksum: true, checksum: 0xbeef, dataFin: true },
    ],
    ['1e0e200485060708000000011000', { ...base, ...mapping, dsnHigh: 0, dsnBytes: 4 }],
    ['1e042000', { ...base }],
  ];
  for (const [vector, dss] of vectors) {
    const bytes = emitted((out, at) => emitDss(out, at, dss));
    t.equal(toHex(bytes), vector);
    t.equal(bytes.length, dssLength(dss.dataAckBytes, dss.dsnBytes, dss.hasChecksum));
    const parsed = parseOptions(bytes, seg.ACK).mptcp;
    t.equal(parsed.seen, seg.SEEN_DSS);
    t.match(parsed.dss, {
      dataFin: dss.dataFin,
      dataAckBytes: dss.dataAckBytes,
      dsnBytes: dss.dsnBytes,
      hasChecksum: dss.hasChecksum,
      ...(dss.dataAckBytes === 0 ? {} : { dataAckHigh: dss.dataAckBytes === 8 ? dss.dataAckHigh : 0, dataAckLow: dss.dataAckLow }),
      ...(dss.dsnBytes === 0 ? {} : mapping),
      ...(dss.dsnBytes === 4 ? { dsnHigh: 0 } : {}),
    });
  }
});

t.test('a DATA_FIN lies in a mapping: F without M is ignored on receipt and refused on sending', async (t) => {
  const parsed = parseOptions(hex('1e08201100000001'), seg.ACK).mptcp;
  t.equal(parsed.seen, seg.SEEN_DSS);
  t.equal(parsed.dss.dataFin, false);
  t.throws(() => emitDss(new Uint8Array(64), 0, { ...parsed.dss, dataFin: true }), RangeError);
});

t.test('a DSS whose length is not what its flags say is malformed', async (t) => {
  for (let flags = 0; flags < 32; flags++) {
    for (let length = 3; length <= 40; length++) {
      const bytes = new Uint8Array(length);
      bytes.set([30, length, 0x20, flags].slice(0, Math.min(length, 4)));
      const ack = flags & 1 ? (flags & 2 ? 8 : 4) : 0;
      const dsn = flags & 4 ? (flags & 8 ? 8 : 4) : 0;
      const isLegal = length === dssLength(ack, dsn, false) || (dsn > 0 && length === dssLength(ack, dsn, true));
      const parsed = parseOptions(bytes, seg.ACK).mptcp;
      if ((parsed.seen === seg.SEEN_DSS) !== isLegal || parsed.malformedCount !== (isLegal ? 0 : 1)) {
        t.fail(`flags ${flags} length ${length}`);
      }
    }
  }
  t.pass('every combination of flags and length');
});

t.test('ADD_ADDR in its eight forms', async (t) => {
  const hmac = hex('1011121314151617');
  for (const ipVersion of [4, 6] as const) {
    for (const port of [0, 8080]) {
      for (const echo of [false, true]) {
        const address = hex(ipVersion === 4 ? 'c0000201' : '20010db8000000000000000000000001');
        const option = { isVersion0: false, echo, ipVersion, addressId: 9, address, port, hmac };
        const bytes = emitted((out, at) => emitAddAddr(out, at, option));
        t.equal(bytes.length, addAddrLength(ipVersion, port !== 0, echo));
        const expected = `1e${bytes.length.toString(16).padStart(2, '0')}3${echo ? 1 : 0}09${toHex(address)}${port ? '1f90' : ''}${echo ? '' : toHex(hmac)}`;
        t.equal(toHex(bytes), expected);
        const parsed = parseOptions(bytes, seg.ACK).mptcp;
        t.equal(parsed.seen, seg.SEEN_ADD_ADDR);
        t.match(parsed.addAddr, { echo, ipVersion, addressId: 9, port });
        t.equal(toHex(parsed.addAddr.address.subarray(0, address.length)), toHex(address));
        if (!echo) t.equal(toHex(parsed.addAddr.hmac), toHex(hmac));
      }
    }
  }
  const lengths = new Set([16, 18, 28, 30].map((length) => `0 ${length}`).concat([8, 10, 20, 22].map((length) => `1 ${length}`)));
  for (const echo of [0, 1]) {
    for (let length = 3; length <= 40; length++) {
      const bytes = new Uint8Array(length);
      bytes.set([30, length, 0x30 | echo]);
      const parsed = parseOptions(bytes, seg.ACK).mptcp;
      if ((parsed.seen !== 0) !== lengths.has(`${echo} ${length}`)) t.fail(`echo ${echo} length ${length}`);
    }
  }
});

t.test('REMOVE_ADDR, MP_PRIO, MP_FAIL, MP_FASTCLOSE and MP_TCPRST as vectors', async (t) => {
  const remove = emitted((out, at) => emitRemoveAddr(out, at, Uint8Array.of(3, 200, 7), 3));
  t.equal(toHex(remove), '1e064003c807');
  const removed = parseOptions(remove, seg.ACK).mptcp;
  t.equal(removed.seen, seg.SEEN_REMOVE_ADDR);
  t.strictSame([...removed.removeAddrIds.subarray(0, removed.removeAddrCount)], [3, 200, 7]);
  t.equal(parseOptions(hex('1e0340'), seg.ACK).mptcp.malformedCount, 1);
  t.equal(parseOptions(hex(`1e2840${'01'.repeat(37)}`), seg.ACK).mptcp.removeAddrCount, 37);
  t.throws(() => emitRemoveAddr(new Uint8Array(64), 0, new Uint8Array(64), 38), RangeError);
  t.throws(() => emitRemoveAddr(new Uint8Array(64), 0, new Uint8Array(64), 0), RangeError);

  for (const backup of [true, false]) {
    const prio = emitted((out, at) => emitMpPrio(out, at, backup));
    t.equal(toHex(prio), backup ? '1e0351' : '1e0350');
    t.match(parseOptions(prio, seg.ACK).mptcp, { seen: seg.SEEN_MP_PRIO, mpPrio: { backup, addressId: -1 } });
  }
  const fail = emitted((out, at) => emitMpFail(out, at, 0x81020304, 0xa5060708));
  t.equal(toHex(fail), '1e0c600081020304a5060708');
  t.match(parseOptions(fail, seg.ACK).mptcp, { seen: seg.SEEN_MP_FAIL, mpFail: { dsnHigh: 0x81020304, dsnLow: 0xa5060708 } });

  const fastclose = emitted((out, at) => emitFastclose(out, at, KEY_B));
  const rst = emitted((out, at) => emitTcpRst(out, at, 1, 3));
  t.equal(toHex(fastclose), '1e0c7000f1f2f3f4f5f6f7f8');
  t.equal(toHex(rst), '1e048103');
  t.equal(toHex(emitted((out, at) => emitTcpRst(out, at, 0xf, 0))), '1e048100', 'U, V and W are sent 0');
  const closing = parseOptions(Uint8Array.from([...fastclose, ...rst]), seg.RST | seg.ACK).mptcp;
  t.equal(closing.seen, seg.SEEN_MP_FASTCLOSE | seg.SEEN_MP_TCPRST, 'FASTCLOSE and TCPRST in one segment, as Linux sends them');
  t.equal(toHex(closing.fastcloseKey), toHex(KEY_B));
  t.match(closing.tcpRst, { flags: 1, reason: 3 });
});

t.test('reserved bits are ignored on receipt', async (t) => {
  t.match(parseOptions(hex('1e08 2fe1 b1b2b3b4'), seg.ACK).mptcp, {
    seen: seg.SEEN_DSS,
    malformedCount: 0,
    dss: { dataAckLow: 0xb1b2b3b4 },
  });
  t.match(parseOptions(hex('1e035e'), seg.ACK).mptcp, { seen: seg.SEEN_MP_PRIO, mpPrio: { backup: false } });
  t.match(parseOptions(hex('1e0c1e05deadbeefcafebabe'), seg.SYN).mptcp, {
    seen: seg.SEEN_MP_JOIN,
    mpJoin: { backup: false, addressId: 5 },
  });
  t.match(parseOptions(hex('1e0c6fff0102030405060708'), seg.ACK).mptcp, { seen: seg.SEEN_MP_FAIL });
});

t.test('the second option of a subtype is ignored and counted, the first one stands', async (t) => {
  const parsed = parseOptions(hex('1e08200100000001 1e08200100000002'), seg.ACK).mptcp;
  t.equal(parsed.dss.dataAckLow, 1);
  t.equal(parsed.malformedCount, 1);
});

t.test('an unknown subtype, private use 0xf included, is ignored and is no fault', async (t) => {
  t.match(parseOptions(hex('1e04f000 1e08200100000001'), seg.ACK).mptcp, { seen: seg.SEEN_DSS, malformedCount: 0 });
});

const u32 = fc.integer({ min: 0, max: 0xffffffff });

t.test('any Dss survives the round trip', async (t) => {
  fc.assert(
    fc.property(
      fc.record({
        dataFin: fc.boolean(),
        dataAckBytes: fc.constantFrom(0 as const, 4 as const, 8 as const),
        dataAckHigh: u32,
        dataAckLow: u32,
        dsnBytes: fc.constantFrom(4 as const, 8 as const),
        dsnHigh: u32,
        dsnLow: u32,
        subflowSequenceNumber: u32,
        dataLength: fc.integer({ min: 0, max: 0xffff }),
        hasChecksum: fc.boolean(),
        checksum: fc.integer({ min: 0, max: 0xffff }),
      }),
      (dss) => {
        const parsed = parseOptions(
          emitted((out, at) => emitDss(out, at, dss)),
          seg.ACK,
        ).mptcp.dss;
        const again = emitted((out, at) => emitDss(out, at, parsed));
        return toHex(again) === toHex(emitted((out, at) => emitDss(out, at, dss)));
      },
    ),
  );
  t.pass();
});

t.test(
  'RFC 6824 forms: ADD_ADDR with the IP version and no HMAC, MP_PRIO with an address id, MP_CAPABLE with a key in the SYN',
  async (t) => {
    for (const ipVersion of [4, 6] as const) {
      for (const port of [0, 8080]) {
        const address = hex(ipVersion === 4 ? 'c0000201' : '20010db8000000000000000000000001');
        const option = { isVersion0: true, echo: false, ipVersion, addressId: 9, address, port, hmac: new Uint8Array(8) };
        const bytes = emitted((out, at) => emitAddAddr(out, at, option));
        t.equal(toHex(bytes), `1e${bytes.length.toString(16).padStart(2, '0')}3${ipVersion}09${toHex(address)}${port ? '1f90' : ''}`);
        t.match(parseOptions(bytes, seg.ACK).mptcp.addAddr, { isVersion0: true, echo: false, ipVersion, addressId: 9, port });
      }
    }
    const prio = parseOptions(hex('1e045107'), seg.ACK).mptcp;
    t.equal(prio.seen, seg.SEEN_MP_PRIO);
    t.match(prio.mpPrio, { backup: true, addressId: 7 });
    const capable = parseOptions(hex('1e0c00010102030405060708'), seg.SYN).mptcp;
    t.match(capable.mpCapable, { version: 0, flags: 1, length: 12 });
    t.equal(toHex(capable.mpCapable.senderKey), '0102030405060708');
  },
);
