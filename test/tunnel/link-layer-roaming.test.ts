import t from 'tap';
import { config, freePort, KEYS, sendNumbered, startSide, until } from './link-pair.js';
import { Nat } from './nat.js';

async function startBehindNat(t: { teardown(close: () => Promise<void>): void }) {
  const port = await freePort();
  const server = await startSide(config(KEYS.server, KEYS.client, { listenPort: port }));
  const nat = await Nat.create(port);
  const client = await startSide(config(KEYS.client, KEYS.server, { endpoint: nat.endpoint }));
  t.teardown(async () => {
    await client.layer.close();
    await server.layer.close();
    nat.close();
  });
  await until('up', () => client.peer.state === 'up' && server.peer.paths[0]?.state === 'up');
  return { server, nat, client };
}

t.test('the server follows a client whose address changed, after one round trip, without losing a packet', async (t) => {
  const { server, nat, client } = await startBehindNat(t);
  t.equal(server.peer.paths[0]!.remote, nat.outer());
  await until('the client is told which address the server sees', () => client.peer.paths[0]!.seenAs === nat.outer());
  let sent = 0;
  const load = setInterval(() => {
    sendNumbered(client.peer.paths[0]!, sent);
    sendNumbered(server.peer.paths[0]!, sent++);
    client.layer.flush();
    server.layer.flush();
  }, 5);
  t.teardown(() => clearInterval(load));
  for (let round = 0; round < 3; round++) {
    await nat.rebind();
    await until('the move', () => server.peer.paths[0]!.remote === nat.outer(), 1000);
    await until('the client is told of it', () => client.peer.paths[0]!.seenAs === nat.outer(), 1000);
  }
  clearInterval(load);
  await until('all packets', () => server.observer.packets.length === sent && client.observer.packets.length === sent);
  t.same(server.observer.statesOf(0), ['probing', 'up'], 'the path was up all the time');
  t.same(client.observer.statesOf(0).slice(-1), ['up']);
});

t.test('an address that does not answer its challenge is never used, and gets at most three times what came from it', async (t) => {
  const { server, nat, client } = await startBehindNat(t);
  const before = nat.outer();
  await nat.rebind({ deafToServer: true });
  let sent = 0;
  const load = setInterval(() => {
    for (let i = 0; i < 5; i++) sendNumbered(server.peer.paths[0]!, sent++);
    if (sent % 25 === 0) sendNumbered(client.peer.paths[0]!, sent);
    client.layer.flush();
    server.layer.flush();
  }, 5);
  t.teardown(() => clearInterval(load));
  await until('a challenge to the new address', () => nat.current.backBytes > 0);
  await until('much data', () => client.observer.packets.length > 500);
  t.equal(server.peer.paths[0]!.remote, before, 'the old address stays in use');
  t.ok(nat.current.backBytes <= 3 * nat.current.outBytes, `${nat.current.backBytes} for ${nat.current.outBytes}`);
  // The way back opens: now the answer comes, and the server moves.
  nat.current.deafToServer = false;
  await until('the move', () => server.peer.paths[0]!.remote === nat.outer(), 4000);
});

t.test('a copy of an authenticated datagram from elsewhere moves nothing', async (t) => {
  const { server, nat, client } = await startBehindNat(t);
  const before = nat.outer();
  sendNumbered(client.peer.paths[0]!, 1);
  client.layer.flush();
  await until('a packet', () => server.observer.packets.length === 1);
  await nat.rebind({ deafToServer: true });
  for (const bytes of nat.seen) nat.current.socket.send(bytes, Number(/\d+$/.exec(nat.endpoint)![0]), '127.0.0.1');
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.equal(server.peer.paths[0]!.remote, before);
  t.equal(server.observer.packets.length, 1, 'replays are not handed up');
});
