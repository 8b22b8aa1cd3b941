/** A server of a thousand peers whose file changes: what differs is changed, and nothing else is touched. */

import t from 'tap';
import type { PeerConfig, TunnelConfig } from '../../src/tunnel/config.js';
import { AllowedIps } from '../../src/tunnel/gateway/allowed-ips.js';
import type { PeerLink } from '../../src/tunnel/link.js';
import { applyConfig, type Reconfigurable } from '../../src/tunnel/reconfigure.js';
import {
  allUp,
  config,
  freePort,
  KEYS,
  numberedPeer,
  numberOf,
  type Pair,
  sendNumbered,
  startSide,
  TEST_PATHS,
  until,
} from './link-pair.js';

const PEERS = 1000;

const address = (index: number): Uint8Array => new Uint8Array([10, 78, index >> 8, index & 255]);

t.test('of a thousand peers a reload touches those that differ; the session of another and all it carries go on', async (t) => {
  const port = await freePort();
  const file = config(KEYS.server, KEYS.client, { listenPort: port });
  const live = file.peers[0]!;
  const before: TunnelConfig = { ...file, peers: [live, ...Array.from({ length: PEERS }, (_, index) => numberedPeer(index))] };
  const server = await startSide(before);
  const client = await startSide(config(KEYS.client, KEYS.server, { endpoint: `127.0.0.1:${port}`, paths: TEST_PATHS }));
  t.teardown(() => client.layer.close());
  t.teardown(() => server.layer.close());
  await allUp({ client, server } as Pair);

  const routes = new AllowedIps<PeerLink>();
  for (const link of server.layer.peers) for (const prefix of link.allowedIps) routes.add(prefix, link);
  const configs = new Map(before.peers.map((one) => [one.name, one]));
  const linksBefore = new Map(server.layer.peers.map((link) => [link.name, link]));
  const calls: string[] = [];
  const target = {
    paths: [],
    get peers() {
      return [...configs.values()];
    },
    addPeer: async (one: PeerConfig) => {
      calls.push(`+${one.name}`);
      const link = server.layer.addPeer(one);
      for (const prefix of one.allowedIps) routes.add(prefix, link);
    },
    removePeer: async (name: string) => {
      calls.push(`-${name}`);
      const link = server.layer.peers.find((one) => one.name === name)!;
      routes.remove(link);
      server.layer.removePeer(link);
      return true;
    },
  };
  const changed = numberedPeer(500, { allowedIps: ['10.79.0.1/32'] });
  const after: TunnelConfig = {
    ...before,
    // In another order, which is no change.
    peers: [numberedPeer(PEERS), ...before.peers.filter(({ name }) => name !== 'peer-7' && name !== 'peer-500').reverse(), changed],
  };
  server.observer.pathStates.length = 0;
  let next = 0;
  const traffic = setInterval(() => {
    sendNumbered(client.peer.paths[0]!, next++);
    client.layer.flush();
  }, 1);
  t.teardown(() => clearInterval(traffic));
  const { done, left } = await applyConfig(target as unknown as Reconfigurable, before, after);
  const sent = next;
  await until('what was sent after the reload', () => server.observer.packets.some(({ bytes }) => numberOf(bytes) > sent));

  t.same(done.toSorted(), [`peer peer-${PEERS}: added`, 'peer peer-500: changed', 'peer peer-7: removed']);
  t.same(left, []);
  t.same(calls.toSorted(), [`+peer-${PEERS}`, '+peer-500', '-peer-500', '-peer-7']);
  t.equal(server.layer.peers.length, PEERS + 1);
  const kept = server.layer.peers.filter((link) => linksBefore.get(link.name) === link);
  t.equal(kept.length, PEERS - 1, 'all others are the very same as before');
  t.equal(routes.lookup(address(7), 0, 4), undefined, 'the removed one is routed to no more');
  t.equal(routes.lookup(address(500), 0, 4), undefined, 'nor is what the changed one has given up');
  t.equal(routes.lookup(new Uint8Array([10, 79, 0, 1]), 0, 4)?.name, 'peer-500');
  t.equal(routes.lookup(address(PEERS), 0, 4)?.name, `peer-${PEERS}`);
  t.same(
    server.observer.pathStates.filter(({ state }) => state !== 'up'),
    [],
    'no path of the live one changed its state',
  );
  t.equal(server.peer.state, 'up');
  const numbers = server.observer.packets.map(({ bytes }) => numberOf(bytes));
  t.same(
    numbers,
    numbers.map((_, index) => numbers[0]! + index),
    'and not one of its packets is missing',
  );
});

t.test('the work of a reload grows with what differs and with the length of the list, not with their product', async (t) => {
  let looks = 0;
  /** Counts how often its name is read: every comparison, look-up and search does. */
  const counted = (one: PeerConfig): PeerConfig =>
    Object.defineProperty({ ...one }, 'name', {
      enumerable: true,
      get: () => {
        looks++;
        return one.name;
      },
    });
  const reload = async (count: number): Promise<number> => {
    const base = config(KEYS.server, KEYS.client, { listenPort: 1 });
    const peers = Array.from({ length: count }, (_, index) => numberedPeer(index));
    const before = { ...base, peers: peers.map(counted) };
    const after = { ...base, peers: peers.map((one, index) => counted(index % 10 === 0 ? { ...one, allowedIps: [] } : one)) };
    const target = { paths: [], peers: before.peers, addPeer: async () => {}, removePeer: async () => true };
    looks = 0;
    const { done } = await applyConfig(target as unknown as Reconfigurable, before, after);
    t.equal(done.length, count / 10);
    return looks;
  };
  const [hundred, thousand] = [await reload(100), await reload(1000)];
  t.ok(thousand <= 10.5 * hundred, `${hundred} looks at 100 peers, ${thousand} at 1000`);
});
