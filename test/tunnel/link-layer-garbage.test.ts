import { createSocket } from 'node:dgram';
import t from 'tap';
import { config, freePort, KEYS, sendNumbered, startSide, until } from './link-pair.js';
import { Nat } from './nat.js';

const DATAGRAMS = 200_000;
/** Fewer than the server takes in one turn of the event loop: the kernel shall drop none. */
const BATCH = 100;

/** mulberry32. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return (z ^ (z >>> 14)) >>> 0;
  };
}

function garbage(random: () => number, samples: readonly Buffer[]): Buffer {
  if (random() % 2 === 0) {
    const bytes = Buffer.alloc(random() % 300);
    for (let i = 0; i < bytes.length; i++) bytes[i] = random();
    if (bytes.length > 0 && random() % 2 === 0) bytes[0] = [1, 2, 3, 0x10, 0x11, 0x12][random() % 6]!;
    return bytes;
  }
  const bytes = Buffer.from(samples[random() % samples.length]!);
  for (let i = random() % 4; i >= 0; i--) bytes[random() % bytes.length]! ^= 1 << (random() % 8);
  return random() % 4 === 0 ? bytes.subarray(0, random() % (bytes.length + 1)) : bytes;
}

t.test('200,000 random and mutated datagrams: no answer, no growth, and the tunnel goes on', async (t) => {
  const port = await freePort();
  const server = await startSide(config(KEYS.server, KEYS.client, { listenPort: port }));
  const nat = await Nat.create(port);
  const client = await startSide(config(KEYS.client, KEYS.server, { endpoint: nat.endpoint }));
  const attacker = createSocket('udp4');
  let answers = 0;
  attacker.on('message', () => answers++);
  await new Promise<void>((resolve) => attacker.bind(0, '127.0.0.1', resolve));
  t.teardown(async () => {
    attacker.close();
    await client.layer.close();
    await server.layer.close();
    nat.close();
  });
  await until('up', () => client.peer.state === 'up' && server.peer.paths[0]?.state === 'up');
  for (let i = 0; i < 50; i++) sendNumbered(client.peer.paths[0]!, i, 60 + i);
  client.layer.flush();
  await until('packets', () => server.observer.packets.length === 50);
  const samples = [...nat.seen];
  const seed = 0x5eed;
  const random = generator(seed);
  let heapAfterTenth = 0;
  for (let sent = 0; sent < DATAGRAMS; sent += BATCH) {
    for (let i = 0; i < BATCH; i++) attacker.send(garbage(random, samples), port, '127.0.0.1');
    await new Promise((resolve) => setImmediate(resolve));
    if (sent === DATAGRAMS / 10) heapAfterTenth = process.memoryUsage().heapUsed;
  }
  const received = () => server.layer.counters().datagrams! + server.layer.counters().truncated!;
  await until('the garbage was seen', () => received() > DATAGRAMS * 0.99, 10_000);
  t.comment(`seed ${seed}: ${received()} seen, ${JSON.stringify(server.layer.counters())}`);
  t.equal(answers, 0, 'no answer');
  const grownBytes = process.memoryUsage().heapUsed - heapAfterTenth;
  t.ok(grownBytes < 32 * 1024 * 1024, `heap grew by ${grownBytes}`);
  t.equal(server.peer.paths.length, 1);
  t.equal(server.peer.paths[0]!.remote, nat.outer());
  sendNumbered(client.peer.paths[0]!, 4711);
  client.layer.flush();
  await until('the tunnel goes on', () => server.observer.packets.length === 51);
});
