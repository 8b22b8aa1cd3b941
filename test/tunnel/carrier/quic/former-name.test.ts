/** Peers of before HTTP/3, which call our own protocol "h3": of either side one may be older. */

import { randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import t, { type Test } from 'tap';
import { loadQuic, loadQuicHost } from '../../../../src/tunnel/carrier/quic/quic.js';
import { ANY_PATH } from '../../../../src/tunnel/carrier/quic/quic-connection.js';
import { emitKnock } from '../../../../src/tunnel/carrier/quic/quic-wire.js';
import { loadQuiche, type QuicheConfig, type QuicheConnection } from '../../../../src/tunnel/carrier/quic/quiche.js';
import { makeSelfSigned } from '../../../../src/tunnel/carrier/self-signed.js';
import type { ListenOptions } from '../../../../src/tunnel/carrier/transport.js';
import { loadWebTransport } from '../../../../src/tunnel/carrier/webtransport/webtransport.js';
import { freePort } from '../../link-pair.js';
import { type Accepted, dialOptions, Ear, NAME, PROOF, send } from '../webtransport/rig.js';

const QUICHE = loadQuiche();
const SELF = await makeSelfSigned(NAME);
const PACKET_BYTES = 1472;
const FIXED_BIT = 0x40;
const TICK_MS = 5;

t.setTimeout(30_000);

function formerConfig(isServer: boolean): QuicheConfig {
  const config = isServer
    ? QUICHE.Config.withBoringSslCtx(false, false, null, [Buffer.from(SELF.privateKey)], [Buffer.from(SELF.certificate)])
    : QUICHE.Config.withBoringSslCtx(true, true, null);
  config.setApplicationProtos(['h3']);
  config.setMaxIdleTimeout(10_000);
  config.setMaxRecvUdpPayloadSize(PACKET_BYTES);
  config.setMaxSendUdpPayloadSize(PACKET_BYTES);
  config.enableDgram(true, 64, 64);
  return config;
}

/** Sends and receives nothing but datagrams. */
class FormerPeer {
  readonly socket: Socket = createSocket('udp4');
  readonly received: string[] = [];
  #connection: QuicheConnection | undefined;
  #port = 0;
  readonly #timer: NodeJS.Timeout;

  constructor(t: Test) {
    this.#timer = setInterval(() => this.#turn(), TICK_MS);
    t.teardown(() => {
      clearInterval(this.#timer);
      this.socket.close();
    });
    this.socket.on('message', (bytes, { port }) => {
      if ((bytes[0]! & FIXED_BIT) === 0) return;
      this.#port = port;
      this.#connection ??= QUICHE.Connection.accept(randomBytes(16), null, ANY_PATH.to, ANY_PATH.from, formerConfig(true));
      this.#connection.recv(bytes, ANY_PATH);
      this.#turn();
    });
  }

  async listen(): Promise<number> {
    await new Promise<void>((resolve) => this.socket.bind(0, '127.0.0.1', resolve));
    return this.socket.address().port;
  }

  dial(port: number): void {
    this.#port = port;
    this.socket.send(emitKnock(PROOF), port, '127.0.0.1');
    this.#connection = QUICHE.Connection.connect(NAME, randomBytes(16), ANY_PATH.from, ANY_PATH.to, formerConfig(false));
  }

  async say(text: string): Promise<void> {
    while (this.#connection?.isEstablished() !== true) await new Promise((resolve) => setTimeout(resolve, TICK_MS));
    this.#connection.dgramSend(Buffer.from(text));
    this.#turn();
  }

  async hears(): Promise<string> {
    while (this.received.length === 0) await new Promise((resolve) => setTimeout(resolve, TICK_MS));
    return this.received.shift()!;
  }

  #turn(): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    if (connection.timeout() === 0) connection.onTimeout();
    while (connection.dgramRecvQueueLen() > 0) {
      const bytes = new Uint8Array(PACKET_BYTES);
      this.received.push(Buffer.from(bytes.subarray(0, connection.dgramRecv(bytes)!)).toString());
    }
    const packet = new Uint8Array(PACKET_BYTES);
    for (let sent = connection.send(packet); sent !== null; sent = connection.send(packet))
      this.socket.send(packet.slice(0, sent[0]), this.#port, '127.0.0.1');
  }
}

function listenOptions(port: number, accepted: Accepted[]): ListenOptions {
  return {
    ...{ port, mark: undefined, certificate: SELF.certificate, privateKey: SELF.privateKey, webFolder: undefined },
    checkProof: (proof) => Buffer.compare(proof, PROOF) === 0,
    onTransport: (transport) => {
      const ear = new Ear();
      accepted.push({ transport, ear });
      return ear;
    },
    warn: (message) => t.comment(message),
  };
}

for (const isShared of [false, true]) {
  t.test(`an older client comes in${isShared ? ', also where WebTransport has the same port' : ''}`, async (t) => {
    const host = loadQuicHost();
    const [quic, web] = [await loadQuic(host), await loadWebTransport(host)];
    t.teardown(async () => {
      await quic.close();
      await web.close();
    });
    const [accepted, ofWeb]: [Accepted[], Accepted[]] = [[], []];
    const port = await freePort();
    await quic.listen(listenOptions(port, accepted));
    if (isShared) await web.listen(listenOptions(port, ofWeb));
    const former = new FormerPeer(t);
    former.dial(port);
    await former.say('from before');
    while (accepted.length === 0) await new Promise((resolve) => setTimeout(resolve, TICK_MS));
    const { transport, ear } = accepted[0]!;
    await ear.until(({ datagrams }) => datagrams.length > 0);
    t.equal(ear.datagrams[0]!.toString(), 'from before');
    t.equal(transport.kind, 'quic');
    send(transport, [Buffer.from('from now')]);
    t.equal(await former.hears(), 'from now');
    t.equal(ofWeb.length, 0);
  });
}

t.test('an older server is understood', async (t) => {
  const quic = await loadQuic(loadQuicHost());
  t.teardown(() => quic.close());
  const former = new FormerPeer(t);
  const ear = new Ear();
  const transport = quic.dial(dialOptions(await former.listen(), SELF), ear);
  await ear.until(({ opened, closed }) => opened > 0 || closed.length > 0);
  t.same(ear.closed, []);
  send(transport, [Buffer.from('from now')]);
  t.equal(await former.hears(), 'from now');
  await former.say('from before');
  await ear.until(({ datagrams }) => datagrams.length > 0);
  t.equal(ear.datagrams[0]!.toString(), 'from before');
});
