import t from 'tap';
import { publicKeyOf } from '../../src/crypto/x25519.js';
import type { TunnelConfig } from '../../src/tunnel/config.js';
import { allUp, config, freePort, KEYS, numberOf, sendNumbered, startPair, startSide, TEST_PATHS, until } from './link-pair.js';

function withoutPeers(tunnelConfig: TunnelConfig): TunnelConfig {
  return { ...tunnelConfig, peers: [] };
}

t.test('a peer that is added while the server runs gets in, and is a stranger again once removed; the others notice nothing', async (t) => {
  const pair = await startPair();
  t.teardown(pair.close);
  await allUp(pair);
  const { layer } = pair.server;
  pair.client.observer.pathStates.length = 0;
  const late = await startSide(config(KEYS.stranger, KEYS.server, { endpoint: `127.0.0.1:${pair.port}`, paths: TEST_PATHS }));
  t.teardown(() => late.layer.close());
  await until('a handshake that nobody answers', () => Number(layer.counters().unknownPeer) > 0);
  t.equal(late.peer.state, 'connecting');

  const peer = layer.addPeer({
    name: 'late',
    publicKey: publicKeyOf(KEYS.stranger),
    presharedKey: undefined,
    endpoint: undefined,
    allowedIps: ['10.77.0.9/32'],
  });
  await until('the late one is up', () => late.peer.state === 'up' && peer.state === 'up', 10_000);
  t.ok(sendNumbered(late.peer.paths[0]!, 77));
  late.layer.flush();
  await until('its packet', () => pair.server.observer.packets.some(({ bytes }) => numberOf(bytes) === 77));

  layer.removePeer(peer);
  t.equal(peer.state, 'down');
  t.same(peer.paths, []);
  t.notOk(layer.peers.includes(peer));
  await until('the goodbye', () => late.peer.state === 'connecting');
  const before = Number(layer.counters().unknownPeer);
  await until('a stranger again', () => Number(layer.counters().unknownPeer) > before, 10_000);
  await until('the paths of the first', () => pair.client.peer.paths.every(({ state }) => state === 'up'));
  t.notOk(pair.client.observer.statesOf(0).includes('down'), 'never went down');
});

t.test('a peer with an endpoint that is added while running is dialled', async (t) => {
  const port = await freePort();
  const server = await startSide(config(KEYS.server, KEYS.client, { listenPort: port }));
  const client = await startSide(withoutPeers({ ...config(KEYS.client, KEYS.server, { paths: TEST_PATHS }) }));
  t.teardown(() => server.layer.close());
  t.teardown(() => client.layer.close());
  t.same(client.layer.peers, []);
  const peer = client.layer.addPeer({
    name: 'vps',
    publicKey: publicKeyOf(KEYS.server),
    presharedKey: undefined,
    endpoint: `127.0.0.1:${port}`,
    allowedIps: [],
  });
  await until('both paths up', () => peer.paths.length === 2 && peer.paths.every(({ state }) => state === 'up'), 15_000);
  await until('the server knows it', () => server.peer.state === 'up');
});

t.test('a name or a key that is there already, and our own key, are refused and leave nothing', async (t) => {
  const server = await startSide(config(KEYS.server, KEYS.client, { listenPort: await freePort() }));
  t.teardown(() => server.layer.close());
  const peer = { presharedKey: undefined, endpoint: undefined, allowedIps: [] };
  for (const [name, key, message] of [
    ['other', KEYS.stranger, /name "other" is taken/],
    ['x', KEYS.client, /that of another peer/],
    ['x', KEYS.server, /our own key/],
  ] as const)
    t.throws(() => server.layer.addPeer({ name, publicKey: publicKeyOf(key), ...peer }), { name: 'RangeError', message });
  t.equal(server.layer.peers.length, 1);
});
