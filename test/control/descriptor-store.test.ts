/** What a service manager keeps of us, and what comes back: with descriptors of this process, and with a manager that stores them. */

import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { fstatSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { connectServiceManager } from '../../src/control/service-manager.js';
import { loadNative } from '../../src/tun/native.js';
import { adoptOrOpen } from '../../src/tunnel/descriptor-store.js';
import { FakeServiceManager } from './fake-service-manager.js';

const SERVICE_MANAGER = fileURLToPath(new URL('../../src/control/service-manager.js', import.meta.url));
const NATIVE = fileURLToPath(new URL('../../src/tun/native.js', import.meta.url));

/** A service that says what it was given, keeps a socket under the name "udp4.0", or takes the one that was kept, and answers "PORT" to every datagram. */
const SERVICE = `
import { connectServiceManager } from ${JSON.stringify(SERVICE_MANAGER)};
import { loadNative } from ${JSON.stringify(NATIVE)};
const native = loadNative();
const manager = connectServiceManager();
// Whoever hears that we are ready may send signals.
process.on('SIGTERM', () => process.exit(0));
process.on('SIGUSR2', () => manager.forgetDescriptors());
const port = Number(process.argv[2]);
const descriptor = manager.descriptors.take('udp4.' + port);
const udp = native.udpOpen({ family: 4, port, receiveBufferBytes: 65536, sendBufferBytes: 65536, ...(descriptor === undefined ? {} : { descriptor }) });
manager.descriptors.keep('udp4.' + port, native.udpFd(udp));
manager.ready(descriptor === undefined ? 'opened' : 'adopted');
setInterval(() => {}, 1000);
`;

async function freePort(): Promise<number> {
  const socket = createSocket('udp4').bind(0);
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  await once(socket, 'close');
  return port;
}

t.test('what is kept outlives a crash and a stop, and comes back under its name', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'mpt-store-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const service = join(folder, 'service.mjs');
  writeFileSync(service, SERVICE);
  const port = await freePort();
  const run = (command: string, args: string[]) =>
    spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, NODE_OPTIONS: '' } });
  const manager = new FakeServiceManager(run, join(folder, 'notify'), [process.execPath, service, String(port)]);
  t.teardown(() => manager.close());
  const name = `udp4.${port}`;
  const status = (): string | undefined => manager.events.findLast(({ fields }) => fields?.READY === '1')?.fields?.STATUS;

  t.strictSame(await manager.start(), [], 'at first there is nothing');
  t.equal(status(), 'opened');
  t.strictSame(manager.store, [name]);
  const kept = manager.events.find(({ fields }) => fields?.FDSTORE === '1')!;
  t.match(kept.fields, { FDNAME: name, FDPOLL: '0' });

  t.equal(await manager.end('kill'), -9);
  // Nobody reads it, and nobody refuses it.
  const client = createSocket('udp4');
  t.teardown(() => client.close());
  client.connect(port, '127.0.0.1');
  await once(client, 'connect');
  const refused: Error[] = [];
  client.on('error', (error) => refused.push(error));
  for (let i = 0; i < 3; i++) {
    client.send('in between');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  t.strictSame(refused, [], 'the port is open while nobody is there');
  t.strictSame(await manager.start(), [name]);
  t.equal(status(), 'adopted');
  t.strictSame(manager.store, [name], 'once, not twice');

  t.equal(await manager.end('stop'), 0);
  t.strictSame(await manager.start(), [name], 'a stop by signal may be the first half of a restart');
  const { pid } = manager.events.findLast(({ event }) => event === 'started')!;
  const from = manager.events.length;
  process.kill(pid!, 'SIGUSR2');
  await manager.next(from, ({ store }) => store?.length === 0);
  t.equal(await manager.end('stop'), 0);
  t.strictSame(await manager.start(), [], 'what is forgotten is gone');
  t.equal(status(), 'opened');
});

t.test('descriptors that nobody takes are closed when the service is ready; those of another process are none of ours', async (t) => {
  const environment = (pid: number): NodeJS.ProcessEnv => ({
    LISTEN_FDS: '2',
    LISTEN_FDNAMES: 'udp6.1:tun.x',
    LISTEN_PID: String(pid),
    HOME: '/',
  });
  const foreign = environment(process.pid + 1);
  t.equal(connectServiceManager(foreign).descriptors.take('tun.x'), undefined);
  t.strictSame(foreign, { HOME: '/' }, 'what we start is not the service');
  // In a process of its own: the numbers begin with 3.
  const script = `
    import { connectServiceManager } from ${JSON.stringify(SERVICE_MANAGER)};
    import { fstatSync } from 'node:fs';
    const open = (fd) => { try { fstatSync(fd); return true; } catch { return false; } };
    const manager = connectServiceManager({ LISTEN_FDS: '3', LISTEN_FDNAMES: 'a:b:a', LISTEN_PID: String(process.pid) });
    const before = [3, 4, 5].map(open);
    const taken = manager.descriptors.take('b');
    manager.ready('');
    console.log(JSON.stringify({ before, taken, again: manager.descriptors.take('b') ?? null, after: [3, 4, 5].map(open) }));
  `;
  const fd = openSync('/dev/null', 'r');
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit', fd, fd, fd],
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  let text = '';
  child.stdout!.on('data', (chunk) => {
    text += String(chunk);
  });
  await once(child, 'close');
  t.strictSame(JSON.parse(text), { before: [false, true, true], taken: 4, again: null, after: [false, true, false] });
});

t.test('a descriptor that does not fit is closed, and a new one is opened', async (t) => {
  const native = loadNative();
  const buffers = { receiveBufferBytes: 65_536, sendBufferBytes: 65_536 };
  const port = await freePort();
  const isOpen = (descriptor: number): boolean => {
    try {
      fstatSync(descriptor);
      return true;
    } catch {
      return false;
    }
  };
  const file = openSync('/dev/null', 'r');
  t.throws(() => native.udpOpen({ family: 4, port, ...buffers, descriptor: file }), { code: 'ENOTSOCK' });
  t.notOk(isOpen(file));
  const other = openSync('/dev/null', 'r');
  t.throws(() => native.tunOpen({ name: 'mpt0', offloads: true, descriptor: other }), { code: 'ENOTTY' });
  t.notOk(isOpen(other));
  for (const wrong of [-1, 2 ** 31, 1.5]) t.throws(() => native.udpOpen({ family: 4, port, ...buffers, descriptor: wrong }), RangeError);
  const opens: (number | undefined)[] = [];
  const store = { take: () => openSync('/dev/null', 'r'), keep: () => {} };
  const handle = adoptOrOpen(store, 'udp4', (descriptor) => {
    opens.push(descriptor);
    return native.udpOpen({ family: 4, port, ...buffers, ...(descriptor === undefined ? {} : { descriptor }) });
  });
  t.equal(opens.length, 2);
  t.equal(opens[1], undefined);
  t.equal(native.udpPort(handle), port);
  native.udpClose(handle);
});
