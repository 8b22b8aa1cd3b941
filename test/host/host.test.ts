/** Two hosts of the library joined by packet devices in memory: what a program sees of connections, subflows and events. */

import { once } from 'node:events';
import { pipeline } from 'node:stream/promises';
import t, { type Test } from 'tap';
import {
  createHost,
  type DeviceOptions,
  type Host,
  HostError,
  type HostEvent,
  type HostOptions,
  type MptcpSocket,
} from '../../src/index.js';
import { createDevicePair } from './device-pair.js';

interface Pair {
  client: Host;
  server: Host;
  clientEvents: HostEvent[];
  serverEvents: HostEvent[];
}

interface PairOptions {
  links?: number;
  client?: Partial<HostOptions>;
  server?: Partial<HostOptions>;
  /** Flags of addresses by link. */
  clientAddresses?: readonly object[];
  serverAddresses?: readonly object[];
}

function createPair(t: Test, options: PairOptions = {}): Pair {
  const pairs = Array.from({ length: options.links ?? 1 }, createDevicePair);
  const devices = (side: 0 | 1, flags: readonly object[] = []): DeviceOptions[] =>
    pairs.map((pair, i) => ({ device: pair[side], addresses: [{ address: `10.${i + 1}.0.${side + 1}`, ...flags[i] }] }));
  const client = createHost({ devices: devices(0, options.clientAddresses), ...options.client });
  const server = createHost({ devices: devices(1, options.serverAddresses), ...options.server });
  const pair: Pair = { client, server, clientEvents: [], serverEvents: [] };
  client.on('event', (event: HostEvent) => pair.clientEvents.push(event));
  server.on('event', (event: HostEvent) => pair.serverEvents.push(event));
  t.teardown(async () => {
    await Promise.all([client.close(), server.close()]);
  });
  return pair;
}

async function connected(pair: Pair, port = 80): Promise<[MptcpSocket, MptcpSocket]> {
  const accepted = new Promise<MptcpSocket>((resolve) => pair.server.listen(port, resolve));
  const socket = pair.client.connect({ host: '10.1.0.2', port });
  const [ours] = await Promise.all([once(socket, 'connect').then(() => socket), accepted]);
  return [ours, await accepted];
}

/** Turns of the event loop, until it is so. */
async function until(condition: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + 5_000;
  while (!condition()) {
    if (performance.now() > deadlineMs) throw new Error('waited 5 s in vain');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function subflowsConfirmed(socket: MptcpSocket): number {
  return socket.subflows.filter((subflow) => subflow.confirmed).length;
}

/** By events: an iterator would destroy the stream at the end, and with it our side. */
async function readAll(socket: MptcpSocket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.resume();
  await once(socket, 'end');
  return Buffer.concat(chunks);
}

const PAYLOAD = Buffer.from(Array.from({ length: 1_500_000 }, (_, i) => (i * 31) & 0xff));

t.test('an echo of more than both buffers hold comes back whole, by pipeline', async (t) => {
  const [socket, peer] = await connected(createPair(t));
  const echo = pipeline(peer, peer);
  const received = readAll(socket);
  socket.end(PAYLOAD);
  t.ok((await received).equals(PAYLOAD));
  await echo;
  t.equal(await socket.whenClosed, 'finished');
  t.equal(await peer.whenClosed, 'finished');
  t.equal(socket.bytesRead, PAYLOAD.length);
  t.equal(socket.bytesWritten, PAYLOAD.length);
  t.notOk(socket.fallback);
});

t.test('half-open: the end of one side leaves the other able to send', async (t) => {
  const [socket, peer] = await connected(createPair(t));
  socket.end('question');
  t.equal((await readAll(peer)).toString(), 'question');
  t.notOk(peer.destroyed);
  peer.end('answer');
  t.equal((await readAll(socket)).toString(), 'answer');
  t.equal(await socket.whenClosed, 'finished');
});

t.test('allowHalfOpen false: the end of the peer ends us', async (t) => {
  const pair = createPair(t);
  const accepted = new Promise<MptcpSocket>((resolve) => pair.server.listen(80, resolve, { allowHalfOpen: false }));
  const socket = pair.client.connect({ host: '10.1.0.2', port: 80 });
  const peer = await accepted;
  peer.resume();
  socket.resume();
  socket.end('x');
  t.equal(await peer.whenClosed, 'finished');
  t.equal(await socket.whenClosed, 'finished');
});

t.test('a reader that pauses stops the writer, and loses nothing', async (t) => {
  const [socket, peer] = await connected(createPair(t));
  let flushed = false;
  // More than the largest receive window (64 MiB) and all that may wait unsent (8 MiB): where the first bytes come quickly, the window soon holds 10 MB.
  const big = Buffer.concat(Array.from({ length: 52 }, () => PAYLOAD));
  peer.pause();
  socket.end(big, () => {
    flushed = true;
  });
  await until(() => socket.statistics().bytesUnacked === 0 && socket.statistics().sendWindowBytes < 1400 && peer.readableLength > 0);
  t.notOk(flushed);
  const received = readAll(peer);
  t.ok((await received).equals(big));
  t.ok(flushed);
});

t.test('resetAndDestroy is ECONNRESET at the peer', async (t) => {
  const [socket, peer] = await connected(createPair(t));
  const failed = once(peer, 'error');
  socket.resetAndDestroy();
  t.match(await failed, [{ code: 'ECONNRESET' }]);
  t.equal(await socket.whenClosed, 'aborted');
  t.equal(await peer.whenClosed, 'reset');
});

t.test('destroy without an error ends in order; with one it resets', async (t) => {
  const pair = createPair(t);
  const [socket, peer] = await connected(pair);
  socket.destroy();
  t.equal((await readAll(peer)).length, 0);
  peer.end();
  t.equal(await peer.whenClosed, 'finished');
  const [second, secondPeer] = await connected(pair, 81);
  const failed = once(secondPeer, 'error');
  second.on('error', () => undefined);
  second.destroy(new Error('enough'));
  t.match(await failed, [{ code: 'ECONNRESET' }]);
});

t.test('close() resolves when both ends are closed', async (t) => {
  const [socket, peer] = await connected(createPair(t));
  peer.on('end', () => peer.end('bye'));
  peer.resume();
  t.equal(await socket.close(), 'finished');
});

t.test('a port without a listener refuses: ECONNREFUSED', async (t) => {
  const pair = createPair(t);
  const socket = pair.client.connect({ host: '10.1.0.2', port: 9 });
  t.match(await once(socket, 'error'), [{ code: 'ECONNREFUSED' }]);
  t.equal(await socket.whenClosed, 'refused');
});

t.test('a closed listener refuses; what it gave lives on until it ends', async (t) => {
  const pair = createPair(t);
  const accepted: MptcpSocket[] = [];
  const listener = pair.server.listen(80, (socket) => accepted.push(socket));
  const socket = pair.client.connect({ host: '10.1.0.2', port: 80 });
  await once(socket, 'connect');
  await until(() => accepted.length === 1);
  let closed = false;
  const closing = listener.close().then(() => {
    closed = true;
  });
  const late = pair.client.connect({ host: '10.1.0.2', port: 80 });
  t.match(await once(late, 'error'), [{ code: 'ECONNREFUSED' }]);
  t.notOk(closed);
  accepted[0]?.resume();
  accepted[0]?.end();
  socket.resume();
  socket.end();
  await closing;
  t.ok(closed);
});

t.test('a client joins from each further address; data goes on when the first subflow is removed', async (t) => {
  const pair = createPair(t, { links: 2 });
  const [socket, peer] = await connected(pair);
  peer.pipe(peer);
  const received = readAll(socket);
  socket.write(PAYLOAD.subarray(0, 9));
  await until(() => subflowsConfirmed(socket) === 2 && subflowsConfirmed(peer) === 2);
  socket.removeSubflow({ localAddress: '10.1.0.1' });
  socket.end(PAYLOAD.subarray(9));
  t.ok((await received).equals(PAYLOAD));
  await Promise.all([socket.whenClosed, peer.whenClosed]);
  const expected = ['created', 'established', 'sub_established', 'sub_closed', 'closed'];
  for (const events of [pair.clientEvents, pair.serverEvents]) t.match(events.map((event) => event.name).slice(0, 5), expected);
  t.match(pair.clientEvents[2], { localAddress: '10.2.0.1', remoteAddress: '10.1.0.2', addressId: 2 });
  t.equal(socket.subflowCount, 2);
});

t.test('a server announces its signal addresses, the client joins them; withdrawn, they are left', async (t) => {
  const pair = createPair(t, { links: 2, serverAddresses: [{}, { signal: true }], clientAddresses: [{}, { subflow: false }] });
  const [socket, peer] = await connected(pair);
  await until(() => subflowsConfirmed(socket) === 2 && subflowsConfirmed(peer) === 2);
  t.match(
    pair.clientEvents.find((event) => event.name === 'announced'),
    { remoteAddress: '10.2.0.2', remotePort: 80, addressId: 2 },
  );
  peer.withdraw('10.2.0.2');
  await until(() => socket.subflows.length === 1 && peer.subflows.length === 1);
  t.match(
    pair.clientEvents.find((event) => event.name === 'removed'),
    { addressId: 2 },
  );
});

t.test('an address that takes the place of another has an id of its own, and is joined from even when it is the same again', async (t) => {
  const pair = createPair(t, { links: 2 });
  const [socket, peer] = await connected(pair);
  peer.resume();
  socket.write('x');
  await until(() => subflowsConfirmed(socket) === 2 && subflowsConfirmed(peer) === 2);
  for (const address of ['10.2.0.7', '10.2.0.1', '10.2.0.7']) {
    for (const old of socket.subflows.slice(1)) pair.client.removeAddress(old.localAddress);
    pair.client.addAddress({ address, device: 1 });
    await until(() => socket.subflows.some((subflow) => subflow.confirmed && subflow.localAddress === address));
  }
  const ids = pair.clientEvents.filter((event) => event.name === 'sub_established').map((event) => event.addressId);
  t.strictSame(ids, [2, 3, 4, 5]);
});

t.test('priority: told to the peer, which sends on the others', async (t) => {
  const pair = createPair(t, { links: 2 });
  const [socket, peer] = await connected(pair);
  // RFC 8684 (3.1): joins wait until the peer has shown that it got our keys.
  socket.write('x');
  await until(() => subflowsConfirmed(socket) === 2 && subflowsConfirmed(peer) === 2);
  socket.setBackup({ localAddress: '10.2.0.1' }, true);
  await until(() => pair.serverEvents.some((event) => event.name === 'sub_priority'));
  t.match(pair.serverEvents.at(-1), { name: 'sub_priority', backup: true, remoteAddress: '10.2.0.1' });
  peer.end(PAYLOAD);
  t.ok((await readAll(socket)).equals(PAYLOAD));
  t.equal(peer.statistics().subflows.find((subflow) => subflow.remoteAddress === '10.2.0.1')?.bytesAcked ?? 0, 0);
});

t.test('a subflow by hand, and one too many', async (t) => {
  const pair = createPair(t, { links: 2, client: { limits: { subflows: 0 } } });
  const [socket] = await connected(pair);
  socket.write('x');
  await until(() => socket.connection.peerProved);
  socket.addSubflow({ localAddress: '10.2.0.1', backup: true });
  await until(() => subflowsConfirmed(socket) === 2);
  await until(() => pair.serverEvents.some((event) => event.name === 'sub_established'));
  t.match(
    pair.serverEvents.find((event) => event.name === 'sub_established'),
    { backup: true },
  );
  t.throws(() => socket.addSubflow({ localAddress: '10.9.0.1' }), { code: 'EADDRNOTAVAIL' });
  t.throws(() => socket.removeSubflow({ localPort: 1 }), { code: 'ENOENT' });
});

t.test('plain TCP where one side wants it', async (t) => {
  const pair = createPair(t, { links: 2 });
  const accepted = new Promise<MptcpSocket>((resolve) => pair.server.listen(80, resolve));
  const socket = pair.client.connect({ host: '10.1.0.2', port: 80, protocol: 'tcp' });
  const peer = await accepted;
  peer.end(PAYLOAD);
  peer.resume();
  t.ok((await readAll(socket)).equals(PAYLOAD));
  socket.end();
  t.ok(socket.fallback && peer.fallback);
  t.match(
    pair.clientEvents.find((event) => event.name === 'established'),
    { fallback: true },
  );
  t.throws(() => socket.addSubflow({ localAddress: '10.2.0.1' }), { code: 'ENOTSUP' });
});

t.test('checksums, schedulers and congestion controls are chosen by the host', async (t) => {
  const [socket, peer] = await connected(createPair(t, { client: { checksum: true, scheduler: 'min-rtt', congestionControl: 'cubic' } }));
  t.ok(socket.connection.checksum && peer.connection.checksum);
  t.match(socket.statistics(), { scheduler: 'min-rtt', subflows: [{ congestionControl: 'cubic' }] });
});

t.test("a caller's mistakes are named at once", async (t) => {
  const pair = createPair(t);
  t.throws(() => pair.client.connect({ host: 'nowhere', port: 80 }), TypeError);
  t.throws(() => pair.client.connect({ host: '10.1.0.2', port: 0 }), RangeError);
  t.throws(() => pair.client.connect({ host: 'fd00::1', port: 80 }), { code: 'EADDRNOTAVAIL' });
  pair.server.listen(80, () => undefined);
  t.throws(() => pair.server.listen(80, () => undefined), { code: 'EADDRINUSE' });
  t.throws(() => pair.client.addAddress({ address: '10.1.0.1' }), { code: 'EEXIST' });
  t.throws(() => pair.client.addAddress({ address: '10.5.0.1', device: 3 }), RangeError);
  t.throws(() => createHost({ devices: [], scheduler: 'fastest' }), /min-rtt/);
  t.throws(() => createHost({ devices: [], congestionControl: 'turbo' }), /bbr/);
  await pair.client.close();
  t.throws(() => pair.client.connect({ host: '10.1.0.2', port: 80 }), HostError);
});

t.test('close of the host resets what is open and closes its devices', async (t) => {
  const [a, b] = createDevicePair();
  const client = createHost({ devices: [{ device: a, addresses: ['10.1.0.1'] }] });
  const server = createHost({ devices: [{ device: b, addresses: ['10.1.0.2'] }] });
  const accepted = new Promise<MptcpSocket>((resolve) => server.listen(80, resolve));
  const socket = client.connect({ host: '10.1.0.2', port: 80 });
  const peer = await accepted;
  const failed = once(peer, 'error');
  await client.close();
  t.match(await failed, [{ code: 'ECONNRESET' }]);
  t.equal(await socket.whenClosed, 'aborted');
  t.ok(a.closed);
  await server.close();
  t.ok(b.closed);
});

t.test('Fast Open: what is written at once comes with the SYN, and the server answers it before the third ACK', async (t) => {
  const pair = createPair(t, { server: { fastOpen: 'early-answers' } });
  pair.server.listen(80, (socket) => {
    socket.on('data', (chunk: Buffer) => socket.end(Buffer.concat([Buffer.from('re: '), chunk])));
  });
  const ask = async (text: string): Promise<string> => {
    const socket = pair.client.connect({ host: '10.1.0.2', port: 80, fastOpen: true });
    socket.end(text);
    const chunks: Buffer[] = [];
    for await (const chunk of socket) chunks.push(chunk as Buffer);
    t.equal(await socket.whenClosed, 'finished');
    t.notOk(socket.fallback);
    return Buffer.concat(chunks).toString();
  };
  t.equal(await ask('one'), 're: one');
  t.equal(pair.server.counters['fast-open-cookie-requests'], 1);
  t.equal(await ask('two'), 're: two');
  t.equal(await ask('three'), 're: three');
  t.equal(pair.server.counters['fast-open-accepted'], 2);
  t.equal(pair.client.counters['fast-open-data-taken'], 2);
});

t.test('Fast Open is off unless the server wants it', async (t) => {
  const pair = createPair(t);
  const accepted = new Promise<MptcpSocket>((resolve) => pair.server.listen(80, resolve));
  const socket = pair.client.connect({ host: '10.1.0.2', port: 80, fastOpen: true });
  socket.write('text');
  const [chunk] = await once(await accepted, 'data');
  t.equal(String(chunk), 'text');
  t.equal(pair.server.counters['fast-open-cookie-requests'], undefined);
});

t.test('Fast Open: a connection that is refused says so', async (t) => {
  const pair = createPair(t, { server: { fastOpen: true } });
  const socket = pair.client.connect({ host: '10.1.0.2', port: 81, fastOpen: true });
  socket.write('text');
  const [error] = await once(socket, 'error');
  t.equal((error as HostError).code, 'ECONNREFUSED');
});
