/** Against name servers on the loopback; no root. Marks and devices are seen in test/netns/tunnel-whole-host.test.ts. */

import { randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { loadNative } from '../../../src/tun/native.js';
import type { ResolvedAddress } from '../../../src/tunnel/carrier/endpoint.js';
import { createOuterResolver } from '../../../src/tunnel/carrier/outer-resolver.js';

type Behaviour = (query: Buffer, count: number) => Buffer | undefined;

const FALLBACK: ResolvedAddress[] = [{ address: '192.0.2.99', family: 4 }];

/** Of the same port on 127.0.0.1 and 127.0.0.2, one behaviour each. */
async function servers(t: Test, behaviours: readonly Behaviour[]): Promise<{ port: number; queries: number[] }> {
  const sockets: Socket[] = [];
  const queries = behaviours.map(() => 0);
  let port = 0;
  for (const [index, behave] of behaviours.entries()) {
    const socket = createSocket('udp4');
    sockets.push(socket);
    socket.on('message', (query, { address, port: from }) => {
      const answer = behave(query, ++queries[index]!);
      if (answer !== undefined) socket.send(answer, from, address);
    });
    socket.bind(port, `127.0.0.${index + 1}`);
    await once(socket, 'listening');
    port = socket.address().port;
  }
  t.teardown(() => {
    for (const socket of sockets) socket.close();
  });
  return { port, queries };
}

function answer(query: Buffer, code: number, ...records: Buffer[]): Buffer {
  const head = Buffer.from(query);
  head.writeUInt16BE(0x8180 | code, 2);
  head.writeUInt16BE(records.length, 6);
  return Buffer.concat([head, ...records]);
}

function record(type: number, data: readonly number[]): Buffer {
  return Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 60, 0, data.length, ...data]);
}

const isAaaa = (query: Buffer): boolean => query[query.length - 3] === 28;
const good: Behaviour = (query) =>
  isAaaa(query)
    ? answer(query, 0, record(28, [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]))
    : answer(query, 0, record(1, [203, 0, 113, 1]));
const silent: Behaviour = () => undefined;
const GOOD = [
  { address: '2001:db8::1', family: 6 },
  { address: '203.0.113.1', family: 4 },
];

function resolver(t: Test, port: number, nameservers: readonly string[], hosts = '') {
  const hostsFile = join(t.testdir({}), 'hosts');
  writeFileSync(hostsFile, hosts);
  return createOuterResolver({
    native: loadNative(),
    mark: 0,
    nameservers: () => nameservers,
    devices: () => [],
    randomBytes,
    port,
    attemptMs: 100,
    hostsFile,
    fallback: async () => FALLBACK,
  });
}

t.test('both families are asked', async (t) => {
  const { port } = await servers(t, [good]);
  t.strictSame(await resolver(t, port, ['127.0.0.1'])('vpn.example.org'), GOOD);
});

t.test('of several servers the first that has an answer counts; one that is silent or fails holds nothing up', async (t) => {
  for (const bad of [silent, (query: Buffer) => answer(query, 2), (query: Buffer) => query]) {
    const { port } = await servers(t, [bad, good]);
    t.strictSame(await resolver(t, port, ['127.0.0.1', '127.0.0.2'])('vpn.example.org'), GOOD);
  }
});

t.test('a query that was lost is asked again', async (t) => {
  // The two families are two queries.
  const { port, queries } = await servers(t, [(query, count) => (count <= 2 ? undefined : good(query, count))]);
  t.strictSame(await resolver(t, port, ['127.0.0.1'])('vpn.example.org'), GOOD);
  t.ok(queries[0]! >= 4);
});

t.test('without a server, without an answer, or where there is no such name, the system is asked', async (t) => {
  const { port } = await servers(t, [silent]);
  t.strictSame(await resolver(t, port, [])('vpn.example.org'), FALLBACK);
  t.strictSame(await resolver(t, port, ['127.0.0.1'])('vpn.example.org'), FALLBACK);
  const none = await servers(t, [(query) => answer(query, 3)]);
  t.strictSame(await resolver(t, none.port, ['127.0.0.1'])('vpn.example.org'), FALLBACK);
});

t.test('hosts(5) comes first', async (t) => {
  const { port, queries } = await servers(t, [good]);
  const resolve = resolver(t, port, ['127.0.0.1'], '# x\n198.51.100.9 vpn VPN.example.org # ours\n');
  t.strictSame(await resolve('vpn.example.org'), [{ address: '198.51.100.9', family: 4 }]);
  t.equal(queries[0], 0);
});
