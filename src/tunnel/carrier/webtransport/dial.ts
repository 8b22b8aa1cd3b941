/**
 * The client: TCP by a given way out, TLS, HTTP/2, an extended CONNECT (RFC 8441) for `webtransport`.
 *
 * It speaks HTTP/2 by node:http2. The package @fails-components/webtransport, whose peers understand us, opens its own sockets by name and port, so that it can be
 * bound to no interface, refuses a pinned certificate that is good for more than 14 days, keeps HTTP/2's window of 64 KB, and queues datagrams without bound.
 */

import { createHash, timingSafeEqual } from 'node:crypto';
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2 } from 'node:http2';
import { isIP, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import type { NativeAddon } from '../../../tun/native.js';
import { authorityOf, proofPath } from '../session-request.js';
import type { DialOptions, TransportEvents } from '../transport.js';
import { hostAuthorities } from './authorities.js';
import { localOf, openBoundSocket, unsentLimiter } from './bound-socket.js';
import { WebTransportConnection, WINDOW_BYTES } from './connection.js';

/** From the first SYN to the answer. */
const OPENING_MS = 10_000;
const OK = 200;

export function dialWebTransport(native: NativeAddon, options: DialOptions, events: TransportEvents): WebTransportConnection {
  const attempt = new Attempt(native, options, events);
  attempt.start();
  return attempt.connection;
}

class Attempt {
  readonly connection: WebTransportConnection;
  readonly #native: NativeAddon;
  readonly #options: DialOptions;
  readonly #timer: NodeJS.Timeout;
  #raw: Socket | undefined;
  #tls: TLSSocket | undefined;
  #session: ClientHttp2Session | undefined;
  #stage = 'TCP';

  constructor(native: NativeAddon, options: DialOptions, events: TransportEvents) {
    this.#native = native;
    this.#options = options;
    const local = { address: options.localAddress ?? '', port: 0 };
    this.connection = new WebTransportConnection(local, { address: options.address, port: options.port }, events, () => this.#abandon());
    this.#timer = setTimeout(() => this.#fail('no answer'), OPENING_MS).unref();
  }

  start(): void {
    try {
      this.#raw = openBoundSocket(this.#native, this.#options);
    } catch (error) {
      // Not within the owner's call.
      setImmediate(() => this.#fail((error as Error).message));
      return;
    }
    const { address, port } = this.#options;
    this.#raw.on('error', (error) => this.#fail(error.message));
    this.#raw.setNoDelay(true);
    this.#raw.connect({ host: address, port }, () => this.#attempt(() => this.#startTls()));
  }

  #startTls(): void {
    const { serverName, certificateSha256 } = this.#options;
    const pinned = certificateSha256 !== undefined;
    this.#stage = 'TLS';
    this.connection.local = localOf(this.#raw!);
    this.#tls = connectTls({
      socket: this.#raw!,
      host: serverName,
      ...(isIP(serverName) === 0 && { servername: serverName }),
      ALPNProtocols: ['h2'],
      rejectUnauthorized: !pinned,
      ...(!pinned && { secureContext: hostAuthorities() }),
    });
    this.#tls.on('error', (error) => this.#fail(error.message));
    this.#tls.on('close', () => this.#fail('the server closed the connection'));
    this.#tls.on('secureConnect', () => this.#attempt(() => this.#startHttp()));
  }

  #startHttp(): void {
    const { serverName, port, certificateSha256 } = this.#options;
    const tls = this.#tls!;
    if (certificateSha256 !== undefined && !isCertificate(tls, certificateSha256)) {
      this.#fail('the certificate is not the one that was announced');
      return;
    }
    if (tls.alpnProtocol !== 'h2') {
      this.#fail('the server speaks no HTTP/2');
      return;
    }
    this.#stage = 'HTTP/2';
    const session = connectHttp2(`https://${authorityOf(serverName, port)}`, {
      createConnection: () => tls,
      settings: { enablePush: false, initialWindowSize: WINDOW_BYTES },
    });
    this.#session = session;
    session.on('error', (error) => this.#fail(error.message));
    session.on('connect', () => session.setLocalWindowSize(WINDOW_BYTES));
    session.once('remoteSettings', (settings) => {
      if (settings.enableConnectProtocol === true) this.#attempt(() => this.#request(session));
      else this.#fail('the server has no WebTransport');
    });
  }

  #request(session: ClientHttp2Session): void {
    const path = proofPath(this.#options.proof);
    const headers = { ':method': 'CONNECT', ':protocol': 'webtransport', ':scheme': 'https', ':path': path };
    const stream = session.request(headers, { endStream: false });
    stream.on('error', (error) => this.#fail(error.message));
    stream.on('close', () => this.#fail('the server refused the session'));
    stream.on('response', (answer) => this.#handleAnswer(stream, answer[':status'] ?? 0));
  }

  #handleAnswer(stream: ClientHttp2Stream, status: number): void {
    if (status !== OK) {
      this.#fail(
        `the server answers ${status}: it does not know this peer's key, is another server, or one of the clocks is wrong by more than ten minutes`,
      );
      return;
    }
    clearTimeout(this.#timer);
    this.connection.open({ stream, session: this.#session!, setUnsentLimit: unsentLimiter(this.#native, this.#raw!) });
    if (this.connection.isOpen) this.connection.events.onOpen();
  }

  /** Names that are none, an unusable bundle of certificates, a session that has just closed: Node throws. */
  #attempt(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#fail((error as Error).message);
    }
  }

  /** After it is open, errors only say why it closes. */
  #fail(reason: string): void {
    if (this.connection.isOpen) this.connection.note(reason);
    else this.connection.fail(`${this.#stage}: ${reason}`);
  }

  #abandon(): void {
    clearTimeout(this.#timer);
    this.#session?.destroy();
    this.#tls?.destroy();
    this.#raw?.destroy();
  }
}

function isCertificate(tls: TLSSocket, sha256: Uint8Array): boolean {
  const certificate = tls.getPeerX509Certificate();
  if (certificate === undefined) return false;
  const digest = createHash('sha256').update(certificate.raw).digest();
  return digest.length === sha256.length && timingSafeEqual(digest, sha256);
}
