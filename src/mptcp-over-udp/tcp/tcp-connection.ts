/**
 * The state of one TCP connection: a subflow on a path, or an endpoint at the TUN. This file holds what the phases share; the phases are
 * `tcp-input.ts` (RFC 9293, 3.10.7), `tcp-output.ts` and `tcp-timers.ts`. What is particular to a subflow or an endpoint comes in through
 * the abstract methods. Positions are offsets from the initial sequence numbers in plain numbers: the SYN is 0, the first byte is 1.
 */

import type { CongestionControl } from '../congestion/congestion-control.js';
import type { PathTurns, TurnTaker } from '../path-limit.js';
import type { SegmentSink } from '../segment-sink.js';
import type { TcpSegment } from '../wire/segment.js';
import { seqAdd } from '../wire/sequence.js';
import type { FastOpenServer } from './fast-open-server.js';
import { type FourTuple, HeaderTemplate } from './header-template.js';
import { LossRecovery } from './loss-recovery.js';
import { MtuSearch } from './mtu-search.js';
import type { BlockPool } from './payload-block.js';
import { ReceivedRanges } from './received-ranges.js';
import type { SegmentRecord } from './retransmission-queue.js';
import { TCP_TRANSITIONS, type TcpInput, type TcpState } from './tcp-state.js';

export type CloseReason = 'finished' | 'reset' | 'timeout' | 'aborted' | 'refused' | 'unreachable';

/** What a connection needs of the host that it lives in. */
export interface TcpHostServices {
  readonly sink: SegmentSink;
  readonly pool: BlockPool;
  /** The time that the host was last told. */
  readonly nowMs: number;
  randomUint32(): number;
  count(counter: string): void;
}

export interface TcpConnectionOptions {
  tuple: FourTuple;
  pathId: number;
  /** Largest segment the path carries: MTU less IP and TCP header without options. */
  mssBytes: number;
  /**
   * Largest payload of a segment where the layer below carries headers and options in a few bytes, so that they are not to be reckoned with; default 0: they are
   * part of `mssBytes`.
   */
  segmentPayloadBytes?: number;
  receiveWindowScale: number;
  congestion: CongestionControl;
  paced: boolean;
  /** Offer timestamps (RFC 7323), 12 bytes in every segment; default false. */
  timestamps?: boolean;
  /** Silence after which a probe is sent; default never. */
  keepaliveMs?: number;
  /** Initial sequence number; default a random one. */
  iss?: number;
  /** Find out what the path carries when large segments vanish (RFC 8899); default false. */
  mtuSearch?: boolean;
}

/** With the two NOPs that align it (RFC 7323, appendix A). */
export const TIMESTAMP_OPTION_BYTES = 12;
/** What a payload may grow by when its headers shrink from whole (IPv6 too) to the shortest, and all options. */
const SPARE_MSS_BYTES = 128;
export const NEVER_MS = Number.POSITIVE_INFINITY;

/** One for all: a view costs a hundred bytes. */
export const NO_PAYLOAD: Uint8Array = new Uint8Array(0);

export type SegmentKind = 'syn' | 'syn-ack' | 'third-ack' | 'ack' | 'data' | 'rst';

export abstract class TcpConnection implements TurnTaker {
  state: TcpState = 'closed';
  readonly tuple: FourTuple;
  pathId: number;
  readonly template: HeaderTemplate;
  readonly services: TcpHostServices;
  readonly recovery: LossRecovery;
  readonly paced: boolean;

  // Send side.
  readonly iss: number;
  /** min(what the peer announced, what the path carries), options included. */
  mssBytes: number;
  /** Right edge of the peer's window, exclusive, in offsets. Only an endpoint is held by it; MPTCP's window is data-level. */
  sendWindowEdge = 0;
  sendWindowScale = 0;
  sackEnabled = false;
  /** Both sides offered timestamps (RFC 7323, 3.2). */
  timestamps = false;
  readonly timestampsOffered: boolean;
  /** TS.Recent (RFC 7323, 4.3), and the offset that hides our clock. */
  timestampRecent = 0;
  /** Last.ACK.sent, as an offset. */
  lastAckSent = 0;
  readonly timestampOffset: number;
  /** What the path carries and what the peer announced: mssBytes is the smaller one. */
  pathMssBytes: number;
  peerMssBytes = Number.POSITIVE_INFINITY;
  pathPayloadBytes: number;
  private readonly headersMayShrink: boolean;
  readonly mtuSearch: MtuSearch | undefined;
  readonly keepaliveMs: number;
  keepaliveCount = 0;
  finSent = false;
  finOffset = -1;
  /** Pacing: nothing leaves before this time. */
  nextSendMs = 0;
  pacingBlocked = false;
  /** Where its path has a limit. */
  turns: PathTurns | undefined = undefined;
  waitsForTurn = false;
  synCount = 0;
  /** In syn-received: by a simultaneous open, so that the peer's SYN/ACK is awaited too. */
  synsCrossed = false;
  synDeadlineMs = NEVER_MS;
  synSentMs = 0;
  persistDeadlineMs = NEVER_MS;
  persistCount = 0;

  // Receive side.
  irs = 0;
  rcvNxt = 0;
  readonly received = new ReceivedRanges();
  /** What came twice, to be reported by the next ACK (RFC 2883); -1: nothing. */
  duplicateStart = -1;
  duplicateEnd = -1;
  readonly receiveWindowScale: number;
  /** The peer agreed to scale (RFC 7323, 2.2): ours applies only then. */
  scaling = false;
  finReceivedOffset = -1;
  /** Right edge advertised, in offsets; never retreats (endpoint). */
  advertisedEdge = 0;
  unacknowledgedBytes = 0;
  ackNow = false;
  ackDeadlineMs = NEVER_MS;
  /** Send an RST at the next output. */
  closeReason: CloseReason | undefined = undefined;
  timeWaitDeadlineMs = NEVER_MS;
  challengeStartMs = 0;
  challengeCount = 0;
  lastReceivedMs = 0;

  // Fast Open (RFC 7413).
  /** Goes with our SYN or SYN/ACK; empty asks for one. */
  fastOpenCookie: Uint8Array | undefined = undefined;
  /** The peer's cookie was right: the data of its SYN was taken. */
  fastOpened = false;
  /** Then our answer may go before the third ACK. */
  answersEarly = false;
  /** What our SYN carried, as far as the peer has not acknowledged it with its SYN/ACK it goes again as if it never had. */
  synPayload: Uint8Array = NO_PAYLOAD;
  /** Bytes that came along with the SYNs and were taken: ours by the peer, the peer's by us. */
  sentWithSynBytes = 0;
  receivedWithSynBytes = 0;
  /** Counts this connection as pending. */
  private pendingAt: FastOpenServer | undefined = undefined;
  // The host's bookkeeping.
  dirty = false;
  timerMs = NEVER_MS;

  constructor(services: TcpHostServices, options: TcpConnectionOptions) {
    this.services = services;
    this.tuple = options.tuple;
    this.pathId = options.pathId;
    this.template = new HeaderTemplate(options.tuple);
    this.recovery = new LossRecovery(services.pool, options.congestion);
    this.paced = options.paced;
    this.mssBytes = options.mssBytes;
    this.pathMssBytes = options.mssBytes;
    this.pathPayloadBytes = options.segmentPayloadBytes ?? 0;
    this.headersMayShrink = options.segmentPayloadBytes !== undefined;
    this.timestampsOffered = options.timestamps ?? false;
    this.timestampOffset = this.timestampsOffered ? services.randomUint32() : 0;
    this.keepaliveMs = options.keepaliveMs ?? NEVER_MS;
    this.mtuSearch = options.mtuSearch === true ? new MtuSearch() : undefined;
    this.receiveWindowScale = options.receiveWindowScale;
    this.iss = options.iss ?? services.randomUint32();
  }

  /** The only place that assigns `state`. False: the table has no such transition, and nothing happened. */
  setState(input: TcpInput): boolean {
    const next = TCP_TRANSITIONS[this.state][input];
    if (next === undefined) {
      this.services.count(`tcp-ignored-${input}-in-${this.state}`);
      return false;
    }
    this.state = next;
    return true;
  }

  /** Passive side of Fast Open: the SYN's data is ours to acknowledge. */
  openFast(segment: TcpSegment, server: FastOpenServer): void {
    this.fastOpened = true;
    this.pendingAt = server;
    this.receivedWithSynBytes = segment.payloadBytes;
    this.rcvNxt = 1 + segment.payloadBytes;
    this.sendWindowEdge = 1 + segment.window;
  }

  /** The third ACK has come, or never will. */
  endPending(wasReset: boolean, nowMs: number): void {
    this.pendingAt?.notePendingOver(wasReset, nowMs);
    this.pendingAt = undefined;
  }

  /** Segments with data may leave: synchronised, or by a cookie as good as that. */
  get mayTransmit(): boolean {
    return this.isSynchronized || (this.answersEarly && this.state === 'syn-received');
  }

  get isSynchronized(): boolean {
    return this.state !== 'closed' && this.state !== 'syn-sent' && this.state !== 'syn-received';
  }

  /** Data may still be sent: our FIN has not left. */
  get canSend(): boolean {
    return this.state === 'established' || this.state === 'close-wait';
  }

  /** The path carries segments of another size now (RFC 8899): what is sent from here on, retransmissions included, is cut to it. */
  setPathMss(mssBytes: number, segmentPayloadBytes = 0): void {
    this.pathMssBytes = mssBytes;
    this.pathPayloadBytes = segmentPayloadBytes;
    this.mtuSearch?.reset();
    this.setMss(this.mssLimitBytes);
  }

  /** No segment is larger than this, whatever a search finds. */
  get mssLimitBytes(): number {
    return Math.min(this.pathMssBytes, this.peerMssBytes);
  }

  setMss(mssBytes: number): void {
    this.mssBytes = mssBytes;
    this.recovery.congestion.setMss(mssBytes);
    this.mtuSearch?.noteMss(this);
  }

  /** TSval for now: milliseconds. */
  timestampNow(): number {
    return (Math.floor(this.services.nowMs) + this.timestampOffset) >>> 0;
  }

  /** Active side of Fast Open: the first data, to go with the SYN. */
  dataForSyn(_maxBytes: number): Uint8Array {
    return NO_PAYLOAD;
  }

  /** The SYN/ACK has come, and what it acknowledges of the SYN's data is in `sentWithSynBytes`. */
  onSynAnswered(_segment: TcpSegment, _nowMs: number): void {}

  /** The next ACK has an option that leaves no room for timestamps. */
  needsAllOptionSpace(): boolean {
    return false;
  }

  /** The path's limit lets it send: output is to run soon. Only subflows are on such paths. */
  takeTurn(): void {}

  /** Bytes of options on a segment with data. */
  segmentOptionBytes(): number {
    return this.dataOptionBytes() + (this.timestamps ? TIMESTAMP_OPTION_BYTES : 0);
  }

  /** Payload of a full segment of data. */
  dataSegmentBytes(): number {
    const optionBytes = this.segmentOptionBytes();
    return this.pathPayloadBytes > 0 ? Math.min(this.pathPayloadBytes, this.peerMssBytes - optionBytes) : this.mssBytes - optionBytes;
  }

  /**
   * What our SYN tells (RFC 6691: without options). Where headers may go compressed, it leaves room for a payload that grows as they shrink, be it after this
   * handshake: the peer sends no more than its path carries, and is not told again.
   */
  announcedMssBytes(): number {
    return this.headersMayShrink ? this.mssBytes + SPARE_MSS_BYTES : this.mssBytes;
  }

  sequenceNumber(offset: number): number {
    return seqAdd(this.iss, offset % 0x1_0000_0000);
  }

  acknowledgmentNumber(): number {
    return seqAdd(this.irs, this.rcvNxt % 0x1_0000_0000);
  }

  /** Bytes of window to advertise, from rcvNxt (endpoint) or from the DATA_ACK (subflow). */
  abstract receiveWindowBytes(): number;
  /** Offset beyond which nothing is accepted. */
  abstract acceptanceEdge(): number;
  /** Writes the options of the upper protocol at `at`; returns bytes written, at most `roomBytes`. */
  abstract writeOptions(kind: SegmentKind, out: Uint8Array, at: number, roomBytes: number, record: SegmentRecord | undefined): number;
  /** Sends at most `segmentBytes` of new data, as a loss probe. False: there is none, or the peer's window is closed. */
  abstract probeWithNewData(segmentBytes: number, nowMs: number): boolean;
  /** The same length without writing, for data segments. */
  abstract dataOptionBytes(): number;
  /** Before the payload: the options of an acceptable segment. False: the connection is gone, stop. */
  abstract processOptions(segment: TcpSegment, nowMs: number): boolean;
  /** Payload [offset, offset + length) at bytes[at..], in order or not, not seen before at least in part. False: not taken, do not acknowledge it. */
  abstract onPayload(segment: TcpSegment, offset: number, at: number, length: number, nowMs: number): boolean;
  abstract onEstablished(nowMs: number): void;
  /** The peer's FIN is in order. */
  abstract onFinReceived(nowMs: number): void;
  /** sndUna or the window moved. */
  abstract onAcknowledged(nowMs: number): void;
  /** State is closed now; called once. */
  abstract onClosed(reason: CloseReason, nowMs: number): void;
}
