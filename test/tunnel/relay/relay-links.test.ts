import t from 'tap';
import { publicKeyOf } from '../../../src/crypto/x25519.js';
import type { TunnelConfig } from '../../../src/tunnel/config.js';
import { KEYS, numberedPeer, numberOf, type Side, sendNumbered, startSide, until } from '../link-pair.js';
import { Nat } from '../nat.js';
import { dialling, exchange, isUp, startRelay, startRelayed, startWaiting, waiting, withoutDirectWay } from './relay-rig.js';

t.test('two hosts that know a relay alone have a session, and packets pass both ways', async (t) => {
  const { relay, via } = await startRelay(t);
  const pair = await startRelayed(t, via);
  await until('up', () => isUp(pair.client) && isUp(pair.server));
  t.equal(pair.client.peer.paths[0]!.via, via.endpoint);
  await exchange(t, pair);
  t.ok(relay.status().counters.forwardedDatagrams! > 0);
  t.equal(relay.status().connectedSessions, 1);
});

t.test('several paths by one relay are several ways there', async (t) => {
  const { relay, via } = await startRelay(t);
  const pair = await startRelayed(t, via, { names: ['dsl', 'lte', 'usb'] });
  await until('up', () => isUp(pair.client, 3) && isUp(pair.server, 3));
  for (const id of [0, 1, 2]) await exchange(t, pair, id);
  t.equal(relay.status().connectedSessions, 3);
});

t.test('a host whose key the relay does not know gets nothing of it, and is told why', async (t) => {
  const { relay, via } = await startRelay(t);
  const stranger = await startSide(dialling([{ name: 'dsl', interface: undefined, address: '127.0.0.2', via }], KEYS.stranger));
  t.teardown(() => stranger.layer.close());
  await until('it asked', () => relay.status().counters.strangers! >= 3);
  await until('it is told', () => /does not answer, or does not allow our key/.test(stranger.peer.lastError));
  t.equal(relay.status().sessions, 0);
  t.equal(relay.status().counters.cookiesSent, 0);
});

t.test('the waiting host is not there: the dialling one says so, and finds it when it comes', async (t) => {
  const { relay, via } = await startRelay(t);
  const client = await startSide(dialling([{ name: 'dsl', interface: undefined, address: '127.0.0.2', via }]), withoutDirectWay(via));
  t.teardown(() => client.layer.close());
  await until('it is told', () => /other side is not at relay/.test(client.peer.lastError));
  t.equal(relay.status().connectedSessions, 0);
  const server = await startWaiting(t, via);
  await until('up', () => isUp(client) && isUp(server), 15_000);
  await exchange(t, { client, server });
});

t.test('the relay is started anew: the hosts find each other again', async (t) => {
  const first = await startRelay(t);
  const { port } = first.relay;
  const pair = await startRelayed(t, first.via);
  await until('up', () => isUp(pair.client) && isUp(pair.server));
  first.relay.close();
  await until('down', () => pair.client.peer.paths[0]!.state === 'down', 15_000);
  const second = await startRelay(t, { port });
  await until('up again', () => isUp(pair.client) && isUp(pair.server), 20_000);
  await exchange(t, pair);
  t.equal(second.relay.status().connectedSessions, 1);
});

t.test('the waiting host is started anew: it is called again', async (t) => {
  const { relay, via } = await startRelay(t);
  const pair = await startRelayed(t, via);
  await until('up', () => isUp(pair.client) && isUp(pair.server));
  await pair.server.layer.close();
  const server = await startWaiting(t, via);
  await until('up again', () => isUp(pair.client) && isUp(server), 20_000);
  await exchange(t, { client: pair.client, server });
  t.equal(relay.status().connectedSessions, 1);
});

t.test('the NAT of the dialling host gives it another port: the relay follows, and the session is the same', async (t) => {
  const { relay, via } = await startRelay(t);
  const nat = await Nat.create(relay.port);
  t.teardown(() => nat.close());
  const behind = { ...via, endpoint: nat.endpoint };
  const server = await startWaiting(t, via);
  const client = await startSide(
    dialling([{ name: 'dsl', interface: undefined, address: '127.0.0.1', via: behind }]),
    withoutDirectWay(behind),
  );
  t.teardown(() => client.layer.close());
  await until('up', () => isUp(client) && isUp(server));
  t.equal(client.peer.paths[0]!.seenAs, nat.outer());
  const unknown = relay.status().counters.unknownSources!;
  await nat.rebind();
  await until('the relay does not know who that is', () => relay.status().counters.unknownSources! > unknown);
  await until('it is told', () => client.peer.paths[0]!.seenAs === nat.outer(), 10_000);
  await until('up again', () => isUp(client) && isUp(server), 10_000);
  await exchange(t, { client, server });
  t.notOk(client.observer.peerStates.slice(1).includes('connecting'));
  t.equal(relay.status().connectedSessions, 1);
});

t.test('a waiting host says where it waits, and why it does not', async (t) => {
  const { relay, via } = await startRelay(t);
  const pair = await startRelayed(t, via);
  await until('up', () => isUp(pair.client) && isUp(pair.server));
  const [place] = pair.server.layer.relayPlaces;
  t.match(place, { relay: via.endpoint, waits: true, seenAs: /^127\.0\.0\.1:\d+$/, problem: '', called: 1 });
  t.same(pair.client.layer.relayPlaces, []);
  relay.close();
  const nowhere = await startWaiting(t, via);
  await until('it gives up', () => nowhere.layer.relayPlaces[0]!.problem !== '', 15_000);
  t.match(nowhere.layer.relayPlaces[0], { waits: false, problem: /does not answer, or does not allow our key/, called: 0 });
});

t.test('one that dials two peers by one relay has a way to each', async (t) => {
  const { client: anna, server: otto, stranger: eve } = KEYS;
  const { via } = await startRelay(t, { allowed: [anna, otto, eve].map(publicKeyOf) });
  const peer = (key: Uint8Array, name: string, more = {}) => ({ ...numberedPeer(0, more), name, publicKey: publicKeyOf(key) });
  const dialled = { dialledByRelay: true as const };
  const path = { name: 'dsl', interface: undefined, address: '127.0.0.2', via };
  const start = async (config: TunnelConfig): Promise<Side> => {
    const side = await startSide(config, withoutDirectWay(via));
    t.teardown(() => side.layer.close());
    return side;
  };
  const [ofOtto, ofEve] = [waiting([via]), waiting([via])];
  const ottoSide = await start({ ...ofOtto, peers: [peer(anna, 'anna')] });
  const eveSide = await start({ ...ofEve, interface: { ...ofEve.interface, privateKey: eve }, peers: [peer(anna, 'anna')] });
  const ofAnna = dialling([path]);
  const annaSide = await start({ ...ofAnna, peers: [peer(otto, 'otto', dialled), peer(eve, 'eve', dialled)] });
  await until('both up', () => annaSide.layer.peers.every(({ state }) => state === 'up') && isUp(ottoSide) && isUp(eveSide));
  for (const [index, to] of [ottoSide, eveSide].entries()) {
    sendNumbered(annaSide.layer.peers[index]!.paths[0]!, index);
    annaSide.layer.flush();
    await until('it came', () => to.observer.packets.length === 1);
    t.equal(numberOf(to.observer.packets[0]!.bytes), index, 'to whom it is for');
    sendNumbered(to.peer.paths[0]!, 10 + index);
    to.layer.flush();
  }
  await until('both answered', () => annaSide.observer.packets.length === 2);
});
