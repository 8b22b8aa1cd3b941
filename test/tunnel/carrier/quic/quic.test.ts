/** Real connections of QUIC on loopback, in the worker as the program runs it. */

import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import t, { type Test } from 'tap';
import { loadQuic } from '../../../../src/tunnel/carrier/quic/quic.js';
import { makeSelfSigned } from '../../../../src/tunnel/carrier/self-signed.js';
import type { Transport, TransportEvents } from '../../../../src/tunnel/carrier/transport.js';
import { TunnelError } from '../../../../src/tunnel/tunnel-api.js';
import { freePort } from '../../link-pair.js';

const PROOF = new Uint8Array(20).fill(7);
/** It ends after that, since a process waits for its threads. */
const NATIVE_HANG_MS = 30_000;
const CERTIFICATE = await makeSelfSigned('localhost');

t.setTimeout(120_000);

/** What one end is told. */
class End implements TransportEvents {
  readonly received: Buffer[] = [];
  opened = false;
  reason = '';
  transport: Transport | undefined;

  onOpen(): void {
    this.opened = true;
  }

  onDatagrams(bytes: Uint8Array, lengths: Int32Array, count: number): void {
    let at = 0;
    for (let i = 0; i < count; i++) {
      this.received.push(Buffer.from(bytes.subarray(at, at + lengths[i]!)));
      at += lengths[i]!;
    }
  }

  onClose(reason: string): void {
    this.reason = reason;
  }
}

async function until(what: string, holds: () => boolean, timeoutMs = 8000): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

interface StartOptions {
  checkProof?: (proof: Uint8Array) => boolean;
  port?: number;
}

const isRight = (proof: Uint8Array): boolean => Buffer.compare(proof, PROOF) === 0;

async function start(t: Test, { checkProof = isRight, port = 0 }: StartOptions = {}) {
  const quic = await loadQuic();
  t.teardown(() => quic.close());
  const accepted: End[] = [];
  const warnings: string[] = [];
  const listener = await quic.listen({
    port,
    mark: undefined,
    certificate: CERTIFICATE.certificate,
    privateKey: CERTIFICATE.privateKey,
    webFolder: undefined,
    checkProof,
    onTransport: (transport) => {
      const end = new End();
      end.transport = transport;
      accepted.push(end);
      return end;
    },
    warn: (message) => warnings.push(message),
  });
  const dial = (more: { proof?: Uint8Array; certificateSha256?: Uint8Array | undefined; address?: string } = {}): End => {
    const end = new End();
    end.transport = quic.dial(
      {
        address: '127.0.0.1',
        port: listener.port,
        serverName: 'localhost',
        certificateSha256: CERTIFICATE.sha256,
        device: undefined,
        localAddress: undefined,
        mark: undefined,
        mtuBytes: 1500,
        proof: PROOF,
        ...more,
      },
      end,
    );
    return end;
  };
  return { quic, listener, accepted, warnings, dial };
}

function send(end: End, datagrams: readonly Uint8Array[]): void {
  end.transport!.sendDatagrams(Buffer.concat(datagrams), Int32Array.from(datagrams.map(({ length }) => length)), datagrams.length);
}

t.test('datagrams go both ways, whole, over IPv4 and IPv6', async (t) => {
  const { accepted, dial } = await start(t, { checkProof: () => true });
  for (const address of ['127.0.0.1', '::1']) {
    const client = dial({ address, proof: randomBytes(20) });
    await until('open', () => client.opened && accepted.length > 0);
    const server = accepted.pop()!;
    t.ok(client.transport!.maxDatagramBytes >= 1400, `${client.transport!.maxDatagramBytes} bytes`);
    t.equal(server.transport!.remote.address, address);
    t.equal(server.transport!.remote.port, client.transport!.local.port);
    const datagrams = Array.from({ length: 60 }, (_, i) => randomBytes(1 + ((i * 97) % client.transport!.maxDatagramBytes)));
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      // No more at once than the first window takes, however busy the machine: what waits too long is dropped.
      for (let i = 0; i < datagrams.length; i += 5) {
        send(from, datagrams.slice(i, i + 5));
        await until('all', () => to.received.length === i + 5);
      }
      t.ok(to.received.every((bytes, i) => bytes.equals(datagrams[i]!)));
    }
    t.equal(client.transport!.counters.sentDatagrams, 60);
    client.transport!.close();
    await until('the other end hears of it', () => server.reason !== '');
    t.equal(server.reason, 'the other side closed it');
    t.equal(client.reason, '', 'who closes is told nothing');
  }
});

t.test('one that is too long is dropped and counted', async (t) => {
  const { accepted, dial } = await start(t);
  const client = dial();
  await until('open', () => client.opened && accepted.length > 0);
  send(client, [new Uint8Array(client.transport!.maxDatagramBytes + 1), new Uint8Array(10)]);
  await until('the other', () => accepted[0]!.received.length === 1);
  send(accepted[0]!, [new Uint8Array(1)]);
  await until('an answer brings the count', () => client.transport!.counters.droppedDatagrams === 1);
});

t.test('a stranger gets no answer, and is not known', async (t) => {
  const { listener, accepted, dial } = await start(t);
  const stranger = dial({ proof: new Uint8Array(20) });
  await until('it was seen', () => (listener.counters.refusedProofs ?? 0) > 0, 4000);
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.notOk(stranger.opened);
  t.equal(accepted.length, 0);
  t.equal(listener.counters.connections, 0, 'the library has seen nothing');
  stranger.transport!.close();
});

t.test('a proof that was shown from elsewhere is worth nothing', async (t) => {
  const { listener, accepted, dial } = await start(t);
  const first = dial();
  await until('open', () => first.opened);
  const copy = dial();
  await until('it was looked at', () => (listener.counters.proofsAsked ?? 0) >= 2, 4000);
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.notOk(copy.opened);
  t.equal(accepted.length, 1);
});

t.test('another certificate than the announced is refused, and so is one that no authority knows', async (t) => {
  const { dial } = await start(t, { checkProof: () => true });
  const other = dial({ certificateSha256: new Uint8Array(32), proof: randomBytes(20) });
  await until('refused', () => other.reason !== '');
  t.match(other.reason, /certificate is not the one/);
  t.notOk(other.opened);
  const unknown = dial({ certificateSha256: undefined, proof: randomBytes(20) });
  await until('refused', () => unknown.reason !== '');
  t.notOk(unknown.opened);
});

t.test('a port that is taken is told', async (t) => {
  const socket = createSocket('udp6');
  await new Promise<void>((resolve) => socket.bind(0, resolve));
  t.teardown(() => socket.close());
  const quic = await loadQuic();
  t.teardown(() => quic.close());
  const { port } = socket.address();
  const { certificate, privateKey } = CERTIFICATE;
  const options = { port, mark: undefined, certificate, privateKey, webFolder: undefined, checkProof: () => true, warn: () => {} };
  await t.rejects(quic.listen({ ...options, onTransport: () => new End() }), TunnelError);
});

t.test('100,000 datagrams of garbage change nothing', async (t) => {
  const { listener, accepted, dial } = await start(t);
  const client = dial();
  await until('open', () => client.opened && accepted.length > 0);
  const before = process.memoryUsage().rss;
  const socket = createSocket('udp4');
  for (let i = 0; i < 100_000; i++) {
    const bytes = randomBytes(i % 3 === 0 ? 29 : 1200);
    // Some that look like the first of a connection, or like a knock.
    if (i % 3 === 1) bytes.set([0xc0, 0, 0, 0, 1, 16]);
    if (i % 3 === 0) bytes.set(Buffer.from('\0mptunnel', 'latin1'));
    socket.send(bytes, listener.port, '127.0.0.1');
    if (i % 200 === 199) await new Promise((resolve) => setImmediate(resolve));
  }
  socket.close();
  send(client, [Buffer.from('still here')]);
  await until('the connection goes on', () => accepted[0]!.received.length === 1);
  const grownMb = (process.memoryUsage().rss - before) / 2 ** 20;
  t.ok(grownMb < 200, `${grownMb.toFixed(0)} MB more`);
  t.equal(accepted.length, 1);
});

t.test('a worker that hangs is ended: its connections close, and can be dialled again', async (t) => {
  const { quic, accepted, warnings, dial } = await start(t, { checkProof: () => true, port: await freePort() });
  const client = dial({ proof: randomBytes(20) });
  await until('open', () => client.opened && accepted.length > 0);
  quic.hangForTest();
  await until('it was noticed', () => client.reason !== '' && accepted[0]!.reason !== '', 15_000);
  t.match(client.reason, /worker was started anew: it hung/);
  t.match(warnings.join(), /started anew/);
  const again = dial({ proof: randomBytes(20) });
  await until('the new worker answers', () => again.opened, 15_000);
});

t.test('a worker that hangs in the library, where nothing can end it: another has its port', async (t) => {
  const { quic, accepted, warnings, dial } = await start(t, { checkProof: () => true, port: await freePort() });
  const client = dial({ proof: randomBytes(20) });
  await until('open', () => client.opened && accepted.length > 0);
  quic.hangForTest(NATIVE_HANG_MS);
  await until('it was noticed', () => client.reason !== '', 15_000);
  const again = dial({ proof: randomBytes(20) });
  await until('the new worker answers', () => again.opened, 15_000);
  t.match(warnings.join(), /does not end/);
  send(again, [Buffer.from('through')]);
  await until('a datagram', () => accepted.at(-1)!.received.length === 1);
});

t.test('what a worker that hangs does not take is dropped and counted', async (t) => {
  const { quic, accepted, dial } = await start(t);
  const client = dial();
  await until('open', () => client.opened && accepted.length > 0);
  quic.hangForTest();
  const datagrams = Array.from({ length: 1000 }, () => new Uint8Array(1400));
  for (let i = 0; i < 10; i++) send(client, datagrams);
  const { sentDatagrams, droppedDatagrams } = client.transport!.counters;
  t.equal(sentDatagrams + droppedDatagrams, 10_000);
  t.ok(sentDatagrams * 1400 < 4 * 2 ** 20, `${sentDatagrams} wait`);
});
