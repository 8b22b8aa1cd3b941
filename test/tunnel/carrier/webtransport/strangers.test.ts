/** What everybody sees who has no proof: a web server, and nothing that he does costs much. */

import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { type ClientHttp2Session, connect as connectHttp2, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http2';
import { request as requestHttps } from 'node:https';
import { connect as connectTcp, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import t from 'tap';
import { MAX_STRANGERS, MAX_STRANGERS_PER_SOURCE } from '../../../../src/tunnel/carrier/webtransport/admission.js';
import { makeRig, PROOF, type Rig, send } from './rig.js';

interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

const PROOF_PATH = `/${Buffer.from(PROOF).toString('base64url')}`;
const WHEN = new Date('2026-01-02T03:04:05Z');

function makeFolder(t: Teardown): string {
  const top = mkdtempSync(join(tmpdir(), 'web-folder-'));
  t.teardown(() => rmSync(top, { recursive: true }));
  const web = join(top, 'web');
  mkdirSync(join(web, 'sub', '.git'), { recursive: true });
  mkdirSync(join(web, '.well-known'));
  mkdirSync(join(top, 'web-not'));
  writeFileSync(join(top, 'secret.txt'), 'secret');
  writeFileSync(join(top, 'web-not', 'secret.txt'), 'secret');
  writeFileSync(join(web, 'index.html'), '<p>home</p>');
  writeFileSync(join(web, 'a b.css'), 'p {}');
  writeFileSync(join(web, 'big.bin'), Buffer.alloc(300_000, 'x'));
  writeFileSync(join(web, 'empty.txt'), '');
  writeFileSync(join(web, '.hidden'), 'secret');
  writeFileSync(join(web, 'sub', 'index.html'), '<p>sub</p>');
  writeFileSync(join(web, 'sub', '.git', 'config'), 'secret');
  writeFileSync(join(web, '.well-known', 'token'), 'token');
  symlinkSync('../secret.txt', join(web, 'out.txt'));
  symlinkSync('../web-not', join(web, 'out'));
  symlinkSync('index.html', join(web, 'in.html'));
  utimesSync(join(web, 'index.html'), WHEN, WHEN);
  return web;
}

type Teardown = { teardown(handler: () => unknown): void };
type Ask = (method: string, path: string, headers?: OutgoingHttpHeaders) => Promise<Answer>;

function askHttp1(port: number): Ask {
  return (method, path, headers = {}) =>
    new Promise((resolve, reject) => {
      const asked = requestHttps({ host: '127.0.0.1', port, method, path, headers, rejectUnauthorized: false, agent: false }, (answer) => {
        let body = '';
        answer.setEncoding('latin1').on('data', (text) => (body += text));
        answer.on('end', () => resolve({ status: answer.statusCode!, headers: answer.headers, body }));
      });
      asked.on('error', reject);
      asked.end();
    });
}

function openHttp2(t: Teardown, port: number): ClientHttp2Session {
  const session = connectHttp2(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
  session.on('error', () => undefined);
  t.teardown(() => session.destroy());
  return session;
}

function askHttp2(session: ClientHttp2Session): Ask {
  return (method, path, headers = {}) =>
    new Promise((resolve, reject) => {
      const stream = session.request({ ':method': method, ':path': path, ...headers }, { endStream: true });
      let found: Answer | undefined;
      stream.on('response', (answer) => (found = { status: answer[':status'] ?? 0, headers: answer, body: '' }));
      stream.setEncoding('latin1').on('data', (text) => (found!.body += text));
      stream.on('error', reject);
      stream.on('close', () => (found === undefined ? reject(new Error('no answer')) : resolve(found)));
    });
}

t.test('static files over HTTP/1.1 and HTTP/2', async (t) => {
  const rig = await makeRig({ webFolder: makeFolder(t) });
  t.teardown(() => rig.close());
  for (const [name, ask] of [
    ['HTTP/1.1', askHttp1(rig.listener.port)],
    ['HTTP/2', askHttp2(openHttp2(t, rig.listener.port))],
  ] as const) {
    const home = await ask('GET', '/');
    t.match(
      home,
      { status: 200, body: '<p>home</p>', headers: { 'content-type': 'text/html; charset=utf-8', 'content-length': '11' } },
      name,
    );
    t.equal(home.headers['last-modified'], WHEN.toUTCString());
    t.equal(home.headers.server, undefined);
    t.match(await ask('HEAD', '/index.html'), { status: 200, body: '', headers: { 'content-length': '11' } });
    t.match(await ask('GET', '/', { 'if-modified-since': WHEN.toUTCString() }), { status: 304, body: '' });
    t.match(await ask('GET', '/a%20b.css?x=1'), { status: 200, body: 'p {}', headers: { 'content-type': 'text/css; charset=utf-8' } });
    t.equal((await ask('GET', '/big.bin')).body.length, 300_000);
    t.match(await ask('GET', '/empty.txt'), { status: 200, body: '' });
    t.match(await ask('GET', '/sub/'), { status: 200, body: '<p>sub</p>' });
    t.match(await ask('GET', '/sub'), { status: 301, headers: { location: '/sub/' } });
    t.match(await ask('GET', '/in.html'), { status: 200, body: '<p>home</p>' });
    t.match(await ask('GET', '/.well-known/token'), { status: 200, body: 'token' });
    t.match(await ask('POST', '/'), { status: 405, headers: { allow: 'GET, HEAD' } });
    for (const path of [
      '/nothing',
      '/out.txt',
      '/out/secret.txt',
      '/.hidden',
      '/sub/.git/config',
      '/../secret.txt',
      '/%2e%2e/secret.txt',
    ]) {
      t.match(await ask('GET', path), { status: 404 }, `${name} ${path}`);
    }
    for (const path of [
      '/sub/..%2f..%2fsecret.txt',
      '/index.html%00.css',
      '/%zz',
      '/sub/.well-known/x',
      `/${'a/'.repeat(1500)}`,
      PROOF_PATH,
    ]) {
      t.match(await ask('GET', path), { status: 404 }, `${name} ${path.slice(0, 30)}`);
    }
  }
  t.ok(rig.listener.counters.webRequests! > 40);
});

t.test('without a folder there is nothing, and a wrong proof is no different from a wrong method', async (t) => {
  const rig = await makeRig();
  t.teardown(() => rig.close());
  t.match(await askHttp1(rig.listener.port)('GET', '/'), { status: 404 });
  const ask = askHttp2(openHttp2(t, rig.listener.port));
  t.match(await ask('GET', '/'), { status: 404 });
  const post = await ask('POST', '/x');
  for (const path of ['/', '/x', `/${randomBytes(20).toString('base64url')}`]) {
    const answer = await ask('CONNECT', path, { ':protocol': 'webtransport', ':scheme': 'https' });
    t.equal(answer.status, post.status);
    t.equal(answer.body, post.body);
    t.same(Object.keys(answer.headers), Object.keys(post.headers));
  }
  t.equal(rig.asked.length, 1, 'only what has the form of a proof is looked at');
});

/** A session of our server's, opened by hand. */
async function openByHand(t: Teardown, rig: Rig) {
  const session = openHttp2(t, rig.listener.port);
  await new Promise((resolve) => session.once('remoteSettings', resolve));
  const headers = { ':method': 'CONNECT', ':protocol': 'webtransport', ':scheme': 'https', ':path': PROOF_PATH };
  const stream = session.request(headers, { endStream: false });
  stream.on('error', () => undefined);
  const status = await new Promise((resolve) => stream.once('response', (answer) => resolve(answer[':status'])));
  return { session, stream, status };
}

t.test('malformed capsules end the session, and are counted', async (t) => {
  const rig = await makeRig();
  t.teardown(() => rig.close());
  const { stream, status } = await openByHand(t, rig);
  t.equal(status, 200);
  stream.write(Buffer.from([0, 0x43, 0xe8]));
  stream.write(Buffer.alloc(1000));
  // A datagram of 2^30 - 1 bytes.
  stream.write(Buffer.from([0, 0xbf, 0xff, 0xff, 0xff]));
  const { ear } = rig.accepted[0]!;
  await ear.until(() => ear.closed.length > 0);
  t.match(ear.closed, [/what is not WebTransport \(datagram-too-long\)/]);
  t.equal(ear.bytes, 1000, 'what came before is good');
  t.match(rig.listener.counters, { malformedSessions: 1, transports: 0 });
});

t.test('one connection has one session', async (t) => {
  const rig = await makeRig();
  t.teardown(() => rig.close());
  const { session } = await openByHand(t, rig);
  const again = await askHttp2(session)('CONNECT', PROOF_PATH, { ':protocol': 'webtransport', ':scheme': 'https' });
  t.equal(again.status, 405);
  t.equal(rig.accepted.length, 1);
});

t.test('what a stranger uploads is not taken in', async (t) => {
  const rig = await makeRig();
  t.teardown(() => rig.close());
  const session = openHttp2(t, rig.listener.port);
  const stream = session.request({ ':method': 'POST', ':path': '/' }, { endStream: false });
  stream.on('error', () => undefined);
  let written = 0;
  const piece = Buffer.alloc(16_384);
  const pump = (): void => {
    if (stream.destroyed) return;
    stream.write(piece, (error) => {
      if (error) return;
      written += piece.length;
      pump();
    });
  };
  pump();
  const status = await new Promise((resolve) => stream.once('response', (answer) => resolve(answer[':status'])));
  t.equal(status, 405);
  await pause(300);
  t.ok(written < 1_000_000, `${written} bytes were taken`);
});

/** Sockets that want nothing but to be there. */
async function crowd(t: Teardown, port: number, count: number, address: (i: number) => string, hello?: Buffer): Promise<Socket[]> {
  const sockets: Socket[] = [];
  t.teardown(() => sockets.forEach((socket) => void socket.destroy()));
  for (let i = 0; i < count; i++) {
    const socket = connectTcp({ host: '127.0.0.1', port, localAddress: address(i) });
    sockets.push(socket);
    socket.on('error', () => undefined);
    // It must be read to be seen closing.
    socket.resume();
    await new Promise<void>((resolve) => socket.once('connect', resolve).once('close', () => resolve()));
    if (hello !== undefined) socket.write(hello);
  }
  return sockets;
}

t.test(
  'ten thousand connections that never finish TLS: a bounded number is kept, and a peer still gets in',
  { timeout: 120_000 },
  async (t) => {
    const rig = await makeRig();
    t.teardown(() => rig.close());
    const before = process.memoryUsage();
    // A ClientHello begins, and does not end.
    const hello = Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
    let most = 0;
    for (let round = 0; round < 10; round++) {
      const sockets = await crowd(t, rig.listener.port, 1000, (i) => `127.0.${1 + round}.${1 + (i % 250)}`, hello);
      most = Math.max(most, rig.listener.counters.strangers!);
      if (round === 5) {
        const { near, far } = await rig.pair();
        send(near.transport, [Buffer.from('through the crowd')]);
        await far.ear.until((ear) => ear.datagrams.length > 0);
        near.transport.close();
      }
      for (const socket of sockets) socket.destroy();
    }
    t.ok(most <= MAX_STRANGERS, `${most} at once`);
    t.ok(rig.listener.counters.displacedConnections! > 3000);
    const grown = process.memoryUsage().rss - before.rss;
    // Of which both ends, and what the collector has not seen yet, have their share.
    t.ok(grown < 300e6, `${Math.round(grown / 1e6)} MB more`);
  },
);

t.test('one source has its own bound, and others do not notice', async (t) => {
  const rig = await makeRig();
  t.teardown(() => rig.close());
  await crowd(t, rig.listener.port, 3 * MAX_STRANGERS_PER_SOURCE, () => '127.0.0.66');
  await until(() => rig.listener.counters.refusedConnections === 2 * MAX_STRANGERS_PER_SOURCE);
  t.equal(rig.listener.counters.strangers, MAX_STRANGERS_PER_SOURCE);
  t.equal(rig.listener.counters.displacedConnections, 0);
  await rig.pair({ localAddress: '127.0.0.67' });
});

t.test('garbage ends its connection: before TLS, within it, and instead of HTTP/2', async (t) => {
  const rig = await makeRig();
  t.teardown(() => rig.close());
  const [raw] = await crowd(t, rig.listener.port, 1, () => '127.0.0.1', randomBytes(3000));
  await closed(raw!);
  await until(() => rig.listener.counters.failedHandshakes === 1);
  for (const ALPNProtocols of [['h2'], ['http/1.1'], []]) {
    const tls = connectTls({ host: '127.0.0.1', port: rig.listener.port, ALPNProtocols, rejectUnauthorized: false });
    tls.on('error', () => undefined).resume();
    tls.on('secureConnect', () => tls.write(randomBytes(20_000)));
    await closed(tls);
  }
  await until(() => rig.listener.counters.strangers === 0);
  await rig.pair();
});

t.test('a handshake that does not go on ends by itself', { timeout: 60_000 }, async (t) => {
  const rig = await makeRig();
  t.teardown(() => rig.close());
  const [silent] = await crowd(t, rig.listener.port, 1, () => '127.0.0.1');
  await closed(silent!);
  await until(() => rig.listener.counters.strangers === 0);
  t.equal(rig.listener.counters.acceptedConnections, 1);
});

function closed(socket: Socket | TLSSocket): Promise<void> {
  return new Promise((resolve) => (socket.closed ? resolve() : void socket.once('close', () => resolve())));
}

async function until(done: () => boolean): Promise<void> {
  while (!done()) await pause(10);
}
