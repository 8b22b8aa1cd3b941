/** What arrives in a row is joined into super-packets. */

import t from 'tap';
import * as native from '../../src/tun/native.js';
import { generator, type HeaderFields, inOwnNamespace, openUdp, pattern, Receiver, tcpHeader } from './native-harness.js';
import { INDEX, packet, Rig } from './native-receive-rig.js';
import { cutTcp, cutUdp, finishPacket, internetChecksum, joinSegments } from './native-twins.js';

/** `count` datagrams of `bytes` as one packet, the last with `lastBytes`; DF set. */
function udpSuper(family: 4 | 6, count: number, bytes: number, lastBytes: number): Buffer {
  const transport = family === 4 ? 20 : 40;
  const ip = tcpHeader(family).subarray(0, transport);
  ip[family === 4 ? 9 : 6] = 17;
  if (family === 4) ip.writeUInt16BE(0xfffe, 4);
  const ports = Buffer.from([0x13, 0x88, 0x13, 0x89, 0, 0, 0, 0]);
  return Buffer.concat([ip, ports, pattern((count - 1) * bytes + lastBytes, count)]);
}

function testJoining(): void {
  t.test('random arrivals are joined as the twin does', async (t) => {
    const seed = 77_001;
    const random = generator(seed);
    const rig = new Rig();
    let number = 0;
    let joined = 0;
    for (let round = 0; round < 60; round++) {
      const arrivals: { packet: Buffer; lane: string }[] = [];
      const family = random(2) ? 4 : 6;
      let sequenceNumber = (random(0x10000) * 0x10000 + 0xf000) >>> 0;
      const options = pattern(4 * random(11), round);
      const segmentBytes = 1 + random(random(3) === 0 ? 40 : 1400);
      for (let i = 0; i < 60; i++) {
        // Mostly the next segment; now and then something that breaks the run in one way.
        const fault = random(8) === 0 ? random(14) : -1;
        const short = fault === 0 ? random(segmentBytes) : segmentBytes;
        const payload = pattern(fault === 1 ? segmentBytes + 1 : short, i);
        const fields: HeaderFields = {
          sequenceNumber: (sequenceNumber + (fault === 2 ? 1 : 0)) >>> 0,
          flags: [0x18, 0x11, 0x90, 0x50, 0x30, 0x14, 0x12, 0x08][fault - 3] ?? 0x10,
          window: fault === 11 ? 9 : 512,
          acknowledgmentNumber: fault === 12 ? 9 : 8,
          trafficClass: fault === 13 ? 3 : 0,
          options: random(30) === 0 ? pattern(options.length, 1234) : options,
        };
        const one = packet(random(40) === 0 ? (family === 4 ? 6 : 4) : family, fields, payload);
        if (random(40) === 0) one[one[0]! >> 4 === 4 ? 8 : 7]! ^= 1;
        const pathId = random(30) === 0 ? 1 : 0;
        sequenceNumber = (sequenceNumber + payload.length) >>> 0;
        arrivals.push({ packet: one, lane: String(pathId) });
        rig.send(rig.seal(number++, one, { pathId }));
      }
      const got = rig.receiver.datagrams(rig.rx, rig.table, arrivals.length);
      const expected = joinSegments(arrivals);
      joined += arrivals.length - expected.length;
      const same = got.every(
        (one, i) =>
          one.bytes.equals(expected[i]?.packet ?? Buffer.alloc(0)) &&
          one.datagrams === expected[i]?.datagrams &&
          one.segmentBytes === expected[i]?.segmentBytes &&
          one.headerLength === expected[i]?.headerLength,
      );
      if (got.length !== expected.length || !same) t.fail(`seed ${seed}, round ${round}: ${got.length} packets for ${expected.length}`);
    }
    t.ok(joined > 1000, `${joined} segments were joined to others`);
    rig.close();
  });

  t.test('a run is at most 65,535 bytes long', async (t) => {
    const rig = new Rig('aes-256-gcm', new Receiver({ rounds: 16 }));
    const cut = cutTcp(tcpHeader(4), pattern(130_000), 1400, 20);
    cut.forEach((packet, i) => {
      rig.send(rig.seal(i, packet));
    });
    const got = rig.receiver.datagrams(rig.rx, rig.table, cut.length);
    t.same(
      got.map((one) => one.bytes.length),
      joinSegments(cut.map((packet) => ({ packet, lane: '' }))).map((one) => one.packet.length),
    );
    t.ok(got.every((one) => one.bytes.length <= 65_535) && got.length === 3);
    rig.close();
  });

  t.test('control frames are never joined, nor a fragment, nor a packet whose IP length is not its length, nor two types', async (t) => {
    const rig = new Rig();
    const cut = cutTcp(tcpHeader(4), pattern(300), 100, 20);
    let number = 0;
    const count = (packets: Buffer[], ...types: number[]) => {
      packets.forEach((one, i) => {
        rig.send(rig.seal(number++, one, { type: types[i % types.length]! }));
      });
      return rig.receiver.datagrams(rig.rx, rig.table, packets.length).length;
    };
    t.equal(count(cut, native.TYPE_STREAM), 1);
    t.equal(count(cut, native.TYPE_DATAGRAM), 1);
    t.equal(count(cut, native.TYPE_CONTROL), 3);
    t.equal(count(cut, native.TYPE_STREAM, native.TYPE_DATAGRAM), 3);
    const fragments = cut.map((one) => finishPacket(Buffer.from(one).fill(0x20, 6, 7), 6, 20));
    t.equal(count(fragments, native.TYPE_STREAM), 3);
    const padded = cut.map((one) => Buffer.concat([one, Buffer.alloc(1)]));
    t.equal(count(padded, native.TYPE_STREAM), 3);
    rig.close();
  });

  t.test('packets of other hosts are joined when their checksums are right and their identifications stand still or count', async (t) => {
    const rig = new Rig();
    let number = 0;
    /** Numbers of datagrams in each descriptor; what is not joined must be there byte for byte, what is with all its payload. */
    const joined = (packets: Buffer[], headerBytes: number): number[] => {
      for (const one of packets) rig.send(rig.seal(number++, one, { type: native.TYPE_DATAGRAM }));
      const got = rig.receiver.datagrams(rig.rx, rig.table, packets.length);
      let at = 0;
      for (const one of got) {
        const own = packets.slice(at, at + one.datagrams);
        at += one.datagrams;
        const whole = Buffer.concat([one.bytes.subarray(0, headerBytes), ...own.map((packet) => packet.subarray(headerBytes))]);
        const expected = own.length === 1 ? own[0]! : whole;
        if (!one.bytes.equals(expected)) t.fail('bytes');
        if (own.length === 1) continue;
        t.match(one, { headerLength: headerBytes, segmentBytes: own[0]!.length - headerBytes, type: native.TYPE_DATAGRAM });
        const v4 = one.bytes[0]! >> 4 === 4;
        t.equal(v4 ? one.bytes.readUInt16BE(2) : one.bytes.readUInt16BE(4) + 40, one.bytes.length, 'IP length of the whole');
        if (v4) t.equal(internetChecksum(one.bytes.subarray(0, 20)), 0, 'IPv4 header checksum of the whole');
      }
      return got.map((one) => one.datagrams);
    };
    const changed = (packets: Buffer[], index: number, change: (packet: Buffer) => void) =>
      packets.map((one, i) => {
        const copy = Buffer.from(one);
        if (i === index || index < 0) change(copy);
        return copy;
      });
    const flip = (packet: Buffer) => {
      packet[packet.length - 1]! ^= 4;
    };
    for (const family of [4, 6] as const) {
      const tcpHeaderBytes = (family === 4 ? 20 : 40) + 32;
      const tcp = cutTcp(tcpHeader(family), pattern(950), 200, family === 4 ? 20 : 40);
      t.strictSame(joined(tcp, tcpHeaderBytes), [5], `IPv${family}: TCP`);
      t.strictSame(joined(changed(tcp, 2, flip), tcpHeaderBytes), [2, 1, 2], 'a wrong checksum stays what it is');
      t.strictSame(joined(changed(tcp, 0, flip), tcpHeaderBytes), [1, 4], 'in the first, too');
      const udpHeaderBytes = (family === 4 ? 20 : 40) + 8;
      const udp = cutUdp(udpSuper(family, 5, 200, 150), udpHeaderBytes, 200);
      t.strictSame(joined(udp, udpHeaderBytes), [5], `IPv${family}: UDP`);
      t.strictSame(joined([...udp, ...udp], udpHeaderBytes), [5, 5], 'a shorter one is the last');
      t.strictSame(joined(changed(udp, 1, flip), udpHeaderBytes), [1, 1, 3]);
      const none = changed(udp, -1, (packet) => packet.fill(0, udpHeaderBytes - 2, udpHeaderBytes));
      t.strictSame(joined(none, udpHeaderBytes), [1, 1, 1, 1, 1], 'without a checksum');
      const withTrailer = udp.map((packet) => Buffer.concat([packet, Buffer.alloc(4)]));
      t.strictSame(joined(withTrailer, udpHeaderBytes), [1, 1, 1, 1, 1], 'with a trailer');
    }
    const withIds =
      (...ids: number[]) =>
      (packets: Buffer[]) =>
        packets.map((one, i) => {
          const copy = Buffer.from(one);
          copy.writeUInt16BE(ids[i]!, 4);
          return finishPacket(copy, 17, 20);
        });
    const udp = cutUdp(udpSuper(4, 5, 200, 200), 28, 200);
    t.strictSame(joined(withIds(65_534, 65_535, 0, 1, 2)(udp), 28), [5], 'across the wrap');
    t.strictSame(joined(withIds(7, 7, 7, 7, 7)(udp), 28), [5]);
    t.strictSame(joined(withIds(7, 7, 8, 9, 10)(udp), 28), [2, 3]);
    t.strictSame(joined(withIds(7, 8, 9, 20, 21)(udp), 28), [3, 2]);
    const fragmentable = changed(udp, -1, (packet) => {
      packet[6] = 0;
      finishPacket(packet, 17, 20);
    });
    t.strictSame(joined(fragmentable, 28), [1, 1, 1, 1, 1], 'without DF: a router may have to cut it');
    rig.close();
  });

  t.test('a forged segment in the middle of a run harms neither what was joined nor what follows', async (t) => {
    const rig = new Rig();
    const payload = pattern(5000);
    const cut = cutTcp(tcpHeader(6), payload, 500, 40);
    cut.forEach((packet, i) => {
      const forged = rig.seal(100 + i, packet);
      forged[forged.length - 1]! ^= 1;
      rig.send(rig.seal(i, packet));
      rig.send(forged);
    });
    const got = rig.receiver.datagrams(rig.rx, rig.table, cut.length);
    t.equal(got.length, 1);
    t.ok(got[0]!.bytes.subarray(got[0]!.headerLength).equals(payload));
    t.equal(rig.counters().badTag, cut.length);
    rig.close();
  });

  t.test('a run does not span two source addresses or two keys', async (t) => {
    const rig = new Rig();
    rig.n.addOpener(rig.table, { receiverIndex: 5, aead: rig.aead, key: rig.key });
    const other = openUdp(4, '127.0.0.3');
    const cut = cutTcp(tcpHeader(4), pattern(400), 100, 20);
    const datagrams = cut.map((packet, i) => rig.seal(i, packet, { receiverIndex: i < 3 ? INDEX : 5 }));
    datagrams.forEach((datagram, i) => {
      rig.n.udpSendRaw(i < 2 ? rig.tx : other, rig.to, datagram, 0, datagram.length);
    });
    const got = rig.receiver.datagrams(rig.rx, rig.table, 4);
    t.same(
      got.map((one) => [one.datagrams, one.receiverIndex, one.address[7]]),
      [
        [2, INDEX, 1],
        [1, INDEX, 3],
        [1, 5, 3],
      ],
    );
    rig.n.udpClose(other);
    rig.close();
  });
}

if (inOwnNamespace(import.meta.url)) testJoining();
