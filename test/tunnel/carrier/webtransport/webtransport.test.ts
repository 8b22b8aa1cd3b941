/** Both ends on loopback, over real sockets. */

import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import t from 'tap';
import { loadNative } from '../../../../src/tun/native.js';
import { makeSelfSigned } from '../../../../src/tunnel/carrier/self-signed.js';
import { openBoundSocket } from '../../../../src/tunnel/carrier/webtransport/bound-socket.js';
import { loadWebTransportOverHttp2 } from '../../../../src/tunnel/carrier/webtransport/http2.js';
import { dialOptions, makeRig, NAME, PROOF, Relay, type Rig, send, sendAll } from './rig.js';

async function withRig(t: { teardown(handler: () => Promise<void>): void }, options: Parameters<typeof makeRig>[0] = {}): Promise<Rig> {
  const rig = await makeRig(options);
  t.teardown(() => rig.close());
  return rig;
}

t.test('datagrams of all sizes come whole, in their order, both ways', async (t) => {
  const rig = await withRig(t);
  const { near, far } = await rig.pair();
  t.equal(near.transport.kind, 'webtransport');
  t.ok(near.transport.maxDatagramBytes >= 1500);
  const datagrams = Array.from({ length: 200 }, (_, i) => randomBytes(1 + ((i * 97) % near.transport.maxDatagramBytes)));
  for (const [from, to] of [
    [near, far],
    [far, near],
  ] as const) {
    await sendAll(from.transport, datagrams, to.ear);
    t.ok(Buffer.concat(to.ear.datagrams).equals(Buffer.concat(datagrams)));
    t.match(from.transport.counters, { sentDatagrams: datagrams.length, droppedDatagrams: 0 });
    t.equal(to.transport.counters.receivedDatagrams, datagrams.length);
  }
  t.equal(near.ear.opened, 1);
  t.equal(far.ear.opened, 0, 'one that was accepted is open');
});

t.test('both ends know their addresses, and the proof with its source is asked for once', async (t) => {
  const rig = await withRig(t);
  const { near, far } = await rig.pair({ localAddress: '127.0.0.77' });
  t.same(near.transport.remote, { address: '127.0.0.1', port: rig.listener.port });
  t.equal(near.transport.local.address, '127.0.0.77');
  t.same(far.transport.remote, near.transport.local);
  t.same(far.transport.local, near.transport.remote);
  t.same(rig.asked, [{ proof: PROOF, source: `127.0.0.77:${near.transport.local.port}` }]);
});

t.test('over IPv6 too, to the port that takes IPv4', async (t) => {
  const rig = await withRig(t);
  const { near, far } = await rig.pair({ address: '::1' }).catch((error: Error) => {
    if (/EAFNOSUPPORT|EADDRNOTAVAIL|ENETUNREACH/.test(error.message)) return { near: undefined, far: undefined };
    throw error;
  });
  if (near === undefined || far === undefined) return t.pass('this host has no IPv6');
  t.equal(far.transport.remote.address, '::1');
  t.equal(rig.asked[0]?.source, `[::1]:${near.transport.local.port}`);
});

t.test('what is longer than a datagram may be does not go, and is counted', async (t) => {
  const rig = await withRig(t);
  const { near, far } = await rig.pair();
  send(near.transport, [Buffer.alloc(near.transport.maxDatagramBytes + 1), Buffer.from('fits')]);
  await far.ear.until((ear) => ear.datagrams.length > 0);
  t.same(far.ear.datagrams, [Buffer.from('fits')]);
  t.match(near.transport.counters, { sentDatagrams: 1, droppedDatagrams: 1 });
});

t.test('a transport that is closed says goodbye, and hears of nothing more', async (t) => {
  const rig = await withRig(t);
  for (const which of ['near', 'far'] as const) {
    const pair = await rig.pair();
    const other = pair[which === 'near' ? 'far' : 'near'];
    pair[which].transport.close();
    send(pair[which].transport, [Buffer.from('too late')]);
    await other.ear.until((ear) => ear.closed.length > 0);
    t.match(other.ear.closed, ['the peer closed the session']);
    await pause(50);
    t.same(pair[which].ear.closed, []);
    t.equal(other.ear.closed.length, 1);
    t.equal(other.ear.datagrams.length, 0);
  }
  await until(() => rig.listener.counters.transports === 0);
});

t.test('another certificate than the one that is pinned is refused', async (t) => {
  const rig = await withRig(t);
  const other = await makeSelfSigned(NAME);
  const { ear } = rig.dial({ certificateSha256: other.sha256 });
  await ear.until(() => ear.closed.length > 0);
  t.match(ear.closed, [/TLS: the certificate is not the one/]);
  t.equal(ear.opened, 0);
  t.same(rig.asked, [], 'it was shown no proof');
});

t.test('without a pin, the authorities of the host must vouch for the name', async (t) => {
  const rig = await withRig(t);
  const { ear } = rig.dial({ certificateSha256: undefined });
  await ear.until(() => ear.closed.length > 0);
  t.match(ear.closed, [/^TLS: self-signed certificate/]);
  t.same(rig.asked, []);
});

t.test('a certificate that the host trusts is good for its name alone', async (t) => {
  const rig = await withRig(t);
  const folder = mkdtempSync(join(tmpdir(), 'authorities-'));
  const before = process.env.SSL_CERT_FILE;
  process.env.SSL_CERT_FILE = join(folder, 'bundle.pem');
  t.teardown(() => {
    if (before === undefined) delete process.env.SSL_CERT_FILE;
    else process.env.SSL_CERT_FILE = before;
    rmSync(folder, { recursive: true });
  });
  writeFileSync(process.env.SSL_CERT_FILE, rig.self.certificate);
  const { near } = await rig.pair({ certificateSha256: undefined });
  t.equal(near.ear.opened, 1);
  await t.rejects(rig.pair({ certificateSha256: undefined, serverName: 'other.test' }), /^TLS: Hostname\/IP does not match/);
  await t.rejects(rig.pair({ certificateSha256: undefined, serverName: '127.0.0.1' }), /^TLS: /);
});

t.test('a name that is none, and a bundle that is none, are told as reasons', async (t) => {
  const rig = await withRig(t);
  await t.rejects(rig.pair({ serverName: 'no name/at all' }), /^(TLS|HTTP\/2): /);
});

t.test('where binding to a device is refused, the source address leads out', async (t) => {
  const asked: (string | undefined)[] = [];
  const native = loadNative();
  const unprivileged = {
    tcpOpen: (options: Parameters<typeof native.tcpOpen>[0]) => {
      asked.push(options.device);
      if (options.device !== undefined) throw Object.assign(new Error('EPERM'), { code: 'EPERM', syscall: 'SO_BINDTODEVICE' });
      return native.tcpOpen(options);
    },
  } as typeof native;
  const rig = await withRig(t);
  const options = { ...dialOptions(rig.listener.port, rig.self), device: 'lo' };
  const socket = openBoundSocket(unprivileged, { ...options, localAddress: '127.0.0.78' });
  socket.destroy();
  t.same(asked, ['lo', undefined]);
  t.throws(() => openBoundSocket(unprivileged, options), { code: 'EPERM' });
});

t.test('a wrong proof opens nothing', async (t) => {
  const rig = await withRig(t);
  const { ear } = rig.dial({ proof: new Uint8Array(PROOF.length) });
  await ear.until(() => ear.closed.length > 0);
  t.match(ear.closed, [/the server answers 405: it does not know this peer's key/]);
  t.equal(rig.accepted.length, 0);
});

t.test('what cannot be dialled says why, after the call has returned', async (t) => {
  const rig = await withRig(t);
  const cases: [Parameters<Rig['dial']>[0], RegExp][] = [
    [{ device: 'no-such-link' }, /^TCP: ENODEV/],
    [{ localAddress: '192.0.2.1' }, /^TCP: EADDRNOTAVAIL/],
    [{ port: 1 }, /^TCP: connect ECONNREFUSED/],
  ];
  for (const [change, expected] of cases) {
    const { ear } = rig.dial(change);
    t.same(ear.closed, []);
    await ear.until(() => ear.closed.length > 0);
    t.match(ear.closed, [expected]);
  }
});

t.test('closing while it opens ends the attempt', async (t) => {
  const rig = await withRig(t);
  const { transport, ear } = rig.dial();
  transport.close();
  await until(() => rig.listener.counters.strangers === 0);
  await pause(50);
  t.same(ear.closed, []);
  t.equal(ear.opened, 0);
});

t.test('the windows of HTTP/2 leave room for 100 ms at 100 Mbit/s, both ways', async (t) => {
  const rig = await withRig(t);
  const relay = await new Relay(rig.listener.port).start();
  t.teardown(() => relay.close());
  const { near, far } = await rig.pair({ port: relay.port });
  // The server opens its windows with its answer, which is on its way.
  send(far.transport, [Buffer.from('ready')]);
  await near.ear.until((ear) => ear.datagrams.length > 0);
  // From here on the server gets nothing, so it opens no window; what the client has sent lies in the relay.
  relay.hold = 'upward';
  const burst = Array.from({ length: 40 }, () => Buffer.alloc(1400));
  near.ear.keep = false;
  while (relay.heldBytes < 2_000_000) {
    send(near.transport, burst);
    await pause(1);
  }
  t.ok(relay.heldBytes >= 1_250_000, `${relay.heldBytes} bytes are on their way up`);
  // Its own windows are as large: acknowledgements of its data are held back too.
  while (near.ear.bytes < 2_000_000) {
    send(far.transport, burst);
    await pause(1);
  }
  t.ok(near.ear.bytes >= 1_250_000, `${near.ear.bytes} bytes have come down`);
});

t.test('a peer who takes nothing costs a bounded queue, and gets nothing late', async (t) => {
  const rig = await withRig(t);
  const { near, far } = await rig.pair();
  far.ear.keep = false;
  const burst = Array.from({ length: 200 }, () => Buffer.alloc(1400));
  // In one turn of the event loop nothing is taken.
  for (let i = 0; i < 50; i++) send(near.transport, burst);
  const { droppedDatagrams } = near.transport.counters;
  t.ok(droppedDatagrams > 50 * 200 - 700, `${droppedDatagrams} dropped`);
  await far.ear.until((ear) => ear.bytes >= near.transport.counters.sentDatagrams * 1400 && ear.bytes > 0);
  const { sentDatagrams, droppedDatagrams: inAll } = near.transport.counters;
  t.equal(sentDatagrams + inAll, 50 * 200);
});

t.test('a TCP connection that has died is found', async (t) => {
  const rig = await withRig(t);
  const relay = await new Relay(rig.listener.port).start();
  t.teardown(() => relay.close());
  const { near, far } = await rig.pair({ port: relay.port });
  relay.hold = 'everything';
  await Promise.all([near, far].map(({ ear }) => ear.until(() => ear.closed.length > 0)));
  t.match(near.ear.closed, [/nothing has come from the peer/]);
  t.match(far.ear.closed, [/nothing has come from the peer|the peer closed|the connection is gone/]);
});

t.test('one that is idle stays', { timeout: 60_000 }, async (t) => {
  const rig = await withRig(t);
  const { near, far } = await rig.pair();
  // Longer than a dead one would live.
  await pause(11_000);
  send(near.transport, [Buffer.from('still here')]);
  await far.ear.until((ear) => ear.datagrams.length > 0);
  t.same([near.ear.closed, far.ear.closed], [[], []]);
});

t.test('a taken port and a wrong key say what to do', async (t) => {
  const rig = await withRig(t);
  const other = await makeSelfSigned(NAME);
  await t.rejects(makeRig({ port: rig.listener.port }), { code: 'listen', message: /TCP port \d+ is taken/ });
  await t.rejects(makeRig({ privateKey: other.privateKey }), { code: 'listen', message: /certificate or its key/ });
  await t.rejects(makeRig({ certificate: 'none' }), { code: 'listen' });
});

t.test('closing the provider closes what it dialled, and frees the port', async (t) => {
  const rig = await makeRig();
  const { near, far } = await rig.pair();
  const { port } = rig.listener;
  await rig.close();
  send(near.transport, [Buffer.from('nothing')]);
  t.same([near.ear.closed, far.ear.closed], [[], []]);
  const again = await makeRig({ port });
  t.equal(again.listener.port, port);
  await again.close();
  await (await loadWebTransportOverHttp2()).close();
});

async function until(done: () => boolean): Promise<void> {
  while (!done()) await pause(10);
}
