/** The link layer between two namespaces over two veth pairs: devices, addresses, filters and MTUs of the kernel. Needs root. */

import { execFileSync, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { ActorCommand } from './link-layer-actor.js';

const ACTOR = fileURLToPath(new URL('./link-layer-actor.js', import.meta.url));
const PORT = 5180;
const SUFFIX = `${process.pid}`;
const CLIENT = `mptl-c-${SUFFIX}`;
const SERVER = `mptl-s-${SUFFIX}`;

interface PathView {
  id: number;
  name: string;
  state: string;
  stateReason: string;
  local: string;
  remote: string;
  innerMtuBytes: number;
  rttMs: number;
}

interface Status {
  state: string;
  lastError: string;
  received: number;
  paths: PathView[];
  counters: Record<string, number>;
}

function sh(command: string): void {
  execFileSync('sh', ['-ec', command], { stdio: ['ignore', 'ignore', 'inherit'] });
}

function inside(namespace: string, command: string): void {
  sh(`ip netns exec ${namespace} ${command}`);
}

/** wan0 and wan1 of the client lead to the server, which also has addresses that both reach. */
function createNetwork(): void {
  sh(`ip netns add ${CLIENT}; ip netns add ${SERVER}; ip -n ${CLIENT} link set lo up; ip -n ${SERVER} link set lo up`);
  sh(`ip -n ${SERVER} addr add 10.99.0.1/32 dev lo; ip -n ${SERVER} addr add fd99::1/128 dev lo`);
  for (const i of [0, 1]) createLink(i);
}

function createLink(i: number): void {
  sh(`
    ip -n ${CLIENT} link add wan${i} type veth peer name peer${i} netns ${SERVER}
    ip -n ${CLIENT} addr add 10.9${i}.0.1/24 dev wan${i}
    ip -n ${SERVER} addr add 10.9${i}.0.2/24 dev peer${i}
    ip -n ${CLIENT} addr add fd9${i}::1/64 dev wan${i} nodad
    ip -n ${SERVER} addr add fd9${i}::2/64 dev peer${i} nodad
    ip -n ${CLIENT} link set wan${i} up
    ip -n ${SERVER} link set peer${i} up
  `);
  addRoutes(i);
}

function addRoutes(i: number): void {
  sh(`
    ip -n ${CLIENT} route add 10.99.0.1/32 via 10.9${i}.0.2 dev wan${i} metric ${100 + i}
    ip -n ${CLIENT} route add fd99::1/128 via fd9${i}::2 dev wan${i} metric ${100 + i}
  `);
}

function removeNetwork(): void {
  for (const namespace of [CLIENT, SERVER]) {
    try {
      execFileSync('ip', ['netns', 'del', namespace], { stdio: 'ignore' });
    } catch {
      // Not made yet.
    }
  }
}

class Actor {
  readonly #child;
  readonly #waiting = new Map<number, (result: never) => void>();
  readonly started: Promise<{ started: boolean; error?: string }>;
  #nextId = 0;

  constructor(namespace: string, args: unknown) {
    const env = { ...process.env, NODE_OPTIONS: '' };
    this.#child = spawn('ip', ['netns', 'exec', namespace, process.execPath, ACTOR, JSON.stringify(args)], {
      env,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.started = new Promise((resolve) => {
      this.#child.once('exit', (code) => resolve({ started: false, error: `exit ${code}` }));
      createInterface({ input: this.#child.stdout }).on('line', (line) => {
        const message = JSON.parse(line);
        if ('started' in message) resolve(message);
        else this.#waiting.get(message.id)?.(message.result as never);
      });
    });
  }

  ask<T>(command: Omit<ActorCommand, 'id'>): Promise<T> {
    const id = this.#nextId++;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#child.stdin.write(`${JSON.stringify({ id, ...command })}\n`);
    });
  }

  status(): Promise<Status> {
    return this.ask({ verb: 'status' });
  }

  async stop(): Promise<void> {
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    if (this.#child.exitCode !== null) return;
    this.#child.stdin.end();
    await gone;
  }
}

async function until(what: string, holds: () => Promise<boolean>, timeoutMs = 5000): Promise<number> {
  const startMs = performance.now();
  while (!(await holds())) {
    if (performance.now() - startMs > timeoutMs) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return performance.now() - startMs;
}

const stateIs =
  (actor: Actor, path: number, ...states: string[]) =>
  async () => {
    const view = (await actor.status()).paths.find(({ id }) => id === path);
    return view !== undefined && states.includes(view.state);
  };
const bothUp = async (actor: Actor) => {
  const { paths } = await actor.status();
  return paths.length === 2 && paths.every(({ state }) => state === 'up');
};

const PATHS = [
  { name: 'dsl', interface: 'wan0' },
  { name: 'lte', interface: 'wan1' },
];

async function startBoth(paths: unknown = PATHS, endpoint = `10.99.0.1:${PORT}`): Promise<{ client: Actor; server: Actor }> {
  const server = new Actor(SERVER, { own: 'server', peer: 'client', listenPort: PORT });
  const listening = await server.started;
  if (!listening.started) throw new Error(listening.error);
  const client = new Actor(CLIENT, { own: 'client', peer: 'server', endpoint, paths });
  const begun = await client.started;
  if (!begun.started) throw new Error(begun.error);
  return { client, server };
}

const skip = process.getuid?.() === 0 ? false : 'needs root';
t.beforeEach(() => {
  if (skip === false) createNetwork();
});
t.afterEach(() => removeNetwork());

t.test('two devices give two paths, proven on both sides', { skip }, async (t) => {
  const { client, server } = await startBoth();
  t.teardown(() => Promise.all([client.stop(), server.stop()]));
  await until('up', async () => (await bothUp(client)) && (await bothUp(server)));
  const { paths } = await server.status();
  t.match(paths[0], { name: 'dsl', local: `10.99.0.1:${PORT}`, remote: /^10\.90\.0\.1:/ });
  t.match(paths[1], { name: 'lte', local: `10.99.0.1:${PORT}`, remote: /^10\.91\.0\.1:/ });
  t.match((await client.status()).paths[1], { local: /^10\.91\.0\.1:/, remote: `10.99.0.1:${PORT}` });
  for (const path of [0, 1]) await client.ask({ verb: 'send', path, count: 1000, bytes: 1000 });
  await until('packets', async () => (await server.status()).received === 2000);
});

t.test('paths over IPv6', { skip }, async (t) => {
  const { client, server } = await startBoth(PATHS, `[fd99::1]:${PORT}`);
  t.teardown(() => Promise.all([client.stop(), server.stop()]));
  await until('up', async () => (await bothUp(client)) && (await bothUp(server)));
  t.match((await server.status()).paths[0], { local: `[fd99::1]:${PORT}`, remote: /^\[fd90::1\]:/, innerMtuBytes: 1500 - 40 - 8 - 28 });
});

t.test('a blackhole is suspect within a second under load, then down; it is up again with the first answer', { skip }, async (t) => {
  const { client, server } = await startBoth();
  t.teardown(() => Promise.all([client.stop(), server.stop()]));
  await until('up', async () => (await bothUp(client)) && (await bothUp(server)));
  await client.ask({ verb: 'load', path: 0, up: true });
  await until('load', async () => (await server.status()).received > 20);
  dropIncoming(SERVER, 'peer0');
  dropIncoming(CLIENT, 'wan0');
  const noticedMs = await until('suspicion', stateIs(client, 0, 'suspect', 'down'));
  t.ok(noticedMs < 1100, `noticed after ${noticedMs} ms`);
  await until('suspicion at the server', stateIs(server, 0, 'suspect', 'down'), 1100);
  await until('down', stateIs(client, 0, 'down'), 3000);
  t.ok(await bothUpBut(client, 0));
  inside(SERVER, 'nft flush ruleset');
  inside(CLIENT, 'nft flush ruleset');
  const backMs = await until('back', async () => (await bothUp(client)) && (await bothUp(server)));
  t.ok(backMs < 1500, `back after ${backMs} ms`);
});

function dropIncoming(namespace: string, device: string): void {
  inside(namespace, 'nft add table inet hole');
  inside(namespace, `nft 'add chain inet hole pre { type filter hook prerouting priority -300; }'`);
  inside(namespace, `nft add rule inet hole pre iifname ${device} drop`);
}

async function bothUpBut(actor: Actor, path: number): Promise<boolean> {
  const { paths, state } = await actor.status();
  return state === 'up' && paths.every((one) => one.id === path || one.state === 'up');
}

t.test('a device that goes down, or goes away, and comes back', { skip }, async (t) => {
  const { client, server } = await startBoth();
  t.teardown(() => Promise.all([client.stop(), server.stop()]));
  await until('up', async () => (await bothUp(client)) && (await bothUp(server)));
  await client.ask({ verb: 'load', path: 1, up: true });
  sh(`ip -n ${CLIENT} link set wan1 down`);
  const refusedMs = await until('down without an event: the kernel refuses to send', stateIs(client, 1, 'down'));
  t.ok(refusedMs < 500, `${refusedMs}`);
  await until('the server hears of it', stateIs(server, 1, 'down'), 200);
  t.match((await server.status()).paths.find(({ id }) => id === 1)?.stateReason, /the peer says/);
  sh(`ip -n ${CLIENT} link set wan1 up`);
  sh(`ip -n ${CLIENT} addr add fd91::1/64 dev wan1 nodad`);
  addRoutes(1);
  await until('up again without an event', stateIs(client, 1, 'up'));
  sh(`ip -n ${CLIENT} link del wan1`);
  await client.ask({ verb: 'interface', name: 'wan1', up: false });
  t.ok(await stateIs(client, 1, 'down')(), 'down at once');
  createLink(1);
  await client.ask({ verb: 'interface', name: 'wan1', up: true });
  await until('up on the new device', async () => (await bothUp(client)) && (await bothUp(server)));
});

t.test('a device that is missing at first joins when it comes, and without any device start says why', { skip }, async (t) => {
  sh(`ip -n ${CLIENT} link del wan1`);
  const { client, server } = await startBoth();
  t.teardown(() => Promise.all([client.stop(), server.stop()]));
  await until('one path', stateIs(client, 0, 'up'));
  t.ok(await stateIs(client, 1, 'down')());
  createLink(1);
  await until('the other, without an event', async () => (await bothUp(client)) && (await bothUp(server)), 8000);
  const alone = new Actor(CLIENT, {
    own: 'client',
    peer: 'server',
    endpoint: `10.99.0.1:${PORT}`,
    paths: [{ name: 'none', interface: 'wan7' }],
  });
  t.match(await alone.started, { started: false, error: /none: interface "wan7" does not exist/ });
});

t.test('a server that dies without a word and starts again is found again', { skip }, async (t) => {
  const { client, server } = await startBoth();
  await until('up', async () => (await bothUp(client)) && (await bothUp(server)));
  await client.ask({ verb: 'load', path: 0, up: true });
  await server.stop();
  await until('the client notices', async () => (await client.status()).state !== 'up');
  const reborn = new Actor(SERVER, { own: 'server', peer: 'client', listenPort: PORT });
  t.teardown(() => Promise.all([client.stop(), reborn.stop()]));
  await reborn.started;
  await until('up again', async () => (await bothUp(client)) && (await bothUp(reborn)), 10_000);
  await until('data flows', async () => (await reborn.status()).received > 10);
});

t.test('a path that is bound to nothing knows its address from what it receives', { skip }, async (t) => {
  const { client, server } = await startBoth([]);
  t.teardown(() => Promise.all([client.stop(), server.stop()]));
  await until('up', async () => (await client.status()).state === 'up');
  t.match((await client.status()).paths[0], { name: 'default', local: /^10\.90\.0\.1:/ });
});

t.test('a device whose MTU shrinks under way: sizes step down until packets pass, and the server learns it', { skip }, async (t) => {
  const { client, server } = await startBoth();
  t.teardown(() => Promise.all([client.stop(), server.stop()]));
  await until('up', async () => (await bothUp(client)) && (await bothUp(server)));
  sh(`ip -n ${CLIENT} link set wan0 mtu 1300`);
  const sizeAt = async (actor: Actor) => (await actor.status()).paths[0]!.innerMtuBytes;
  for (const outer of [1500, 1400]) {
    t.equal(await sizeAt(client), outer - 56);
    await client.ask({ verb: 'send', path: 0, bytes: outer - 56 });
  }
  t.equal(await sizeAt(client), 1280 - 56);
  await client.ask({ verb: 'send', path: 0, bytes: 1280 - 56 });
  await until('the packet', async () => (await server.status()).received === 1);
  await until('the server knows', async () => (await sizeAt(server)) === 1280 - 56);
  t.ok(await bothUp(client));
});

t.test('both sides know the MTU of a smaller device, and packets of that size pass', { skip }, async (t) => {
  sh(`ip -n ${CLIENT} link set wan0 mtu 1400; ip -n ${SERVER} link set peer0 mtu 1400`);
  const { client, server } = await startBoth();
  t.teardown(() => Promise.all([client.stop(), server.stop()]));
  await until('up', async () => (await bothUp(client)) && (await bothUp(server)));
  const fits = 1400 - 20 - 8 - 28;
  for (const actor of [client, server]) {
    const { paths } = await actor.status();
    t.equal(paths[0]!.innerMtuBytes, fits);
    t.equal(paths[1]!.innerMtuBytes, 1500 - 56);
  }
  await client.ask({ verb: 'send', path: 0, bytes: fits });
  await server.ask({ verb: 'send', path: 0, bytes: fits });
  await until('both', async () => (await server.status()).received === 1 && (await client.status()).received === 1);
});
