import t from 'tap';
import { loadNative } from '../../src/tun/native.js';
import { allUp, config, freePort, KEYS, numberOf, type Pair, sendNumbered, startSide, TEST_PATHS, until } from './link-pair.js';

t.test('keys are renewed under traffic without losing, repeating or disordering a packet, and without disturbing a path', async (t) => {
  const port = await freePort();
  const constants = { rekeyAfterMs: 150, rekeyJitterMs: 20, retireAfterMs: 300 };
  const native = loadNative();
  const server = await startSide(config(KEYS.server, KEYS.client, { listenPort: port }), native, constants);
  const client = await startSide(config(KEYS.client, KEYS.server, { endpoint: `127.0.0.1:${port}`, paths: TEST_PATHS }), native, constants);
  const pair: Pair = { client, server, port, close: async () => {} };
  t.teardown(() => Promise.all([client.layer.close(), server.layer.close()]));
  await allUp(pair);
  let sent = 0;
  const endMs = performance.now() + 1500;
  while (performance.now() < endMs) {
    for (const side of [client, server]) {
      for (const path of side.peer.paths) for (let i = 0; i < 10; i++) sendNumbered(path, sent + i);
      side.layer.flush();
    }
    sent += 10;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  for (const side of [client, server]) {
    await until('all packets', () => side.observer.packets.length === 2 * sent);
    for (const id of [0, 1]) {
      const numbers = side.observer.packets.filter((packet) => packet.pathId === id).map((packet) => numberOf(packet.bytes));
      t.equal(numbers.length, sent);
      t.ok(
        numbers.every((number, i) => number === i),
        'in order',
      );
      t.same(side.observer.statesOf(id).slice(-1), ['up']);
      t.notOk(side.observer.statesOf(id).includes('suspect'));
    }
    for (const path of side.peer.paths) t.ok(path.lossRatio < 0.01, `loss ratio ${path.lossRatio}`);
  }
  const { handshakesInitiated } = client.layer.counters();
  t.ok(handshakesInitiated! > 4, `${handshakesInitiated} handshakes`);
});
