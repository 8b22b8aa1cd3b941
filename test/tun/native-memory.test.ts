/** Ports without a socket: sealed on one, taken, put into another, opened there. */

import t from 'tap';
import * as native from '../../src/tun/native.js';
import { addressRecord, pattern, Receiver, tcpHeader } from './native-harness.js';
import { INDEX } from './native-receive-rig.js';
import { cutTcp, joinSegments, sealDatagram } from './native-twins.js';

const n = native.loadNative();
const KEY = pattern(32, 7);
const REMOTE = addressRecord('192.0.2.7', 4433);
const OUT_BYTES = 4 * 1024 * 1024;

interface Taken {
  bytes: Uint8Array;
  lengths: Int32Array;
  count: number;
}

function take(port: native.UdpHandle, bytes = OUT_BYTES, slots = 8192): Taken {
  const taken = { bytes: new Uint8Array(bytes), lengths: new Int32Array(slots), count: 0 };
  taken.count = n.memoryTake(port, taken.bytes, taken.lengths);
  return taken;
}

function openTable(): native.OpenTableHandle {
  const table = n.createOpenTable();
  n.addOpener(table, { receiverIndex: INDEX, aead: 'aes-256-gcm', key: KEY });
  return table;
}

t.test('what is sealed on a port and taken is opened on another, joined, and comes from its remote address', (t) => {
  const from = n.memoryOpen(REMOTE, 0);
  const to = n.memoryOpen(REMOTE, 443);
  t.equal(n.udpPort(from), 0);
  t.equal(n.udpPort(to), 443);
  const sealer = n.createSealer({ aead: 'aes-256-gcm', key: KEY, receiverIndex: INDEX });
  const sender = n.createSender(from, sealer, 3, REMOTE);
  const table = openTable();
  const header = tcpHeader(4, { flags: 0x18, options: pattern(32, 5) });
  const payload = pattern(60_000);
  const made = n.sealSegments(sender, native.TYPE_STREAM, header, header.length, payload, 0, payload.length, 1348);
  t.equal(take(from).count, 0, 'nothing before the flush');
  t.equal(n.udpFlush(from), 0);
  const taken = take(from);
  t.equal(taken.count, made);
  t.equal(n.memoryPut(to, taken.bytes, taken.lengths, taken.count), 0);
  t.equal(n.memoryWaiting(to), made);
  const got = new Receiver().datagrams(to, table, made);
  t.equal(n.memoryWaiting(to), 0);
  const [expected] = joinSegments(cutTcp(header, payload, 1348, 20).map((packet) => ({ packet, lane: '' })));
  t.ok(got[0]!.bytes.equals(expected!.packet), 'the super-segment');
  t.same(got[0]!.address.subarray(0, 20), Buffer.from(REMOTE.subarray(0, 20)));
  t.equal(n.udpCounters(from).sentDatagrams, made);
  for (const port of [from, to]) n.udpClose(port);
  t.throws(() => n.memoryTake(from, new Uint8Array(1), new Int32Array(1)), TypeError, 'closed');
  t.end();
});

t.test('little room takes little, in order; what is put waits over several receives', (t) => {
  const from = n.memoryOpen(REMOTE, 0);
  const to = n.memoryOpen(addressRecord('2001:db8::7', 443), 0);
  const sealer = n.createSealer({ aead: 'aes-256-gcm', key: KEY, receiverIndex: INDEX });
  const sender = n.createSender(from, sealer, 3, REMOTE);
  const table = openTable();
  const sizes = Array.from({ length: 300 }, (_, i) => 20 + ((i * 37) % 1400));
  for (const size of sizes) n.sealPacket(sender, native.TYPE_CONTROL, pattern(size, size), 0, size, 0, 0, 0, 0);
  n.udpFlush(from);
  const received: number[] = [];
  const receiver = new Receiver({ descriptors: 7, rounds: 1 });
  for (;;) {
    const taken = take(from, 3000, 4);
    if (taken.count === 0) break;
    t.equal(n.memoryPut(to, taken.bytes, taken.lengths, taken.count), 0);
  }
  t.equal(n.memoryWaiting(to), sizes.length);
  while (n.memoryWaiting(to) > 0) {
    for (const { bytes, packetNumber } of receiver.once(to, table)) {
      received.push(bytes.length);
      t.ok(bytes.equals(pattern(bytes.length, bytes.length)), `packet ${packetNumber}`);
    }
  }
  t.same(received, sizes);
  for (const port of [from, to]) n.udpClose(port);
  t.end();
});

t.test('queues are bounded: what has no room is refused, and counted', (t) => {
  const port = n.memoryOpen(REMOTE, 0);
  const sealer = n.createSealer({ aead: 'aes-256-gcm', key: KEY, receiverIndex: INDEX });
  const sender = n.createSender(port, sealer, 0, REMOTE);
  const plaintext = pattern(1368);
  for (let i = 0; i < 5000; i++) n.sealPacket(sender, native.TYPE_CONTROL, plaintext, 0, plaintext.length, 0, 0, 0, 0);
  const refused = n.udpFlush(port);
  const taken = take(port);
  t.equal(taken.count + refused, 5000);
  t.ok(refused > 3000, `${refused} refused`);
  const datagram = sealDatagram(
    'aes-256-gcm',
    KEY,
    { type: native.TYPE_CONTROL, pathId: 0, receiverIndex: INDEX, packetNumber: 0 },
    Buffer.alloc(8),
  );
  const one = Int32Array.of(datagram.length);
  let dropped = 0;
  for (let i = 0; i < 5000; i++) dropped += n.memoryPut(port, datagram, one, 1);
  t.equal(dropped + n.memoryWaiting(port), 5000);
  t.equal(n.memoryWaiting(port), 4096);
  n.udpClose(port);
  t.end();
});

t.test('arguments that cannot be right are refused', (t) => {
  const port = n.memoryOpen(REMOTE, 0);
  t.throws(() => n.memoryOpen(new Uint8Array(10), 0), RangeError);
  t.throws(() => n.memoryPut(port, new Uint8Array(10), Int32Array.of(11), 1), RangeError);
  t.throws(() => n.memoryPut(port, new Uint8Array(10), Int32Array.of(-1), 1), RangeError);
  t.throws(() => n.memoryPut(port, new Uint8Array(10), Int32Array.of(5), 2), RangeError);
  const socket = n.udpOpen({ family: 4, address: '127.0.0.1', port: 0, receiveBufferBytes: 65_536, sendBufferBytes: 65_536 });
  t.throws(() => n.memoryWaiting(socket), TypeError);
  t.ok(n.udpSendRaw(port, REMOTE, new Uint8Array(8), 0, 8) < 0, 'it has no socket to send on');
  for (const one of [socket, port]) n.udpClose(one);
  t.end();
});
