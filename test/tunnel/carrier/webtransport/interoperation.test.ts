/** Against another implementation, @fails-components/webtransport over HTTP/2, in both roles. */

import { randomBytes } from 'node:crypto';
import t from 'tap';
import { makeSelfSigned } from '../../../../src/tunnel/carrier/self-signed.js';
import { loadWebTransportOverHttp2 } from '../../../../src/tunnel/carrier/webtransport/http2.js';
import { dialOptions, Ear, makeRig, NAME, PROOF, send } from './rig.js';

// It says on loading that it found no HTTP/3.
const { log, error } = console;
console.log = console.error = () => undefined;
const { Http2Server, WebTransport, quicheLoaded } = await import('@fails-components/webtransport');
await quicheLoaded;
Object.assign(console, { log, error });

const PATH = `/${Buffer.from(PROOF).toString('base64url')}`;
/** Few enough to go at once: none waits, and none is dropped. */
const DATAGRAMS = Array.from({ length: 60 }, (_, i) => Uint8Array.from(randomBytes(1 + ((i * 53) % 500))));
/** A certificate that is pinned is good for 14 days at most, with that one. */
const DAYS = 10;

interface Datagrams {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable?: WritableStream<Uint8Array>;
  createWritable?: () => WritableStream<Uint8Array>;
}

async function read(datagrams: Datagrams, count: number): Promise<Buffer[]> {
  const reader = datagrams.readable.getReader();
  const found: Buffer[] = [];
  while (found.length < count) {
    const { value, done } = await reader.read();
    if (done) break;
    found.push(Buffer.from(value));
  }
  reader.releaseLock();
  return found;
}

async function write(datagrams: Datagrams, all: readonly Uint8Array[]): Promise<void> {
  const writer = (datagrams.createWritable?.() ?? datagrams.writable!).getWriter();
  for (const one of all) await writer.write(one);
  writer.releaseLock();
}

t.test('its client opens a session with our server, and datagrams go both ways', async (t) => {
  const rig = await makeRig({}, DAYS);
  t.teardown(() => rig.close());
  const client = new WebTransport(`https://127.0.0.1:${rig.listener.port}${PATH}`, {
    serverCertificateHashes: [{ algorithm: 'sha-256', value: Buffer.from(rig.self.sha256) }],
    forceReliable: true,
  } as object);
  await client.ready;
  const { transport, ear } = rig.accepted[0]!;
  const down = read(client.datagrams as unknown as Datagrams, DATAGRAMS.length);
  send(transport, DATAGRAMS);
  t.same(
    await down,
    DATAGRAMS.map((one) => Buffer.from(one)),
  );
  await write(client.datagrams as unknown as Datagrams, DATAGRAMS);
  await ear.until(() => ear.datagrams.length === DATAGRAMS.length);
  t.same(
    ear.datagrams,
    DATAGRAMS.map((one) => Buffer.from(one)),
  );
  client.close({ closeCode: 7, reason: 'moving house' });
  await ear.until(() => ear.closed.length > 0);
  t.match(ear.closed, ['the peer closed the session: moving house']);
});

t.test('its client is refused without a proof', async (t) => {
  const rig = await makeRig({}, DAYS);
  t.teardown(() => rig.close());
  const client = new WebTransport(`https://127.0.0.1:${rig.listener.port}/`, {
    serverCertificateHashes: [{ algorithm: 'sha-256', value: Buffer.from(rig.self.sha256) }],
    forceReliable: true,
  } as object);
  client.closed.catch(() => undefined);
  await t.rejects(client.ready);
  t.equal(rig.accepted.length, 0);
});

t.test('our client opens a session with its server, and datagrams go both ways', async (t) => {
  const self = await makeSelfSigned(NAME, DAYS);
  const server = new Http2Server({ port: 0, host: '127.0.0.1', secret: 'none', cert: self.certificate, privKey: self.privateKey });
  const sessions = server.sessionStream(PATH).getReader();
  server.startServer();
  await server.ready;
  const provider = await loadWebTransportOverHttp2();
  t.teardown(async () => {
    await provider.close();
    server.stopServer();
  });
  const ear = new Ear();
  const near = provider.dial(dialOptions(server.address()!.port, self), ear);
  await ear.until(() => ear.opened > 0 || ear.closed.length > 0);
  t.same(ear.closed, []);
  const session = (await sessions.read()).value as unknown as { ready: Promise<void>; datagrams: Datagrams; closed: Promise<unknown> };
  await session.ready;
  const up = read(session.datagrams, DATAGRAMS.length);
  send(near, DATAGRAMS);
  t.same(
    await up,
    DATAGRAMS.map((one) => Buffer.from(one)),
  );
  await write(session.datagrams, DATAGRAMS);
  await ear.until(() => ear.datagrams.length === DATAGRAMS.length);
  t.same(
    ear.datagrams,
    DATAGRAMS.map((one) => Buffer.from(one)),
  );
  near.close();
  await session.closed;
  t.pass('it has understood the goodbye');
});
