/**
 * The TCP endpoints at a TUN: a transparent listener for whatever address an application connects to, and a dialler that speaks for whatever address it
 * is told. Nothing is answered to a SYN until its owner accepts or rejects. Verbs: `handlePacket`, `handleIcmpError`, `poll`, `nextTimeoutMs`.
 */

import type { ByteStreamHandler } from '../byte-stream.js';
import type { CongestionControl } from '../congestion/congestion-control.js';
import { createCubic } from '../congestion/cubic.js';
import { initialWindowBytes } from '../congestion/initial-window.js';
import { ConnectionTable, tupleOfSegment } from '../connection-table.js';
import { PollScheduler } from '../poll-scheduler.js';
import type { SegmentSink } from '../segment-sink.js';
import { readU32 } from '../wire/big-endian.js';
import { parseSegment } from '../wire/parse-segment.js';
import { ACK, createTcpSegment, RST, SYN, type TcpSegment } from '../wire/segment.js';
import { createUnlimitedWindow, type EndpointOwner, TcpEndpoint } from './endpoint.js';
import type { FourTuple } from './header-template.js';
import { IcmpInput } from './icmp-input.js';
import { InitialSequenceNumbers } from './initial-sequence-numbers.js';
import { BlockPool } from './payload-block.js';
import { sendStatelessReset } from './stateless-reset.js';
import type { TcpHostServices } from './tcp-connection.js';
import { closeConnection, handleSegment } from './tcp-input.js';

/** 2 MB of window in a field of 16 bits. */
const WINDOW_SCALE = 7;
/** RFC 9293 (3.8.4). A host behind this one may vanish without a word, and what it had open would stay for ever. */
const KEEPALIVE_MS = 7_200_000;

export const UNKNOWN_CONNECTION = 'unknown connection';
/** The application speaks MPTCP itself: its segments are not ours to end. */
export const NATIVE_MPTCP = 'native MPTCP';

/** A SYN that `admitsSyn` left to others. */
export const SYN_NOT_ADMITTED = 'SYN not admitted';

export interface EndpointHostOptions {
  sink: SegmentSink;
  randomBytes: (count: number) => Uint8Array;
  mtuBytes: number;
  pool?: BlockPool;
  /** Of this host, so that no network lies in between and there is no congestion; 4 or 16 bytes. Default: all are. */
  isOwnAddress?: (address: Uint8Array) => boolean;
  /** A SYN: set a handler, then accept or reject, now or later. Absent: its connection is unknown. */
  onSyn?: (endpoint: TcpEndpoint, nowMs: number) => void;
  /** Is the SYN that `handlePacket` was given, of no connection that is known, ours to answer? Default: all are. */
  admitsSyn?: () => boolean;
}

export class EndpointHost implements TcpHostServices, EndpointOwner {
  readonly sink: SegmentSink;
  readonly pool: BlockPool;
  readonly counters: Record<string, number> = {};
  /** As given to `poll` or `handlePacket` last. */
  nowMs = 0;
  private readonly options: EndpointHostOptions;
  private readonly table = new ConnectionTable<TcpEndpoint>();
  private readonly pollScheduler = new PollScheduler();
  private readonly segment = createTcpSegment();
  private readonly icmpInput = new IcmpInput();
  private readonly sequenceNumbers: InitialSequenceNumbers;
  private viewOf: Uint8Array | undefined;
  private view: DataView = new DataView(new ArrayBuffer(0));

  constructor(options: EndpointHostOptions) {
    this.options = options;
    this.sequenceNumbers = new InitialSequenceNumbers(options.randomBytes);
    this.sink = options.sink;
    this.pool = options.pool ?? new BlockPool();
  }

  get endpointCount(): number {
    return this.table.size;
  }

  /**
   * One IP/TCP (super-)packet out of the TUN. '' when it was dealt with; else UNKNOWN_CONNECTION, NATIVE_MPTCP, SYN_NOT_ADMITTED or a parser's fault: the packet is the
   * caller's to pass on, or to refuse by `resetLast`.
   */
  handlePacket(bytes: Uint8Array, offset: number, length: number, nowMs: number): string {
    this.nowMs = nowMs;
    if (this.viewOf !== bytes) {
      this.viewOf = bytes;
      this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    }
    const segment = this.segment;
    const fault = parseSegment(bytes, this.view, offset, length, false, segment);
    if (fault !== '') {
      this.count(fault);
      return fault;
    }
    const endpoint = this.table.find(segment);
    if (endpoint === undefined) return this.handleUnknown(segment, nowMs);
    handleSegment(endpoint, segment, nowMs);
    this.markDirty(endpoint);
    return '';
  }

  /**
   * Opens a connection towards the TUN: `local` is the address that we speak for, `remote` the one that is dialled. Its SYN leaves at the next poll. An older
   * connection of the same four-tuple is over: its far side knows no more of it, or it would not open another.
   */
  connect(tuple: FourTuple, handler: ByteStreamHandler, nowMs: number): TcpEndpoint {
    this.nowMs = nowMs;
    const older = this.table.findTuple(tuple);
    if (older?.state === 'time-wait') closeConnection(older, 'finished', nowMs);
    else if (older !== undefined) {
      this.count('tcp-four-tuple-reused');
      older.abort(nowMs);
    }
    const endpoint = this.create(tuple, nowMs, this.sequenceNumbers.next(tuple, nowMs));
    endpoint.setHandler(handler);
    endpoint.connect();
    return endpoint;
  }

  /** One IP packet with an ICMP error out of the TUN. True: it is about an endpoint's segment, and nobody else's. */
  handleIcmpError(bytes: Uint8Array, offset: number, length: number, nowMs: number): boolean {
    this.nowMs = nowMs;
    const tuple = this.icmpInput.parse(bytes, offset, length);
    const endpoint = tuple === undefined ? undefined : this.table.findTuple(tuple);
    if (endpoint === undefined) return false;
    this.icmpInput.apply(endpoint, nowMs);
    this.markDirty(endpoint);
    return true;
  }

  find(tuple: FourTuple): TcpEndpoint | undefined {
    return this.table.findTuple(tuple);
  }

  /** RST for the packet that `handlePacket` just called unknown. */
  resetLast(): void {
    if ((this.segment.flags & RST) !== 0) return;
    this.count('tcp-unknown-connection');
    sendStatelessReset(this.sink, 0, this.segment, 0);
  }

  poll(nowMs: number): void {
    this.nowMs = nowMs;
    this.pollScheduler.poll(nowMs);
  }

  nextTimeoutMs(): number {
    return this.pollScheduler.nextTimeoutMs();
  }

  markDirty(endpoint: TcpEndpoint): void {
    this.pollScheduler.markDirty(endpoint);
  }

  onEndpointClosed(endpoint: TcpEndpoint): void {
    this.table.remove(endpoint);
    this.pollScheduler.forget(endpoint);
  }

  count(counter: string): void {
    this.counters[counter] = (this.counters[counter] ?? 0) + 1;
  }

  randomUint32(): number {
    return readU32(this.options.randomBytes(4), 0);
  }

  private handleUnknown(segment: TcpSegment, nowMs: number): string {
    if (segment.mptcp.seen !== 0) return NATIVE_MPTCP;
    if (this.options.onSyn === undefined || (segment.flags & (SYN | ACK | RST)) !== SYN) return UNKNOWN_CONNECTION;
    if (this.options.admitsSyn?.() === false) return SYN_NOT_ADMITTED;
    const endpoint = this.create(tupleOfSegment(segment), nowMs);
    endpoint.noteSyn(segment);
    this.options.onSyn(endpoint, nowMs);
    return '';
  }

  private create(tuple: FourTuple, nowMs: number, iss = this.randomUint32()): TcpEndpoint {
    const mssBytes = this.options.mtuBytes - (tuple.ipVersion === 4 ? 40 : 60);
    const endpoint = new TcpEndpoint(this, this, {
      tuple,
      pathId: 0,
      mssBytes,
      receiveWindowScale: WINDOW_SCALE,
      congestion: this.congestionFor(tuple.remoteAddress, mssBytes, nowMs),
      paced: false,
      iss,
      keepaliveMs: KEEPALIVE_MS,
    });
    this.table.add(endpoint);
    return endpoint;
  }

  private congestionFor(host: Uint8Array, mssBytes: number, nowMs: number): CongestionControl {
    if (this.options.isOwnAddress?.(host) !== false) return createUnlimitedWindow();
    return createCubic({ mssBytes, initialWindowBytes: initialWindowBytes(mssBytes, 0), nowMs });
  }
}
