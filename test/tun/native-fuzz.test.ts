import t from 'tap';
import * as native from '../../src/tun/native.js';
import { addressRecord, generator, inOwnNamespace, openUdp, pattern, Receiver, tcpHeader } from './native-harness.js';
import { cutTcp, sealDatagram } from './native-twins.js';

const INDEX = 0x01020304;
const DATAGRAMS = 50_000;

/** Random bytes, bytes with a plausible header, mutated and truncated valid datagrams, and valid ones with nonsense inside. */
function makeDatagram(random: (bound: number) => number, valid: readonly Buffer[], key: Buffer, packetNumber: number): Buffer {
  const kind = random(6);
  if (kind === 0) return pattern(random(200), random(1 << 30));
  const copy = Buffer.from(valid[random(valid.length)]!);
  if (kind === 1) return Buffer.concat([copy.subarray(0, 12), pattern(random(1500), random(1 << 30))]);
  if (kind === 2) {
    copy[random(copy.length)]! ^= 1 << random(8);
    return copy;
  }
  if (kind === 3) return copy.subarray(0, random(copy.length + 1));
  // Authentic, but what is inside is a mutated TCP segment: the joining must survive its peer.
  const plaintext = cutTcp(tcpHeader(random(2) ? 4 : 6), pattern(random(300)), 1000, 20)[0]!;
  for (let i = random(4); i > 0; i--) plaintext[random(Math.min(plaintext.length, 64))] = random(256);
  const fields = { type: 0x10 + random(3), pathId: random(32), receiverIndex: INDEX, packetNumber };
  return sealDatagram('aes-256-gcm', key, fields, plaintext.subarray(0, random(8) === 0 ? random(plaintext.length) : plaintext.length));
}

if (inOwnNamespace(import.meta.url)) {
  const n = native.loadNative();
  t.test(`${DATAGRAMS} random and mutated datagrams: no crash, and every one is accounted for`, async (t) => {
    const seed = 31_337;
    const random = generator(seed);
    const key = pattern(32, 3);
    const [tx, rx] = [openUdp(4, '127.0.0.1'), openUdp(4, '127.0.0.1')];
    const to = addressRecord('127.0.0.1', n.udpPort(rx));
    const table = n.createOpenTable();
    n.addOpener(table, { receiverIndex: INDEX, aead: 'aes-256-gcm', key });
    const receiver = new Receiver({ arenaBytes: 256 * 1024, descriptors: 40, addresses: 2 });
    const valid = cutTcp(tcpHeader(4), pattern(30_000), 1400, 20).map((packet, i) =>
      sealDatagram('aes-256-gcm', key, { type: native.TYPE_STREAM, pathId: 0, receiverIndex: INDEX, packetNumber: i }, packet),
    );
    let sent = 0;
    let sentBytes = 0;
    let handedUp = 0;
    let handedUpBytes = 0;
    const drain = () => {
      for (const one of receiver.until(rx, table, () => n.receiveCounters(table).datagrams === sent)) {
        handedUp += one.datagrams;
        handedUpBytes += one.wireBytes;
      }
    };
    while (sent < DATAGRAMS) {
      const datagram = makeDatagram(random, valid, key, 1000 + sent);
      if (n.udpSendRaw(tx, to, datagram, 0, datagram.length) !== datagram.length) t.fail(`seed ${seed}: send failed`);
      sent++;
      sentBytes += datagram.length;
      if (random(100) === 0) drain();
    }
    drain();
    const counters = n.receiveCounters(table);
    t.equal(counters.datagrams, DATAGRAMS);
    t.equal(counters.bytes, sentBytes);
    t.equal(handedUp + counters.badTag + counters.replayed + counters.unknown, DATAGRAMS);
    t.ok(handedUpBytes < sentBytes && handedUp > DATAGRAMS / 4, `${handedUp} handed up`);
    t.ok(counters.badTag > 0 && counters.replayed > 0 && counters.unknown > 0);

    const fresh = sealDatagram('aes-256-gcm', key, { type: 0x10, pathId: 0, receiverIndex: INDEX, packetNumber: 10 ** 9 }, valid[0]!);
    n.udpSendRaw(tx, to, fresh, 0, fresh.length);
    t.ok(receiver.datagrams(rx, table, 1)[0]?.bytes.equals(valid[0]!), 'a good one is opened as ever');
  });

  t.test('random TUN packets are sealed or dropped, whatever their headers say', async (t) => {
    const random = generator(99);
    const [tx, rx] = [openUdp(4, '127.0.0.1'), openUdp(4, '127.0.0.1')];
    const sealer = n.createSealer({ aead: 'aes-256-gcm', key: pattern(32), receiverIndex: 0 });
    const sender = n.createSender(tx, sealer, 0, addressRecord('127.0.0.1', n.udpPort(rx)));
    let made = 0;
    for (let i = 0; i < 20_000; i++) {
      const packet = Buffer.concat([tcpHeader(random(2) ? 4 : 6), pattern(random(3000), i)]);
      for (let k = random(5); k > 0; k--) packet[random(Math.min(64, packet.length))] = random(256);
      const length = random(4) ? packet.length : random(packet.length);
      const gso = [0, 1, 4, 5, 0x81, random(256)][random(6)]!;
      try {
        made += n.sealPacket(sender, 0x11, packet, 0, length, gso, 100 + random(2000), random(70), random(20));
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
      }
    }
    n.udpFlush(tx);
    t.equal(n.senderPacketNumber(sender), made);
    t.equal(n.udpCounters(tx).sentDatagrams + n.udpCounters(tx).refusedDatagrams, made);
  });
}
