/** The daemon's end of the control socket: a unix stream socket for its owner only. */

import { rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import type { ConnectionPage, ConnectionQuery } from '../tunnel/connections.js';
import type { TunnelEvent } from '../tunnel/events.js';
import type { PacketTap } from '../tunnel/link.js';
import type { TunnelStatus } from '../tunnel/status.js';
import { CaptureStream } from './capture-stream.js';
import type { ChangeReply, ChangeRequest } from './change-requests.js';
import { encodeFrame, FrameDecoder } from './control-frames.js';
import { ControlError, type ControlRequest, parseRequest, requireSocketPath } from './control-protocol.js';
import { EventStream } from './event-stream.js';
import type { PeerRequest } from './peer-requests.js';
import { listenPrivately } from './private-listen.js';

/** What the commands act upon. */
export interface ControlTarget {
  status(): TunnelStatus;
  /** Rejects with an error whose message is for the user. */
  managePeers(request: PeerRequest): Promise<unknown>;
  /** Begins to stop; the reply does not wait for the end. */
  stop(): void;
  connections(query: ConnectionQuery): ConnectionPage;
  /** Rejects with an error that has a `code`. */
  change(request: ChangeRequest): Promise<ChangeReply>;
  addTap(tap: PacketTap): void;
  removeTap(tap: PacketTap): void;
  /** Tells the last `last` events at once, then every new one. */
  addEventReader(reader: (event: TunnelEvent) => void, last: number): void;
  removeEventReader(reader: (event: TunnelEvent) => void): void;
}

export interface ControlServer {
  /** Ends captures and streams of events with their replies, closes connections, removes the socket file. */
  close(): Promise<void>;
}

const CONNECTIONS_MAX_COUNT = 64;
/** Answers that nobody reads are no reason to hold memory. */
const UNREAD_MAX_BYTES = 16 << 20;
const CLOSE_PATIENCE_MS = 500;

/** Throws ControlError when the path cannot serve. A socket file that a dead process left there is replaced. */
export async function listenControl(path: string, target: ControlTarget): Promise<ControlServer> {
  requireSocketPath(path);
  // Whatever a dead process left there: the name is that of the tunnel, which this process has.
  rmSync(path, { force: true });
  const connections = new Set<ControlConnection>();
  const server = createServer({ allowHalfOpen: false }, (socket) => {
    const connection = new ControlConnection(socket, target);
    connections.add(connection);
    socket.on('close', () => connections.delete(connection));
  });
  server.maxConnections = CONNECTIONS_MAX_COUNT;
  await listenPrivately(server, path).catch((cause: NodeJS.ErrnoException) => {
    throw new ControlError('no-control-socket', `${path} cannot be made (${cause.code}): run as root, or set MPTUNNEL_RUN_DIR`, { cause });
  });
  return {
    async close(): Promise<void> {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const connection of connections) connection.finish();
      await closed;
      rmSync(path, { force: true });
    },
  };
}

class ControlConnection {
  readonly #socket: Socket;
  readonly #target: ControlTarget;
  readonly #decoder = new FrameDecoder();
  readonly #captures = new Map<number, CaptureStream>();
  readonly #eventStreams = new Map<number, EventStream>();

  constructor(socket: Socket, target: ControlTarget) {
    this.#socket = socket;
    this.#target = target;
    socket.on('data', (chunk) => this.#receive(chunk));
    // The other end vanished: "close" follows.
    socket.on('error', () => {});
    socket.on('close', () => this.#endStreams());
  }

  finish(): void {
    this.#endStreams();
    this.#socket.end();
    // A reader that has stopped reading does not hold up the daemon.
    const timer = setTimeout(() => this.#socket.destroy(), CLOSE_PATIENCE_MS);
    this.#socket.on('close', () => clearTimeout(timer));
  }

  #receive(chunk: Uint8Array): void {
    const messages = this.#decoder.push(chunk);
    const fault = typeof messages === 'string' ? messages : this.#handleAll(messages);
    // Somebody who speaks another language gets one answer, and the end.
    if (fault !== undefined) {
      this.#send({ id: 0, ok: false, code: 'bad-request', message: fault });
      this.#socket.destroySoon();
    } else if (this.#socket.writableLength > UNREAD_MAX_BYTES) this.#socket.destroy();
  }

  #handleAll(messages: readonly Record<string, unknown>[]): string | undefined {
    for (const message of messages) {
      const request = parseRequest(message);
      if (typeof request === 'string') return request;
      this.#handle(request);
    }
    return undefined;
  }

  #handle(request: ControlRequest): void {
    const { id } = request;
    switch (request.command) {
      case 'status':
        this.#send({ id, ok: true, status: this.#target.status() });
        break;
      case 'stop':
        this.#send({ id, ok: true });
        this.#target.stop();
        break;
      case 'connections':
        this.#send({ id, ok: true, page: this.#target.connections(request) });
        break;
      case 'change':
        this.#answer(id, this.#target.change(request.change));
        break;
      case 'peers':
        this.#answer(
          id,
          this.#target.managePeers(request.request).then((result) => ({ result: result ?? null })),
        );
        break;
      case 'capture':
        this.#startCapture(id, request.count);
        break;
      case 'events':
        this.#startEvents(id, request.last, request.follow);
        break;
      case 'cancel':
        this.#endCapture(request.target);
        this.#endEvents(request.target);
        this.#send({ id, ok: true });
        break;
    }
  }

  /** With what `work` resolves with, or with why it does not. */
  #answer(id: number, work: Promise<object>): void {
    work.then(
      (reply) => this.#send({ id, ok: true, ...reply }),
      (error: unknown) => {
        const { code, message } = error as { code?: unknown; message: string };
        this.#send({ id, ok: false, code: String(code ?? 'failed'), message });
      },
    );
  }

  #startCapture(id: number, count: number): void {
    if (this.#captures.size > 0) {
      this.#send({ id, ok: false, code: 'busy', message: 'one capture a connection' });
      return;
    }
    const capture = new CaptureStream({
      count,
      send: (chunk) => this.#send({ id, chunk }),
      queuedBytes: () => this.#socket.writableLength,
      onFull: () => this.#endCapture(id),
    });
    this.#captures.set(id, capture);
    this.#target.addTap(capture.tap);
  }

  #endCapture(id: number): void {
    const capture = this.#captures.get(id);
    if (capture === undefined) return;
    this.#captures.delete(id);
    this.#target.removeTap(capture.tap);
    this.#send({ id, ok: true, ...capture.end() });
  }

  #startEvents(id: number, last: number, follow: boolean): void {
    if (this.#eventStreams.size > 0) {
      this.#send({ id, ok: false, code: 'busy', message: 'one stream of events a connection' });
      return;
    }
    const stream = new EventStream({ send: (chunk) => this.#send({ id, chunk }), queuedBytes: () => this.#socket.writableLength });
    this.#eventStreams.set(id, stream);
    this.#target.addEventReader(stream.push, last);
    if (!follow) this.#endEvents(id);
  }

  #endEvents(id: number): void {
    const stream = this.#eventStreams.get(id);
    if (stream === undefined) return;
    this.#eventStreams.delete(id);
    this.#target.removeEventReader(stream.push);
    this.#send({ id, ok: true, ...stream.summary });
  }

  #endStreams(): void {
    for (const id of [...this.#captures.keys()]) this.#endCapture(id);
    for (const id of [...this.#eventStreams.keys()]) this.#endEvents(id);
  }

  #send(message: object): void {
    if (this.#socket.writable) this.#socket.write(encodeFrame(message));
  }
}
