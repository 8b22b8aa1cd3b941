import { createHash } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { importPrivateKey, publicKeyOf } from '../../../src/crypto/x25519.js';
import { emitAddressRecord, formatRemote } from '../../../src/tunnel/path/address-record.js';
import { NOBODY, relayIdOf, relayKeyOf } from '../../../src/tunnel/relay/relay-identity.js';
import { BIND_BYTES, emitBind, parseRelayMessage, RELAY_MESSAGE, type RelayMessage } from '../../../src/tunnel/relay/relay-messages.js';
import { LIFETIME_SECONDS, RelayTable } from '../../../src/tunnel/relay/relay-table.js';

const RELAY = new Uint8Array(32).fill(0x51);
const NO_COOKIE = new Uint8Array(16);

/** As a host would, from an address of its own choice. */
class Host {
  readonly id: Uint8Array;
  readonly #key: Uint8Array;

  constructor(privateKey: Uint8Array) {
    this.id = relayIdOf(publicKeyOf(RELAY), publicKeyOf(privateKey));
    this.#key = relayKeyOf(importPrivateKey(privateKey), publicKeyOf(RELAY))!;
  }

  bind(wanted: Uint8Array, way: Uint8Array, cookie: Uint8Array = NO_COOKIE, kind: 'bind' | 'unbind' = 'bind'): Uint8Array {
    const out = new Uint8Array(BIND_BYTES);
    emitBind(out, this.#key, { kind, sender: this.id, wanted, way, cookie });
    return out;
  }
}

const SECRETS = { anna: new Uint8Array(32).fill(1), otto: new Uint8Array(32).fill(2), eve: new Uint8Array(32).fill(3) };
const way = (number: number): Uint8Array => new Uint8Array(8).fill(number);

class Rig {
  nowMs = 1000;
  readonly sent: { to: string; bytes: number; message: RelayMessage }[] = [];
  readonly connected = new Map<number, string>();
  readonly table: RelayTable;
  inBytes = 0;
  #count = 0;

  constructor(limits = { maxSessions: 4, maxSessionsPerHost: 2 }, allowed = [SECRETS.anna, SECRETS.otto]) {
    this.table = new RelayTable({
      privateKey: RELAY,
      allowed: allowed.map(publicKeyOf),
      limits,
      randomBytes: (length) =>
        createHash('sha256')
          .update(String(this.#count++))
          .digest()
          .subarray(0, length),
      forwarder: {
        connect: (session, a, b) => void this.connected.set(session, [formatRemote(a), formatRemote(b)].sort().join(' ')),
        disconnect: (session) => void this.connected.delete(session),
      },
      send: (bytes, length, address) =>
        void this.sent.push({
          to: formatRemote(address),
          bytes: length,
          message: parseRelayMessage(bytes.slice(0, length)) as RelayMessage,
        }),
      nowMs: this.nowMs,
    });
  }

  /** What is answered. */
  from(address: string, bytes: Uint8Array) {
    this.sent.length = 0;
    const [host, port] = address.split(':') as [string, string];
    this.inBytes += bytes.length;
    this.table.handleMessage(bytes, emitAddressRecord(host, Number(port)), this.nowMs);
    return [...this.sent];
  }

  cookieFor(address: string, host: Host): Uint8Array {
    const [answer] = this.from(address, host.bind(NOBODY, way(0)));
    return answer!.message.kind === 'cookie' ? answer!.message.cookie.slice() : NO_COOKIE;
  }

  /** With a cookie for that address. */
  bind(address: string, host: Host, wanted: Uint8Array, number: number) {
    return this.from(address, host.bind(wanted, way(number), this.cookieFor(address, host)));
  }
}

const [anna, otto, eve] = [new Host(SECRETS.anna), new Host(SECRETS.otto), new Host(SECRETS.eve)];
const [A, B, W] = ['192.0.2.1:1000', '192.0.2.2:2000', '192.0.2.2:2001'];

t.test('two bindings that want each other are paired, and told how they are seen', async (t) => {
  const rig = new Rig();
  t.match(rig.bind(A, anna, otto.id, 1), [{ to: A, message: { kind: 'bound', state: 'waiting', seenAs: A } }]);
  t.equal(rig.connected.size, 0);
  t.match(rig.bind(B, otto, anna.id, 1), [{ to: B, message: { kind: 'bound', state: 'paired', seenAs: B } }]);
  t.same([...rig.connected.values()], [`${A} ${B}`]);
  t.match(rig.bind(A, anna, otto.id, 1), [{ to: A, message: { state: 'paired' } }], 'which the first hears when it comes back');
});

t.test('bindings of different ways are not paired', async (t) => {
  const rig = new Rig();
  rig.bind(A, anna, otto.id, 1);
  t.match(rig.bind(B, otto, anna.id, 2), [{ message: { state: 'waiting' } }]);
  t.equal(rig.connected.size, 0);
});

t.test('a host that waits is called, as often as its caller comes back', async (t) => {
  const rig = new Rig();
  t.match(rig.bind(W, otto, NOBODY, 9), [{ to: W, message: { kind: 'bound', state: 'waiting' } }]);
  const call = { to: W, message: { kind: 'call', caller: anna.id, way: way(1) } };
  t.match(rig.bind(A, anna, otto.id, 1), [call, { to: A, message: { state: 'waiting' } }]);
  t.match(rig.bind(A, anna, otto.id, 1), [call, {}]);
  rig.bind(B, otto, anna.id, 1);
  t.match(rig.bind(A, anna, otto.id, 1), [{ to: A, message: { state: 'paired' } }], 'no longer when it is there');
});

t.test('without the proof of a host that is allowed there is no answer at all', async (t) => {
  const rig = new Rig();
  t.same(rig.from(A, eve.bind(otto.id, way(1))), []);
  const forged = anna.bind(otto.id, way(1));
  forged[20]! ^= 1;
  t.same(rig.from(A, forged), []);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (garbage, isOurs) => {
      if (isOurs && garbage.length > 0) garbage[0] = RELAY_MESSAGE;
      t.same(rig.from(A, garbage), []);
    }),
    { numRuns: 300 },
  );
  t.equal(rig.table.sessionCount, 0, 'and nothing is remembered');
});

t.test('with the proof, but from an address that has not shown that it receives, there is a cookie, which is shorter', async (t) => {
  const rig = new Rig();
  const copy = anna.bind(otto.id, way(1));
  const answers = rig.from('198.51.100.9:53', copy);
  t.match(answers, [{ to: '198.51.100.9:53', message: { kind: 'cookie' } }]);
  t.ok(answers[0]!.bytes < copy.length);
  const cookie = rig.cookieFor(A, anna);
  t.match(rig.from('198.51.100.9:53', anna.bind(otto.id, way(1), cookie)), [{ message: { kind: 'cookie' } }], 'it is for one address');
  t.equal(rig.table.sessionCount, 0);
  rig.nowMs += 121_000;
  t.match(rig.from(A, anna.bind(otto.id, way(1), cookie)), [{ message: { kind: 'bound' } }], 'the former secret counts');
  rig.nowMs += 121_000;
  t.match(rig.from(A, anna.bind(otto.id, way(1), cookie)), [{ message: { kind: 'cookie' } }], 'and then no more');
});

t.test('a way to a host that is not allowed, or beyond a limit, is refused', async (t) => {
  const rig = new Rig();
  t.match(rig.bind(A, anna, eve.id, 1), [{ message: { state: 'unknown-peer' } }]);
  t.match(rig.bind(A, anna, anna.id, 1), [{ message: { state: 'unknown-peer' } }]);
  rig.bind('192.0.2.1:1001', anna, otto.id, 1);
  rig.bind('192.0.2.1:1002', anna, otto.id, 2);
  t.match(rig.bind('192.0.2.1:1003', anna, otto.id, 3), [{ message: { state: 'full' } }], 'of one host');
  rig.bind('192.0.2.2:1004', otto, anna.id, 4);
  rig.bind('192.0.2.2:1005', otto, anna.id, 5);
  t.match(rig.bind('192.0.2.2:1001', otto, anna.id, 1), [{ message: { state: 'paired' } }], 'what is there may be answered');
  t.equal(rig.table.sessionCount, 4);
});

t.test('an address that changed takes its leg along, and its old one is nobody', async (t) => {
  const rig = new Rig();
  rig.bind(A, anna, otto.id, 1);
  rig.bind(B, otto, anna.id, 1);
  t.match(rig.bind('192.0.2.1:1999', anna, otto.id, 1), [{ message: { state: 'paired' } }]);
  t.same([...rig.connected.values()], [`192.0.2.1:1999 ${B}`]);
  rig.bind('192.0.2.1:1999', anna, otto.id, 2);
  t.same([...rig.connected.values()], [], 'an address has one way: the newest');
});

t.test('what is not heard of expires, and a goodbye ends a way at once', async (t) => {
  const rig = new Rig();
  rig.bind(W, otto, NOBODY, 9);
  rig.bind(A, anna, otto.id, 1);
  rig.bind(B, otto, anna.id, 1);
  rig.nowMs += LIFETIME_SECONDS * 1000 - 1;
  rig.table.handleTimeout(rig.nowMs);
  t.equal(rig.connected.size, 1);
  rig.bind(A, anna, otto.id, 1);
  rig.nowMs += 2;
  rig.table.handleTimeout(rig.nowMs);
  t.equal(rig.connected.size, 0, 'one leg is gone');
  t.match([rig.table.sessionCount, rig.table.waitingCount], [1, 0]);
  rig.bind(B, otto, anna.id, 1);
  t.equal(rig.connected.size, 1, 'and may come back');
  rig.from(A, anna.bind(otto.id, way(1), rig.cookieFor(A, anna), 'unbind'));
  t.match([rig.connected.size, rig.table.sessionCount], [0, 0]);
  rig.bind('192.0.2.1:1001', anna, otto.id, 1);
  rig.bind('192.0.2.1:1002', anna, otto.id, 2);
  t.equal(rig.table.sessionCount, 2, 'what ended does not count to a limit');
});

t.test('a waiting host that is elsewhere has left where it was called to', async (t) => {
  const rig = new Rig();
  rig.bind(W, otto, NOBODY, 9);
  rig.bind(A, anna, otto.id, 1);
  rig.bind(B, otto, anna.id, 1);
  rig.bind('192.0.2.7:7', otto, NOBODY, 10);
  t.equal(rig.connected.size, 0);
  t.match(rig.bind(A, anna, otto.id, 1), [{ to: '192.0.2.7:7', message: { kind: 'call' } }, { to: A }]);
});
