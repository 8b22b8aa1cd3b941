import fc from 'fast-check';
import t from 'tap';
import * as messages from '../../../src/tunnel/session/messages.js';
import { compareTimestamps, TimestampClock } from '../../../src/tunnel/session/timestamp.js';
import { ALL_AEADS, makePair, setRoutes } from './two-hosts.js';

const hex = (value: Uint8Array) => Buffer.from(value).toString('hex');
const AES = 'aes-256-gcm';
const CHACHA = 'chacha20-poly1305';
const costs = (aes: number, chacha: number) => ({ [AES]: aes, [CHACHA]: chacha }) as messages.AeadCosts;

t.test('a message has its type, its exact length and zero reserved bytes', async (t) => {
  const lengths = new Map([
    [1, messages.INITIATION_BYTES],
    [2, messages.RESPONSE_BYTES],
    [3, messages.COOKIE_REPLY_BYTES],
  ]);
  for (const [type, length] of lengths) {
    const bytes = new Uint8Array(length);
    bytes[0] = type;
    t.equal(messages.messageType(bytes), type);
    t.equal(messages.messageType(bytes.subarray(0, length - 1)), undefined);
    t.equal(messages.messageType(new Uint8Array([...bytes, 0])), undefined);
    for (const at of [1, 2, 3]) {
      const reserved = Uint8Array.from(bytes);
      reserved[at] = 1;
      t.equal(messages.messageType(reserved), undefined);
    }
  }
  for (const type of [0, 4, 0x10, 0x11, 0x12, 0xff]) t.equal(messages.messageType(new Uint8Array(164).fill(type, 0, 1)), undefined);
});

t.test('the bytes of hello and choice', async (t) => {
  const timestamp = Uint8Array.from({ length: 12 }, (_, i) => i + 1);
  const hello = { timestamp, version: 1, features: 0x01020304, costs: costs(500, 1000) };
  t.equal(hex(messages.emitHello(hello)), '0102030405060708090a0b0c' + '01000000' + '01020304' + '000001f4' + '000003e8');
  t.same(messages.parseHello(messages.emitHello(hello)), hello);
  const choice = { senderIndex: 0xfedcba98, version: 1, aead: CHACHA, features: 5 } as const;
  t.equal(hex(messages.emitChoice(choice)), 'fedcba98' + '01020000' + '00000005');
  t.same(messages.parseChoice(messages.emitChoice(choice)), choice);
});

t.test('a choice of index 0 or of an unknown AEAD, and wrong lengths, are faults', async (t) => {
  const good = messages.emitChoice({ senderIndex: 1, version: 1, aead: AES, features: 0 });
  for (const aead of [0, 3, 255]) {
    const bytes = Uint8Array.from(good);
    bytes[5] = aead;
    t.type(messages.parseChoice(bytes), 'string');
  }
  t.type(messages.parseChoice(Uint8Array.from(good).fill(0, 0, 4)), 'string');
  t.type(messages.parseChoice(good.subarray(1)), 'string');
  t.type(messages.parseHello(new Uint8Array(27)), 'string');
});

t.test('the AEAD is chosen that minimises the cost of the slower side', async (t) => {
  const order = [AES, CHACHA] as const;
  t.equal(messages.chooseAead(order, costs(500, 1000), costs(500, 1000)), AES);
  t.equal(messages.chooseAead(order, costs(500, 1000), costs(9000, 1500)), CHACHA, 'a side without AES instructions');
  t.equal(messages.chooseAead(order, costs(9000, 1500), costs(500, 1000)), CHACHA);
  t.equal(messages.chooseAead([CHACHA, AES], costs(7, 7), costs(7, 7)), CHACHA, 'a tie goes by preference');
  t.equal(messages.chooseAead(order, costs(500, 0), costs(9000, 1500)), AES, 'only what both offer');
  t.equal(messages.chooseAead(order, costs(500, 0), costs(0, 1500)), undefined);
});

t.test('the choice is the same whichever side initiates, ties aside', async () => {
  const cost = fc.integer({ min: 0, max: 5000 });
  fc.assert(
    fc.property(cost, cost, cost, cost, (a, b, c, d) => {
      const one = messages.chooseAead([AES, CHACHA], costs(a, b), costs(c, d));
      return one === messages.chooseAead([AES, CHACHA], costs(c, d), costs(a, b));
    }),
  );
});

t.test('costs are whole nanoseconds of at least 1; nonsense is the caller’s bug', async (t) => {
  t.same(messages.aeadCosts([{ name: AES, sealNs: 0.2 }]), costs(1, 0));
  t.same(messages.aeadCosts([{ name: CHACHA, sealNs: 1e12 }]), costs(0, 2 ** 32 - 1));
  t.throws(() => messages.aeadCosts([{ name: AES, sealNs: Number.NaN }]), RangeError);
});

t.test('both sides of a handshake use the AEAD that is fastest for the slower one', async (t) => {
  const slowAes = [
    { name: AES, sealNs: 20_000 },
    { name: CHACHA, sealNs: 3_000 },
  ] as const;
  const { network, client, server } = makePair({ aeads: [slowAes, ALL_AEADS] });
  setRoutes(client, [0]);
  network.runUntil(200);
  t.equal(client.of('epoch-ready')[0]!.keys.aead, CHACHA);
  t.equal(server.of('epoch-ready')[0]!.keys.aead, CHACHA);
  t.equal(server.undeliverable, 0);
});

t.test('without a common AEAD there is silence, counted', async (t) => {
  const { network, client, server } = makePair({ aeads: [[{ name: AES, sealNs: 1 }], [{ name: CHACHA, sealNs: 1 }]] });
  setRoutes(client, [0]);
  network.runUntil(2_000);
  t.same(client.eventTypes(), []);
  t.ok(server.endpoint.counters.noCommonAead! > 0);
  t.equal(network.log.filter(({ from }) => from === server).length, 0);
});

t.test('timestamps are TAI64N and strictly increase, within a millisecond and when the clock stands still', async (t) => {
  const clock = new TimestampClock(1_000, 500);
  t.equal(hex(clock.next(500)), '400000000000000b' + '00000000');
  t.equal(hex(clock.next(500)), '400000000000000b' + '00000001');
  t.equal(hex(clock.next(501)), '400000000000000b' + '000f4240');
  t.equal(hex(clock.next(400)), '400000000000000b' + '000f4241', 'a time that goes back');
  t.equal(hex(clock.next(2_000_500)), '40000000000007db' + '00000000');
  t.throws(() => new TimestampClock(Number.NaN, 0), RangeError);
});

t.test('any sequence of times gives increasing timestamps', async () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: -10, max: 1e7, noNaN: true }), { minLength: 2, maxLength: 50 }), (times) => {
      const clock = new TimestampClock(1.7e12, 0);
      const stamps = times.map((nowMs) => clock.next(nowMs));
      return stamps.every((stamp, i) => i === 0 || compareTimestamps(stamps[i - 1]!, stamp) < 0);
    }),
  );
});
