/**
 * One WebTransport session over HTTP/2 (draft-ietf-webtrans-http2) of which only the datagrams are used: capsules in the stream of an extended CONNECT (RFC 8441, 9297).
 * Below it all is TCP: datagrams come whole and in order, late when one segment is lost. So the queue before TCP is short.
 */

import type { ClientHttp2Session, Http2Stream, ServerHttp2Session } from 'node:http2';
import type { Transport, TransportAddress, TransportCounters, TransportEvents } from '../transport.js';
import { CapsuleParser } from './capsule-parser.js';
import { closeSessionCapsule, MAX_DATAGRAM_BYTES } from './datagram-capsule.js';
import { SendQueue } from './send-queue.js';
import { WritePace } from './write-pace.js';

/** Of the HTTP/2 stream and of its connection: 100 ms at 600 Mbit/s. Nothing waits in it, since what comes is read at once. */
export const WINDOW_BYTES = 8 * 1024 * 1024;

/** So many rounds without a byte from the peer, who answers a ping in each, and the TCP connection is dead. */
const ROUND_MS = 2500;
const SILENT_ROUNDS = 3;
/** The goodbye may take so long. */
const GOODBYE_MS = 1000;

/** What a connection runs on, once it is open. */
export interface SessionStream {
  readonly stream: Http2Stream;
  readonly session: ClientHttp2Session | ServerHttp2Session;
  /** Tells the kernel how much unsent data to hold. */
  readonly setUnsentLimit: (bytes: number) => void;
}

type State = { name: 'opening'; abandon: () => void } | { name: 'open'; link: SessionStream; rounds: NodeJS.Timeout } | { name: 'closed' };

export class WebTransportConnection implements Transport {
  readonly kind = 'webtransport';
  readonly protocol = 'HTTP/2';
  readonly maxDatagramBytes = MAX_DATAGRAM_BYTES;
  readonly remote: TransportAddress;
  local: TransportAddress;
  events: TransportEvents;
  /** It is over, whoever ended it. */
  onGone: () => void = () => undefined;
  /** Why the stream could not be read on; "" when it could. */
  malformed = '';
  readonly #queue = new SendQueue();
  readonly #pace = new WritePace();
  readonly #parser = new CapsuleParser((bytes, lengths, count) => this.#handleDatagrams(bytes, lengths, count));
  #state: State;
  #receivedDatagrams = 0;
  #unsentLimitBytes = 0;
  #heard = true;
  #silentRounds = 0;
  /** What went wrong first: streams close without saying why. */
  #trouble = '';

  /** `abandon`: what ends the opening. */
  constructor(local: TransportAddress, remote: TransportAddress, events: TransportEvents, abandon: () => void) {
    this.local = local;
    this.remote = remote;
    this.events = events;
    this.#state = { name: 'opening', abandon };
  }

  get counters(): TransportCounters {
    return {
      sentDatagrams: this.#queue.sentDatagrams,
      receivedDatagrams: this.#receivedDatagrams,
      droppedDatagrams: this.#queue.droppedDatagrams,
    };
  }

  get isOpen(): boolean {
    return this.#state.name === 'open';
  }

  /** The request was answered, or is: datagrams may go. */
  open(link: SessionStream): void {
    if (this.#state.name !== 'opening') return;
    const rounds = setInterval(() => this.#round(), ROUND_MS).unref();
    this.#state = { name: 'open', link, rounds };
    const { stream, session } = link;
    stream.on('data', (piece: Buffer) => this.#handlePiece(piece));
    stream.on('end', () => this.fail('the peer ended the session'));
    stream.on('error', (error) => this.note(error.message));
    stream.on('close', () => this.fail('the peer closed the connection'));
    session.on('close', () => this.fail('the connection is gone'));
    this.#limitUnsent(link);
  }

  /** Something is wrong, which will end it: the reason, if it is the first one. */
  note(trouble: string): void {
    if (this.#trouble === '') this.#trouble = trouble;
  }

  /** It is over. Never within a call of the owner's. */
  fail(reason: string): void {
    if (!this.#end()) return;
    this.events.onClose(this.#trouble === '' ? reason : this.#trouble);
  }

  sendDatagrams(bytes: Uint8Array, lengths: Int32Array, count: number): void {
    if (this.#state.name !== 'open') return;
    const nowMs = performance.now();
    this.#queue.push(bytes, lengths, count, nowMs);
    this.#pump(this.#state.link, nowMs);
  }

  close(): void {
    const state = this.#state;
    if (state.name === 'open' && !state.link.stream.writableEnded) this.#sayGoodbye(state.link);
    this.#end();
  }

  #sayGoodbye({ stream, session }: SessionStream): void {
    stream.end(closeSessionCapsule());
    session.close();
    setTimeout(() => session.destroy(), GOODBYE_MS).unref();
  }

  /** False: it was over before. */
  #end(): boolean {
    const state = this.#state;
    if (state.name === 'closed') return false;
    this.#state = { name: 'closed' };
    this.#parser.stop();
    this.#queue.clear();
    if (state.name === 'opening') {
      state.abandon();
    } else {
      clearInterval(state.rounds);
      // With a goodbye on its way it closes by itself.
      if (!state.link.stream.writableEnded) state.link.session.destroy();
    }
    this.onGone();
    return true;
  }

  #pump(link: SessionStream, nowMs: number): void {
    const pace = this.#pace;
    while (pace.room > 0) {
      const piece = this.#queue.take(pace.room, nowMs);
      if (piece === undefined) return;
      pace.handleWrite(piece.length, nowMs);
      link.stream.write(piece, () => this.#handleTaken(link, piece.length));
    }
  }

  #handleTaken(link: SessionStream, bytes: number): void {
    if (this.#state.name !== 'open') return;
    const nowMs = performance.now();
    this.#pace.handleTaken(bytes, nowMs);
    this.#limitUnsent(link);
    this.#pump(link, nowMs);
  }

  /** The kernel's share of the queue follows the rate as ours does, in steps of two: it is a system call. */
  #limitUnsent(link: SessionStream): void {
    const wanted = this.#pace.limitBytes;
    if (wanted < this.#unsentLimitBytes * 2 && wanted * 2 > this.#unsentLimitBytes) return;
    this.#unsentLimitBytes = wanted;
    link.setUnsentLimit(wanted);
  }

  #handlePiece(piece: Buffer): void {
    this.#heard = true;
    const fault = this.#parser.parse(piece);
    if (fault !== undefined) {
      this.malformed = fault;
      this.fail(`the peer sends what is not WebTransport (${fault})`);
    } else if (this.#parser.closeReason !== undefined) {
      const reason = this.#parser.closeReason;
      this.fail(reason === '' ? 'the peer closed the session' : `the peer closed the session: ${reason}`);
    }
  }

  #handleDatagrams(bytes: Uint8Array, lengths: Int32Array, count: number): void {
    this.#receivedDatagrams += count;
    this.events.onDatagrams(bytes, lengths, count);
  }

  /** Counted in rounds, not by the clock: when this process was held up, the peer was not silent. */
  #round(): void {
    if (this.#state.name !== 'open') return;
    this.#silentRounds = this.#heard ? 0 : this.#silentRounds + 1;
    if (this.#silentRounds >= SILENT_ROUNDS) {
      this.fail(`nothing has come from the peer for ${(ROUND_MS * SILENT_ROUNDS) / 1000} s`);
      return;
    }
    this.#heard = false;
    const { session } = this.#state.link;
    if (session.destroyed) return;
    session.ping((error) => {
      if (error === null) this.#heard = true;
    });
  }
}
