/** The kind `webtransport` on loopback: HTTP/3 in the worker as the program runs it, HTTP/2 beside it, and what is chosen of both. */

import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import t, { type Test } from 'tap';
import { loadQuic, loadQuicHost } from '../../../../src/tunnel/carrier/quic/quic.js';
import type { QuicHost } from '../../../../src/tunnel/carrier/quic/quic-host.js';
import { makeSelfSigned } from '../../../../src/tunnel/carrier/self-signed.js';
import type { DialOptions, ListenOptions, TransportProvider } from '../../../../src/tunnel/carrier/transport.js';
import { loadWebTransport } from '../../../../src/tunnel/carrier/webtransport/webtransport.js';
import { freePort } from '../../link-pair.js';
import { type Accepted, dialOptions, Ear, NAME, PROOF, send, sendAll } from './rig.js';

const SELF = await makeSelfSigned(NAME);
const isRight = (proof: Uint8Array): boolean => Buffer.compare(proof, PROOF) === 0;

t.setTimeout(60_000);

function listenOptions(accepted: Accepted[], warnings: string[], changes: Partial<ListenOptions> = {}): ListenOptions {
  return {
    ...{ port: 0, mark: undefined, certificate: SELF.certificate, privateKey: SELF.privateKey, webFolder: undefined },
    checkProof: isRight,
    onTransport: (transport) => {
      const ear = new Ear();
      accepted.push({ transport, ear });
      return ear;
    },
    warn: (message) => void warnings.push(message),
    ...changes,
  };
}

async function start(t: Test, quic: Promise<QuicHost> = loadQuicHost(), changes: Partial<ListenOptions> = {}) {
  const provider = await loadWebTransport(quic);
  t.teardown(() => provider.close());
  const accepted: Accepted[] = [];
  const warnings: string[] = [];
  const listener = await provider.listen(listenOptions(accepted, warnings, changes));
  return { provider, listener, accepted, warnings };
}

async function dialled(provider: TransportProvider, port: number, more: Partial<DialOptions> = {}): Promise<Accepted> {
  const ear = new Ear();
  const transport = provider.dial({ ...dialOptions(port, SELF), ...more }, ear);
  await ear.until(({ opened, closed }) => opened > 0 || closed.length > 0);
  return { transport, ear };
}

t.test('where UDP passes it goes over HTTP/3: datagrams both ways, whole, and goodbyes', async (t) => {
  const { provider, listener, accepted, warnings } = await start(t, undefined, { checkProof: () => true });
  for (const address of ['127.0.0.1', '::1']) {
    const near = await dialled(provider, listener.port, { address, proof: randomBytes(20) });
    await near.ear.until(() => accepted.length > 0);
    const far = accepted.pop()!;
    t.match(
      [near.transport, far.transport],
      [
        { kind: 'webtransport', protocol: 'HTTP/3' },
        { kind: 'webtransport', protocol: 'HTTP/3' },
      ],
    );
    t.ok(near.transport.maxDatagramBytes >= 1400);
    t.equal(far.transport.remote.port, near.transport.local.port);
    const datagrams = Array.from({ length: 100 }, (_, i) => randomBytes(1 + ((i * 97) % near.transport.maxDatagramBytes)));
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      await sendAll(from.transport, datagrams, to.ear);
      t.ok(Buffer.concat(to.ear.datagrams).equals(Buffer.concat(datagrams)));
    }
    near.transport.close();
    await far.ear.until(({ closed }) => closed.length > 0);
    t.same(far.ear.closed, ['the peer closed the session']);
    t.same(near.ear.closed, []);
  }
  t.same(warnings, []);
});

t.test('one port serves both carriers, each with its own protocol', async (t) => {
  const host = loadQuicHost();
  const port = await freePort();
  const quic = await loadQuic(host);
  const [ofQuic, warnings]: [Accepted[], string[]] = [[], []];
  await quic.listen(listenOptions(ofQuic, warnings, { port, checkProof: () => true }));
  const { provider, accepted } = await start(t, host, { port, checkProof: () => true });
  const web = await dialled(provider, port, { proof: randomBytes(20) });
  const plain = await dialled(quic, port, { proof: randomBytes(20) });
  t.equal(web.transport.protocol, 'HTTP/3');
  t.equal(plain.transport.kind, 'quic');
  send(web.transport, [Buffer.from('web')]);
  await web.ear.until(() => accepted.length > 0);
  await accepted[0]!.ear.until(({ datagrams }) => datagrams.length > 0);
  send(plain.transport, [Buffer.from('plain')]);
  await ofQuic[0]!.ear.until(({ datagrams }) => datagrams.length > 0);
  t.same([accepted[0]!.ear.datagrams, ofQuic[0]!.ear.datagrams], [[Buffer.from('web')], [Buffer.from('plain')]]);
  t.same(warnings, []);
});

t.test('a stranger is answered over HTTP/2 alone: of him the library of QUIC sees nothing', async (t) => {
  const { provider, listener, accepted } = await start(t);
  const stranger = await dialled(provider, listener.port, { proof: new Uint8Array(20) });
  t.match(stranger.ear.closed[0] ?? '', /answers 40/);
  t.equal(accepted.length, 0);
  t.equal(listener.counters.http3Connections ?? 0, 0);
});

t.test('another certificate than the announced is refused over both', async (t) => {
  const { provider, listener } = await start(t, undefined, { checkProof: () => true });
  const other = await dialled(provider, listener.port, { certificateSha256: new Uint8Array(32) });
  t.match(other.ear.closed[0], /HTTP\/3: .*certificate is not the one.*HTTP\/2: .*certificate is not the one/);
});

t.test('where the UDP port is taken, or QUIC is missing, that is said once, and HTTP/2 carries', async (t) => {
  const socket = createSocket('udp6');
  await new Promise<void>((resolve) => socket.bind(0, resolve));
  t.teardown(() => socket.close());
  const { port } = socket.address();
  const missing = async (): Promise<QuicHost> => {
    throw new Error('no package');
  };
  for (const [quic, why] of [
    [loadQuicHost, /HTTP\/2 only.*is taken/],
    [missing, /HTTP\/2 only.*no package/],
  ] as const) {
    const { provider, listener, warnings } = await start(t, quic(), { port });
    t.equal(warnings.length, 1);
    t.match(warnings[0], why);
    const near = await dialled(provider, port);
    t.equal(near.transport.protocol, 'HTTP/2');
    near.transport.close();
    await listener.close();
  }
});
