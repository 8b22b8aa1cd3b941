import t from 'tap';
import { SESSION_EXPIRED } from '../../../src/tunnel/session/endpoint.js';
import { MESSAGE_INITIATION } from '../../../src/tunnel/session/messages.js';
import { type Host, makeClient, makePair, makeServer, type Network, PEER, PUBLIC, sentBy, setRoutes } from './two-hosts.js';

const hex = (value: Uint8Array) => Buffer.from(value).toString('hex');

/** Both sides send every `everyMs` on link 0. Returns counts of what was sent and the most epochs that a side held. */
function traffic(network: Network, hosts: Host[], everyMs: number, link = 0) {
  const seen = { sent: 0, refused: 0, mostEpochs: 0 };
  network.tick = {
    everyMs,
    run: () => {
      for (const host of hosts) {
        if (host.sendData(link)) seen.sent++;
        else seen.refused++;
        seen.mostEpochs = Math.max(seen.mostEpochs, host.epochs.size);
      }
    },
  };
  return seen;
}

t.test('keys are renewed every two minutes at most without losing or refusing a datagram', async (t) => {
  const { network, client, server } = makePair({ links: [{ delayMs: 40, jitterMs: 60 }] });
  setRoutes(client, [0]);
  network.runUntil(1_000);
  const seen = traffic(network, [client, server], 50);
  network.runUntil(600_000);
  network.tick = undefined;
  network.runUntil(601_000);
  t.ok(client.of('epoch-ready').length >= 5 && client.of('epoch-ready').length <= 6, `${client.of('epoch-ready').length} epochs`);
  t.equal(seen.refused, 0);
  t.equal(client.undeliverable + server.undeliverable, 0);
  t.equal(client.received + server.received, seen.sent + 2 * client.of('epoch-ready').length, 'all arrived, and the greetings');
  t.ok(seen.mostEpochs <= 3);
  const readyAtMs = client.events.filter(({ event }) => event.type === 'epoch-ready').map(({ atMs }) => atMs);
  for (const [i, atMs] of readyAtMs.slice(1).entries()) {
    const gap = atMs - readyAtMs[i]!;
    t.ok(gap >= 110_000 && gap <= 120_500, `after ${gap} ms`);
  }
  t.notOk(client.eventTypes().includes('peer-unreachable'));
  t.equal(new Set(client.of('epoch-ready').map(({ keys }) => hex(keys.sendKey))).size, client.of('epoch-ready').length);
});

t.test('the old epoch is retired 10 s after the new one is confirmed, on both sides', async (t) => {
  const { network, client, server } = makePair();
  setRoutes(client, [0]);
  network.runUntil(1_000);
  traffic(network, [client, server], 500);
  network.runUntil(140_000);
  const at = (host: Host, type: string, index: number) => host.events.filter(({ event }) => event.type === type)[index]!.atMs;
  t.equal(at(client, 'epoch-retired', 0), at(client, 'epoch-ready', 1) + 10_000);
  t.equal(at(server, 'epoch-retired', 0), at(server, 'epoch-confirmed', 1) + 10_000);
  t.equal(client.of('epoch-retired')[0]!.localIndex, client.of('epoch-ready')[0]!.keys.localIndex);
});

t.test('keys are renewed when the initiator has sent its count of datagrams', async (t) => {
  const constants = { rekeyAfterDatagrams: { 'aes-256-gcm': 100, 'chacha20-poly1305': 100 } };
  const { network, client, server } = makePair({ constants });
  setRoutes(client, [0]);
  network.runUntil(1_000);
  const seen = traffic(network, [client, server], 10);
  network.runUntil(6_000);
  const epochs = client.of('epoch-ready').length;
  t.ok(epochs >= 5 && epochs <= 6, `${epochs} epochs for 500 datagrams`);
  t.equal(seen.refused + client.undeliverable + server.undeliverable, 0);
  t.ok(seen.mostEpochs <= 3, 'a change sooner than 10 s after the last one retires the oldest');
});

t.test('an epoch ends at once when packet numbers run out', async (t) => {
  const constants = { rekeyAfterDatagrams: { 'aes-256-gcm': 5, 'chacha20-poly1305': 5 }, rejectAfterDatagrams: 20 };
  const { network, client } = makePair({ constants });
  setRoutes(client, [0]);
  network.runUntil(1_000);
  network.cutLink(0);
  for (let i = 0; i < 25; i++) {
    client.sendData(0);
    network.runUntil(network.nowMs + 10);
  }
  t.equal(client.of('epoch-retired').length, 1);
  t.equal(client.sending, undefined);
});

t.test('sending goes on under the old epoch while the handshake for the new one fails, and ends at 180 s', async (t) => {
  const { network, client, server } = makePair();
  setRoutes(client, [0]);
  network.runUntil(1_000);
  network.filter = ({ bytes }) => bytes[0] === 0x12;
  const seen = traffic(network, [client, server], 500);
  network.runUntil(179_000);
  t.equal(seen.refused, 0);
  t.notOk(client.eventTypes().includes('peer-unreachable'), 'data still arrives: no alarm');
  t.ok(sentBy(client, MESSAGE_INITIATION).length > 10);
  network.runUntil(181_000);
  t.same(client.eventTypes(), ['epoch-ready', 'epoch-retired', 'peer-unreachable']);
  t.same(server.eventTypes(), ['epoch-ready', 'epoch-confirmed', 'epoch-retired', 'peer-unreachable']);
  t.equal(server.of('peer-unreachable')[0]!.reason, SESSION_EXPIRED);
  network.filter = () => true;
  network.runUntil(184_000);
  t.equal(client.eventTypes().at(-1), 'epoch-ready');
  t.equal(server.eventTypes().at(-1), 'epoch-confirmed');
});

t.test('a responder with an old epoch and traffic waits for the initiator', async (t) => {
  const { network, client, server } = makePair();
  setRoutes(client, [0]);
  network.runUntil(1_000);
  network.filter = ({ bytes }) => bytes[0] === 0x12;
  traffic(network, [client, server], 500);
  network.runUntil(175_000);
  t.equal(sentBy(server, MESSAGE_INITIATION).length, 0);
});

t.test('a client that restarts replaces the epoch after its first datagram, not before', async (t) => {
  const { network, client, server } = makePair({ links: [{ delayMs: 10 }] });
  setRoutes(client, [0]);
  network.runUntil(20_000);
  const old = server.sending!.localIndex;
  const restarted = makeClient(network, {}, 999);
  restarted.greets = false;
  network.connect(restarted, server);
  setRoutes(restarted, [0]);
  network.runUntil(25_000);
  t.equal(server.of('epoch-ready').length, 2);
  t.equal(server.sending!.localIndex, old, 'unconfirmed: the old one still sends');
  t.notOk(server.eventTypes().includes('epoch-retired'));
  t.ok(restarted.sendData(0));
  network.runUntil(25_100);
  t.equal(server.sending!.localIndex, server.of('epoch-ready')[1]!.keys.localIndex);
  network.runUntil(36_000);
  t.same(
    server.of('epoch-retired').map(({ localIndex }) => localIndex),
    [old],
  );
});

t.test('a server that restarts is found again after 1.5 s of silence, though the old epoch seems valid', async (t) => {
  const { network, client, server } = makePair({ links: [{ delayMs: 10 }] });
  setRoutes(client, [0]);
  network.runUntil(10_000);
  traffic(network, [client, server], 100);
  network.runUntil(12_000);
  const restarted = makeServer(network, {}, 777);
  network.connect(client, restarted);
  traffic(network, [client, restarted], 100);
  network.runUntil(13_800);
  t.equal(client.of('epoch-ready').length, 2, 'within two seconds');
  t.ok(restarted.eventTypes().includes('epoch-confirmed'));
  t.notOk(client.eventTypes().includes('peer-unreachable'));
});

t.test('what is reported for a retired epoch is counted', async (t) => {
  const { client } = makePair();
  client.endpoint.handleDataReceived(12345, 0);
  client.endpoint.handleDataSent(12345, 1, 0);
  t.equal(client.endpoint.counters.unknownEpoch, 2);
  t.equal(client.endpoint.pollEvent(), undefined);
});

t.test('an idle session asks for no handshake before its time', async (t) => {
  const { network, client } = makePair();
  setRoutes(client, [0]);
  network.runUntil(100_000);
  t.equal(sentBy(client, MESSAGE_INITIATION).length, 1);
});

t.test('removePeer retires its epochs, stops its handshake, and its datagrams meet silence', async (t) => {
  const { network, client, server } = makePair();
  setRoutes(client, [0]);
  network.runUntil(1_000);
  server.endpoint.removePeer(PEER);
  server.endpoint.removePeer(PEER);
  server.drain();
  t.same(server.eventTypes(), ['epoch-ready', 'epoch-confirmed', 'epoch-retired']);
  client.endpoint.removePeer(PEER);
  client.endpoint.addPeer({ peerId: PEER, publicKey: PUBLIC.server, initiator: true });
  client.drain();
  setRoutes(client, [0]);
  network.runUntil(3_000);
  t.ok(server.endpoint.counters.unknownPeer! > 0);
  server.endpoint.addPeer({ peerId: 5, publicKey: PUBLIC.client, initiator: false });
  network.runUntil(6_000);
  t.equal(client.eventTypes().at(-1), 'epoch-ready');
  t.equal(server.of('epoch-confirmed').at(-1)!.peerId, 5);
});

t.test(
  'with loss, duplication and reordering on two paths sessions are made, renewed, and every datagram that arrives opens',
  async (t) => {
    for (let seed = 1; seed <= 15; seed++) {
      const bad = { delayMs: 20, jitterMs: 300, loss: 0.4, duplicate: 0.3 };
      const { network, client, server } = makePair({ seed, links: [bad, { ...bad, delayMs: 80 }] });
      setRoutes(client, [0, 1]);
      const seen = traffic(network, [client, server], 200);
      network.runUntil(400_000);
      const why = `seed ${seed}`;
      const epochs = client.of('epoch-ready').length;
      t.ok(epochs >= 4 && epochs <= 12, `${why}: ${epochs} epochs`);
      t.ok(client.timeOf('epoch-ready') < 10_000, why);
      t.equal(client.undeliverable + server.undeliverable, 0, why);
      t.ok(client.received > 1_000 && server.received > 1_000, why);
      t.ok(seen.mostEpochs <= 3, why);
      t.ok(client.sending !== undefined && server.sending !== undefined, why);
    }
  },
);
