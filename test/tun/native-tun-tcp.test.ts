/** Connections of the kernel over a TUN whose far end the test speaks. */

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import t from 'tap';
import * as native from '../../src/tun/native.js';
import { addressRecord, inOwnNamespace, openUdp, pattern, Receiver, tcpHeader } from './native-harness.js';
import { isProtocol, TestTun, type TunPacket } from './native-test-tun.js';
import { cutTcp, isValidPacket, openDatagram } from './native-twins.js';

const MSS = 1448;

/** The far end of a kernel connection, spoken by the test over the TUN. */
class FarEnd {
  readonly tun: TestTun;
  readonly family: 4 | 6;
  readonly transport: number;
  sequenceNumber = 0xffff_f000;
  expected = 0;
  #syn: Buffer = Buffer.alloc(0);

  constructor(tun: TestTun, family: 4 | 6) {
    this.tun = tun;
    this.family = family;
    this.transport = family === 4 ? 20 : 40;
  }

  isTcp = (one: TunPacket): boolean => one.bytes[0]! >> 4 === this.family && isProtocol(6)(one);

  async accept(): Promise<TunPacket> {
    const syn = await this.tun.next(this.isTcp);
    this.#syn = syn.bytes;
    this.expected = (syn.bytes.readUInt32BE(this.transport + 4) + 1) >>> 0;
    this.write(0x12, Buffer.alloc(0), 1, Buffer.from([2, 4, MSS >> 8, MSS & 255, 1, 3, 3, 7]));
    this.sequenceNumber = (this.sequenceNumber + 1) >>> 0;
    return syn;
  }

  /** Header of a segment to the kernel: the SYN's addresses and ports turned round. */
  header(flags: number, options: Uint8Array): Buffer {
    const header = tcpHeader(this.family, {
      sequenceNumber: this.sequenceNumber,
      acknowledgmentNumber: this.expected,
      flags,
      options,
      window: 0xffff,
    });
    const [source, bytes] = this.family === 4 ? [12, 4] : [8, 16];
    header.set(this.#syn.subarray(source + bytes, source + 2 * bytes), source);
    header.set(this.#syn.subarray(source, source + bytes), source + bytes);
    header.set(this.#syn.subarray(this.transport + 2, this.transport + 4), this.transport);
    header.set(this.#syn.subarray(this.transport, this.transport + 2), this.transport + 2);
    return header;
  }

  write(flags: number, payload: Buffer, segmentBytes: number, options: Uint8Array = Buffer.alloc(0)): number {
    const header = this.header(flags, options);
    const before = Buffer.from(header);
    const result = this.tun.n.tunWriteSegments(this.tun.tun, header, header.length, payload, 0, payload.length, segmentBytes);
    if (!header.equals(before)) throw new Error('the template was changed');
    this.sequenceNumber = (this.sequenceNumber + payload.length) >>> 0;
    return result;
  }
}

function received(socket: Socket, bytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let total = 0;
  return new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.on('data', (chunk) => {
      chunks.push(chunk);
      total += chunk.length;
      if (total >= bytes) resolve(Buffer.concat(chunks));
    });
  });
}

function testTcp(n: native.NativeAddon): void {
  for (const family of [4, 6] as const) {
    t.test(`IPv${family}: a SYN from the kernel has its checksum finished when it is sealed`, async (t) => {
      const tun = new TestTun(13, true);
      const far = new FarEnd(tun, family);
      const socket = connect(80, family === 4 ? '10.13.0.7' : 'fd13::7');
      const syn = await tun.next(far.isTcp);
      t.match(syn, { flags: native.VNET_NEEDS_CSUM, gsoType: 0, gsoSize: 0, csumStart: far.transport, csumOffset: 16, headerLength: 0 });
      t.notOk(isValidPacket(syn.bytes), 'not finished yet');
      const rig = sealingRig(n);
      t.equal(rig.seal(syn), 1);
      const [sealed] = rig.fetch(1);
      t.ok(isValidPacket(sealed!), 'finished');
      t.equal(sealed!.length, syn.bytes.length);
      socket.destroy();
      rig.close();
      tun.close();
    });

    t.test(`IPv${family}: a kernel connection's super-packets are read, and cut into valid segments`, async (t) => {
      const tun = new TestTun(14, true);
      const far = new FarEnd(tun, family);
      const rig = sealingRig(n);
      const sent = pattern(400_000);
      const socket = connect(80, family === 4 ? '10.14.0.7' : 'fd14::7');
      await far.accept();
      await once(socket, 'connect');
      socket.write(sent);
      const pieces: Buffer[] = [];
      let bytes = 0;
      let superPackets = 0;
      while (bytes < sent.length) {
        const one = await tun.next(far.isTcp);
        const headerBytes = far.transport + (one.bytes[far.transport + 12]! >> 4) * 4;
        const payload = one.bytes.subarray(headerBytes);
        if (payload.length === 0) continue;
        if (one.gsoType !== 0) {
          superPackets++;
          const { gsoType, csumStart, csumOffset, headerLength } = one;
          const expected = { gsoType: family === 4 ? 1 : 4, csumStart: far.transport, csumOffset: 16, headerLength: headerBytes };
          if (JSON.stringify({ gsoType, csumStart, csumOffset, headerLength }) !== JSON.stringify(expected)) t.fail('descriptor');
        }
        const segments = rig.fetch(rig.seal(one));
        if (!segments.every(isValidPacket)) t.fail('a segment is not valid');
        const twin = cutTcp(one.bytes.subarray(0, headerBytes), payload, one.gsoSize || payload.length, far.transport, 1);
        if (segments.length !== twin.length || segments.some((segment, i) => !segment.equals(twin[i]!))) t.fail('differs from the twin');
        if (one.bytes.readUInt32BE(far.transport + 4) !== far.expected) continue;
        pieces.push(payload);
        bytes += payload.length;
        far.expected = (far.expected + payload.length) >>> 0;
        far.write(0x10, Buffer.alloc(0), 1);
      }
      t.ok(superPackets > 5, `${superPackets} super-packets`);
      t.ok(Buffer.concat(pieces).equals(sent), 'the bytes of the connection');
      socket.destroy();
      rig.close();
      tun.close();
    });

    t.test(`IPv${family}: super-segments written to the TUN reach a kernel connection`, async (t) => {
      const tun = new TestTun(15, true);
      const far = new FarEnd(tun, family);
      const socket = connect(80, family === 4 ? '10.15.0.7' : 'fd15::7');
      await far.accept();
      await once(socket, 'connect');
      const all = pattern(50_000 + 1448 + 1 + 3);
      const arrived = received(socket, all.length);
      let at = 0;
      for (const bytes of [50_000, 1448, 1, 3]) {
        t.equal(far.write(0x18, all.subarray(at, at + bytes), MSS), 0, `${bytes} bytes`);
        at += bytes;
      }
      t.ok((await arrived).equals(all));
      const ended = once(socket, 'end');
      t.equal(far.write(0x11, Buffer.alloc(0), 1), 0);
      await ended;
      // FIN on a super-segment belongs to its last segment, and the kernel sees it there.
      t.equal(far.write(0x10, Buffer.alloc(0), 1), 0);
      socket.destroy();
      tun.close();
    });

    t.test(`IPv${family}: FIN in a super-segment's template comes after its last byte`, async (t) => {
      const tun = new TestTun(16, true);
      const far = new FarEnd(tun, family);
      const socket = connect(80, family === 4 ? '10.16.0.7' : 'fd16::7');
      await far.accept();
      await once(socket, 'connect');
      const all = pattern(20_000);
      const arrived = received(socket, all.length);
      const ended = once(socket, 'end');
      t.equal(far.write(0x99, all, MSS), 0, 'CWR, ACK, PSH and FIN');
      t.ok((await arrived).equals(all));
      await ended;
      socket.destroy();
      tun.close();
    });
  }
}

/** Seals TUN packets to a socket that hands datagrams up as they are. */
function sealingRig(n: native.NativeAddon) {
  const [tx, rx] = [openUdp(4, '127.0.0.1'), openUdp(4, '127.0.0.1')];
  const key = pattern(32, 8);
  const sealer = n.createSealer({ aead: 'aes-256-gcm', key, receiverIndex: 0 });
  const sender = n.createSender(tx, sealer, 0, addressRecord('127.0.0.1', n.udpPort(rx)));
  const table = n.createOpenTable();
  const receiver = new Receiver();
  return {
    seal: (one: TunPacket) =>
      n.sealPacket(sender, 0x77, one.bytes, 0, one.bytes.length, one.gsoType, one.gsoSize, one.csumStart, one.csumOffset),
    fetch: (count: number): Buffer[] => {
      n.udpFlush(tx);
      return receiver.datagrams(rx, table, count).map((datagram) => openDatagram('aes-256-gcm', key, datagram.bytes).plaintext);
    },
    close: () => {
      n.udpClose(tx);
      n.udpClose(rx);
    },
  };
}

if (inOwnNamespace(import.meta.url)) {
  const n = native.loadNative();
  testTcp(n);
}
