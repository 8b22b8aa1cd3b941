/** The addon's forwarding by source address: against a table of JavaScript's, with sockets of loopback. */

import fc from 'fast-check';
import t, { type Test } from 'tap';
import { ADDRESS_BYTES, loadNative, RELAY_DESCRIPTOR_INTS, type RelayHandle, type UdpHandle } from '../../src/tun/native.js';
import { emitAddressRecord } from '../../src/tunnel/path/address-record.js';

const native = loadNative();
const MARK = 0x52;
const SEED = new Uint8Array(8).fill(3);
const BUFFERS = { receiveBufferBytes: 1 << 20, sendBufferBytes: 1 << 20 };

function openSocket(t: Test, family: 4 | 6 = 4): UdpHandle {
  const udp = native.udpOpen({ family, ...(family === 4 ? { address: '127.0.0.1' } : {}), port: 0, ...BUFFERS });
  t.teardown(() => native.udpClose(udp));
  return udp;
}

const placeOf = (udp: UdpHandle): Uint8Array => emitAddressRecord('127.0.0.1', native.udpPort(udp));

class Rig {
  readonly udp: UdpHandle;
  readonly relay: RelayHandle;
  readonly arena: Uint8Array;
  readonly descriptors: Int32Array;
  readonly addresses: Uint8Array;

  constructor(t: Test, messages = 16, family: 4 | 6 = 4) {
    this.udp = openSocket(t, family);
    this.relay = native.relayCreate(this.udp, SEED);
    t.teardown(() => native.relayClose(this.relay));
    this.arena = new Uint8Array(messages * 64);
    this.descriptors = new Int32Array(messages * RELAY_DESCRIPTOR_INTS);
    this.addresses = new Uint8Array(messages * ADDRESS_BYTES);
  }

  send(from: UdpHandle, bytes: Uint8Array): void {
    const sent = native.udpSendRaw(from, emitAddressRecord('127.0.0.1', native.udpPort(this.udp)), bytes, 0, bytes.length);
    if (sent !== bytes.length) throw new Error(`sent ${sent}`);
  }

  forward(): number {
    return native.relayForward(this.relay, MARK, this.arena, this.descriptors, this.addresses, 64);
  }
}

const table = native.createOpenTable();

/** What has come to `udp` and is none of a session's: all that these tests send. */
function received(udp: UdpHandle): Uint8Array[] {
  const arena = new Uint8Array(256 * 1024);
  const descriptors = new Int32Array(16 * 64);
  const addresses = new Uint8Array(ADDRESS_BYTES * 64);
  const all: Uint8Array[] = [];
  for (;;) {
    const count = native.receive(udp, table, arena, descriptors, addresses, 4);
    if (count <= 0) return all;
    for (let i = 0; i < count; i++) all.push(arena.slice(descriptors[i * 16 + 1]!, descriptors[i * 16 + 1]! + descriptors[i * 16 + 2]!));
  }
}

const numbered = (number: number, bytes: number): Uint8Array => new Uint8Array(bytes).fill(number & 15);

for (const family of [4, 6] as const) {
  t.test(`what comes from one place goes to the other, byte for byte, through a socket of IPv${family}`, async (t) => {
    const rig = new Rig(t, 16, family);
    const [a, b, c] = [openSocket(t), openSocket(t), openSocket(t)];
    native.relayConnect(rig.relay, placeOf(a), placeOf(b), 0);
    const sizes = [1, 12, 100, 1400, 1400, 1400, 700, 1400];
    for (const [i, bytes] of sizes.entries()) rig.send(a, numbered(i, bytes));
    rig.send(b, numbered(9, 50));
    rig.send(c, numbered(1, 50));
    t.equal(rig.forward(), 0);
    t.same(
      received(b).map(String),
      sizes.map((bytes, i) => String(numbered(i, bytes))),
    );
    t.same(received(a).map(String), [String(numbered(9, 50))]);
    t.same(received(c), [], 'a place that has no other gets nothing');
    t.match(native.relayCounters(rig.relay), {
      forwardedDatagrams: 9,
      forwardedBytes: sizes.reduce((sum, bytes) => sum + bytes) + 50,
      unknownSources: 1,
    });
  });
}

t.test('what bears the mark is handed over with its source, and never forwarded', async (t) => {
  const rig = new Rig(t, 2);
  const [a, b] = [openSocket(t), openSocket(t)];
  native.relayConnect(rig.relay, placeOf(a), placeOf(b), 0);
  const message = new Uint8Array(60).fill(MARK);
  rig.send(a, message);
  rig.send(b, message.subarray(0, 30));
  t.equal(rig.forward(), 2);
  for (const [i, [from, length]] of (
    [
      [a, 60],
      [b, 30],
    ] as const
  ).entries()) {
    const [offset, bytes, address] = rig.descriptors.subarray(i * RELAY_DESCRIPTOR_INTS);
    t.same(rig.arena.subarray(offset, offset! + bytes!), message.subarray(0, length));
    t.same(rig.addresses.subarray(address! * ADDRESS_BYTES, address! * ADDRESS_BYTES + 20), placeOf(from).subarray(0, 20));
  }
  for (let i = 0; i < 3; i++) rig.send(a, message);
  rig.send(a, new Uint8Array(65).fill(MARK));
  t.equal(rig.forward(), 2, 'as many as there is room for');
  t.equal(native.relayCounters(rig.relay).droppedMessages, 2);
  t.same([received(a), received(b)], [[], []]);
});

t.test('a pair carries what its rate allows, both ways together', async (t) => {
  const rig = new Rig(t);
  const [a, b] = [openSocket(t), openSocket(t)];
  native.relayConnect(rig.relay, placeOf(a), placeOf(b), 4 * 1028 * 10);
  for (let i = 0; i < 15; i++) rig.send(a, numbered(i, 1000));
  for (let i = 0; i < 15; i++) rig.send(b, numbered(i, 1000));
  rig.forward();
  const { forwardedDatagrams, overRate } = native.relayCounters(rig.relay);
  t.equal(forwardedDatagrams + overRate, 30);
  t.ok(forwardedDatagrams >= 10, 'a quarter of a second of it at once');
  t.ok(overRate > 0);
});

t.test('pairs that come and go, many of them, are those of a naive table', async (t) => {
  const rig = new Rig(t);
  const [from, to] = [openSocket(t), openSocket(t)];
  // Only `from` sends; the other places are addresses that fill the table.
  const places = Array.from({ length: 400 }, (_, i) => emitAddressRecord(`10.0.${i >> 8}.${i & 255}`, 1000));
  const mine = placeOf(from);
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(399), fc.nat(399), fc.boolean()), { maxLength: 400 }), fc.boolean(), (operations, isMine) => {
      const naive = new Map<number, number>();
      for (const [a, b, connects] of operations) {
        if (connects && a !== b) {
          native.relayConnect(rig.relay, places[a]!, places[b]!, 0);
          naive.set(a, b).set(b, a);
        } else {
          native.relayDisconnect(rig.relay, places[a]!);
          naive.delete(a);
        }
      }
      if (isMine) native.relayConnect(rig.relay, mine, placeOf(to), 0);
      const before = native.relayCounters(rig.relay).forwardedDatagrams;
      rig.send(from, numbered(1, 20));
      rig.forward();
      t.equal(native.relayCounters(rig.relay).forwardedDatagrams - before, isMine ? 1 : 0);
      t.equal(received(to).length, isMine ? 1 : 0);
      for (const place of [mine, placeOf(to), ...[...naive.keys()].map((i) => places[i]!)]) native.relayDisconnect(rig.relay, place);
    }),
    { numRuns: 60 },
  );
});

t.test('wrong arguments and closed handles throw, and nothing is lost by them', async (t) => {
  const rig = new Rig(t);
  t.throws(() => native.relayCreate(rig.udp, new Uint8Array(7)), { name: 'RangeError' });
  t.throws(() => native.relayConnect(rig.relay, new Uint8Array(47), placeOf(rig.udp), 0), { name: 'RangeError' });
  t.throws(() => native.relayConnect(rig.relay, new Uint8Array(48), placeOf(rig.udp), 0), { name: 'RangeError' });
  t.throws(() => native.relayConnect(rig.relay, placeOf(rig.udp), placeOf(rig.udp), -1), { name: 'RangeError' });
  t.throws(() => native.relayForward(rig.relay, 256, rig.arena, rig.descriptors, rig.addresses, 1), { name: 'RangeError' });
  t.throws(() => native.relayForward(rig.relay, MARK, rig.arena, rig.descriptors, rig.addresses, 0), { name: 'RangeError' });
  const port = native.memoryOpen(placeOf(rig.udp), 1);
  t.throws(() => native.relayCreate(port, SEED), { name: 'RangeError' });
  native.udpClose(port);
  const [udp] = [native.udpOpen({ family: 4, address: '127.0.0.1', port: 0, ...BUFFERS })];
  const relay = native.relayCreate(udp, SEED);
  native.udpClose(udp);
  t.throws(() => native.relayForward(relay, MARK, rig.arena, rig.descriptors, rig.addresses, 1), { name: 'TypeError' });
  native.relayClose(relay);
  t.throws(() => native.relayCounters(relay), { name: 'TypeError' });
});
