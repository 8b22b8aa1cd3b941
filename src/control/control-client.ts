/** The command line's end of the control socket. */

import { connect, type Socket } from 'node:net';
import type { ConnectionPage, ConnectionQuery } from '../tunnel/connections.js';
import type { TunnelStatus } from '../tunnel/status.js';
import type { ChangeMessage, ChangeReply } from './change-requests.js';
import { encodeFrame, FrameDecoder } from './control-frames.js';
import { type CaptureSummary, ControlError, type EventsSummary, requireSocketPath } from './control-protocol.js';
import type { PeerRequest } from './peer-requests.js';

interface Waiting {
  onChunk: ((chunk: Uint8Array) => void) | undefined;
  resolve: (reply: Record<string, unknown>) => void;
  reject: (error: ControlError) => void;
}

const ANSWER_TIMEOUT_MS = 5000;

/** A request that is answered by chunks, and by a summary at its end. */
export interface RunningStream<Summary> {
  /** Ends it early; `done` then resolves. */
  readonly cancel: () => void;
  readonly done: Promise<Summary>;
}

export type RunningCapture = RunningStream<CaptureSummary>;
export type RunningEvents = RunningStream<EventsSummary>;

export class ControlClient {
  readonly #socket: Socket;
  readonly #decoder = new FrameDecoder();
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk) => this.#receive(chunk));
    socket.on('error', () => {});
    socket.on('close', () => this.#failAll(new ControlError('gone', 'the tunnel stopped before it answered')));
  }

  /** Rejects with ControlError `not-running` when nobody listens there. */
  static connect(path: string): Promise<ControlClient> {
    return new Promise((resolve, reject) => {
      requireSocketPath(path);
      const socket = connect(path);
      socket.once('connect', () => resolve(new ControlClient(socket)));
      socket.once('error', (cause: NodeJS.ErrnoException) => {
        if (cause.code === 'EACCES' || cause.code === 'EPERM')
          return reject(new ControlError('not-permitted', `${path}: permission denied: run as root`, { cause }));
        reject(new ControlError('not-running', `${path}: nobody answers (${cause.code})`, { cause }));
      });
    });
  }

  async status(): Promise<TunnelStatus> {
    return (await this.#request('status', {})).status as TunnelStatus;
  }

  /** Rates are known when it was asked before. */
  async connections(query: ConnectionQuery): Promise<ConnectionPage> {
    return (await this.#request('connections', query)).page as ConnectionPage;
  }

  /** Resolves when the daemon has agreed; it is gone some time later. */
  async stop(): Promise<void> {
    await this.#request('stop', {});
  }

  /** Rejects with ControlError, whose message tells what to do. */
  async change(request: ChangeMessage): Promise<ChangeReply> {
    const { command, ...parameters } = request;
    const { done, left } = await this.#request(command, parameters);
    return { done: done as string[], left: left as string[] };
  }

  /** The `result` of the reply. */
  async peers(request: PeerRequest): Promise<unknown> {
    return (await this.#request('peers', { request })).result;
  }

  /** `count` 0: until cancelled. `onChunk` owns its chunks. */
  capture(count: number, onChunk: (chunk: Uint8Array) => void): RunningCapture {
    return this.#stream('capture', { count }, onChunk, ({ packets, droppedPackets }) => ({
      packets: Number(packets),
      droppedPackets: Number(droppedPackets),
    }));
  }

  /** `onChunk` gets whole lines of JSON, one an event. */
  events(last: number, follow: boolean, onChunk: (chunk: Uint8Array) => void): RunningEvents {
    return this.#stream('events', { last, follow }, onChunk, ({ events, droppedEvents }) => ({
      events: Number(events),
      droppedEvents: Number(droppedEvents),
    }));
  }

  /** While paused, what the daemon sends stays in its own bounded queue. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  close(): void {
    this.#socket.destroy();
  }

  #stream<Summary>(
    command: string,
    parameters: object,
    onChunk: (chunk: Uint8Array) => void,
    summarize: (reply: Record<string, unknown>) => Summary,
  ): RunningStream<Summary> {
    const target = this.#nextId;
    const done = this.#request(command, parameters, onChunk).then(summarize);
    return { done, cancel: () => void this.#request('cancel', { target }).catch(() => {}) };
  }

  #request(command: string, parameters: object, onChunk?: (chunk: Uint8Array) => void): Promise<Record<string, unknown>> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      // A capture takes as long as it takes.
      const timer =
        onChunk === undefined
          ? setTimeout(
              () => reject(new ControlError('no-answer', `the daemon does not answer within ${ANSWER_TIMEOUT_MS / 1000} s`)),
              ANSWER_TIMEOUT_MS,
            )
          : undefined;
      const settle = () => {
        clearTimeout(timer);
        this.#waiting.delete(id);
      };
      this.#waiting.set(id, {
        onChunk,
        resolve: (reply) => {
          settle();
          resolve(reply);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      });
      if (this.#socket.destroyed) return this.#failAll(new ControlError('gone', 'the tunnel has stopped'));
      this.#socket.write(encodeFrame({ id, command, ...parameters }));
    });
  }

  #receive(bytes: Uint8Array): void {
    const messages = this.#decoder.push(bytes);
    if (typeof messages === 'string') {
      this.#failAll(new ControlError('bad-answer', `the daemon speaks another protocol (${messages}): restart it with this version`));
      this.#socket.destroy();
      return;
    }
    for (const message of messages) this.#handle(message);
  }

  #handle(message: Record<string, unknown>): void {
    const waiting = this.#waiting.get(Number(message.id));
    if (waiting === undefined) return;
    if (message.chunk instanceof Uint8Array) waiting.onChunk?.(message.chunk);
    else if (message.ok === true) waiting.resolve(message);
    else waiting.reject(new ControlError(String(message.code), String(message.message)));
  }

  #failAll(error: ControlError): void {
    for (const waiting of [...this.#waiting.values()]) waiting.reject(error);
  }
}
