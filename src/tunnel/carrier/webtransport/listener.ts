/**
 * The server: a TCP port that is a web server to everybody (TLS, HTTP/1.1 and HTTP/2) and takes WebTransport sessions of those whose request has the proof of a peer in its path.
 * Until then a connection is a stranger's: its windows are small, and there are only so many (admission.ts).
 */

import { type IncomingHttpHeaders, performServerHandshake, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import { createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from 'node:tls';
import type { NativeAddon } from '../../../tun/native.js';
import { TunnelError } from '../../tunnel-api.js';
import { proofOf } from '../session-request.js';
import type { ListenOptions, TransportEvents, TransportListener } from '../transport.js';
import { Admission, MAX_STRANGER_AGE_MS } from './admission.js';
import { localOf, openListeningSocket, plainAddress, portOf, unsentLimiter } from './bound-socket.js';
import { WebTransportConnection, WINDOW_BYTES } from './connection.js';
import { WebServer } from './web-server.js';

const HANDSHAKE_MS = 5000;
/** Of a stranger who neither says nor reads anything. */
const IDLE_MS = 15_000;
const BACKLOG = 511;
const MAX_TRANSPORTS = 1024;

/** Of an HTTP/2 connection of a stranger. */
const STRANGER_WINDOW_BYTES = 65_535;
const STRANGER_STREAMS = 32;
const STRANGER_HEADER_BYTES = 8192;
const SESSION_MEMORY_MB = 1;

const NOTHING_HEARD: TransportEvents = { onOpen: () => undefined, onDatagrams: () => undefined, onClose: () => undefined };

/** One TCP connection. */
interface Visitor {
  readonly raw: Socket;
  /** Text of its address and port. */
  readonly source: string;
  readonly address: string;
  readonly port: number;
  readonly prove: () => void;
  hasTransport: boolean;
}

export class WebTransportListener implements TransportListener {
  readonly #native: NativeAddon;
  readonly #options: ListenOptions;
  readonly #tcp: Server;
  readonly #tls: TlsServer;
  readonly #web: WebServer;
  readonly #admission = new Admission();
  /** By the text of their address and port: a TLS socket does not say on which TCP one it stands. */
  readonly #visitors = new Map<string, Visitor>();
  readonly #transports = new Set<WebTransportConnection>();
  readonly #sweep: NodeJS.Timeout;
  #accepted = 0;
  #failedHandshakes = 0;
  #idle = 0;
  #malformed = 0;
  #refusedTransports = 0;
  port = 0;

  /** Throws TunnelError `listen`. */
  constructor(native: NativeAddon, options: ListenOptions) {
    this.#native = native;
    this.#options = options;
    this.#web = new WebServer(options.webFolder);
    this.#tls = this.#createTls();
    this.#tcp = createTcpServer({ noDelay: true }, (socket) => this.#handleConnection(socket));
    this.#sweep = setInterval(() => this.#admission.expire(performance.now()), MAX_STRANGER_AGE_MS / 8).unref();
  }

  get counters(): Readonly<Record<string, number>> {
    return {
      transports: this.#transports.size,
      strangers: this.#admission.count,
      acceptedConnections: this.#accepted,
      refusedConnections: this.#admission.refused,
      displacedConnections: this.#admission.displaced,
      expiredConnections: this.#admission.expired + this.#idle,
      failedHandshakes: this.#failedHandshakes,
      webRequests: this.#web.requests,
      malformedSessions: this.#malformed,
      refusedTransports: this.#refusedTransports,
    };
  }

  /** Rejects with TunnelError `listen`. */
  async listen(): Promise<void> {
    const { port, mark } = this.#options;
    try {
      const fd = openListeningSocket(this.#native, port, mark);
      await new Promise<void>((resolve, reject) => {
        this.#tcp.once('error', reject);
        this.#tcp.listen({ fd, backlog: BACKLOG }, () => resolve());
      });
    } catch (cause) {
      clearInterval(this.#sweep);
      throw listenError(port, cause as NodeJS.ErrnoException);
    }
    this.#tcp.on('error', (error) => this.#options.warn(`webtransport: ${error.message}`));
    this.port = portOf(this.#tcp);
  }

  async close(): Promise<void> {
    clearInterval(this.#sweep);
    for (const transport of this.#transports) transport.close();
    const closed = new Promise<void>((resolve) => this.#tcp.close(() => resolve()));
    // What was said goodbye to closes by itself.
    for (const { raw, hasTransport } of this.#visitors.values()) if (!hasTransport) raw.destroy();
    await closed;
  }

  #createTls(): TlsServer {
    const { certificate, privateKey } = this.#options;
    try {
      const tls = createTlsServer({
        cert: certificate,
        key: privateKey,
        ALPNProtocols: ['h2', 'http/1.1'],
        handshakeTimeout: HANDSHAKE_MS,
      });
      tls.on('secureConnection', (socket) => this.#handleSecure(socket));
      tls.on('tlsClientError', (_error, socket) => {
        this.#failedHandshakes++;
        socket.destroy();
      });
      return tls;
    } catch (cause) {
      const message = `The certificate or its key cannot be used (${(cause as Error).message}): both must be PEM, and belong together.`;
      throw new TunnelError('listen', message, { cause });
    }
  }

  #handleConnection(raw: Socket): void {
    const address = plainAddress(raw.remoteAddress);
    // It is gone already.
    if (address === '') return void raw.destroy();
    const stranger = this.#admission.admit(address, performance.now(), () => raw.destroy());
    if (stranger === undefined) return void raw.resetAndDestroy();
    this.#accepted++;
    const port = raw.remotePort ?? 0;
    const source = sourceText(address, port);
    raw.on('error', () => undefined);
    raw.setTimeout(IDLE_MS, () => {
      this.#idle++;
      raw.destroy();
    });
    raw.on('close', () => {
      this.#visitors.delete(source);
      this.#admission.release(stranger);
    });
    const prove = () => {
      this.#admission.release(stranger);
      raw.setTimeout(0);
    };
    this.#visitors.set(source, { raw, source, address, port, prove, hasTransport: false });
    this.#tls.emit('connection', raw);
  }

  #handleSecure(socket: TLSSocket): void {
    socket.on('error', () => undefined);
    const visitor = this.#visitors.get(sourceText(plainAddress(socket.remoteAddress), socket.remotePort ?? 0));
    // It is gone already.
    if (visitor === undefined || socket.destroyed) return void socket.destroy();
    if (socket.alpnProtocol !== 'h2') {
      this.#web.http1.emit('connection', socket);
      return;
    }
    const session = performServerHandshake(socket, {
      settings: {
        enableConnectProtocol: true,
        initialWindowSize: STRANGER_WINDOW_BYTES,
        maxConcurrentStreams: STRANGER_STREAMS,
        maxHeaderListSize: STRANGER_HEADER_BYTES,
      },
      maxSessionMemory: SESSION_MEMORY_MB,
    });
    session.on('error', () => undefined);
    session.on('stream', (stream, headers) => this.#handleStream(visitor, session, stream, headers));
  }

  #handleStream(visitor: Visitor, session: ServerHttp2Session, stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    // It may have been reset in the same breath.
    if (stream.destroyed || stream.closed) return;
    const wanted = headers[':method'] === 'CONNECT' && headers[':protocol'] === 'webtransport' && !visitor.hasTransport;
    const proof = wanted ? proofOf(headers[':path'] ?? '') : undefined;
    if (proof === undefined || !this.#options.checkProof(proof, visitor.source)) {
      this.#web.handleHttp2(stream, headers);
    } else if (this.#transports.size >= MAX_TRANSPORTS) {
      this.#refusedTransports++;
      stream.on('error', () => undefined);
      stream.respond({ ':status': 503 }, { endStream: true });
    } else {
      this.#accept(visitor, session, stream);
    }
  }

  #accept(visitor: Visitor, session: ServerHttp2Session, stream: ServerHttp2Stream): void {
    visitor.hasTransport = true;
    visitor.prove();
    const remote = { address: visitor.address, port: visitor.port };
    const connection = new WebTransportConnection(localOf(visitor.raw), remote, NOTHING_HEARD, () => session.destroy());
    this.#transports.add(connection);
    connection.onGone = () => {
      this.#transports.delete(connection);
      if (connection.malformed !== '') this.#malformed++;
    };
    stream.respond({ ':status': 200 });
    session.settings({ initialWindowSize: WINDOW_BYTES });
    session.setLocalWindowSize(WINDOW_BYTES);
    connection.open({ stream, session, setUnsentLimit: unsentLimiter(this.#native, visitor.raw) });
    connection.events = this.#options.onTransport(connection);
  }
}

function sourceText(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

function listenError(port: number, cause: NodeJS.ErrnoException): TunnelError {
  const message =
    cause.code === 'EADDRINUSE'
      ? `TCP port ${port} is taken: choose another port for webtransport, or stop the program that holds it ("ss -ltnp" shows it).`
      : cause.code === 'EACCES'
        ? `TCP port ${port} needs root or CAP_NET_BIND_SERVICE: choose a port above 1023 for webtransport.`
        : `TCP port ${port} cannot be opened: ${cause.message}`;
  return new TunnelError('listen', message, { cause });
}
