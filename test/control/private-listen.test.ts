import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { listenPrivately, removeSocket } from '../../src/control/private-listen.js';

function makeRig(t: Test): { server: Server; path: string } {
  const folder = mkdtempSync(join(tmpdir(), 'mpt-listen-'));
  const server = createServer();
  t.teardown(() => {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return { server, path: join(folder, 's.sock') };
}

t.test('the socket is for its owner from the first moment, and the umask is as it was', async (t) => {
  const { server, path } = makeRig(t);
  const before = process.umask();
  await listenPrivately(server, path);
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.equal(process.umask(), before);
});

t.test('the socket of a dead process is replaced, another kind of file is not', async (t) => {
  const { server, path } = makeRig(t);
  const dead = createServer();
  await listenPrivately(dead, path);
  await listenPrivately(server, path);
  t.ok(statSync(path).isSocket());
  dead.close();

  const { server: other, path: file } = makeRig(t);
  writeFileSync(file, 'precious');
  await t.rejects(listenPrivately(other, file), { code: 'EADDRINUSE' });
  removeSocket(file);
  t.equal(readFileSync(file, 'utf8'), 'precious');
});

t.test('connections that cannot be accepted do not end the process', async (t) => {
  const { server, path } = makeRig(t);
  await listenPrivately(server, path);
  // As Node.js tells of an accept(2) that failed.
  const failure = Object.assign(new Error('accept EMFILE'), { code: 'EMFILE' });
  for (let times = 0; times < 3; times++) t.doesNotThrow(() => server.emit('error', failure));
});
