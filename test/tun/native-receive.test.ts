import t from 'tap';
import * as native from '../../src/tun/native.js';
import { addressRecord, generator, inOwnNamespace, openUdp, pattern, Receiver, tcpHeader } from './native-harness.js';
import { INDEX, Rig } from './native-receive-rig.js';
import { cutTcp, joinSegments, openDatagram } from './native-twins.js';

const AEADS: native.AeadName[] = ['aes-256-gcm', 'chacha20-poly1305'];

function testRoundTrip(n: native.NativeAddon): void {
  const shapes: [number, number, number][] = [
    [65_000, 1348, 0x19],
    [40_000, 1000, 0x10],
    [1348, 1348, 0x18],
    [1349, 1348, 0x90],
    [12_000, 17, 0x18],
  ];
  for (const aead of AEADS) {
    for (const family of [4, 6] as const) {
      t.test(`${aead}, IPv${family}: what was cut is joined again`, async (t) => {
        const rig = new Rig(aead);
        const sealer = n.createSealer({ aead, key: rig.key, receiverIndex: INDEX });
        const sender = n.createSender(rig.tx, sealer, 31, rig.to);
        let number = 0;
        for (const [payloadBytes, segmentBytes, flags] of shapes) {
          const header = tcpHeader(family, { flags, sequenceNumber: 0xffff_fff0, options: pattern(32, 5) });
          const payload = pattern(payloadBytes, segmentBytes);
          const made = n.sealSegments(sender, native.TYPE_STREAM, header, header.length, payload, 0, payloadBytes, segmentBytes);
          n.udpFlush(rig.tx);
          const got = rig.receiver.datagrams(rig.rx, rig.table, made);
          t.equal(got.length, 1, `${payloadBytes} bytes in segments of ${segmentBytes}: one descriptor`);
          const one = got[0]!;
          const cut = cutTcp(header, payload, segmentBytes, family === 4 ? 20 : 40);
          const [expected] = joinSegments(cut.map((packet) => ({ packet, lane: '' })));
          t.ok(one.bytes.equals(expected!.packet), 'the super-segment');
          number += made;
          const { kind, datagrams, type, pathId, receiverIndex, packetNumber, wireBytes, headerLength } = one;
          t.match(
            { kind, datagrams, type, pathId, receiverIndex, packetNumber, wireBytes, headerLength, segmentBytes: one.segmentBytes },
            {
              kind: native.RX_KIND_PACKET,
              datagrams: made,
              type: native.TYPE_STREAM,
              pathId: 31,
              receiverIndex: INDEX,
              packetNumber: number - 1,
              wireBytes: payloadBytes + made * (header.length + 28),
              headerLength: made > 1 ? header.length : 0,
              segmentBytes: made > 1 ? segmentBytes : 0,
            },
          );
        }
        t.match(rig.counters(), { datagrams: number, badTag: 0, replayed: 0, unknown: 0, truncated: 0 });
        n.destroySealer(sealer);
        rig.close();
      });
    }
  }
}

function testOpening(): void {
  t.test('what node:crypto seals is opened, of every data type, and an empty plaintext too', async (t) => {
    for (const aead of AEADS) {
      const rig = new Rig(aead);
      const big = 2 ** 48 - 1;
      rig.send(rig.seal(0, Buffer.alloc(0), { type: native.TYPE_CONTROL, pathId: 3 }));
      rig.send(rig.seal(big, pattern(900), { type: native.TYPE_DATAGRAM, pathId: 3 }));
      rig.send(rig.seal(7, pattern(33), { type: native.TYPE_STREAM, pathId: 4 }));
      const got = rig.receiver.datagrams(rig.rx, rig.table, 3);
      t.same(
        got.map((one) => [one.kind, one.type, one.pathId, one.packetNumber, one.bytes]),
        [
          [1, native.TYPE_CONTROL, 3, 0, Buffer.alloc(0)],
          [1, native.TYPE_DATAGRAM, 3, big, pattern(900)],
          [1, native.TYPE_STREAM, 4, 7, pattern(33)],
        ],
      );
      rig.close();
    }
  });

  t.test('other first bytes are handed up raw; the rest is dropped and counted', async (t) => {
    const rig = new Rig();
    const good = rig.seal(1, pattern(50));
    const changed = (at: number, bit: number) => {
      const copy = Buffer.from(good);
      copy[at]! ^= bit;
      return copy;
    };
    rig.send(Buffer.from([1, 2, 3]));
    rig.send(changed(0, 0x40));
    rig.send(changed(0, 0x80));
    rig.send(good.subarray(0, 27));
    rig.send(Buffer.from([native.TYPE_STREAM]));
    rig.send(Buffer.alloc(0));
    rig.send(changed(1, 0x20));
    rig.send(changed(3, 1));
    rig.send(changed(0, 1));
    rig.send(changed(1, 1));
    rig.send(changed(11, 1));
    rig.send(changed(20, 1));
    rig.send(changed(good.length - 16, 1));
    rig.send(good.subarray(0, good.length - 1));
    rig.send(good);
    rig.send(good);
    const got = rig.receiver.until(rig.rx, rig.table, () => rig.counters().datagrams >= 16);
    t.same(
      got.map((one) => [one.kind, one.type, one.bytes]),
      [
        [0, 1, Buffer.from([1, 2, 3])],
        [0, 0x50, changed(0, 0x40)],
        [1, native.TYPE_STREAM, pattern(50)],
      ],
    );
    t.match(rig.counters(), { datagrams: 16, unknown: 6, badTag: 6, replayed: 1, truncated: 0 });
    rig.close();
  });

  t.test('RFC 6479: random reordering and repetition is judged as a set with a window would', async (t) => {
    const rig = new Rig();
    const random = generator(4242);
    const seen = new Set<number>();
    let highest = -1;
    let number = 0;
    const windowPackets = 4032;
    for (let batch = 0; batch < 60; batch++) {
      const expected: number[] = [];
      for (let i = 0; i < 200; i++) {
        number = Math.max(0, highest + [1, 1, 1, 1 - random(5000), -random(200), random(3) === 0 ? random(9000) : 2][random(6)]!);
        if (!seen.has(number) && number > highest - windowPackets) {
          seen.add(number);
          expected.push(number);
          highest = Math.max(highest, number);
        }
        rig.send(rig.seal(number, Buffer.alloc(0), { type: native.TYPE_CONTROL }));
      }
      const before = rig.counters().datagrams;
      const got = rig.receiver.until(rig.rx, rig.table, () => rig.counters().datagrams >= before + 200);
      t.same(
        got.map((one) => one.packetNumber),
        expected,
        `batch ${batch}`,
      );
    }
    const counters = rig.counters();
    t.equal(counters.replayed + seen.size, counters.datagrams);
    rig.close();
  });

  t.test('replay windows are per path, and a removed opener forgets its key', async (t) => {
    const rig = new Rig();
    const fresh = () => rig.receiver.datagrams(rig.rx, rig.table, 1).length;
    rig.send(rig.seal(5, pattern(3), { pathId: 0 }));
    t.equal(fresh(), 1);
    rig.send(rig.seal(5, pattern(3), { pathId: 1 }));
    t.equal(fresh(), 1);
    rig.n.removeOpener(rig.table, INDEX);
    rig.n.removeOpener(rig.table, INDEX);
    rig.send(rig.seal(6, pattern(3)));
    t.equal(fresh(), 0);
    t.equal(rig.counters().unknown, 1);
    rig.n.addOpener(rig.table, { receiverIndex: INDEX, aead: rig.aead, key: rig.key });
    rig.send(rig.seal(5, pattern(3)));
    t.equal(fresh(), 1, 'fresh windows with the new opener');
    rig.close();
  });

  t.test('a table of many openers finds each', async (t) => {
    const rig = new Rig();
    const indexes = Array.from({ length: 500 }, (_, i) => (i * 0x01000193 + 3) >>> 0);
    for (const receiverIndex of indexes) rig.n.addOpener(rig.table, { receiverIndex, aead: rig.aead, key: rig.key });
    for (const receiverIndex of indexes.filter((_, i) => i % 3 === 0)) rig.n.removeOpener(rig.table, receiverIndex);
    indexes.forEach((receiverIndex, i) => {
      rig.send(rig.seal(i, Buffer.from([i & 255]), { receiverIndex, type: native.TYPE_CONTROL }));
    });
    const got = rig.receiver.until(rig.rx, rig.table, () => rig.counters().datagrams >= 500);
    t.same(
      got.map((one) => one.receiverIndex),
      indexes.filter((_, i) => i % 3 !== 0),
    );
    rig.close();
  });
}

function testRoom(): void {
  const shapes: [string, object, number][] = [
    ['one descriptor', { descriptors: 1 }, 400],
    ['three descriptors', { descriptors: 3 }, 1000],
    ['one address', { addresses: 1 }, 100],
    ['the smallest arena', { arenaBytes: 256 * 1024 }, 1400],
    ['one round', { rounds: 1 }, 1400],
  ];
  for (const [name, options, bytes] of shapes) {
    t.test(`nothing is lost or reordered with ${name}`, async (t) => {
      const rig = new Rig('aes-256-gcm', new Receiver(options));
      const other = openUdp(4, '127.0.0.9');
      const sealers = [rig.tx, other].map((udp, pathId) => {
        const sealer = rig.n.createSealer({ aead: rig.aead, key: rig.key, receiverIndex: INDEX });
        return rig.n.createSender(udp, sealer, pathId, rig.to);
      });
      const expected: Buffer[] = [];
      for (let i = 0; i < 1200; i++) {
        const plaintext = pattern(bytes - (i % 50 === 49 ? 1 : 0), i);
        expected.push(plaintext);
        rig.n.sealPacket(sealers[(i / 100) & 1]!, native.TYPE_DATAGRAM, plaintext, 0, plaintext.length, 0, 0, 0, 0);
        if (i % 100 === 99) {
          rig.n.udpFlush(rig.tx);
          rig.n.udpFlush(other);
        }
      }
      const got = rig.receiver.datagrams(rig.rx, rig.table, expected.length);
      t.equal(got.length, expected.length);
      t.ok(got.every((one, i) => one.bytes.equals(expected[i]!) && one.address[7] === ((i / 100) & 1 ? 9 : 1)));
      rig.n.udpClose(other);
      rig.close();
    });
  }

  t.test('the watcher fires for data that receive had no room for', async (t) => {
    const rig = new Rig('aes-256-gcm', new Receiver({ descriptors: 2 }));
    for (let i = 0; i < 9; i++) rig.send(rig.seal(i, pattern(i + 1), { type: native.TYPE_DATAGRAM }));
    const lengths: number[] = [];
    let turns = 0;
    await new Promise<void>((resolve) => {
      const watcher = rig.n.watchReadable(rig.rx, () => {
        turns++;
        lengths.push(...rig.receiver.once(rig.rx, rig.table).map((one) => one.bytes.length));
        // A paused watcher stays silent although data is pending.
        if (lengths.length === 4) {
          watcher.pause();
          const before = turns;
          setTimeout(() => {
            t.equal(turns, before, 'paused');
            watcher.resume();
          }, 20);
        }
        if (lengths.length >= 9) {
          watcher.close();
          resolve();
        }
      });
    });
    t.same(lengths, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    t.equal(turns, 5, 'a call for every two');
    rig.close();
  });
}

function testAddresses(n: native.NativeAddon): void {
  t.test('an address record names source and local address, and an answer to it leaves from there', async (t) => {
    const server = openUdp(6, '::');
    const table = n.createOpenTable();
    const receiver = new Receiver();
    const cases: [4 | 6, string, string][] = [
      [4, '127.0.0.1', '127.0.0.55'],
      [6, '::1', '::1'],
    ];
    for (const [family, clientHost, serverHost] of cases) {
      const client = openUdp(family, clientHost);
      n.udpSendRaw(client, addressRecord(serverHost, n.udpPort(server)), Buffer.from('ask'), 0, 3);
      const asked = receiver.datagrams(server, table, 1)[0]!;
      const expected = addressRecord(clientHost, n.udpPort(client), serverHost);
      expected[36] = 1;
      t.same(asked.address, Buffer.from(expected), `IPv${family} at a dual-stack socket`);
      t.equal(n.udpSendRaw(server, asked.address, Buffer.from('answer'), 0, 6), 6);
      const answer = receiver.datagrams(client, table, 1)[0]!;
      t.equal(answer.bytes.toString(), 'answer');
      const back = addressRecord(serverHost, n.udpPort(server), clientHost);
      back[36] = 1;
      t.same(answer.address, Buffer.from(back), 'from the address that was asked');
      // The same through a sender and its staging area.
      const sealer = n.createSealer({ aead: 'aes-256-gcm', key: pattern(32), receiverIndex: 0 });
      const sender = n.createSender(server, sealer, 0, asked.address);
      n.sealSegments(sender, 0x77, tcpHeader(4), 52, pattern(300), 0, 300, 100);
      t.equal(n.udpFlush(server), 0);
      t.equal(n.udpCounters(server).segmentationFallbacks, 0);
      const sealed = receiver.datagrams(client, table, 3);
      t.same(
        sealed.map((one) => one.address),
        [back, back, back].map((one) => Buffer.from(one)),
      );
      t.equal(openDatagram('aes-256-gcm', pattern(32), sealed[2]!.bytes).packetNumber, 2);
      n.udpClose(client);
    }
    n.udpClose(server);
    n.closeOpenTable(table);
  });

  t.test('what was sent to a closed port, or from an address that is not ours, is told', async (t) => {
    const udp = openUdp(4, '127.0.0.1');
    t.equal(n.udpSendRaw(udp, addressRecord('127.0.0.1', 9), Buffer.alloc(3), 0, 3), 3, 'nobody listens: UDP does not know');
    const unreachable = n.udpSendRaw(udp, addressRecord('192.0.2.1', 9), Buffer.alloc(3), 0, 3);
    t.equal(unreachable, -101, 'ENETUNREACH');
    t.equal(n.udpLastError(udp), 101);
    t.ok(n.udpSendRaw(udp, addressRecord('127.0.0.1', 9, '192.0.2.7'), Buffer.alloc(3), 0, 3) < 0);
    n.udpClose(udp);
  });
}

if (inOwnNamespace(import.meta.url)) {
  const n = native.loadNative();
  testRoundTrip(n);
  testOpening();
  testRoom();
  testAddresses(n);
}
