import { createSocket } from 'node:dgram';
import t from 'tap';
import { loadNative } from '../../src/tun/native.js';
import { createLinkLayer } from '../../src/tunnel/link-layer.js';
import { TunnelError } from '../../src/tunnel/tunnel-api.js';
import {
  allUp,
  config,
  freePort,
  KEYS,
  numberOf,
  Recorder,
  SILENT_LOG,
  sendNumbered,
  sieve,
  startPair,
  startSide,
  TEST_PATHS,
  until,
} from './link-pair.js';

t.test('a client with two paths and a server find each other, and both sides prove both paths', async (t) => {
  const pair = await startPair();
  t.teardown(pair.close);
  await allUp(pair);
  const { client, server } = pair;
  t.equal(client.peer.state, 'up');
  t.equal(server.peer.state, 'up');
  t.same(
    server.peer.paths.map((path) => [path.id, path.name]),
    [
      [0, 'dsl'],
      [1, 'lte'],
    ],
    'the server knows the names that the client gave',
  );
  for (const id of [0, 1]) {
    const [ours, theirs] = [client.peer.paths[id]!, server.peer.paths[id]!];
    t.equal(ours.local, theirs.remote);
    t.equal(ours.remote, `127.0.0.1:${pair.port}`);
    t.ok(ours.rttMs >= 0 && ours.rttMs < 100);
    t.equal(ours.innerMtuBytes, theirs.innerMtuBytes, 'both sides know what fits');
  }
});

t.test('packets pass both ways on each path, in order, and are acknowledged', async (t) => {
  const pair = await startPair();
  t.teardown(pair.close);
  await allUp(pair);
  const { client, server } = pair;
  for (const [from, to] of [
    [client, server],
    [server, client],
  ] as const) {
    for (const path of from.peer.paths) {
      to.observer.packets.length = 0;
      for (let i = 0; i < 200; i++) t.ok(sendNumbered(path, i));
      from.layer.flush();
      await until('200 packets', () => to.observer.packets.length === 200);
      t.ok(to.observer.packets.every((packet, i) => packet.pathId === path.id && numberOf(packet.bytes) === i));
      await until('an acknowledgement', () => path.deliveryRateBytesPerSec > 0);
      t.equal(path.lossRatio, 0);
      t.ok(path.minRttMs >= 0 && path.minRttMs < 50, `${path.minRttMs}`);
    }
  }
});

t.test('a super-segment is cut, sealed, opened and joined again', async (t) => {
  const pair = await startPair();
  t.teardown(pair.close);
  await allUp(pair);
  const { client, server } = pair;
  const header = new Uint8Array(40);
  header.set([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x10, 0, 0x20, 0]);
  header.set([0x50, 0x10, 0xff, 0xff], 32);
  const payload = Uint8Array.from({ length: 14_000 }, (_, i) => i % 251);
  const taps: { direction: string; headerBytes: number; payloadBytes: number; segmentBytes: number }[] = [];
  const tap = {
    onPacket: (
      direction: string,
      _p: unknown,
      _pl: unknown,
      _h: unknown,
      _ho: unknown,
      headerBytes: number,
      _pb: unknown,
      _po: unknown,
      payloadBytes: number,
      segmentBytes: number,
    ) => void taps.push({ direction, headerBytes, payloadBytes, segmentBytes }),
  };
  client.layer.setTap(tap);
  server.layer.setTap(tap);
  client.peer.paths[1]!.sendSegments(header, 40, payload, 0, payload.length, 1400);
  client.layer.flush();
  const arrived = () => server.observer.packets.reduce((sum, packet) => sum + packet.bytes.length - 40, 0);
  await until('all payload', () => arrived() === payload.length);
  const joined = Buffer.concat(server.observer.packets.map((packet) => packet.bytes.subarray(40)));
  t.equal(Buffer.compare(joined, payload), 0);
  t.ok(server.observer.packets.every((packet) => packet.plane === 'stream' && packet.pathId === 1));
  t.same(taps[0], { direction: 'out', headerBytes: 40, payloadBytes: 14_000, segmentBytes: 1400 });
  const inBytes = taps.filter((one) => one.direction === 'in').reduce((sum, one) => sum + one.payloadBytes, 0);
  t.equal(inBytes, 14_000);
});

t.test('a path that falls silent under load is suspect within a second on both sides, and up at once when it answers', async (t) => {
  let hole = false;
  const drop = (pathId: number, isRaw: boolean) => hole && !isRaw && pathId === 0;
  const native = loadNative();
  const pair = await startPair({ clientNative: sieve(native, drop), serverNative: sieve(native, drop) });
  t.teardown(pair.close);
  await allUp(pair);
  const { client, server } = pair;
  const load = setInterval(() => {
    for (const path of client.peer.paths) sendNumbered(path, 0);
    client.layer.flush();
  }, 10);
  t.teardown(() => clearInterval(load));
  await until('some load', () => server.observer.packets.length > 40);
  const cutMs = performance.now();
  hole = true;
  const gone = (side: typeof client) => side.peer.paths[0]!.state !== 'up';
  await until('both sides notice', () => gone(client) && gone(server), 3000);
  const noticedMs = performance.now() - cutMs;
  t.ok(noticedMs < 1100, `noticed after ${noticedMs} ms`);
  t.equal(client.peer.paths[1]!.state, 'up', 'the other path goes on');
  t.equal(client.peer.state, 'up');
  hole = false;
  const openMs = performance.now();
  await until('both sides are up again', () => !gone(client) && !gone(server));
  t.ok(performance.now() - openMs < 500, `back after ${performance.now() - openMs} ms`);
});

t.test('one direction that is lost is noticed by the side whose packets vanish, whoever sends data', async (t) => {
  for (const sender of ['client', 'server'] as const) {
    let hole = false;
    const native = loadNative();
    const pair = await startPair({ serverNative: sieve(native, (pathId, isRaw) => hole && !isRaw && pathId === 0) });
    await allUp(pair);
    const from = pair[sender];
    const load = setInterval(() => {
      sendNumbered(from.peer.paths[0]!, 0);
      from.layer.flush();
    }, 10);
    await until('load', () => from.peer.paths[0]!.deliveryRateBytesPerSec > 0);
    hole = true;
    const cutMs = performance.now();
    await until(`the client notices while the ${sender} sends`, () => pair.client.peer.paths[0]!.state !== 'up', 3000);
    t.ok(performance.now() - cutMs < 1100, `${sender} sends: noticed after ${performance.now() - cutMs} ms`);
    clearInterval(load);
    await pair.close();
  }
});

t.test('an interface event takes the path down at once, and it comes back by itself', async (t) => {
  const pair = await startPair({ paths: [{ name: 'only', interface: 'lo', address: '127.0.0.2' }, TEST_PATHS[1]!] });
  t.teardown(pair.close);
  await allUp(pair);
  const { client } = pair;
  client.layer.onInterfaceChange('lo', false);
  t.equal(client.peer.paths[0]!.state, 'down');
  t.equal(client.peer.state, 'down');
  t.match(client.peer.lastError, /answers on no path/);
  client.layer.onInterfaceChange('lo', true);
  await until('up again', () => client.peer.paths.every((path) => path.state === 'up'), 1000);
  t.equal(client.peer.state, 'up');
  t.equal(client.peer.lastError, '');
});

t.test('a client that closes says goodbye: the server forgets its paths at once', async (t) => {
  const pair = await startPair();
  t.teardown(pair.close);
  await allUp(pair);
  await pair.client.layer.close();
  await until('server down', () => pair.server.peer.state === 'down', 500);
  t.same(pair.server.peer.paths, []);
});

t.test('a server that closes and starts again is found again', async (t) => {
  const pair = await startPair();
  t.teardown(pair.close);
  await allUp(pair);
  await pair.server.layer.close();
  await until('client notices', () => pair.client.peer.state === 'connecting', 500);
  pair.server = await startSide(config(KEYS.server, KEYS.client, { listenPort: pair.port }));
  await allUp(pair);
  sendNumbered(pair.client.peer.paths[0]!, 7);
  pair.client.layer.flush();
  await until('a packet', () => pair.server.observer.packets.length === 1);
});

t.test('a wrong key: the server stays silent, and the client says so', async (t) => {
  const port = await freePort();
  const server = await startSide(config(KEYS.server, KEYS.stranger, { listenPort: port }));
  const client = await startSide(config(KEYS.client, KEYS.server, { endpoint: `127.0.0.1:${port}`, paths: TEST_PATHS }));
  t.teardown(() => Promise.all([client.layer.close(), server.layer.close()]));
  await until('an error for people', () => client.peer.lastError !== '', 8000);
  t.match(client.peer.lastError, /127\.0\.0\.1:\d+: no answer/);
  t.equal(client.peer.state, 'connecting');
  t.equal(
    client.peer.paths.reduce((sum, path) => sum + path.rxBytes, 0),
    0,
  );
  t.equal(server.peer.state, 'down');
});

t.test('what the handshakes offer is told with who computes it, the fastest first', async (t) => {
  const native = loadNative();
  const engines = () => {
    const layer = createLinkLayer({ config: config(KEYS.client, KEYS.server, { listenPort: 0 }), native, log: SILENT_LOG });
    t.same(layer.aeads.map((aead) => aead.name).sort(), ['aes-256-gcm', 'chacha20-poly1305']);
    t.ok(layer.aeads[0]!.sealNs <= layer.aeads[1]!.sealNs);
    return layer.aeads.map((aead) => aead.engine);
  };
  for (const engine of engines()) t.match(engine, /^(openssl|ipsec-mb) \d+\.\d+/);
  native.useAeadEngine('openssl');
  for (const engine of engines()) t.match(engine, /^openssl \d+\.\d+/);
  native.useAeadEngine('fastest');
});

t.test('start refuses with what to do', async (t) => {
  const native = loadNative();
  const start = (paths: Parameters<typeof config>[2]['paths'], endpoint = '127.0.0.1:9', listenPort?: number) => {
    const role = { endpoint, paths: paths!, ...(listenPort === undefined ? {} : { listenPort }) };
    const layer = createLinkLayer({ config: config(KEYS.client, KEYS.server, role), native, log: SILENT_LOG });
    return layer.start(new Recorder());
  };
  const missing = [{ name: 'dsl', interface: 'nosuch0', address: undefined }];
  await t.rejects(start(missing), { code: 'no-path', message: /dsl: interface "nosuch0" does not exist/ });
  const foreign = [{ name: 'dsl', interface: undefined, address: '192.0.2.77' }];
  await t.rejects(start(foreign), { code: 'no-path', message: /192\.0\.2\.77 is not configured on this host/ });
  await t.rejects(start(TEST_PATHS, 'nonsense'), TunnelError);
  await t.rejects(start(TEST_PATHS, 'name.invalid:5180'), { code: 'endpoint-unresolved', message: /name\.invalid/ });
  await t.rejects(start(TEST_PATHS, '[::1]:5180'), { code: 'address-family' });
  const taken = createSocket('udp6');
  await new Promise<void>((resolve) => taken.bind(0, resolve));
  await t.rejects(start(TEST_PATHS, '127.0.0.1:9', taken.address().port), { code: 'listen', message: /is taken/ });
  taken.close();
});

t.test('one missing device does not keep the other path from working', async (t) => {
  const paths = [{ name: 'gone', interface: 'nosuch0', address: undefined }, TEST_PATHS[1]!];
  const pair = await startPair({ paths });
  t.teardown(pair.close);
  await until('up', () => pair.client.peer.paths[1]!.state === 'up' && pair.server.peer.paths[0]?.state === 'up');
  t.equal(pair.client.peer.paths[0]!.state, 'down');
  t.equal(pair.client.peer.state, 'up');
  t.equal(pair.server.peer.paths[0]!.id, 1, 'path ids are those of the configuration');
});
