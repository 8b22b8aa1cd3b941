import t, { type Test } from 'tap';
import * as native from '../../src/tun/native.js';
import { addressRecord, generator, inOwnNamespace, openUdp, pattern, type Received, Receiver, tcpHeader } from './native-harness.js';
import { cutTcp, cutUdp, finishPacket, openDatagram } from './native-twins.js';

const AEADS: native.AeadName[] = ['aes-256-gcm', 'chacha20-poly1305'];
/** Not a data type: `receive` hands the datagrams up as they are. */
const TYPE_RAW = 0x77;
const INDEX = 0xfeed1234;

interface Rig {
  tx: native.UdpHandle;
  rx: native.UdpHandle;
  table: native.OpenTableHandle;
  key: Buffer;
  aead: native.AeadName;
  sender: native.SenderHandle;
  receiver: Receiver;
  close(): void;
}

function makeRig(n: native.NativeAddon, aead: native.AeadName, family: 4 | 6 = 4, pathId = 5): Rig {
  const host = family === 4 ? '127.0.0.1' : '::1';
  const [tx, rx] = [openUdp(family, host), openUdp(family, host)];
  const key = pattern(32, 99);
  const sealer = n.createSealer({ aead, key, receiverIndex: INDEX });
  const sender = n.createSender(tx, sealer, pathId, addressRecord(host, n.udpPort(rx)));
  const table = n.createOpenTable();
  const close = () => {
    n.destroySealer(sealer);
    n.closeOpenTable(table);
    n.udpClose(tx);
    n.udpClose(rx);
  };
  return { tx, rx, table, key, aead, sender, receiver: new Receiver(), close };
}

/** The plaintexts that arrived, having checked headers and packet numbers. */
function plaintexts(t: Test, rig: Rig, received: Received[], firstNumber: number): Buffer[] {
  return received.map((one, i) => {
    const opened = openDatagram(rig.aead, rig.key, one.bytes);
    const { type, pathId, receiverIndex, packetNumber } = opened;
    const expected = { type: TYPE_RAW, pathId: 5, receiverIndex: INDEX, packetNumber: firstNumber + i };
    if (JSON.stringify({ type, pathId, receiverIndex, packetNumber }) !== JSON.stringify(expected)) t.fail('header of the datagram');
    return opened.plaintext;
  });
}

function sameBytes(t: Test, found: Buffer[], expected: Buffer[], message: string): void {
  const hex = (list: Buffer[]) => list.map((one) => one.toString('hex'));
  if (found.length === expected.length && found.every((one, i) => one.equals(expected[i]!))) t.pass(message);
  else t.same(hex(found), hex(expected), message);
}

function sealAndFetch(n: native.NativeAddon, rig: Rig, made: number): Received[] {
  if (n.udpFlush(rig.tx) !== 0) throw new Error('the kernel refused datagrams');
  return rig.receiver.datagrams(rig.rx, rig.table, made);
}

function testSegments(n: native.NativeAddon): void {
  const shapes: [number, number, number, string][] = [
    // payload, segment, flags, options
    [0, 0, 0x11, ''],
    [0, 1400, 0xc2, '020405b4'],
    [1, 1400, 0x18, '0101080a0102030405060708'],
    [1400, 1400, 0x99, '0101080a0102030405060708'],
    [1401, 1400, 0x99, '0101080a0102030405060708'],
    [65_000, 1348, 0xd9, '0101080a01020304050607081e141003000000010000000200000003'],
    [9_999, 7, 0x19, '01'.repeat(40)],
    [5_000, 333, 0x10, ''],
    [200_000, 1400, 0x11, ''],
  ];
  for (const aead of AEADS) {
    for (const family of [4, 6] as const) {
      t.test(`${aead}, IPv${family}: each segment of a super-segment opens in node:crypto to the twin's bytes`, async (t) => {
        const rig = makeRig(n, aead);
        let firstNumber = 0;
        for (const [payloadBytes, segmentBytes, flags, options] of shapes) {
          const header = tcpHeader(family, {
            flags,
            sequenceNumber: 0xffff_f000,
            options: Buffer.from(options, 'hex'),
            trafficClass: 0x2a,
          });
          const before = Buffer.from(header);
          const payload = pattern(payloadBytes + 9, payloadBytes + 1);
          const made = n.sealSegments(rig.sender, TYPE_RAW, header, header.length, payload, 9, payloadBytes, segmentBytes);
          const expected = cutTcp(header, payload.subarray(9), Math.max(1, segmentBytes), family === 4 ? 20 : 40);
          t.equal(made, expected.length, `${payloadBytes} bytes in segments of ${segmentBytes}`);
          sameBytes(t, plaintexts(t, rig, sealAndFetch(n, rig, made), firstNumber), expected, 'bytes');
          t.same(header, before, 'the template is untouched');
          firstNumber += made;
          t.equal(n.senderPacketNumber(rig.sender), firstNumber);
        }
        rig.close();
      });
    }
  }
}

function testRandomSegments(n: native.NativeAddon): void {
  t.test('random super-segments are cut as the twin does', async (t) => {
    const seed = 20260101;
    const random = generator(seed);
    const rig = makeRig(n, 'aes-256-gcm', 6);
    let firstNumber = 0;
    for (let i = 0; i < 300; i++) {
      const family = random(2) === 0 ? 4 : 6;
      const header = tcpHeader(family, {
        flags: random(256),
        sequenceNumber: (random(65536) * 65536 + random(65536)) >>> 0,
        window: random(65536),
        trafficClass: random(256),
        options: pattern(4 * random(11), i),
      });
      const payload = pattern(random(4) === 0 ? random(30) : random(20_000), i);
      const segmentBytes = 1 + random(3000);
      const made = n.sealSegments(rig.sender, TYPE_RAW, header, header.length, payload, 0, payload.length, segmentBytes);
      const found = plaintexts(t, rig, sealAndFetch(n, rig, made), firstNumber);
      const expected = cutTcp(header, payload, segmentBytes, family === 4 ? 20 : 40);
      if (found.length !== expected.length || found.some((one, k) => !one.equals(expected[k]!))) t.fail(`seed ${seed}, round ${i}`);
      firstNumber += made;
    }
    t.pass('300 rounds');
    rig.close();
  });
}

/** As the kernel hands it over: the checksum field holds the folded pseudo-header sum. */
function unfinished(packet: Buffer, protocol: 6 | 17, transport: number): Buffer {
  const field = transport + (protocol === 6 ? 16 : 6);
  finishPacket(packet, protocol, transport);
  const empty = Buffer.from(packet.subarray(0, transport));
  // The pseudo-header sum is the complement of the checksum of a transport part that sums to zero.
  const zeros = Buffer.concat([empty, Buffer.alloc(packet.length - transport)]);
  const sum = ~finishPacket(zeros, protocol, transport).readUInt16BE(field) & 0xffff;
  packet.writeUInt16BE(sum, field);
  return packet;
}

function udpPacket(family: 4 | 6, payload: Buffer): Buffer {
  const ip = Buffer.from(tcpHeader(family).subarray(0, family === 4 ? 20 : 40));
  ip[family === 4 ? 9 : 6] = 17;
  const udp = Buffer.alloc(8);
  udp.writeUInt16BE(5000, 0);
  udp.writeUInt16BE(6000, 2);
  udp.writeUInt16BE(8 + payload.length, 4);
  return Buffer.concat([ip, udp, payload]);
}

function testPackets(n: native.NativeAddon): void {
  for (const family of [4, 6] as const) {
    const transport = family === 4 ? 20 : 40;
    t.test(`IPv${family}: a TCP super-packet from the TUN is cut, its IPv4 id counting up`, async (t) => {
      const rig = makeRig(n, 'aes-256-gcm');
      const header = tcpHeader(family, { flags: 0x99 });
      if (family === 4) header.writeUInt16BE(0xfffe, 4);
      const payload = pattern(30_001, 3);
      const packet = unfinished(Buffer.concat([header, payload]), 6, transport);
      const gso = family === 4 ? native.GSO_TCPV4 : native.GSO_TCPV6;
      const made = n.sealPacket(rig.sender, TYPE_RAW, packet, 0, packet.length, gso | native.GSO_ECN, 1348, transport, 16);
      sameBytes(t, plaintexts(t, rig, sealAndFetch(n, rig, made), 0), cutTcp(header, payload, 1348, transport, 1), 'bytes');
      rig.close();
    });

    t.test(`IPv${family}: a UDP super-packet from the TUN is cut`, async (t) => {
      const rig = makeRig(n, 'chacha20-poly1305');
      const packet = udpPacket(family, pattern(10_000, 4));
      unfinished(packet, 17, transport);
      const made = n.sealPacket(rig.sender, TYPE_RAW, packet, 0, packet.length, native.GSO_UDP_L4, 1200, transport, 6);
      sameBytes(t, plaintexts(t, rig, sealAndFetch(n, rig, made), 0), cutUdp(packet, transport + 8, 1200), 'bytes');
      rig.close();
    });

    t.test(`IPv${family}: a checksum that the kernel left to us is finished`, async (t) => {
      const rig = makeRig(n, 'aes-256-gcm');
      const expected: Buffer[] = [];
      for (const bytes of [0, 1, 700, 1300]) {
        for (const protocol of [6, 17] as const) {
          const packet = protocol === 6 ? Buffer.concat([tcpHeader(family), pattern(bytes)]) : udpPacket(family, pattern(bytes));
          const handed = Buffer.concat([Buffer.alloc(5), unfinished(packet, protocol, transport), Buffer.alloc(3)]);
          n.sealPacket(rig.sender, TYPE_RAW, handed, 5, packet.length, 0, 0, transport, protocol === 6 ? 16 : 6);
          expected.push(finishPacket(Buffer.from(packet), protocol, transport));
        }
      }
      sameBytes(t, plaintexts(t, rig, sealAndFetch(n, rig, expected.length), 0), expected, 'bytes');
      rig.close();
    });
  }

  t.test('a UDP checksum that sums to zero is sent as 0xffff', async (t) => {
    const rig = makeRig(n, 'aes-256-gcm');
    const packet = udpPacket(4, Buffer.alloc(2));
    // The payload is chosen so that the sum is 0xffff: its complement is the forbidden zero.
    packet.writeUInt16BE(finishPacket(Buffer.from(packet), 17, 20).readUInt16BE(26), 28);
    const expected = finishPacket(Buffer.from(packet), 17, 20);
    t.equal(expected.readUInt16BE(26), 0xffff);
    n.sealPacket(rig.sender, TYPE_RAW, unfinished(packet, 17, 20), 0, packet.length, 0, 0, 20, 6);
    sameBytes(t, plaintexts(t, rig, sealAndFetch(n, rig, 1), 0), [expected], 'bytes');
    rig.close();
  });

  t.test('IPv6 extension headers before TCP are kept when the TUN says where TCP starts', async (t) => {
    const rig = makeRig(n, 'aes-256-gcm');
    const plain = tcpHeader(6);
    const hopByHop = Buffer.from([6, 0, 1, 4, 0, 0, 0, 0]);
    const header = Buffer.concat([plain.subarray(0, 40), hopByHop, plain.subarray(40)]);
    header[6] = 0;
    const payload = pattern(4000);
    const packet = Buffer.concat([header, payload]);
    const made = n.sealPacket(rig.sender, TYPE_RAW, packet, 0, packet.length, native.GSO_TCPV6, 1000, 48, 16);
    sameBytes(t, plaintexts(t, rig, sealAndFetch(n, rig, made), 0), cutTcp(header, payload, 1000, 48), 'bytes');
    rig.close();
  });

  t.test('any plaintext is sealed as it is, an empty one included', async (t) => {
    for (const aead of AEADS) {
      const rig = makeRig(n, aead);
      const expected = [Buffer.alloc(0), Buffer.from([0x45]), pattern(16), pattern(1472 - 28), pattern(10_000)];
      for (const one of expected) n.sealPacket(rig.sender, TYPE_RAW, one, 0, one.length, 0, 0, 0, 0);
      t.equal(n.udpFlush(rig.tx), 1, 'a datagram beyond the MTU is refused');
      t.equal(n.udpLastError(rig.tx), 90, 'EMSGSIZE');
      t.equal(n.udpLastError(rig.tx), 0, 'told once');
      sameBytes(t, plaintexts(t, rig, rig.receiver.datagrams(rig.rx, rig.table, 4), 0), expected.slice(0, 4), aead);
      rig.close();
    }
  });

  t.test('a GSO packet whose headers are not what its type says makes no datagram', async (t) => {
    const rig = makeRig(n, 'aes-256-gcm');
    const good = Buffer.concat([tcpHeader(4), pattern(3000)]);
    const mutated = (at: number, value: number) => {
      const packet = Buffer.from(good);
      packet[at] = value;
      return packet;
    };
    const seal = (packet: Buffer, gso: number, size: number, start = 20, offset = 16) =>
      n.sealPacket(rig.sender, TYPE_RAW, packet, 0, packet.length, gso, size, start, offset);
    t.equal(seal(good, native.GSO_TCPV6, 1000), 0, 'another IP version');
    t.equal(seal(good, native.GSO_UDP_L4, 1000), 0, 'another protocol');
    t.equal(seal(good, 3, 1000), 0, 'unknown GSO type');
    t.equal(seal(good, native.GSO_TCPV4, 0), 0, 'no segment size');
    t.equal(seal(good, native.GSO_TCPV4, 1000, 24), 0, 'transport elsewhere');
    t.equal(seal(mutated(0, 0x44), native.GSO_TCPV4, 1000), 0, 'IPv4 header length');
    t.equal(seal(mutated(0, 0x25), native.GSO_TCPV4, 1000), 0, 'version');
    t.equal(seal(mutated(32, 0x40), native.GSO_TCPV4, 1000), 0, 'data offset');
    t.equal(seal(good.subarray(0, 39), native.GSO_TCPV4, 1000), 0, 'short');
    t.equal(n.senderPacketNumber(rig.sender), 0, 'no packet number was spent');
    rig.close();
  });
}

function testRuns(n: native.NativeAddon): void {
  t.test('datagrams of equal length to one address leave as one UDP_SEGMENT run, a shorter one ends it', async (t) => {
    const rig = makeRig(n, 'aes-256-gcm');
    const send = (bytes: number, segment: number) => {
      const header = tcpHeader(4);
      n.sealSegments(rig.sender, TYPE_RAW, header, header.length, pattern(bytes), 0, bytes, segment);
    };
    const messages = (): number => {
      const before = n.udpCounters(rig.tx).sentMessages;
      n.udpFlush(rig.tx);
      return n.udpCounters(rig.tx).sentMessages - before;
    };
    send(10_000, 1000);
    t.equal(messages(), 1, 'ten of equal length');
    send(10_500, 1000);
    t.equal(messages(), 1, 'the last one shorter');
    send(10_500, 1000);
    send(10_000, 1000);
    t.equal(messages(), 2, 'nothing follows a shorter one');
    send(1000, 1000);
    send(1200, 1200);
    t.equal(messages(), 2, 'a longer one begins a run');
    send(300 * 100, 100);
    t.equal(messages(), 3, 'at most 128 in a run');
    send(100 * 1400, 1400);
    t.equal(messages(), 3, 'at most 65507 bytes in a run');
    const counters = n.udpCounters(rig.tx);
    t.equal(counters.segmentationFallbacks, 0);
    t.equal(counters.refusedDatagrams, 0);
    t.equal(rig.receiver.datagrams(rig.rx, rig.table, counters.sentDatagrams).length, counters.sentDatagrams, 'all arrived');
    rig.close();
  });

  t.test('a full stage flushes by itself, in order', async (t) => {
    const rig = makeRig(n, 'aes-256-gcm');
    const header = tcpHeader(4);
    const payload = pattern(1 << 20);
    const made = n.sealSegments(rig.sender, TYPE_RAW, header, header.length, payload, 0, payload.length, 1300);
    t.ok(n.udpCounters(rig.tx).sentDatagrams > 0, 'some have left before the flush');
    n.udpFlush(rig.tx);
    const found = plaintexts(t, rig, rig.receiver.datagrams(rig.rx, rig.table, made), 0);
    t.ok(Buffer.concat(found.map((one) => one.subarray(header.length))).equals(payload));
    rig.close();
  });

  t.test('senders of one socket to different addresses make runs of their own', async (t) => {
    const rig = makeRig(n, 'aes-256-gcm');
    const other = openUdp(4, '127.0.0.1');
    const sealer = n.createSealer({ aead: rig.aead, key: rig.key, receiverIndex: 1 });
    const second = n.createSender(rig.tx, sealer, 0, addressRecord('127.0.0.1', n.udpPort(other)));
    for (let i = 0; i < 4; i++) n.sealPacket(i % 2 ? second : rig.sender, TYPE_RAW, pattern(50, i), 0, 50, 0, 0, 0, 0);
    t.equal(n.udpFlush(rig.tx), 0);
    t.equal(rig.receiver.datagrams(rig.rx, rig.table, 2).length, 2);
    const atOther = rig.receiver.datagrams(other, rig.table, 2);
    t.same(
      atOther.map((one) => openDatagram(rig.aead, rig.key, one.bytes).plaintext),
      [pattern(50, 1), pattern(50, 3)],
    );
    n.udpClose(other);
    rig.close();
  });

  t.test('a sender keeps its packet number when its target changes', async (t) => {
    const rig = makeRig(n, 'aes-256-gcm');
    const [tx2, rx2] = [openUdp(6, '::'), openUdp(4, '127.0.0.2')];
    n.sealPacket(rig.sender, TYPE_RAW, pattern(20), 0, 20, 0, 0, 0, 0);
    n.senderSetTarget(rig.sender, tx2, addressRecord('127.0.0.2', n.udpPort(rx2)));
    n.sealPacket(rig.sender, TYPE_RAW, pattern(21), 0, 21, 0, 0, 0, 0);
    n.udpFlush(rig.tx);
    n.udpFlush(tx2);
    t.equal(openDatagram(rig.aead, rig.key, rig.receiver.datagrams(rig.rx, rig.table, 1)[0]!.bytes).packetNumber, 0);
    t.equal(openDatagram(rig.aead, rig.key, rig.receiver.datagrams(rx2, rig.table, 1)[0]!.bytes).packetNumber, 1);
    n.udpClose(tx2);
    n.udpClose(rx2);
    rig.close();
  });
}

if (inOwnNamespace(import.meta.url)) {
  const n = native.loadNative();
  testSegments(n);
  testRandomSegments(n);
  testPackets(n);
  testRuns(n);
}
