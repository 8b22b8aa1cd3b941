/**
 * The TCP endpoints at a TUN: a transparent listener for whatever address an application connects to. Nothing is answered to a SYN until
 * its owner accepts or rejects. Verbs: `handlePacket`, `poll`, `nextTimeoutMs`.
 */

import { ConnectionTable, tupleOfSegment } from '../connection-table.js';
import { PollScheduler } from '../poll-scheduler.js';
import type { SegmentSink } from '../segment-sink.js';
import { readU32 } from '../wire/big-endian.js';
import { parseSegment } from '../wire/parse-segment.js';
import { ACK, createTcpSegment, RST, SYN, type TcpSegment } from '../wire/segment.js';
import { createUnlimitedWindow, type EndpointOwner, TcpEndpoint } from './endpoint.js';
import type { FourTuple } from './header-template.js';
import { BlockPool } from './payload-block.js';
import { sendStatelessReset } from './stateless-reset.js';
import type { TcpHostServices } from './tcp-connection.js';
import { handleSegment } from './tcp-input.js';

/** 2 MB of window in a field of 16 bits. */
const WINDOW_SCALE = 7;

export const UNKNOWN_CONNECTION = 'unknown connection';
/** The application speaks MPTCP itself: its segments are not ours to end. */
export const NATIVE_MPTCP = 'native MPTCP';

export interface EndpointHostOptions {
  sink: SegmentSink;
  randomBytes: (count: number) => Uint8Array;
  mtuBytes: number;
  pool?: BlockPool;
  /** A SYN: set a handler, then accept or reject, now or later. */
  onSyn: (endpoint: TcpEndpoint, nowMs: number) => void;
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
  private viewOf: Uint8Array | undefined;
  private view: DataView = new DataView(new ArrayBuffer(0));

  constructor(options: EndpointHostOptions) {
    this.options = options;
    this.sink = options.sink;
    this.pool = options.pool ?? new BlockPool();
  }

  get endpointCount(): number {
    return this.table.size;
  }

  /**
   * One IP/TCP (super-)packet out of the TUN. '' when it was dealt with; else UNKNOWN_CONNECTION, NATIVE_MPTCP or a parser's fault: the packet is the
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
    if ((segment.flags & (SYN | ACK | RST)) !== SYN) return UNKNOWN_CONNECTION;
    const tuple = tupleOfSegment(segment);
    const endpoint = new TcpEndpoint(this, this, {
      tuple,
      pathId: 0,
      mssBytes: this.options.mtuBytes - (tuple.ipVersion === 4 ? 40 : 60),
      receiveWindowScale: WINDOW_SCALE,
      congestion: createUnlimitedWindow(),
      paced: false,
    });
    endpoint.noteSyn(segment);
    this.table.add(endpoint);
    this.options.onSyn(endpoint, nowMs);
    return '';
  }
}
