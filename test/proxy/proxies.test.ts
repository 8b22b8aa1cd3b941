/** When proxies begin and end: by the Unix socket that `mptunnel connect` uses, on a network that answers nobody. */

import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { startProxies } from '../../src/proxy/proxies.js';
import type { Tunnel } from '../../src/tunnel/tunnel-api.js';

/** Dials and hears nothing. */
const SILENT = { user: { connect: () => new Promise(() => {}) } } as unknown as Tunnel;

/** The path of a Unix socket has little room. */
function place(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'mpt-proxy-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, 'mpt0.http');
}

async function dial(t: Test, path: string): Promise<Socket> {
  const socket = connect(path).on('error', () => {});
  t.teardown(() => socket.destroy());
  await new Promise<void>((resolve) => socket.once('connect', resolve));
  return socket;
}

t.test('a proxy that ends closes the connections that nothing else ends, and takes its socket away', async (t) => {
  const local = place(t);
  const close = await startProxies(SILENT, { socks: undefined, http: undefined, local });
  t.equal(statSync(local).mode & 0o777, 0o600, 'for its owner alone');
  const waiting = await dial(t, local);
  waiting.write('CONNECT 192.0.2.1:80 HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n');
  const silent = await dial(t, local);
  const closed = Promise.all([waiting, silent].map((socket) => new Promise((resolve) => socket.once('close', resolve))));
  await close();
  await closed;
  t.notOk(existsSync(local));
});

t.test('idle is a proxy without a connection, from the start or since the last one', async (t) => {
  const local = place(t);
  const order: string[] = [];
  let idle: () => void = () => {};
  const becameIdle = new Promise<void>((resolve) => {
    idle = resolve;
  });
  const idleMs = 300;
  const onIdle = (): void => {
    order.push('idle');
    idle();
  };
  const close = await startProxies(SILENT, { socks: undefined, http: undefined, local }, { idleMs, onIdle });
  const socket = await dial(t, local);
  await new Promise((resolve) => setTimeout(resolve, 2 * idleMs));
  order.push('closed');
  socket.destroy();
  await becameIdle;
  t.same(order, ['closed', 'idle']);
  await close();
});

t.test('a port that is taken is told, and nothing listens then', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1');
  t.teardown(() => taken.close());
  await new Promise<void>((resolve) => taken.once('listening', resolve));
  const { port } = taken.address() as { port: number };
  const local = place(t);
  await t.rejects(startProxies(SILENT, { socks: undefined, http: { host: '127.0.0.1', port }, local }), {
    code: 'listen',
    message: /is taken/,
  });
  t.notOk(existsSync(local));
});

t.test('a tunnel that dials nobody has no proxy', async (t) => {
  await t.rejects(startProxies({} as Tunnel, { socks: undefined, http: undefined }), { code: 'no-client' });
});
