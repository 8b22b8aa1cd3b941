/**
 * One connection of HTTP/3 that carries one WebTransport session (draft-ietf-webtrans-http3), of which only the datagrams are used: an extended CONNECT (RFC 9220), and HTTP
 * datagrams (RFC 9297) with the quarter of its stream's id in front. It reads and writes streams that somebody else carries, and holds neither clock nor socket.
 */

import { VarintReader, varintBytes } from '../varint.js';
import { CapsuleParser, type DeliverDatagrams } from '../webtransport/capsule-parser.js';
import { closeSessionCapsule } from '../webtransport/datagram-capsule.js';
import { FRAMES, frameBytes } from './frame-parser.js';
import type { Http3Error } from './http3-error.js';
import { type Http3Request, requestOf, statusOf } from './message.js';
import { CONTROL_STREAM, PeerStream } from './peer-stream.js';
import { encodeFields, type Field } from './qpack.js';
import { RequestStream } from './request-stream.js';
import { emitSettings, type Http3Settings } from './settings.js';

/** Of a header, as RFC 9114 (4.2.2) counts. */
export const FIELD_SECTION_BYTES = 8192;
/** Requests that one connection may make, ever: who wants the tunnel needs one. */
const MAX_REQUESTS = 64;
/** RFC 9000, 2.1: the lowest two bits of a stream's id. */
const SERVER_BIT = 1;
const UNIDIRECTIONAL_BIT = 2;
const FIRST_REQUEST = 0;
const PROTOCOLS: ReadonlySet<string> = new Set(['webtransport', 'webtransport-h3']);

export type Http3Role =
  | { readonly name: 'client'; readonly authority: string; readonly path: string }
  /** `isPeer`: does the path of a request show the right proof? */
  | { readonly name: 'server'; readonly isPeer: (path: string) => boolean };

export interface Http3Events {
  /** To be sent in order; the callee's. */
  send(streamId: number, bytes: Uint8Array, fin: boolean): void;
  /** Nothing more of it is read, nor handed to us (STOP_SENDING). */
  stop(streamId: number, error: Http3Error): void;
  /** Datagrams that came in capsules, as they may. */
  readonly onDatagrams: DeliverDatagrams;
}

/** Why it is over, and what the other side is told. */
export interface Http3Over {
  readonly error: Http3Error;
  readonly reason: string;
}

export class Http3Connection {
  readonly #role: Http3Role;
  readonly #events: Http3Events;
  readonly #peerStreams = new Map<number, PeerStream>();
  readonly #requests = new Map<number, RequestStream>();
  readonly #seenTypes = new Set<number>();
  #settings: Http3Settings | undefined;
  /** Requests for a session that came before the peer's SETTINGS. */
  #early: { readonly streamId: number; readonly request: Http3Request }[] = [];
  #sessionId = -1;
  /** Only where something comes in capsules. */
  #capsules: CapsuleParser | undefined;
  #over: Http3Over | undefined;

  constructor(role: Http3Role, events: Http3Events) {
    this.#role = role;
    this.#events = events;
  }

  /** The session is there: its datagrams may go. */
  get isOpen(): boolean {
    return this.#sessionId >= 0 && this.#over === undefined;
  }

  get over(): Http3Over | undefined {
    return this.#over;
  }

  /** What stands in front of each datagram of the session: the quarter of its id (RFC 9297, 2.1). */
  get datagramPrefix(): Uint8Array {
    return varintBytes(Math.max(this.#sessionId, 0) / 4);
  }

  /** How many bytes stand in front of that datagram; -1: it is none of the session's. */
  prefixOf(datagram: Uint8Array): number {
    const reader = new VarintReader();
    for (let at = 0; at < datagram.length; at++) {
      if (reader.take(datagram[at]!)) return reader.value * 4 === this.#sessionId ? at + 1 : -1;
    }
    // RFC 9297, 2.1: too short for what must stand there.
    this.#fail('H3_DATAGRAM_ERROR');
    return -1;
  }

  /** The handshake below is done. */
  start(): void {
    const isServer = this.#role.name === 'server';
    const control = UNIDIRECTIONAL_BIT | (isServer ? SERVER_BIT : 0);
    const settings = frameBytes(FRAMES.settings, emitSettings(FIELD_SECTION_BYTES));
    this.#events.send(control, Uint8Array.from([CONTROL_STREAM, ...settings]), false);
  }

  /** Of a stream of the peer's, or of a request; borrowed until return. */
  handleStream(streamId: number, bytes: Uint8Array, fin: boolean): void {
    if (this.#over !== undefined) return;
    const fault =
      (streamId & UNIDIRECTIONAL_BIT) === 0 ? this.#handleRequest(streamId, bytes, fin) : this.#handlePeer(streamId, bytes, fin);
    if (fault !== undefined) this.#fail(fault);
  }

  /** The peer has ended it in the middle, or wants nothing of it. */
  handleReset(streamId: number): void {
    this.#early = this.#early.filter((one) => one.streamId !== streamId);
    if (streamId === this.#sessionId) this.#end('H3_NO_ERROR', 'the peer ended the session');
    else if (this.#peerStreams.get(streamId)?.isCritical === true) this.#fail('H3_CLOSED_CRITICAL_STREAM');
    else if (this.#role.name === 'client' && streamId === FIRST_REQUEST) this.#end('H3_NO_ERROR', 'the server refused the session');
  }

  /** The goodbye, as the stream says it. */
  close(): void {
    if (this.isOpen) this.#events.send(this.#sessionId, frameBytes(FRAMES.data, closeSessionCapsule()), true);
    this.#end('H3_NO_ERROR', '');
  }

  #handlePeer(streamId: number, bytes: Uint8Array, fin: boolean): Http3Error | undefined {
    let stream = this.#peerStreams.get(streamId);
    if (stream === undefined) {
      stream = new PeerStream(this.#role.name === 'server', {
        onType: (type) => this.#handleType(type),
        onSettings: (settings) => this.#handleSettings(settings),
        stop: (error) => {
          this.#peerStreams.delete(streamId);
          this.#events.stop(streamId, error);
        },
      });
      this.#peerStreams.set(streamId, stream);
    }
    const fault = stream.handle(bytes);
    if (!fin || fault !== undefined) return fault;
    if (stream.isCritical) return 'H3_CLOSED_CRITICAL_STREAM';
    this.#peerStreams.delete(streamId);
    return undefined;
  }

  /** RFC 9114, 6.2.1; RFC 9204, 4.2: one of each. */
  #handleType(type: number): Http3Error | undefined {
    if (this.#seenTypes.has(type)) return 'H3_STREAM_CREATION_ERROR';
    this.#seenTypes.add(type);
    return undefined;
  }

  #handleSettings(settings: Http3Settings): undefined {
    this.#settings = settings;
    if (this.#role.name === 'client') {
      if (settings.extendedConnect && settings.datagrams && settings.webTransport) this.#request(this.#role.authority, this.#role.path);
      else this.#end('H3_NO_ERROR', 'the server has no WebTransport over HTTP/3');
    } else {
      const early = this.#early;
      this.#early = [];
      for (const { streamId, request } of early) this.#answer(streamId, request);
    }
  }

  #request(authority: string, path: string): void {
    const fields: Field[] = [
      [':method', 'CONNECT'],
      [':protocol', 'webtransport'],
      [':scheme', 'https'],
      [':authority', authority],
      [':path', path],
    ];
    this.#requests.set(FIRST_REQUEST, this.#newRequest(FIRST_REQUEST));
    this.#events.send(FIRST_REQUEST, frameBytes(FRAMES.headers, encodeFields(fields)), false);
  }

  #handleRequest(streamId: number, bytes: Uint8Array, fin: boolean): Http3Error | undefined {
    let stream = this.#requests.get(streamId);
    if (stream === undefined) {
      // RFC 9114, 6.1: servers begin none.
      if (this.#role.name === 'client' || (streamId & SERVER_BIT) !== 0) return 'H3_STREAM_CREATION_ERROR';
      if (this.#requests.size >= MAX_REQUESTS) return 'H3_EXCESSIVE_LOAD';
      stream = this.#newRequest(streamId);
      this.#requests.set(streamId, stream);
    }
    return stream.handle(bytes, fin);
  }

  #newRequest(streamId: number): RequestStream {
    return new RequestStream(FIELD_SECTION_BYTES, {
      onFields: (fields) => (this.#role.name === 'server' ? this.#handleAsked(streamId, fields) : this.#handleAnswer(fields)),
      onData: (piece) => this.#handleData(streamId, piece),
      onEnd: () => this.handleReset(streamId),
    });
  }

  // ---- the server ----

  #handleAsked(streamId: number, fields: readonly Field[]): Http3Error | undefined {
    const request = requestOf(fields);
    if (request === undefined) return 'H3_MESSAGE_ERROR';
    // RFC 9114, 4.4: after CONNECT there is nothing but DATA.
    if (streamId === this.#sessionId || this.#early.some((one) => one.streamId === streamId)) return 'H3_FRAME_UNEXPECTED';
    if (this.#settings === undefined && isForSession(request)) this.#early.push({ streamId, request });
    else this.#answer(streamId, request);
    return undefined;
  }

  #answer(streamId: number, request: Http3Request): void {
    const isWelcome = isForSession(request) && this.#sessionId < 0 && this.#role.name === 'server' && this.#role.isPeer(request.path);
    if (!isWelcome) {
      this.#refuse(streamId);
    } else if (this.#settings?.datagrams !== true) {
      // RFC 9297, 2.1.1: nothing may be sent to it.
      this.#end('H3_NO_ERROR', 'the client takes no datagrams');
    } else {
      this.#sessionId = streamId;
      this.#events.send(streamId, frameBytes(FRAMES.headers, encodeFields([[':status', '200']])), false);
    }
  }

  /** As the web server answers where it has no file. */
  #refuse(streamId: number): void {
    const fields: Field[] = [
      [':status', '404'],
      ['content-length', '0'],
    ];
    this.#requests.get(streamId)?.ignoreRest();
    this.#events.send(streamId, frameBytes(FRAMES.headers, encodeFields(fields)), true);
    this.#events.stop(streamId, 'H3_NO_ERROR');
  }

  // ---- the client ----

  #handleAnswer(fields: readonly Field[]): Http3Error | undefined {
    if (this.#sessionId >= 0) return 'H3_FRAME_UNEXPECTED';
    const status = statusOf(fields);
    if (status === undefined) return 'H3_MESSAGE_ERROR';
    if (status >= 200 && status < 300) this.#sessionId = FIRST_REQUEST;
    else if (status >= 200)
      this.#end('H3_NO_ERROR', `the server answers ${status}: it does not know this peer's key, or is another server`);
    return undefined;
  }

  // ---- both ----

  #handleData(streamId: number, piece: Uint8Array): Http3Error | undefined {
    if (streamId !== this.#sessionId) return this.#role.name === 'server' ? undefined : 'H3_FRAME_UNEXPECTED';
    this.#capsules ??= new CapsuleParser(this.#events.onDatagrams);
    const fault = this.#capsules.parse(piece);
    if (fault !== undefined) return 'H3_MESSAGE_ERROR';
    const reason = this.#capsules.closeReason;
    if (reason !== undefined)
      this.#end('H3_NO_ERROR', reason === '' ? 'the peer closed the session' : `the peer closed the session: ${reason}`);
    return undefined;
  }

  #fail(error: Http3Error): void {
    this.#end(error, `the peer breaks HTTP/3 (${error})`);
  }

  #end(error: Http3Error, reason: string): void {
    this.#over ??= { error, reason };
    this.#capsules?.stop();
  }
}

function isForSession({ method, protocol }: Http3Request): boolean {
  return method === 'CONNECT' && protocol !== undefined && PROTOCOLS.has(protocol);
}
