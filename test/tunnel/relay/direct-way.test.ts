/** Past the relay: two real link layers on loopback, where the way between their sockets can be cut. */

import t, { type Test } from 'tap';
import { sendNumbered, until } from '../link-pair.js';
import { exchange, isUp, type RelayedPair, startRelay, startRelayed, withoutDirectWay } from './relay-rig.js';

const goesDirect = ({ client, server }: RelayedPair): boolean =>
  [client, server].every(
    ({ peer }) => peer.paths.length > 0 && peer.paths.every((path) => path.state === 'up' && path.isRelayed === false),
  );
const goesByRelay = ({ client, server }: RelayedPair): boolean =>
  [client, server].every(({ peer }) => peer.paths.length > 0 && peer.paths.every((path) => path.state === 'up' && path.isRelayed === true));

/** Packets both ways, all the time; `lost` says how many did not arrive. */
function load(t: Test, { client, server }: RelayedPair): { stop(): Promise<number> } {
  const before = [client.observer.packets.length, server.observer.packets.length] as const;
  let sent = 0;
  const timer = setInterval(() => {
    sendNumbered(client.peer.paths[0]!, sent);
    sendNumbered(server.peer.paths[0]!, sent++);
    client.layer.flush();
    server.layer.flush();
  }, 5);
  t.teardown(() => clearInterval(timer));
  return {
    stop: async () => {
      clearInterval(timer);
      await new Promise((resolve) => setTimeout(resolve, 100));
      return 2 * sent - (client.observer.packets.length - before[0]) - (server.observer.packets.length - before[1]);
    },
  };
}

t.test('the path leaves the relay for a direct way, without a packet lost, and the relay stands still', async (t) => {
  const { relay, via } = await startRelay(t);
  const state = { blocked: true };
  const pair = await startRelayed(t, via, { native: withoutDirectWay(via, state) });
  await until('up', () => isUp(pair.client) && isUp(pair.server));
  const traffic = load(t, pair);
  state.blocked = false;
  await until('direct', () => goesDirect(pair), 10_000);
  t.equal(await traffic.stop(), 0);
  t.same(pair.client.observer.statesOf(0), ['probing', 'up'], 'it was up all the time');
  const [{ local, remote, via: named }, other] = [pair.client.peer.paths[0]!, pair.server.peer.paths[0]!];
  t.same([other.local, other.remote], [remote, local], 'from socket to socket');
  t.equal(named, via.endpoint, 'the relay is kept');
  const before = relay.status().counters.forwardedDatagrams;
  await exchange(t, pair);
  t.equal(relay.status().counters.forwardedDatagrams, before);
  t.equal(relay.status().connectedSessions, 1, 'for falling back');
  t.equal(pair.client.layer.counters().directMoves, 1);
});

t.test('a direct way that falls silent is left for the relay, and found again', async (t) => {
  const { via } = await startRelay(t);
  const state = { blocked: false };
  const pair = await startRelayed(t, via, { native: withoutDirectWay(via, state) });
  await until('direct', () => goesDirect(pair), 10_000);
  state.blocked = true;
  await until('by the relay again', () => goesByRelay(pair), 10_000);
  await exchange(t, pair);
  t.notOk(pair.client.observer.statesOf(0).includes('down'), 'it was in doubt, and never down');
  state.blocked = false;
  await until('direct again', () => goesDirect(pair), 20_000);
  await exchange(t, pair);
});

t.test('the relay dies: what goes directly goes on', async (t) => {
  const { relay, via } = await startRelay(t);
  const pair = await startRelayed(t, via, { native: withoutDirectWay(via, { blocked: false }) });
  await until('direct', () => goesDirect(pair), 10_000);
  const states = pair.client.observer.statesOf(0).length;
  relay.close();
  const traffic = load(t, pair);
  await new Promise((resolve) => setTimeout(resolve, 2000));
  t.equal(await traffic.stop(), 0);
  t.equal(pair.client.observer.statesOf(0).length, states);
});

t.test('several paths find a direct way each', async (t) => {
  const { via } = await startRelay(t);
  const pair = await startRelayed(t, via, { names: ['dsl', 'lte'], native: withoutDirectWay(via, { blocked: false }) });
  await until('direct', () => pair.client.peer.paths.length === 2 && goesDirect(pair), 10_000);
  t.equal(new Set(pair.server.peer.paths.map(({ remote }) => remote)).size, 2);
  for (const id of [0, 1]) await exchange(t, pair, id);
});
