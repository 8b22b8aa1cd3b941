import t from 'tap';
import { mac1Key, writeMac1 } from '../../../src/tunnel/session/cookie.js';
import { INVALID_ANSWER, NO_ANSWER } from '../../../src/tunnel/session/endpoint.js';
import { INITIATION_BYTES, MESSAGE_INITIATION, MESSAGE_RESPONSE, RESPONSE_BYTES } from '../../../src/tunnel/session/messages.js';
import { Host, KEYS, makePair, Network, PEER, PUBLIC, seededBytes, sentBy, setRoutes } from './two-hosts.js';

const hex = (value: Uint8Array) => Buffer.from(value).toString('hex');
const THREE_LINKS = [{ delayMs: 50 }, { delayMs: 10 }, { delayMs: 30 }];

t.test('the same initiation goes out on every route', async (t) => {
  const { network, client } = makePair({ links: THREE_LINKS });
  setRoutes(client, [0, 1, 2, 1]);
  network.runUntil(5);
  const sent = sentBy(client, MESSAGE_INITIATION);
  t.same(
    sent.map(({ link }) => link),
    [0, 1, 2],
  );
  t.equal(new Set(sent.map(({ bytes }) => hex(bytes))).size, 1);
  t.ok(sent.every(({ bytes }) => bytes.length === INITIATION_BYTES));
});

t.test('the fastest path carries the handshake; later responses are ignored', async (t) => {
  const { network, client, server } = makePair({ links: THREE_LINKS });
  client.greets = false;
  setRoutes(client, [0, 1, 2]);
  network.runUntil(249);
  t.equal(client.timeOf('epoch-ready'), 20);
  t.equal(client.of('epoch-ready')[0]!.route, 1);
  t.equal(server.of('epoch-ready')[0]!.route, 1);
  t.equal(client.endpoint.counters.responseUnexpected, 2);
  t.equal(client.of('epoch-ready').length, 1);
});

t.test('a copy of the initiation on another route is answered there with the same response, once', async (t) => {
  const { network, client, server } = makePair({ links: THREE_LINKS });
  client.greets = false;
  setRoutes(client, [0, 1, 2]);
  network.runUntil(100);
  const responses = sentBy(server, MESSAGE_RESPONSE);
  t.same(
    responses.map(({ link }) => link),
    [1, 2, 0],
  );
  t.equal(new Set(responses.map(({ bytes }) => hex(bytes))).size, 1);
  t.ok(
    responses.every(({ bytes }) => bytes.length === RESPONSE_BYTES && bytes.length <= INITIATION_BYTES),
    'nothing is amplified',
  );
  const initiation = sentBy(client, MESSAGE_INITIATION)[0]!.bytes;
  for (const link of [0, 1, 2, 1]) server.receive(initiation, link);
  t.equal(sentBy(server, MESSAGE_RESPONSE).length, 3, 'no second answer on any of them');
  t.equal(server.endpoint.counters.handshakesResponded, 1);
});

t.test('the handshake completes though the first answer is lost', async (t) => {
  const { network, client, server } = makePair({ links: THREE_LINKS });
  network.filter = ({ from, link }) => !(from === server && link === 1);
  setRoutes(client, [0, 1, 2]);
  network.runUntil(249);
  t.equal(client.of('epoch-ready')[0]!.route, 2);
  t.same(server.eventTypes(), ['epoch-ready', 'epoch-confirmed']);
});

t.test('a copy that is no longer fresh, or whose epoch is confirmed, gets no answer', async (t) => {
  const { network, client, server } = makePair();
  client.greets = false;
  network.filter = ({ from }) => from === client;
  setRoutes(client, [0]);
  network.runUntil(100);
  setRoutes(client, []);
  const initiation = sentBy(client, MESSAGE_INITIATION)[0]!.bytes;
  network.runUntil(5_050);
  server.receive(initiation, 7);
  t.equal(sentBy(server, MESSAGE_RESPONSE).length, 1);

  const second = makePair();
  setRoutes(second.client, [0]);
  second.network.runUntil(100);
  t.ok(second.server.eventTypes().includes('epoch-confirmed'));
  second.server.receive(sentBy(second.client, MESSAGE_INITIATION)[0]!.bytes, 7);
  t.equal(sentBy(second.server, MESSAGE_RESPONSE).length, 1);
});

t.test('copies of one initiation from one address are answered a few times at most, whatever their routes', async (t) => {
  const { network, client, server } = makePair();
  network.filter = () => false;
  setRoutes(client, [0]);
  const initiation = sentBy(client, MESSAGE_INITIATION)[0]!.bytes;
  for (let route = 0; route < 500; route++) server.endpoint.handleDatagram(initiation, route, Uint8Array.of(10, 0, 0, 1), 0);
  server.drain();
  t.equal(sentBy(server, MESSAGE_RESPONSE).length, 4);
  for (let route = 500; route < 1000; route++)
    server.endpoint.handleDatagram(initiation, route, Uint8Array.of(10, 0, route & 255, route >> 8), 0);
  server.drain();
  t.equal(sentBy(server, MESSAGE_RESPONSE).length, 64);
});

t.test('an unanswered initiation is renewed after 250, 500, 1000 ms, then every 1.5 s and a little', async (t) => {
  const { network, client } = makePair({ links: [{ loss: 1 }] });
  const times: number[] = [];
  network.filter = () => false;
  setRoutes(client, [0]);
  let seen = 0;
  for (let at = 0; at <= 20_000; at += 10) {
    network.runUntil(at);
    const count = sentBy(client, MESSAGE_INITIATION).length;
    if (count > seen) times.push(at);
    seen = count;
  }
  t.same(times.slice(0, 4), [0, 250, 750, 1750]);
  const gaps = times.slice(4).map((at, i) => at - times[i + 3]!);
  t.ok(gaps.length >= 6);
  t.ok(
    gaps.every((gap) => gap >= 1500 && gap <= 1810),
    gaps.join(),
  );
  t.ok(new Set(gaps).size > 1, 'with jitter');
  const initiations = sentBy(client, MESSAGE_INITIATION);
  t.equal(new Set(initiations.map(({ bytes }) => hex(bytes))).size, initiations.length, 'each is fresh');
});

t.test('a route that is added is tried at once, with the initiation that is under way', async (t) => {
  const { network, client } = makePair({ links: [{ loss: 1 }, { delayMs: 10 }] });
  setRoutes(client, [0]);
  network.runUntil(100);
  setRoutes(client, [0, 1]);
  network.runUntil(120);
  t.same(client.eventTypes(), ['epoch-ready']);
  const sent = sentBy(client, MESSAGE_INITIATION);
  t.same(
    sent.map(({ link }) => link),
    [0, 1],
  );
  t.equal(hex(sent[0]!.bytes), hex(sent[1]!.bytes));
});

t.test('an empty list of routes stops trying, a new one begins again', async (t) => {
  const { network, client } = makePair({ links: [{ loss: 1 }, {}] });
  setRoutes(client, [0]);
  network.runUntil(300);
  setRoutes(client, []);
  const count = sentBy(client, MESSAGE_INITIATION).length;
  t.equal(client.endpoint.nextTimeoutMs() === Number.POSITIVE_INFINITY || count === 2, true);
  network.runUntil(60_000);
  t.equal(sentBy(client, MESSAGE_INITIATION).length, count);
  t.same(client.eventTypes(), []);
  setRoutes(client, [1]);
  network.runUntil(60_100);
  t.same(client.eventTypes(), ['epoch-ready']);
});

t.test(
  'after 5 s without answer the peer is unreachable, said once, while trying goes on; success and a new outage say it anew',
  async (t) => {
    const { network, client } = makePair({ links: [{ loss: 1 }] });
    setRoutes(client, [0]);
    network.runUntil(4_999);
    t.same(client.eventTypes(), []);
    network.runUntil(30_000);
    t.same(client.eventTypes(), ['peer-unreachable']);
    t.equal(client.timeOf('peer-unreachable'), 5_000);
    t.equal(client.of('peer-unreachable')[0]!.reason, NO_ANSWER);
    network.setLink(0);
    network.runUntil(33_000);
    t.same(client.eventTypes(), ['peer-unreachable', 'epoch-ready']);
    network.cutLink(0);
    network.tick = { everyMs: 100, run: () => void client.sendData(0) };
    network.runUntil(60_000);
    t.same(client.eventTypes(), ['peer-unreachable', 'epoch-ready', 'peer-unreachable']);
  },
);

t.test('different preshared keys: no session, and the reason says so', async (t) => {
  const { network, client, server } = makePair({ presharedKeys: [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)] });
  setRoutes(client, [0]);
  network.runUntil(6_000);
  t.same(client.eventTypes(), ['peer-unreachable']);
  t.equal(client.of('peer-unreachable')[0]!.reason, INVALID_ANSWER);
  t.ok(client.endpoint.counters.responseInvalid! > 0);
  t.notOk(server.eventTypes().includes('epoch-confirmed'));
});

t.test('equal preshared keys: a session; a preshared key on one side only: none', async (t) => {
  const key = new Uint8Array(32).fill(5);
  const both = makePair({ presharedKeys: [key, key] });
  setRoutes(both.client, [0]);
  both.network.runUntil(100);
  t.ok(both.server.eventTypes().includes('epoch-confirmed'));
  const one = makePair({ presharedKeys: [key, undefined] });
  setRoutes(one.client, [0]);
  one.network.runUntil(3_000);
  t.notOk(one.client.eventTypes().includes('epoch-ready'));
});

t.test('a wrong public key of the server meets silence', async (t) => {
  const network = new Network(1);
  network.setLink(0);
  const peers = [{ peerId: PEER, publicKey: PUBLIC.stranger, initiator: true }];
  const client = new Host('client', network, { seed: 3, privateKey: KEYS.client, peers });
  const server = makePair().server;
  const answering = new Host('server', network, {
    seed: 4,
    privateKey: KEYS.server,
    peers: [{ peerId: PEER, publicKey: PUBLIC.client, initiator: false }],
  });
  network.connect(client, answering);
  setRoutes(client, [0]);
  network.runUntil(6_000);
  t.same(client.eventTypes(), ['peer-unreachable']);
  t.equal(client.of('peer-unreachable')[0]!.reason, NO_ANSWER);
  t.ok(answering.endpoint.counters.mac1Invalid! >= 5);
  t.equal(network.log.filter(({ from }) => from === answering).length, 0);
  t.equal(server.eventTypes().length, 0);
});

t.test('an unknown client meets silence, and leaves nothing behind', async (t) => {
  const network = new Network(1);
  network.setLink(0);
  const peers = [{ peerId: PEER, publicKey: PUBLIC.server, initiator: true }];
  const stranger = new Host('stranger', network, { seed: 3, privateKey: KEYS.stranger, peers });
  const server = new Host('server', network, {
    seed: 4,
    privateKey: KEYS.server,
    peers: [{ peerId: PEER, publicKey: PUBLIC.client, initiator: false }],
  });
  network.connect(stranger, server);
  setRoutes(stranger, [0]);
  network.runUntil(6_000);
  t.ok(server.endpoint.counters.unknownPeer! >= 5);
  t.equal(network.log.filter(({ from }) => from === server).length, 0);
  t.same(server.eventTypes(), []);
  t.equal(server.endpoint.nextTimeoutMs(), Number.POSITIVE_INFINITY);
});

t.test('an old initiation that is sent again later is ignored', async (t) => {
  const { network, client, server } = makePair();
  setRoutes(client, [0]);
  network.runUntil(100);
  const old = sentBy(client, MESSAGE_INITIATION)[0]!.bytes;
  network.tick = { everyMs: 1000, run: () => void (client.sendData(0) && server.sendData(0)) };
  network.runUntil(125_000);
  t.equal(server.endpoint.counters.handshakesResponded, 2, 'keys were renewed since');
  const answers = sentBy(server, MESSAGE_RESPONSE).length;
  server.receive(old, 0);
  t.equal(server.endpoint.counters.initiationReplayed, 1);
  t.equal(sentBy(server, MESSAGE_RESPONSE).length, answers);
});

t.test('forged responses neither complete nor spoil a handshake, and stop being read after a few', async (t) => {
  const { network, client, server } = makePair({ links: [{ delayMs: 100 }] });
  setRoutes(client, [0]);
  network.runUntil(150);
  const real = sentBy(server, MESSAGE_RESPONSE)[0]!.bytes;
  const random = seededBytes(9);
  const forge = (count: number) => {
    for (let i = 0; i < count; i++) {
      const forged = Uint8Array.from(real);
      forged.set(random(28), 40);
      writeMac1(forged, mac1Key(PUBLIC.client));
      client.endpoint.handleDatagram(forged, 0, Uint8Array.of(1), network.nowMs);
    }
  };
  forge(15);
  t.equal(client.endpoint.counters.responseInvalid, 15);
  client.receive(real, 0);
  t.same(client.eventTypes(), ['epoch-ready']);

  const flooded = makePair({ links: [{ delayMs: 100 }] });
  setRoutes(flooded.client, [0]);
  flooded.network.runUntil(150);
  const second = sentBy(flooded.server, MESSAGE_RESPONSE)[0]!.bytes;
  for (let i = 0; i < 16; i++) {
    const forged = Uint8Array.from(second);
    forged.set(random(28), 40);
    writeMac1(forged, mac1Key(PUBLIC.client));
    flooded.client.endpoint.handleDatagram(forged, 0, Uint8Array.of(1), 150);
  }
  flooded.client.receive(second, 0);
  t.same(flooded.client.eventTypes(), [], 'the rest goes unread');
  flooded.network.runUntil(1_000);
  t.same(flooded.client.eventTypes(), ['epoch-ready'], 'the next initiation is answered and heard');
});

t.test('wrong use is the caller’s bug', async (t) => {
  const { client } = makePair();
  const { endpoint } = client;
  t.throws(() => endpoint.setRoutes(99, [1], 0), RangeError);
  t.throws(() => endpoint.setRoutes(PEER, [...new Array(65).keys()], 0), RangeError);
  t.throws(() => endpoint.addPeer({ peerId: PEER, publicKey: PUBLIC.stranger, initiator: false }), RangeError);
  t.throws(() => endpoint.addPeer({ peerId: 2, publicKey: PUBLIC.server, initiator: false }), RangeError);
  t.throws(() => endpoint.addPeer({ peerId: 2, publicKey: PUBLIC.client, initiator: false }), RangeError, 'our own key');
  t.throws(() => endpoint.addPeer({ peerId: 2, publicKey: new Uint8Array(32), initiator: false }), RangeError, 'a weak key');
  t.throws(() => endpoint.addPeer({ peerId: 2, publicKey: new Uint8Array(31), initiator: false }), RangeError);
  setRoutes(client, []);
  endpoint.setRoutes(PEER, [0], 0);
  t.throws(() => endpoint.pollTransmit(new Uint8Array(100), 0), RangeError);
  t.ok(endpoint.pollTransmit(new Uint8Array(256), 0), 'a refused poll loses nothing');
});
