/**
 * An MPTCP host without a kernel: packets in, segments out, on a set of paths (one host per peer of the tunnel). It demultiplexes, opens and
 * accepts connections, adds subflows by MP_JOIN, and drives their clocks. Verbs: `handlePacket`, `poll`, `nextTimeoutMs`.
 */

import type { ByteStreamHandler } from '../byte-stream.js';
import type { CongestionControlFactory } from '../congestion/congestion-control.js';
import { initialWindowBytes } from '../congestion/initial-window.js';
import { ConnectionTable, tupleOfSegment } from '../connection-table.js';
import { PollScheduler } from '../poll-scheduler.js';
import type { Scheduler } from '../scheduler/scheduler.js';
import type { SegmentSink } from '../segment-sink.js';
import { FastOpenClient } from '../tcp/fast-open-client.js';
import { DEFAULT_FAST_OPEN_PENDING, FastOpenServer } from '../tcp/fast-open-server.js';
import type { FourTuple } from '../tcp/header-template.js';
import { BlockPool } from '../tcp/payload-block.js';
import { sendStatelessReset } from '../tcp/stateless-reset.js';
import type { TcpHostServices } from '../tcp/tcp-connection.js';
import { handleSegment } from '../tcp/tcp-input.js';
import { readU32 } from '../wire/big-endian.js';
import { MP_CAPABLE_CHECKSUM_REQUIRED, MP_CAPABLE_EXTENSIBILITY, MP_CAPABLE_HMAC_SHA256, MP_CAPABLE_NO_JOIN } from '../wire/mp-capable.js';
import { parseSegment } from '../wire/parse-segment.js';
import { ACK, createTcpSegment, RST, SEEN_MP_CAPABLE, SEEN_MP_JOIN, SYN, type TcpSegment } from '../wire/segment.js';
import { MptcpConnection } from './connection.js';
import type { EngineConnectOptions, MptcpHostEvents, MptcpHostOptions } from './host-options.js';
import { type HostPath, HostPaths } from './host-paths.js';
import { JoinPacing } from './join-pacing.js';
import { deriveKeyMaterial, type KeyMaterial, type MptcpVersion } from './keys.js';
import { beginsHeldBack, permitsPath } from './path-policy.js';
import { DEFAULT_INITIAL_WINDOW_BYTES, ReceiveMemory } from './receive-window.js';
import { RST_MPTCP_ERROR, Subflow, type SubflowRole } from './subflow.js';

/** 67 MB: a window field of 16 bits in units of 1 KB. */
const WINDOW_SCALE = 10;
/** SYN/ACK waits for the far side's answer: a first repeat sooner than this would often be for nothing. */
const MIN_INITIAL_RTO_MS = 300;
const MAX_SUBFLOWS = 8;
const FIRST_EPHEMERAL_PORT = 32_768;
const EPHEMERAL_PORT_COUNT = 65_536 - FIRST_EPHEMERAL_PORT;
const DEFAULT_ANNOUNCE_TIMEOUT_MS = 1_000;
const DEFAULT_CAPABLE_SYN_COUNT = 2;
/** As Linux. A SYN/ACK with MSS, SACK, scaling, MP_CAPABLE (12) and timestamps (12) has 7 of 40 bytes left. */
const FAST_OPEN_COOKIE_BYTES = 8;
const FAST_OPEN_COOKIE_BYTES_BESIDE_TIMESTAMPS = 4;
const DEFAULT_RECEIVE_MEMORY_BYTES = 512 << 20;

export class MptcpHost implements TcpHostServices {
  readonly sink: SegmentSink;
  readonly pool: BlockPool;
  readonly scheduler: Scheduler;
  readonly events: MptcpHostEvents | undefined;
  readonly memory: ReceiveMemory;
  readonly joinPacing = new JoinPacing();
  readonly checksum: boolean;
  private readonly version: MptcpVersion;
  private readonly acceptVersion0: boolean;
  private readonly timestamps: boolean;
  private readonly keepaliveMs: number;
  readonly denyJoinInitial: boolean;
  readonly capableSynCount: number;
  readonly announceTimeoutMs: number;
  readonly abortForm: 'reset' | 'ack';
  private readonly mtuSearch: boolean;
  readonly counters: Record<string, number> = {};
  private readonly randomBytes: (count: number) => Uint8Array;
  private readonly congestionControl: CongestionControlFactory;
  private readonly table = new ConnectionTable<Subflow>();
  private readonly tokens = new Map<number, MptcpConnection>();
  private readonly connections = new Set<MptcpConnection>();
  private readonly pollScheduler = new PollScheduler();
  readonly paths = new HostPaths(this);
  private readonly segment = createTcpSegment();
  private readonly maxConnections: number;
  private readonly fastOpenServer: FastOpenServer | undefined;
  private readonly fastOpenEarlyAnswers: boolean;
  readonly fastOpenClient = new FastOpenClient();
  private viewOf: Uint8Array | undefined;
  private view: DataView = new DataView(new ArrayBuffer(0));
  private entropy: Uint8Array = new Uint8Array(0);
  private entropyAt = 0;
  private nextPort = FIRST_EPHEMERAL_PORT;
  /** As given to `poll` or `handlePacket` last. */
  nowMs = 0;

  constructor(options: MptcpHostOptions) {
    this.sink = options.sink;
    this.pool = options.pool ?? new BlockPool();
    this.scheduler = options.scheduler;
    this.events = options.events;
    this.memory = new ReceiveMemory(
      options.receiveMemoryBytes ?? DEFAULT_RECEIVE_MEMORY_BYTES,
      options.receiveWindowBytes ?? DEFAULT_INITIAL_WINDOW_BYTES,
    );
    this.checksum = options.checksum ?? false;
    this.version = options.version ?? 1;
    this.acceptVersion0 = options.acceptVersion0 ?? false;
    this.timestamps = options.timestamps ?? false;
    this.keepaliveMs = options.keepaliveMs ?? Number.POSITIVE_INFINITY;
    this.denyJoinInitial = options.denyJoinInitial ?? false;
    this.capableSynCount = options.capableSynCount ?? DEFAULT_CAPABLE_SYN_COUNT;
    this.announceTimeoutMs = options.announceTimeoutMs ?? DEFAULT_ANNOUNCE_TIMEOUT_MS;
    this.mtuSearch = options.mtuSearch ?? false;
    this.abortForm = options.abortForm ?? 'reset';
    this.randomBytes = options.randomBytes;
    this.congestionControl = options.congestionControl;
    this.maxConnections = options.maxConnections ?? 65_536;
    this.fastOpenEarlyAnswers = options.fastOpenEarlyAnswers ?? false;
    if (options.fastOpen === true) {
      const cookieBytes = this.timestamps ? FAST_OPEN_COOKIE_BYTES_BESIDE_TIMESTAMPS : FAST_OPEN_COOKIE_BYTES;
      this.fastOpenServer = new FastOpenServer(options.randomBytes, cookieBytes, options.fastOpenPending ?? DEFAULT_FAST_OPEN_PENDING);
    }
  }

  get connectionCount(): number {
    return this.connections.size;
  }

  /** In the order in which they were opened. */
  openConnections(): Iterable<MptcpConnection> {
    return this.connections;
  }

  // ---- connections ----

  /** Opens a connection under this four-tuple on a path; SYN + MP_CAPABLE leaves at the next poll. */
  connect(
    tuple: FourTuple,
    pathId: number,
    handler: ByteStreamHandler,
    nowMs: number,
    options: EngineConnectOptions = {},
  ): MptcpConnection {
    const connection = new MptcpConnection(this, 'client', tuple, this.version);
    connection.setHandler(handler);
    connection.pathPolicy = options.pathPolicy;
    if (options.scheduler !== undefined) connection.scheduler = options.scheduler.forConnection();
    this.connections.add(connection);
    const subflow = this.addSubflow(connection, 'capable-client', tuple, pathId, 0, nowMs);
    // RFC 8684 (B) knows version 1 only.
    if (options.fastOpen === true && this.version === 1) this.fastOpenClient.prepare(subflow, nowMs);
    subflow.connect();
    connection.lastActivityMs = nowMs;
    this.markDirty(connection);
    return connection;
  }

  /** Aborts everything: FASTCLOSE to all. */
  abortAll(nowMs: number): void {
    for (const connection of [...this.connections]) connection.abort(nowMs);
  }

  // ---- the verbs ----

  /** One IP/TCP packet from a path. '' when it was for us, else a constant fault string. `coalesced`: as in parseSegment. */
  handlePacket(bytes: Uint8Array, offset: number, length: number, coalesced: boolean, pathId: number, nowMs: number): string {
    this.nowMs = nowMs;
    if (this.viewOf !== bytes) {
      this.viewOf = bytes;
      this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    }
    const segment = this.segment;
    const fault = parseSegment(bytes, this.view, offset, length, coalesced, segment);
    if (fault !== '') {
      this.count(fault);
      return fault;
    }
    const subflow = this.table.find(segment);
    if (subflow !== undefined) {
      handleSegment(subflow, segment, nowMs);
      this.markDirty(subflow.connection);
    } else this.handleUnknown(segment, pathId, nowMs);
    return '';
  }

  poll(nowMs: number): void {
    this.nowMs = nowMs;
    if (nowMs >= this.paths.benchTimeoutMs) this.paths.releaseBenched(nowMs);
    this.paths.callTurns(nowMs);
    this.pollScheduler.poll(nowMs);
  }

  nextTimeoutMs(): number {
    return Math.min(this.paths.benchTimeoutMs, this.paths.nextTurnMs(), this.pollScheduler.nextTimeoutMs());
  }

  // ---- services for connections ----

  markDirty(connection: MptcpConnection): void {
    this.pollScheduler.markDirty(connection);
  }

  count(counter: string): void {
    this.counters[counter] = (this.counters[counter] ?? 0) + 1;
  }

  randomUint32(): number {
    if (this.entropyAt + 4 > this.entropy.length) {
      this.entropy = this.randomBytes(1024);
      this.entropyAt = 0;
    }
    this.entropyAt += 4;
    return readU32(this.entropy, this.entropyAt - 4);
  }

  /** RFC 8684 (3.1): a key whose token is not taken. */
  allocateKey(version: MptcpVersion): KeyMaterial {
    for (;;) {
      const material = deriveKeyMaterial(this.randomBytes(8), version);
      if (!this.tokens.has(material.token)) return material;
    }
  }

  addSubflow(connection: MptcpConnection, role: SubflowRole, tuple: FourTuple, pathId: number, addressId: number, nowMs: number): Subflow {
    const path = this.paths.get(pathId);
    const mtuBytes = path?.mtuBytes ?? 1_400;
    const mssBytes = mtuBytes - (tuple.ipVersion === 4 ? 40 : 60);
    const congestion = this.congestionControl({
      mssBytes,
      initialWindowBytes: initialWindowBytes(mssBytes, path?.rttMs ?? 0),
      nowMs,
      ...(path === undefined || path.rttMs <= 0 ? {} : { initialRttMs: path.rttMs }),
      group: connection.coupledGroup,
      ...(path === undefined ? {} : { memory: path.memory }),
    });
    const subflow = new Subflow(this, connection, role, addressId, {
      tuple,
      pathId,
      mssBytes,
      ...(path?.segmentPayloadBytes === undefined ? {} : { segmentPayloadBytes: path.segmentPayloadBytes }),
      receiveWindowScale: WINDOW_SCALE,
      congestion,
      paced: true,
      timestamps: this.timestamps,
      keepaliveMs: this.keepaliveMs,
      mtuSearch: this.mtuSearch,
    });
    // DEVIATION RFC 6298 (2.1): the path's round trip is known from its own acknowledgements.
    if (path !== undefined && path.rttMs > 0)
      subflow.recovery.rtt.initialRtoMs = Math.min(1_000, Math.max(MIN_INITIAL_RTO_MS, 3 * path.rttMs));
    subflow.turns = path?.turns;
    subflow.cost = path?.cost ?? 0;
    subflow.stale = path !== undefined && !path.usable;
    subflow.benched = path?.bench?.isBenched(nowMs) === true;
    subflow.onBackupPath = beginsHeldBack(connection, pathId);
    // MP_CAPABLE has no B bit.
    if (subflow.onBackupPath && role.startsWith('join')) subflow.localBackup = true;
    connection.subflows.push(subflow);
    this.table.add(subflow);
    this.tokens.set(connection.local.token, connection);
    return subflow;
  }

  forgetSubflow(subflow: Subflow): void {
    this.table.remove(subflow);
  }

  forgetConnection(connection: MptcpConnection): void {
    this.tokens.delete(connection.local.token);
    this.connections.delete(connection);
    this.pollScheduler.forget(connection);
  }

  /** MP_JOIN on every usable path that has no subflow yet; the side that opened the connection does this. */
  startJoins(connection: MptcpConnection, nowMs: number): void {
    connection.joins.clear();
    if (connection.fallbackState.leavesMptcp || connection.subflowsClosing) return;
    if (this.events?.onJoinsDue !== undefined) {
      this.events.onJoinsDue(connection, nowMs);
      return;
    }
    if (connection.role !== 'client') return;
    for (const path of this.paths.all()) {
      if (!path.usable || connection.subflows.length >= MAX_SUBFLOWS || !permitsPath(connection, path.id)) continue;
      if (connection.subflows.some((subflow) => subflow.pathId === path.id)) continue;
      this.join(connection, this.joinTuple(path, connection.tuple.remotePort), path.id, path.id + 1, nowMs);
    }
    this.markDirty(connection);
  }

  /** One more subflow, from an address that has this id; undefined: there are enough, or it is no time for joins. */
  join(connection: MptcpConnection, tuple: FourTuple, pathId: number, addressId: number, nowMs: number): Subflow | undefined {
    const ready = connection.peerProved && !connection.fallbackState.leavesMptcp && !connection.closed && !connection.subflowsClosing;
    if (!ready || connection.subflows.length >= MAX_SUBFLOWS) return undefined;
    // RFC 8684 (3.1): C forbids joins to the address and port of the initial subflow.
    if (connection.remoteDeniesJoinInitial && isSameRemote(connection.tuple, tuple)) return undefined;
    const subflow = this.addSubflow(connection, 'join-client', tuple, pathId, addressId, nowMs);
    subflow.connect();
    this.markDirty(connection);
    return subflow;
  }

  acceptJoin(connection: MptcpConnection, segment: TcpSegment, pathId: number, nowMs: number): void {
    if (
      connection.closed ||
      connection.fastClose.waiting ||
      connection.fallbackState.leavesMptcp ||
      !connection.peerProved ||
      connection.subflows.length >= MAX_SUBFLOWS
    ) {
      this.refuse(segment, pathId, 'mptcp-join-refused');
      return;
    }
    const tuple = tupleOfSegment(segment);
    const addressId = this.events?.localAddressId?.(connection, tuple.localAddress) ?? segment.mptcp.mpJoin.addressId;
    const subflow = this.addSubflow(connection, 'join-server', tuple, pathId, addressId, nowMs);
    subflow.noteSyn(segment);
    // Who opened the connection decides: a path that is a backup otherwise may be named by a policy of theirs.
    if (connection.pathPolicy === undefined && !segment.mptcp.mpJoin.backup) subflow.onBackupPath = false;
    subflow.accept();
    this.markDirty(connection);
  }

  private handleUnknown(segment: TcpSegment, pathId: number, nowMs: number): void {
    const isSyn = (segment.flags & (SYN | ACK | RST)) === SYN;
    if (!isSyn) {
      if ((segment.flags & RST) === 0) this.refuse(segment, pathId, 'tcp-unknown-connection');
      return;
    }
    const { seen, mpCapable, mpJoin } = segment.mptcp;
    if ((seen & SEEN_MP_JOIN) !== 0 && mpJoin.length === 12) {
      const connection = this.tokens.get(mpJoin.token);
      if (connection === undefined) this.refuse(segment, pathId, 'mptcp-join-unknown-token');
      else connection.handleJoin(segment, pathId, nowMs);
      return;
    }
    const version: MptcpVersion = mpCapable.version === 0 && this.acceptVersion0 ? 0 : 1;
    const capable = (seen & SEEN_MP_CAPABLE) !== 0 && mpCapable.version === version && mpCapable.length === (version === 0 ? 12 : 4);
    const usable = capable && (mpCapable.flags & MP_CAPABLE_HMAC_SHA256) !== 0 && (mpCapable.flags & MP_CAPABLE_EXTENSIBILITY) === 0;
    if (this.events?.onIncoming === undefined || this.connections.size >= this.maxConnections) {
      this.refuse(segment, pathId, 'tcp-no-listener');
      return;
    }
    const connection = new MptcpConnection(this, 'server', tupleOfSegment(segment), version);
    this.connections.add(connection);
    const subflow = this.addSubflow(connection, 'capable-server', connection.tuple, pathId, 0, nowMs);
    subflow.noteSyn(segment);
    if (usable && (mpCapable.flags & MP_CAPABLE_CHECKSUM_REQUIRED) !== 0) connection.checksum = true;
    if (usable && version === 0) connection.setRemoteKey(mpCapable.senderKey.slice());
    if (usable && (mpCapable.flags & MP_CAPABLE_NO_JOIN) !== 0) connection.remoteDeniesJoinInitial = true;
    if (connection.version === 1) this.fastOpenServer?.handleSyn(subflow, segment, nowMs);
    if (subflow.fastOpened) {
      connection.synData.open(subflow, segment);
      subflow.answersEarly = !usable || this.fastOpenEarlyAnswers;
    }
    if (!usable) connection.fallbackState.start(subflow);
    connection.lastActivityMs = nowMs;
    this.events.onIncoming(connection, nowMs);
    this.markDirty(connection);
  }

  private refuse(segment: TcpSegment, pathId: number, counter: string): void {
    this.count(counter);
    sendStatelessReset(this.sink, pathId, segment, RST_MPTCP_ERROR);
  }

  /** Both sides open joins between the same two addresses, and ports come round: what is in use is passed by. */
  private joinTuple({ localAddress, remoteAddress }: HostPath, remotePort: number): FourTuple {
    for (let attempt = 0; ; attempt++) {
      const localPort = this.allocatePort();
      const tuple: FourTuple = { ipVersion: localAddress.length === 4 ? 4 : 6, localAddress, remoteAddress, localPort, remotePort };
      if (attempt >= EPHEMERAL_PORT_COUNT || this.table.findTuple(tuple) === undefined) return tuple;
    }
  }

  private allocatePort(): number {
    this.nextPort = this.nextPort >= 65_535 ? FIRST_EPHEMERAL_PORT : this.nextPort + 1;
    return this.nextPort;
  }
}

function isSameRemote(a: FourTuple, b: FourTuple): boolean {
  return a.remotePort === b.remotePort && a.ipVersion === b.ipVersion && a.remoteAddress.every((byte, i) => byte === b.remoteAddress[i]);
}
