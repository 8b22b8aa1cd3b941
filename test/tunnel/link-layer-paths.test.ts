/** Paths that are added, changed and removed while both sides run, over addresses of loopback. */

import t from 'tap';
import { loadNative, RX_DESCRIPTOR_INTS, RX_TYPE, TYPE_CONTROL } from '../../src/tun/native.js';
import type { PathConfig } from '../../src/tunnel/config.js';
import { allUp, config, freePort, KEYS, numberOf, type Pair, type Side, sendNumbered, startPair, startSide, until } from './link-pair.js';

const CABLE: PathConfig = { name: 'cable', interface: undefined, address: '127.0.0.4' };

const states = (side: Side): string => side.peer.paths.map(({ id, name, state }) => `${id} ${name} ${state}`).join(', ');
const bothHave = (pair: Pair, expected: string) =>
  until(`${expected} on both sides`, () => states(pair.client) === expected && states(pair.server) === expected);

async function pairUp(t: { teardown(fn: () => unknown): void }, options: Parameters<typeof startPair>[0] = {}): Promise<Pair> {
  const pair = await startPair(options);
  t.teardown(() => pair.close());
  await allUp(pair);
  return pair;
}

t.test('a path that is added is proven on both sides and carries packets', async (t) => {
  const pair = await pairUp(t);
  t.equal(await pair.client.layer.addPath(CABLE), '');
  await bothHave(pair, '0 dsl up, 1 lte up, 2 cable up');
  t.ok(sendNumbered(pair.client.peer.paths[2]!, 7));
  pair.client.layer.flush();
  await until('the packet', () => pair.server.observer.packets.length === 1);
  t.match(pair.server.observer.packets[0], { pathId: 2 });
  t.equal(numberOf(pair.server.observer.packets[0]!.bytes), 7);
});

t.test('a path that is removed is gone on both sides, and the others carry on', async (t) => {
  const pair = await pairUp(t);
  const [dsl, lte] = pair.client.peer.paths;
  pair.client.layer.removePath('dsl');
  t.equal(states(pair.client), '1 lte up');
  await bothHave(pair, '1 lte up');
  t.same(pair.client.observer.removedIds, [0]);
  t.same(pair.server.observer.removedIds, [0]);
  t.equal(dsl!.state, 'down');
  t.equal(sendNumbered(dsl!, 1), false, 'who still holds it sends into the void');
  t.ok(sendNumbered(lte!, 2));
  pair.client.layer.flush();
  await until('a packet over the other', () => pair.server.observer.packets.length === 1);
  t.equal(pair.server.peer.state, 'up');
});

t.test('what a path brings after its removal does not bring it back', async (t) => {
  const native = loadNative();
  // The socket of dsl is slow: what it sends, leaves after the removal.
  let dslHandle: unknown;
  const late: (() => void)[] = [];
  let isSlow = false;
  const slow: typeof native = Object.create(native, {
    udpOpen: {
      value: (options: Parameters<typeof native.udpOpen>[0]) => {
        const handle = native.udpOpen(options);
        if (options.address === '127.0.0.2') dslHandle = handle;
        return handle;
      },
    },
    udpFlush: {
      value: (handle: Parameters<typeof native.udpFlush>[0]) => {
        if (!isSlow || handle !== dslHandle) return native.udpFlush(handle);
        late.push(() => void native.udpFlush(handle));
        return 0;
      },
    },
    udpClose: {
      value: (handle: Parameters<typeof native.udpClose>[0]) => {
        if (!isSlow || handle !== dslHandle) native.udpClose(handle);
        else late.push(() => native.udpClose(handle));
      },
    },
  });
  const pair = await pairUp(t, { clientNative: slow });
  isSlow = true;
  t.ok(sendNumbered(pair.client.peer.paths[0]!, 9));
  pair.client.layer.flush();
  pair.client.layer.removePath('dsl');
  await bothHave(pair, '1 lte up');
  for (const step of late) step();
  await until('the server drops it', () => pair.server.layer.counters().rxUnknownPath! > 0);
  t.equal(states(pair.server), '1 lte up');
  t.equal(pair.server.observer.packets.length, 0);
});

t.test('the id of a removed path is used again only when the epochs of its time have died', async (t) => {
  const port = await freePort();
  const session = { rekeyAfterMs: 700, rekeyJitterMs: 1, retireAfterMs: 100 };
  const server = await startSide(config(KEYS.server, KEYS.client, { listenPort: port }), loadNative(), session);
  const client = await startSide(
    config(KEYS.client, KEYS.server, {
      endpoint: `127.0.0.1:${port}`,
      paths: [
        { ...CABLE, name: 'a' },
        { ...CABLE, name: 'b', address: '127.0.0.5' },
      ],
    }),
    loadNative(),
    session,
  );
  const pair: Pair = {
    client,
    server,
    port,
    close: async () => {
      await client.layer.close();
      await server.layer.close();
    },
  };
  t.teardown(() => pair.close());
  await bothHave(pair, '0 a up, 1 b up');
  client.layer.removePath('a');
  await client.layer.addPath({ ...CABLE, name: 'a', address: '127.0.0.6' });
  t.equal(states(client).replaceAll(/ \w+(,|$)/g, '$1'), '1 b, 2 a', 'not at once');
  await bothHave(pair, '1 b up, 2 a up');
  // With the second handshake from now the epochs of then are gone: the first replaced them.
  const handshakes = (): number => client.layer.counters().handshakesInitiated ?? 0;
  const before = handshakes();
  await until('two more handshakes', () => handshakes() >= before + 2, 20_000);
  await new Promise((resolve) => setTimeout(resolve, 3 * session.retireAfterMs));
  await client.layer.addPath({ ...CABLE, name: 'c', address: '127.0.0.7' });
  await bothHave(pair, '0 c up, 1 b up, 2 a up');
  t.equal(server.peer.paths[0]!.lossRatio, 0, 'and begins with counts of its own');
});

t.test('what is changed of a path reaches the server', async (t) => {
  const pair = await pairUp(t);
  pair.client.layer.changePath('lte', { backup: true, priority: 7 });
  t.match(pair.client.peer.paths[1], { backup: true, priority: 7 });
  await until('the server knows', () => pair.server.peer.paths[1]!.backup && pair.server.peer.paths[1]!.priority === 7);
  t.equal(pair.server.peer.paths[0]!.backup, false);
  pair.client.layer.changePath('lte', { backup: false });
  await until('and back', () => !pair.server.peer.paths[1]!.backup);
  t.equal(pair.server.peer.paths[1]!.priority, 7, 'what is not named stays');
});

t.test('what the client wants of the server’s sending reaches it, and is obeyed by both planes', async (t) => {
  const pair = await pairUp(t);
  const path = () => pair.server.peer.paths[1]!;
  pair.client.layer.changePath('lte', { limitDownBytesPerSec: 125_000, cost: 4 });
  await until('the server knows', () => path().limit?.bytesPerSec === 125_000 && path().cost === 4);
  t.equal(pair.client.peer.paths[1]!.limit, undefined, 'it is not ours');
  t.equal(pair.server.peer.paths[0]!.limit, undefined);
  const before = pair.client.observer.count;
  let taken = 0;
  for (let i = 0; i < 200; i++) if (sendNumbered(path(), i, 1000)) taken++;
  t.ok(taken > 3 && taken < 20, `${taken} of 200 packets of 8 ms each: 50 ms wait, the rest is dropped`);
  t.equal(pair.server.layer.counters().txLimitDrops, 200 - taken);
  const startMs = performance.now();
  await until('what waited leaves', () => {
    pair.server.layer.poll(performance.now());
    pair.server.layer.flush();
    return pair.client.observer.count - before >= taken;
  });
  t.ok(performance.now() - startMs > (taken - 4) * 8, 'at the rate of the limit');
  const { limit } = path();
  pair.client.layer.changePath('lte', { limitDownBytesPerSec: 250_000 });
  await until('it is changed', () => path().limit?.bytesPerSec === 250_000);
  t.equal(path().limit, limit, 'and what is owed stays owed');
  pair.client.layer.changePath('lte', { limitDownBytesPerSec: 0, cost: 0, limitUpBytesPerSec: 125_000 });
  await until('and taken away', () => path().limit === undefined && path().cost === 0);
  t.equal(pair.client.peer.paths[1]!.limit?.bytesPerSec, 125_000);
  pair.client.layer.changePath('lte', { limitDownBytesPerSec: 125_000 });
  await until('once more', () => path().limit !== undefined);
  const old = path();
  sendNumbered(old, 1, 1000);
  sendNumbered(old, 2, 1000);
  await pair.client.layer.close();
  await until('the session is over', () => pair.server.peer.paths.length === 0);
  t.equal(old.limit, undefined);
  t.equal(pair.server.layer.nextTimeoutMs(performance.now()), Number.POSITIVE_INFINITY, 'nothing waits for a path that is gone');
});

t.test('a path that is held back is a backup, or down, whatever its configuration says', async (t) => {
  const pair = await pairUp(t);
  pair.client.layer.restrictPath('lte', 'backup', '');
  await until('the server takes it for a backup', () => pair.server.peer.paths[1]!.backup);
  pair.client.layer.changePath('lte', { backup: false, priority: 3 });
  await until('still', () => pair.server.peer.paths[1]!.priority === 3);
  t.ok(pair.server.peer.paths[1]!.backup);
  pair.client.layer.restrictPath('lte', 'off', 'its budget is spent');
  t.match(pair.client.peer.paths[1], { state: 'down', stateReason: 'its budget is spent' });
  await until('the server hears of it', () => pair.server.peer.paths[1]!.state === 'down');
  pair.client.layer.onInterfaceChange('lo', true);
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.equal(pair.client.peer.paths[1]!.state, 'down', 'no event brings it back');
  t.equal(pair.client.peer.lastError, '');
  pair.client.layer.restrictPath('dsl', 'off', 'its budget is spent');
  t.equal(pair.client.peer.lastError, 'path dsl: its budget is spent', 'there is no other');
  pair.client.layer.restrictPath('dsl', 'none', '');
  pair.client.layer.restrictPath('lte', 'none', '');
  await bothHave(pair, '0 dsl up, 1 lte up');
  await until('free again', () => !pair.server.peer.paths[1]!.backup);
});

t.test('the server hears of a removal although the first datagrams that tell it are lost', async (t) => {
  const native = loadNative();
  let losses = 0;
  const lossy: typeof native = Object.create(native, {
    receive: {
      value: (...args: Parameters<typeof native.receive>) => {
        const count = native.receive(...args);
        const descriptors = args[3];
        let kept = 0;
        for (let i = 0; i < count; i++) {
          const base = i * RX_DESCRIPTOR_INTS;
          if (losses > 0 && descriptors[base + RX_TYPE] === TYPE_CONTROL) {
            losses--;
            continue;
          }
          descriptors.copyWithin(kept * RX_DESCRIPTOR_INTS, base, base + RX_DESCRIPTOR_INTS);
          kept++;
        }
        return count > 0 ? kept : count;
      },
    },
  });
  const pair = await pairUp(t, { serverNative: lossy });
  losses = 3;
  pair.client.layer.removePath('dsl');
  await bothHave(pair, '1 lte up');
  t.equal(losses, 0, 'they were lost');
});

t.test('the server hears of changes and removals while the other paths are busy all the time', async (t) => {
  const pair = await pairUp(t);
  const [, lte] = pair.client.peer.paths;
  // Acknowledgements prove the path all the time: it is never probed.
  const traffic = setInterval(() => {
    sendNumbered(lte!, 1);
    pair.client.layer.flush();
  }, 2);
  t.teardown(() => clearInterval(traffic));
  await until('a while of it', () => pair.server.observer.count > 300, 15_000);
  pair.client.layer.changePath('lte', { backup: true });
  await until('the server knows', () => pair.server.peer.paths[1]!.backup, 2000);
  pair.client.layer.removePath('dsl');
  await until('and forgets', () => states(pair.server) === '1 lte up', 2000);
});

t.test('the last path may go, and the peer comes back with the next', async (t) => {
  const pair = await pairUp(t);
  pair.client.layer.removePath('dsl');
  pair.client.layer.removePath('lte');
  t.equal(pair.client.peer.state, 'down');
  await pair.client.layer.addPath(CABLE);
  await until('up again', () => pair.client.peer.state === 'up' && pair.client.peer.paths[0]?.state === 'up');
});

t.test('wrong requests are refused with what to do', async (t) => {
  const pair = await pairUp(t);
  const { layer } = pair.client;
  await t.rejects(layer.addPath({ ...CABLE, name: 'dsl' }), { code: 'path-exists', message: /"dsl" already/ });
  await t.rejects(layer.addPath({ ...CABLE, address: '127.0.0.2' }), { code: 'path-exists', message: /those of path "dsl"/ });
  t.throws(() => layer.removePath('nope'), { code: 'no-such-path', message: /known are dsl, lte/ });
  t.throws(() => layer.changePath('nope', { backup: true }), { code: 'no-such-path' });
  t.throws(() => pair.server.layer.removePath('dsl'), { code: 'no-client' });
  await t.rejects(pair.server.layer.addPath(CABLE), { code: 'no-client' });
  t.match(await layer.addPath({ name: 'usb', interface: 'mptl-none0', address: undefined }), /"mptl-none0" does not exist/);
  t.match(states(pair.client), /2 usb down/, 'it waits for its interface');
});
