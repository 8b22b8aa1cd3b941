import { connect } from 'node:net';
import t from 'tap';
import * as native from '../../src/tun/native.js';
import { addressBytes, addressRecord, inOwnNamespace, openUdp, pattern, pauseMs, Receiver, run, tcpHeader } from './native-harness.js';
import { bringUp, isProtocol, TestTun, type TunPacket } from './native-test-tun.js';
import { internetChecksum, isValidPacket, openDatagram } from './native-twins.js';

function echoRequest(payload: Buffer): Buffer {
  const packet = Buffer.alloc(28 + payload.length);
  packet[0] = 0x45;
  packet.writeUInt16BE(packet.length, 2);
  packet[8] = 64;
  packet[9] = 1;
  packet.set(addressBytes('10.11.0.2'), 12);
  packet.set(addressBytes('10.11.0.1'), 16);
  packet.writeUInt16BE(internetChecksum(packet.subarray(0, 20)), 10);
  packet[20] = 8;
  packet.set(payload, 28);
  packet.writeUInt16BE(internetChecksum(packet.subarray(20)), 22);
  return packet;
}

interface Batch {
  packets: TunPacket[];
  arena: Uint8Array;
}

/** What the kernel has sent into a TUN that nobody else reads, until `wanted` packets of UDP have come. */
function readBatches(n: native.NativeAddon, tun: native.TunHandle, wanted: number): Batch[] {
  const batches: Batch[] = [];
  const descriptors = new Int32Array(64 * native.TUN_DESCRIPTOR_INTS);
  for (let seen = 0, tries = 0; seen < wanted && tries < 200; tries++) {
    const arena = new Uint8Array(256 * 1024);
    const count = n.tunReadBatch(tun, arena, descriptors);
    if (count <= 0) pauseMs(2);
    const packets: TunPacket[] = [];
    for (let i = 0; i < count; i++) {
      const [offset = 0, length = 0, flags = 0, gsoType = 0, gsoSize = 0, csumStart = 0, csumOffset = 0, headerLength = 0] =
        descriptors.subarray(i * native.TUN_DESCRIPTOR_INTS);
      const bytes = Buffer.from(arena.slice(offset, offset + length));
      if (!isProtocol(17)({ bytes } as TunPacket)) continue;
      packets.push({ bytes, flags, gsoType, gsoSize, csumStart, csumOffset, headerLength });
      seen += gsoType === 0 ? 1 : Math.ceil((length - headerLength) / gsoSize);
    }
    batches.push({ packets, arena });
  }
  return batches;
}

function openRawTun(prefix: number): { tun: native.TunHandle; name: string } {
  const n = native.loadNative();
  const tun = n.tunOpen({ name: 'tst%d', offloads: true });
  const name = n.tunName(tun);
  bringUp(name, prefix);
  return { tun, name };
}

function testBatches(n: native.NativeAddon): void {
  for (const family of [4, 6] as const) {
    t.test(`IPv${family}: datagrams of one flow are read as one packet, and sealed as what they were`, async (t) => {
      const { tun } = openRawTun(13);
      const [own, far] = family === 4 ? ['10.13.0.1', '10.13.0.2'] : ['fd13::1', 'fd13::2'];
      const socket = openUdp(family, own!);
      const other = openUdp(family, own!);
      const headerBytes = family === 4 ? 28 : 48;
      // Sizes: a run with a shorter end, another flow between, an empty one, a run of odd sizes.
      const sizes = [1200, 1200, 1200, 700, 1200, 1200, -300, 1200, 0, 33, 33, 33, 1];
      const payloads = sizes.map((size, i) => pattern(Math.abs(size), i + 1));
      const to = addressRecord(far!, 9);
      sizes.forEach((size, i) => {
        const payload = payloads[i]!;
        n.udpSendRaw(size < 0 ? other : socket, to, payload, 0, payload.length);
      });
      const packets = readBatches(n, tun, sizes.length).flatMap((batch) => batch.packets);
      const shape = packets.map((one) => [one.bytes.length - headerBytes, one.gsoSize]);
      t.strictSame(shape, [
        [4300, 1200],
        [2400, 1200],
        [300, 0],
        [1200, 0],
        [0, 0],
        [100, 33],
      ]);
      for (const one of packets) {
        const type = one.gsoSize === 0 ? native.GSO_NONE : family === 4 ? native.GSO_UDP_L4 | native.GSO_FIXED_ID : native.GSO_UDP_L4;
        t.equal(one.gsoType, type, 'an unconnected socket with DF sends identification 0');
      }
      const [tx, rx] = [openUdp(4, '127.0.0.1'), openUdp(4, '127.0.0.1')];
      const key = pattern(32);
      const sealer = n.createSealer({ aead: 'aes-256-gcm', key, receiverIndex: 1 });
      const sender = n.createSender(tx, sealer, 0, addressRecord('127.0.0.1', n.udpPort(rx)));
      let made = 0;
      for (const { bytes, gsoType, gsoSize, csumStart, csumOffset } of packets) {
        made += n.sealPacket(sender, 0x77, bytes, 0, bytes.length, gsoType, gsoSize, csumStart, csumOffset);
      }
      n.udpFlush(tx);
      t.equal(made, sizes.length);
      const plain = new Receiver()
        .datagrams(rx, n.createOpenTable(), made)
        .map((one) => openDatagram('aes-256-gcm', key, one.bytes).plaintext);
      t.ok(plain.every(isValidPacket), 'lengths and checksums are right');
      t.ok(plain.every((packet, i) => packet.subarray(headerBytes).equals(payloads[i]!)));
      if (family === 4)
        t.ok(
          plain.every((packet) => packet.readUInt16BE(4) === 0),
          'identifications as the kernel gave them',
        );
      for (const udp of [socket, other, tx, rx]) n.udpClose(udp);
      n.tunClose(tun);
    });
  }

  t.test('a batch ends where the arena or the descriptors do, and nothing is lost', async (t) => {
    const { tun } = openRawTun(13);
    const socket = openUdp(4, '10.13.0.1');
    const payloads = Array.from({ length: 40 }, (_, i) => pattern(1000 + i, i + 1));
    for (const payload of payloads) n.udpSendRaw(socket, addressRecord('10.13.0.2', 9), payload, 0, payload.length);
    const got: Buffer[] = [];
    const descriptors = new Int32Array(5 * native.TUN_DESCRIPTOR_INTS);
    const arena = new Uint8Array(70_000);
    for (let tries = 0; got.length < payloads.length && tries < 100; tries++) {
      const count = n.tunReadBatch(tun, arena, descriptors);
      t.ok(count <= 5);
      for (let i = 0; i < count; i++) {
        const [offset = 0, length = 0] = descriptors.subarray(i * native.TUN_DESCRIPTOR_INTS);
        if (arena[offset]! >> 4 === 4) got.push(Buffer.from(arena.slice(offset + 28, offset + length)));
      }
    }
    t.ok(got.length === payloads.length && got.every((one, i) => one.equals(payloads[i]!)), 'longer and longer: none is joined');
    t.throws(() => n.tunReadBatch(tun, new Uint8Array(65_000), descriptors), RangeError);
    t.throws(() => n.tunReadBatch(tun, arena, new Int32Array(7)), RangeError);
    n.udpClose(socket);
    n.tunClose(tun);
  });

  for (const family of [4, 6] as const) {
    t.test(`IPv${family}: a joined packet of datagrams reaches the socket as each of them`, async (t) => {
      const { tun } = openRawTun(14);
      const [own, far] = family === 4 ? ['10.14.0.1', '10.14.0.2'] : ['fd14::1', 'fd14::2'];
      const socket = openUdp(family, own!);
      const transport = family === 4 ? 20 : 40;
      const header = Buffer.alloc(transport + 8);
      header.set(tcpHeader(family, { source: far!, destination: own! }).subarray(0, transport));
      header[family === 4 ? 9 : 6] = 17;
      header.writeUInt16BE(9, transport);
      header.writeUInt16BE(n.udpPort(socket), transport + 2);
      const payload = pattern(45 * 1200 + 100);
      // No type that `receive` would open.
      for (let at = 0; at < payload.length; at += 1200) payload[at] = 0x77;
      const packet = Buffer.concat([Buffer.alloc(5), header, payload]);
      t.equal(n.tunWriteJoined(tun, packet, 5, packet.length - 5, 1200), 0);
      const got = new Receiver().datagrams(socket, n.createOpenTable(), 46);
      t.equal(got.length, 46);
      t.ok(Buffer.concat(got.map((one) => one.bytes)).equals(payload));
      t.ok(got.every((one, i) => one.bytes.length === (i === 45 ? 100 : 1200)));
      t.throws(() => n.tunWriteJoined(tun, packet, 5, packet.length, 1200), RangeError);
      t.throws(() => n.tunWriteJoined(tun, packet, 5, packet.length - 5, 0), RangeError);
      t.throws(() => n.tunWriteJoined(tun, packet, 0, 40, 1200), RangeError, 'no IP packet');
      n.udpClose(socket);
      n.tunClose(tun);
    });
  }
}

function testPackets(n: native.NativeAddon): void {
  t.test('the kernel answers a ping that was written to the TUN', async (t) => {
    const tun = new TestTun(11, true);
    t.match(tun.name, /^tst\d+$/);
    t.ok(n.tunFd(tun.tun) > 2);
    const payload = pattern(1000);
    const request = Buffer.concat([Buffer.alloc(3), echoRequest(payload)]);
    t.equal(n.tunWritePacket(tun.tun, request, 3, request.length - 3, 0, 0, 0, 0), 0);
    const reply = await tun.next(isProtocol(1));
    t.equal(reply.bytes[20], 0, 'echo reply');
    t.ok(reply.bytes.subarray(28).equals(payload));
    t.equal(internetChecksum(reply.bytes.subarray(20)), 0);
    tun.close();
  });

  t.test('a checksum that is left to the kernel on write is finished by it', async (t) => {
    const tun = new TestTun(11, true);
    const server = openUdp(4, '10.11.0.1');
    const table = n.createOpenTable();
    const packet = Buffer.alloc(28 + 11);
    packet.set(echoRequest(Buffer.alloc(11)).subarray(0, 20));
    packet[9] = 17;
    packet.writeUInt16BE(0, 10);
    packet.writeUInt16BE(internetChecksum(packet.subarray(0, 20)), 10);
    packet.writeUInt16BE(7, 20);
    packet.writeUInt16BE(n.udpPort(server), 22);
    packet.writeUInt16BE(19, 24);
    packet.write('hello world', 28);
    const pseudo = Buffer.concat([packet.subarray(12, 20), Buffer.from([0, 17, 0, 19])]);
    packet.writeUInt16BE(~internetChecksum(pseudo) & 0xffff, 26);
    t.equal(n.tunWritePacket(tun.tun, packet, 0, packet.length, 0, 0, 20, 6), 0);
    t.equal(new Receiver().datagrams(server, table, 1)[0]?.bytes.toString(), 'hello world');
    n.udpClose(server);
    tun.close();
  });

  t.test('bounds of the TUN calls', async (t) => {
    const tun = n.tunOpen({ name: '', offloads: true });
    const packet = Buffer.alloc(100);
    const read = (arena: number, slot: number, max: number, descriptors: number) =>
      n.tunRead(tun, new Uint8Array(arena), slot, max, new Int32Array(descriptors));
    t.throws(() => read(65_599, 65_599, 1, 8), RangeError, 'slot too small for offloads');
    t.throws(() => read(65_600 * 2 - 1, 65_600, 2, 16), RangeError, 'arena');
    t.throws(() => read(65_600 * 2, 65_600, 2, 15), RangeError, 'descriptors');
    t.throws(() => read(65_600, 65_600, -1, 8), RangeError);
    t.throws(() => n.tunWritePacket(tun, packet, 0, 101, 0, 0, 0, 0), RangeError);
    t.throws(() => n.tunWritePacket(tun, packet, 90, 11, 0, 0, 0, 0), RangeError);
    t.throws(() => n.tunWritePacket(tun, packet, 0, 100, 0, 0, 90, 9), RangeError, 'checksum field');
    t.throws(() => n.tunWritePacket(tun, packet, 0, 100, 0, 65_536, 0, 0), RangeError);
    const header = tcpHeader(4);
    const payload = pattern(66_000);
    const write = (template: Uint8Array, headerBytes: number, offset: number, bytes: number, segment: number) =>
      n.tunWriteSegments(tun, template, headerBytes, payload, offset, bytes, segment);
    t.throws(() => write(header, header.length + 1, 0, 10, 10), RangeError);
    t.throws(() => write(header, header.length - 4, 0, 10, 10), RangeError);
    t.throws(() => write(header.subarray(0, 30), header.length, 0, 10, 10), RangeError);
    t.throws(() => write(header, header.length, 65_991, 10, 10), RangeError);
    t.throws(() => write(header, header.length, 0, 65_535, 1000), RangeError, 'beyond an IP packet');
    t.throws(() => write(header, header.length, 0, 10, 0), RangeError);
    t.throws(() => n.tunOpen({ name: 'a-name-far-too-long', offloads: false }), RangeError);
    t.throws(() => n.tunOpen({ name: 'x' } as never), TypeError);
    t.throws(() => n.tunOpen({ name: n.tunName(tun), offloads: true }), { code: 'EBUSY', syscall: 'TUNSETIFF' });
    t.equal(read(65_600, 65_600, 0, 0), 0);
    n.tunClose(tun);
    t.throws(() => read(65_600, 65_600, 1, 8), TypeError, 'closed');
    t.throws(() => n.tunName(tun), TypeError);
  });

  t.test('without offloads no packet needs anything; a packet longer than its slot is lost', async (t) => {
    const tun = new TestTun(12, false);
    const socket = connect(80, '10.12.0.7');
    const syn = await tun.next(isProtocol(6));
    t.match(syn, { flags: 0, gsoType: 0, gsoSize: 0, csumStart: 0, csumOffset: 0, headerLength: 0 });
    t.ok(isValidPacket(syn.bytes));
    socket.destroy();
    run('ip', 'link', 'set', tun.name, 'mtu', '3000');
    const udp = openUdp(4, '10.12.0.1');
    const send = (bytes: number) => n.udpSendRaw(udp, addressRecord('10.12.0.9', 9), pattern(bytes), 0, bytes);
    t.equal(send(2000), 2000);
    t.equal(send(1572), 1572);
    t.equal((await tun.next(isProtocol(17))).bytes.length, 1600, 'the one that fits');
    n.udpClose(udp);
    tun.close();
  });

  t.test('a device that is removed is an error, told once by the watcher', async (t) => {
    const tun = n.tunOpen({ name: 'gone%d', offloads: false });
    let fired = 0;
    let result = 0;
    const watcher = n.watchReadable(tun, () => {
      fired++;
      result = n.tunRead(tun, new Uint8Array(1600), 1600, 1, new Int32Array(8));
    });
    run('ip', 'link', 'del', n.tunName(tun));
    await new Promise((resolve) => setTimeout(resolve, 30));
    t.equal(fired, 1);
    t.ok(result < 0, `errno ${-result}`);
    t.ok(n.tunWritePacket(tun, pattern(60), 0, 60, 0, 0, 0, 0) < 0);
    watcher.close();
    n.tunClose(tun);
  });
}

if (inOwnNamespace(import.meta.url)) {
  const n = native.loadNative();
  testPackets(n);
  testBatches(n);
}
