/**
 * An MPTCP connection (RFC 8684): keys, the data sequence space in both directions, and its subflows. Positions are offsets from the initial data
 * sequence numbers: the first byte of data is 1. What it sends, and where, is in `data-output.ts`; what becomes of it when paths change in
 * `path-changes.ts`.
 */

import type { ByteStream, ByteStreamHandler } from '../byte-stream.js';
import { CoupledGroup } from '../congestion/coupled-group.js';
import { createSchedulerView, type Scheduler } from '../scheduler/scheduler.js';
import type { FourTuple } from '../tcp/header-template.js';
import { ReassemblyBuffer } from '../tcp/reassembly.js';
import { SendBuffer } from '../tcp/send-buffer.js';
import { type CloseReason, NEVER_MS } from '../tcp/tcp-connection.js';
import { closeConnection } from '../tcp/tcp-input.js';
import { sendReset } from '../tcp/tcp-output.js';
import { handleDeadlines, nextDeadlineMs } from '../tcp/tcp-timers.js';
import type { TcpSegment } from '../wire/segment.js';
import { dsnLow, dsnOffset, unwrapOffset } from '../wire/sequence.js';
import { AddressSignals } from './address-signals.js';
import { backlogLimitBytes } from './backlog.js';
import { nextDataDeadlineMs, outputConnection, sendNewAsProbe } from './data-output.js';
import { DataSendQueue } from './data-send-queue.js';
import { Fallback } from './fallback.js';
import { FastClose } from './fast-close.js';
import type { MptcpHost } from './host.js';
import { JoinSchedule } from './join-schedule.js';
import { deriveKeyMaterial, type KeyMaterial, type MptcpVersion } from './keys.js';
import { HarmWatch } from './path-bench.js';
import { arrangeSubflows, type PathPolicy, releaseSubflows } from './path-policy.js';
import { ReceiveWindow } from './receive-window.js';
import { RST_UNSPECIFIED, type Subflow } from './subflow.js';
import { SynData } from './syn-data.js';

/** A subflow that times out this often in a row is given up; its data is on other subflows long before. */
const MAX_SUBFLOW_TIMEOUTS = 9;
/** RFC 8684 (3.3.3): without a subflow a connection waits this long for a new one, as Linux does. */
const NO_SUBFLOW_TIMEOUT_MS = 60_000;
/** Both DATA_FINs are exchanged: subflows whose FINs get no answer are reset after this, as Linux has it for FIN-WAIT-2 (tcp_fin_timeout). */
const CLOSING_TIMEOUT_MS = 60_000;
/** A sender that had an older, larger idea of the window. */
const WINDOW_TOLERANCE_BYTES = 65_536;
/** Holds 1 Gbit/s x 300 ms. */
export const MAX_SEND_BUFFER_BYTES = 64 << 20;

export type MptcpRole = 'client' | 'server';

export class MptcpConnection implements ByteStream {
  readonly host: MptcpHost;
  readonly role: MptcpRole;
  /** Of the initial subflow: what the application sees. */
  readonly tuple: FourTuple;
  readonly version: MptcpVersion;
  readonly local: KeyMaterial;
  remoteKey: Uint8Array = new Uint8Array(8);
  hasRemoteKey = false;
  remoteToken = 0;
  remoteIdsnHigh = 0;
  remoteIdsnLow = 0;
  readonly subflows: Subflow[] = [];
  readonly harmWatch = new HarmWatch();
  readonly coupledGroup = new CoupledGroup(this.subflows);
  scheduler: Scheduler;
  /** undefined: as the paths themselves say. Changed by `setPathPolicy` once there are subflows. */
  pathPolicy: PathPolicy | undefined;
  readonly schedulerView = createSchedulerView();
  readonly fallbackState = new Fallback(this);
  readonly addresses = new AddressSignals(this);
  readonly fastClose = new FastClose(this);
  readonly synData = new SynData(this);
  readonly joins = new JoinSchedule(this);
  /** DSS checksums are in use: one side asked for them. */
  checksum: boolean;
  /** C flag of the peer's MP_CAPABLE: no joins to the address and port of the initial subflow. */
  remoteDeniesJoinInitial = false;
  /** The peer has shown both keys or a DSS: MPTCP works in both directions, joins are allowed. */
  peerProved = false;
  /** The peer has sent data options outside the handshake: nothing strips them, fallback is no longer possible (RFC 8684, 3.7). */
  dataOptionsSeen = false;
  closed = false;

  // Sending.
  readonly sendBuffer: SendBuffer;
  readonly sendQueue: DataSendQueue;
  dataUna = 1;
  dataNxt = 1;
  /** Right edge of the peer's window, exclusive (RFC 8684, 3.3.4): the maximum over all that was told. */
  peerWindowEdge = 1;
  finishing = false;
  /** DSN of our DATA_FIN, -1 while it has none. */
  dataFinOffset = -1;
  dataFinAcked = false;
  dataFinDeadlineMs = NEVER_MS;
  dataFinCount = 0;
  probeDeadlineMs = NEVER_MS;
  /** Since when data has waited for room on the subflows without a break; NEVER_MS: none waits. */
  backlogSinceMs = NEVER_MS;
  /** Data-level retransmission (RFC 8684, 3.3.6): when, what was acknowledged when it was armed, how often in a row. */
  dataTimeoutDeadlineMs = NEVER_MS;
  dataTimeoutUna = -1;
  dataTimeoutCount = 0;
  probeCount = 0;
  /** What may be sent a second time, on a faster subflow, because a slow one lost it. */
  repairBudgetBytes = 0;
  /** The same for bursts of losses on a path that is far behind. */
  burstBudgetBytes = 2 << 20;
  /** The writer was refused, and waits to be told of room. */
  writeBlocked = false;

  // Receiving.
  readonly reassembly: ReassemblyBuffer;
  readonly receiveWindow: ReceiveWindow;
  /** DSN of the peer's DATA_FIN, -1 unknown. */
  remoteDataFinOffset = -1;
  private endDelivered = false;

  subflowsClosing = false;
  noSubflowDeadlineMs = NEVER_MS;
  private closingDeadlineMs = NEVER_MS;
  lastActivityMs = 0;
  // PollScheduler's.
  dirty = false;
  timerMs = NEVER_MS;
  private handler: ByteStreamHandler | undefined;
  private closeNotified = false;
  private establishedNotified = false;

  constructor(host: MptcpHost, role: MptcpRole, tuple: FourTuple, version: MptcpVersion) {
    this.host = host;
    this.role = role;
    this.tuple = tuple;
    this.version = version;
    this.local = host.allocateKey(version);
    this.scheduler = host.scheduler.forConnection();
    this.checksum = host.checksum;
    this.sendBuffer = new SendBuffer(host.pool);
    this.sendQueue = new DataSendQueue(host.pool);
    this.reassembly = new ReassemblyBuffer(host.pool, 1, (bytes, at, length) => this.handler?.onData(bytes, at, length) ?? 0);
    this.receiveWindow = new ReceiveWindow(host.memory);
  }

  // ---- the stream, from above ----

  setHandler(handler: ByteStreamHandler): void {
    this.handler = handler;
  }

  /** Server: SYN/ACK. */
  accept(): void {
    const subflow = this.subflows[0];
    if (subflow !== undefined) {
      subflow.accept();
      this.synData.accept(subflow);
    }
    this.markDirty();
  }

  /** Server: RST, or silence, in answer to the SYN. */
  reject(reset: boolean, nowMs: number): void {
    const subflow = this.subflows[0];
    if (subflow !== undefined && reset) sendReset(subflow);
    subflow?.endPending(false, nowMs);
    this.close('refused', nowMs);
  }

  get bufferedBytes(): number {
    return this.sendBuffer.queuedBytes + this.dataNxt - this.dataUna;
  }

  write(bytes: Uint8Array, at: number, length: number): number {
    if (this.finishing || this.closed || this.fastClose.waiting) return length;
    const n = Math.min(length, backlogLimitBytes(this) - this.sendBuffer.queuedBytes, MAX_SEND_BUFFER_BYTES - this.bufferedBytes);
    if (!(n >= length)) this.writeBlocked = true;
    // INVARIANT: what is said to be taken is in the buffer, whatever number a limit is.
    if (!(n > 0)) return 0;
    this.sendBuffer.append(bytes, at, n);
    this.markDirty();
    return n;
  }

  finish(): void {
    this.finishing = true;
    this.markDirty();
  }

  /** RFC 8684 (3.5): FASTCLOSE, on RSTs or on an ACK, as the host prefers. */
  abort(nowMs: number): void {
    if (this.closed || this.fastClose.waiting) return;
    if (this.host.abortForm === 'ack' && this.fastClose.start(nowMs)) {
      this.releaseBuffers();
      this.notifyClosed('aborted', nowMs);
      this.markDirty();
      return;
    }
    for (const subflow of this.subflows) {
      subflow.fastclose = !this.fallback;
      sendReset(subflow);
    }
    this.close('aborted', nowMs);
  }

  resumeReading(): void {
    if (this.closed || this.fastClose.waiting) return;
    this.reassembly.drain();
    this.deliverEnd(this.lastActivityMs);
    if (this.awaitsReader && this.endDelivered) this.close('finished', this.lastActivityMs);
    else if (this.receiveWindow.shouldUpdate(this.reassembly)) this.acknowledgeSomewhere();
  }

  /** Plain TCP is through with both FINs; what the reader has not taken yet stays for it. */
  private get awaitsReader(): boolean {
    return this.fallback && this.subflows.length === 0;
  }

  /** Plain TCP after all (RFC 8684, 3.7). */
  get fallback(): boolean {
    return this.fallbackState.active;
  }

  // ---- the host's poll ----

  poll(nowMs: number): number {
    for (let i = this.subflows.length - 1; i >= 0; i--) {
      const subflow = this.subflows[i] as Subflow;
      handleDeadlines(subflow, MAX_SUBFLOW_TIMEOUTS, nowMs);
    }
    if (nowMs >= this.addresses.deadlineMs) this.addresses.sendDue(nowMs);
    if (nowMs >= this.noSubflowDeadlineMs) this.close('timeout', nowMs);
    if (nowMs >= this.closingDeadlineMs) for (const subflow of this.subflows.slice()) subflow.reset(RST_UNSPECIFIED, nowMs);
    if (this.fastClose.waiting) this.fastClose.handleTimeout(nowMs);
    if (this.closed) return NEVER_MS;
    // Nothing else is due any more: neither an acknowledgement nor a DATA_FIN would be sent.
    if (this.fastClose.waiting) return this.fastClose.deadlineMs;
    outputConnection(this, nowMs);
    return this.nextDeadlineMs();
  }

  private nextDeadlineMs(): number {
    if (this.closed) return NEVER_MS;
    let at = Math.min(this.noSubflowDeadlineMs, this.closingDeadlineMs, this.addresses.deadlineMs);
    if (this.peerProved) at = Math.min(at, this.joins.deadlineMs);
    for (let i = 0; i < this.subflows.length; i++) {
      const subflow = this.subflows[i] as Subflow;
      at = Math.min(at, nextDeadlineMs(subflow), subflow.thirdAckDeadlineMs);
    }
    return Math.min(at, nextDataDeadlineMs(this));
  }

  markDirty(): void {
    this.host.markDirty(this);
  }

  // ---- keys and sequence spaces ----

  setRemoteKey(key: Uint8Array): void {
    if (this.hasRemoteKey) return;
    const derived = deriveKeyMaterial(key, this.version);
    this.remoteKey = key;
    this.hasRemoteKey = true;
    this.remoteToken = derived.token;
    this.remoteIdsnHigh = derived.idsnHigh;
    this.remoteIdsnLow = derived.idsnLow;
  }

  sendOffset64(high: number, low: number): number {
    return dsnOffset(high, low, this.local.idsnHigh, this.local.idsnLow);
  }

  sendOffset32(low: number): number {
    return unwrapOffset(low, this.local.idsnLow, this.dataUna);
  }

  receiveOffset64(high: number, low: number): number {
    return dsnOffset(high, low, this.remoteIdsnHigh, this.remoteIdsnLow);
  }

  receiveOffset32(low: number): number {
    return unwrapOffset(low, this.remoteIdsnLow, this.reassembly.nextOffset);
  }

  /** The next data offset expected; a DATA_FIN in order takes one. */
  get dataAckOffset(): number {
    const next = this.reassembly.nextOffset;
    return next === this.remoteDataFinOffset ? next + 1 : next;
  }

  dataAckWire(): number {
    return dsnLow(this.remoteIdsnLow, this.dataAckOffset);
  }

  receiveWindowBytes(): number {
    return this.receiveWindow.advertise(this.reassembly);
  }

  pathRttMs(pathId: number): number {
    return this.host.paths.get(pathId)?.rttMs ?? 0;
  }

  // ---- from the subflows ----

  onInitialEstablished(nowMs: number): void {
    const subflow = this.subflows[0];
    if (subflow !== undefined && this.peerWindowEdge <= 1)
      this.peerWindowEdge = Math.max(this.peerWindowEdge, subflow.sendWindowEdge - subflow.sentWithSynBytes);
    this.lastActivityMs = nowMs;
    this.notifyEstablished(nowMs);
    this.markDirty();
  }

  /** Once, by the handshake or before its end by a Fast Open cookie. */
  notifyEstablished(nowMs: number): void {
    if (this.establishedNotified) return;
    this.establishedNotified = true;
    this.handler?.onEstablished(nowMs);
  }

  onSubflowConfirmed(subflow: Subflow, nowMs: number): void {
    this.dataOptionsSeen = true;
    this.noSubflowDeadlineMs = NEVER_MS;
    arrangeSubflows(this, nowMs);
    this.host.events?.onSubflowEstablished?.(this, subflow, nowMs);
    this.markDirty();
  }

  notePeerProved(): void {
    this.peerProved = true;
    this.joins.start(this.host.joinPacing, this.host.nowMs);
    this.markDirty();
  }

  probeWithNewData(subflow: Subflow, segmentBytes: number, nowMs: number): boolean {
    return sendNewAsProbe(this, subflow, segmentBytes, nowMs);
  }

  /** RFC 8684 (3.3.4): window relative to the DATA_ACK; the edge never retreats. */
  handleDataAck(offset: number, windowBytes: number): void {
    const limit = this.dataFinOffset >= 0 ? this.dataFinOffset + 1 : this.dataNxt;
    if (offset > limit) {
      this.host.count('mptcp-data-ack-beyond');
      return;
    }
    if (offset + windowBytes > this.peerWindowEdge) {
      this.peerWindowEdge = offset + windowBytes;
      this.probeCount = 0;
      this.probeDeadlineMs = NEVER_MS;
      this.markDirty();
    }
    if (offset <= this.dataUna) return;
    this.dataUna = Math.min(offset, this.dataNxt);
    this.sendQueue.acknowledge(this.dataUna);
    if (this.dataFinOffset >= 0 && offset > this.dataFinOffset) {
      this.dataFinAcked = true;
      this.dataFinDeadlineMs = NEVER_MS;
    }
    this.markDirty();
  }

  /** After acknowledgements, once per poll: room for the writer. */
  notifyWritable(nowMs: number): void {
    if (!this.writeBlocked || this.closed) return;
    if (this.sendBuffer.queuedBytes > 0.75 * backlogLimitBytes(this) || this.bufferedBytes > 0.75 * MAX_SEND_BUFFER_BYTES) return;
    this.writeBlocked = false;
    this.handler?.onWritable(nowMs);
  }

  /** Mapped data. False: beyond the window, not to be acknowledged on the subflow. */
  onData(dsn: number, bytes: Uint8Array, at: number, length: number, nowMs: number): boolean {
    if (this.closed) return true;
    const fin = this.remoteDataFinOffset;
    const usable = fin >= 0 ? Math.min(length, fin - dsn) : length;
    if (usable <= 0) return true;
    if (!this.isInWindow(dsn, usable)) return false;
    this.lastActivityMs = nowMs;
    const fresh = this.reassembly.receive(dsn, bytes, at, usable);
    this.receiveWindow.noteReceived(this.reassembly, fresh, this.slowestRttMs(), nowMs);
    this.deliverEnd(nowMs);
    this.markDirty();
    return true;
  }

  /** What lies beyond the window that we told, and a little more, is not taken. */
  isInWindow(dsn: number, length: number): boolean {
    if (dsn + length <= this.receiveWindow.edge + WINDOW_TOLERANCE_BYTES) return true;
    this.host.count('mptcp-beyond-window');
    return false;
  }

  onDataFin(offset: number, nowMs: number): void {
    if (this.remoteDataFinOffset < 0) this.remoteDataFinOffset = offset;
    this.deliverEnd(nowMs);
    this.markDirty();
  }

  /** `carrier`: the subflow whose RST carried it, which gets no RST in answer. */
  onFastclose(nowMs: number, carrier?: Subflow): void {
    for (const subflow of this.subflows) if (subflow !== carrier) sendReset(subflow);
    this.close('reset', nowMs);
  }

  onSubflowClosed(subflow: Subflow, reason: CloseReason, nowMs: number): void {
    const i = this.subflows.indexOf(subflow);
    if (i >= 0) this.subflows.splice(i, 1);
    this.host.forgetSubflow(subflow);
    subflow.endPending(reason === 'reset', nowMs);
    if (this.closed) return;
    this.sendQueue.reinjectFrom(subflow, this.dataUna);
    if (subflow.role === 'join-client' && !this.subflowsClosing) this.joins.handleClosed(subflow.confirmed, nowMs);
    arrangeSubflows(this, nowMs);
    this.host.events?.onSubflowClosed?.(this, subflow, reason, nowMs);
    if (this.subflows.length > 0) {
      this.markDirty();
      return;
    }
    if (this.fastClose.waiting) this.close('aborted', nowMs);
    else if (reason === 'finished' && this.awaitsReader && !this.endDelivered) return;
    else if (this.subflowsClosing) this.close('finished', nowMs);
    else if (this.fallback || !this.peerProved || reason === 'refused') this.close(reason === 'finished' ? 'finished' : reason, nowMs);
    else {
      // Attempts to join do not put it off; a join that succeeds ends it.
      if (this.noSubflowDeadlineMs === NEVER_MS) this.noSubflowDeadlineMs = nowMs + NO_SUBFLOW_TIMEOUT_MS;
      if (this.role === 'client') this.joins.hurry();
      this.markDirty();
    }
  }

  /** The end: the handler is told once, buffers go, remaining subflows are dropped without a word. */
  close(reason: CloseReason, nowMs: number): void {
    if (this.closed) return;
    this.closed = true;
    this.noSubflowDeadlineMs = NEVER_MS;
    this.joins.clear();
    for (const subflow of this.subflows.slice()) {
      if (subflow.state !== 'closed') closeConnection(subflow, reason, nowMs);
      else this.onSubflowClosed(subflow, reason, nowMs);
    }
    this.releaseBuffers();
    this.host.forgetConnection(this);
    this.notifyClosed(reason, nowMs);
  }

  private releaseBuffers(): void {
    this.sendBuffer.clear();
    this.sendQueue.clear();
    this.reassembly.clear();
    this.receiveWindow.release();
  }

  private notifyClosed(reason: CloseReason, nowMs: number): void {
    if (this.closeNotified) return;
    this.closeNotified = true;
    this.handler?.onClosed(reason, nowMs);
  }

  /** Other paths, or another order, from now on: joins what is missing, and ends what is not wanted when another carries the connection. */
  setPathPolicy(policy: PathPolicy | undefined, nowMs: number): void {
    const before = this.pathPolicy;
    this.pathPolicy = policy;
    if (policy !== undefined) arrangeSubflows(this, nowMs);
    else if (before !== undefined) releaseSubflows(this);
    if (this.peerProved) this.joins.hurry();
    this.markDirty();
  }

  /** A SYN with MP_JOIN for our token (RFC 8684, 3.2). */
  handleJoin(segment: TcpSegment, pathId: number, nowMs: number): void {
    this.host.acceptJoin(this, segment, pathId, nowMs);
  }

  /** Resets one subflow whose path will not come back. */
  dropSubflow(subflow: Subflow, nowMs: number): void {
    subflow.reset(RST_UNSPECIFIED, nowMs);
  }

  get dataFinToSend(): boolean {
    return this.dataFinOffset >= 0 && !this.dataFinAcked && !this.fastClose.waiting;
  }

  slowestRttMs(): number {
    let slowest = 0;
    for (let i = 0; i < this.subflows.length; i++) {
      const subflow = this.subflows[i] as Subflow;
      if (!subflow.stale) slowest = Math.max(slowest, subflow.rttMs);
    }
    return slowest;
  }

  /** Data is exchanged in full: the handler need not wait for the subflows' FINs. */
  notifyFinished(nowMs: number): void {
    if (this.closingDeadlineMs === NEVER_MS) this.closingDeadlineMs = nowMs + CLOSING_TIMEOUT_MS;
    this.notifyClosed('finished', nowMs);
  }

  private acknowledgeSomewhere(): void {
    let best: Subflow | undefined;
    for (const subflow of this.subflows) {
      if (!subflow.isSynchronized || subflow.stale) continue;
      if (best === undefined || subflow.rttMs < best.rttMs) best = subflow;
    }
    const chosen = best ?? this.subflows[0];
    if (chosen !== undefined) chosen.ackNow = true;
    this.markDirty();
  }

  private deliverEnd(nowMs: number): void {
    if (this.endDelivered || this.closeNotified || this.remoteDataFinOffset < 0 || this.reassembly.readOffset < this.remoteDataFinOffset)
      return;
    this.endDelivered = true;
    this.handler?.onEnd(nowMs);
  }

  /** Both DATA_FINs are exchanged. */
  get finishedBothWays(): boolean {
    return this.dataFinAcked && this.endDelivered;
  }
}
