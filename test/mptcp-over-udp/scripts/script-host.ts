/**
 * Scripts of sends and expects against one MPTCP host in virtual time. The script plays the peer: it injects segments and says which ones the
 * host answers with, and when; a segment that no line expects fails the script. Times are milliseconds since the last `restartTime` (handshake
 * helpers end with one). On failure the trace of both directions is printed.
 */

import t from 'tap';
import type { CongestionControl, CongestionControlFactory } from '../../../src/mptcp-over-udp/congestion/congestion-control.js';
import type { MptcpConnection } from '../../../src/mptcp-over-udp/mptcp/connection.js';
import { type HostPath, MptcpHost, type MptcpHostOptions } from '../../../src/mptcp-over-udp/mptcp/host.js';
import { createMinRtt } from '../../../src/mptcp-over-udp/scheduler/min-rtt.js';
import type { FourTuple } from '../../../src/mptcp-over-udp/tcp/header-template.js';
import { cutSegments } from '../../../src/mptcp-over-udp/wire/cut-segments.js';
import { parseSegment, verifyTcpChecksum } from '../../../src/mptcp-over-udp/wire/parse-segment.js';
import {
  createTcpSegment,
  FIN,
  RST,
  SEEN_DSS,
  SEEN_MP_CAPABLE,
  SEEN_MP_JOIN,
  SYN,
  type TcpSegment,
} from '../../../src/mptcp-over-udp/wire/segment.js';
import { createPrng } from '../../sim/prng.js';
import { SimClock, type SimEvent } from '../../sim/sim-clock.js';
import { viewOf } from '../wire/packets.js';
import { ScriptApp } from './script-app.js';
import { emitSpec, peerPayload } from './script-codec.js';
import { addAddrHmac, dssChecksum, keysOf, type PeerKeys } from './script-crypto.js';
import { Flow, type SentSegment } from './script-flow.js';
import { faultsOf } from './script-match.js';
import { ack, type SegmentSpec, syn, synAck } from './script-segment.js';
import { segmentText } from './script-trace.js';

export * from './script-segment.js';

/** Payload of a full segment is 1000 bytes beside a DSS of 24. */
export const MTU_BYTES = 1064;
export const FULL = 1000;
export const RTT_MS = 20;
export const CLIENT_ADDRESS = Uint8Array.of(10, 77, 0, 2);
export const SERVER_ADDRESS = Uint8Array.of(198, 51, 100, 2);
const CLIENT_ADDRESS_6 = Uint8Array.of(0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2);
const SERVER_ADDRESS_6 = Uint8Array.of(0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2);
export const CLIENT_PORT = 40_000;
export const SERVER_PORT = 80;
/** A host that talks to itself for ever within one instant fails the script in place of hanging it. */
const MAX_POLLS_AT_ONE_TIME = 1_000;

const MAX_TRACE_LINES = 60;

class ScriptFailure extends Error {}

export interface ScriptOptions {
  /** How many paths the host has; on one it never joins by itself. */
  paths?: number;
  /** Congestion window in full segments, constant: what is scripted is the engine, not the algorithm. */
  cwndSegments?: number;
  /** Server: accept at once (default), or when the script says so. */
  accept?: 'at-once' | 'manual' | 'no-listener';
  peerKey?: Uint8Array;
  /** Version that the peer speaks. */
  version?: 0 | 1;
  /** The initial subflow runs over IPv6. */
  ipv6?: boolean;
  host?: Partial<MptcpHostOptions>;
}

export interface HandshakeOptions {
  capableFlags?: number;
  /** Window field of the peer's segments of the handshake. */
  win?: number;
  synOptions?: Partial<SegmentSpec>;
}

function fixedWindow(segments: number): CongestionControlFactory {
  return ({ mssBytes }): CongestionControl => {
    const nothing = (): void => {};
    return {
      name: 'fixed-window',
      cwndBytes: segments * mssBytes,
      pacingRateBytesPerSec: 1e12,
      ssthreshBytes: Number.POSITIVE_INFINITY,
      onSent: nothing,
      onAck: nothing,
      onRecoveryStart: nothing,
      onRecoveryEnd: nothing,
      onRetransmissionTimeout: nothing,
      onSpuriousLoss: nothing,
      onIdleRestart: nothing,
      onHandshake: nothing,
      setMss: nothing,
    };
  };
}

export class ScriptHost {
  readonly clock = new SimClock(10_000);
  readonly host: MptcpHost;
  readonly app = new ScriptApp();
  readonly flows: Flow[] = [];
  readonly events: string[] = [];
  readonly trace: string[] = [];
  readonly peer: PeerKeys;
  readonly version: 0 | 1;
  private readonly clientAddress: Uint8Array;
  private readonly serverAddress: Uint8Array;
  /** Known once the host has shown its key. */
  hostKeys: PeerKeys | undefined;
  /** The connection is MPTCP: injected segments carry a DSS unless told otherwise. */
  mptcp = false;
  /** Checksums are negotiated: injected mappings carry one. */
  checksums = false;
  /** Next data sequence numbers as the peer sees them. */
  hostDataNext = 1;
  peerDataNext = 1;
  /** Segments on four-tuples that no flow has claimed: joins that the host starts, resets of strangers. */
  private readonly unclaimed: SentSegment[] = [];
  private readonly unclaimedTuples: FourTuple[] = [];
  private readonly options: ScriptOptions;
  private readonly parsed: TcpSegment = createTcpSegment();
  private epochMs: number;
  private timer: SimEvent | undefined;
  private pollsAtOneTime = 0;
  private lastPollMs = -1;

  constructor(options: ScriptOptions) {
    this.options = options;
    this.epochMs = this.clock.nowMs;
    this.version = options.version ?? 1;
    this.clientAddress = options.ipv6 === true ? CLIENT_ADDRESS_6 : CLIENT_ADDRESS;
    this.serverAddress = options.ipv6 === true ? SERVER_ADDRESS_6 : SERVER_ADDRESS;
    this.peer = keysOf(options.peerKey ?? Uint8Array.of(0x70, 0x65, 0x65, 0x72, 0x6b, 0x65, 0x79, 0x31), this.version);
    const prng = createPrng(7);
    this.host = new MptcpHost({
      sink: {
        sendSegments: (pathId, header, headerBytes, payload, offset, length, segmentBytes) =>
          cutSegments(header, headerBytes, payload, offset, length, segmentBytes, (packet, bytes) =>
            this.record(pathId, packet.slice(0, bytes)),
          ),
      },
      randomBytes: (count) => Uint8Array.from({ length: count }, () => Math.floor(prng.uniform() * 256)),
      scheduler: createMinRtt(),
      congestionControl: fixedWindow(options.cwndSegments ?? 10),
      events: {
        ...((options.accept ?? 'at-once') === 'no-listener'
          ? {}
          : { onIncoming: (connection: MptcpConnection) => this.handleIncoming(connection) }),
        onSubflowEstablished: (_connection, subflow) => this.events.push(`sub_established path ${subflow.pathId}`),
        onSubflowClosed: (_connection, subflow, reason) => this.events.push(`sub_closed path ${subflow.pathId} ${reason}`),
        onAnnounced: (_connection, { addressId, address, port }) =>
          this.events.push(`announced id ${addressId} ${address.join('.')} port ${port}`),
        onRemoved: (_connection, addressIds) => this.events.push(`removed ids ${addressIds.join(' ')}`),
        onPriority: (_connection, subflow, backup) => this.events.push(`sub_priority path ${subflow.pathId} backup ${backup}`),
      },
      ...options.host,
    });
    for (let id = 0; id < (options.paths ?? 1); id++) {
      const [localAddress, remoteAddress] = [pathAddress(id, 1), pathAddress(id, 2)];
      const memory = { minRttMs: -1, bandwidthBytesPerSec: 0 };
      this.host.setPath({ id, usable: true, rttMs: RTT_MS, mtuBytes: MTU_BYTES, localAddress, remoteAddress, memory });
    }
  }

  /** The path layer changes what it knows of a path. */
  movePath(pathId: number, change: Partial<HostPath>): void {
    const path = this.host.path(pathId);
    if (path === undefined) this.fail(`no path ${pathId}`);
    this.host.setPath({ ...path, ...change });
  }

  get nowMs(): number {
    return this.clock.nowMs - this.epochMs;
  }

  /** The initial subflow. */
  get flow(): Flow {
    return this.flows[0] as Flow;
  }

  get connection(): MptcpConnection {
    if (this.app.connection === undefined) this.fail('there is no connection');
    return this.app.connection;
  }

  // ---- sends and expects on the initial subflow ----

  inject(atMs: number, spec: SegmentSpec): void {
    this.injectOn(this.flow, atMs, spec);
  }

  expect(atMs: number, spec: SegmentSpec, toleranceMs?: number): SentSegment {
    return this.expectOn(this.flow, atMs, spec, toleranceMs);
  }

  /** Until then the host sends nothing at all. */
  expectNothing(untilMs: number): void {
    this.advance(untilMs);
    for (const flow of this.flows) this.failOnUnexpected(flow);
    if (this.unclaimed.length > 0) this.fail(`${this.unclaimed.length} unexpected segment(s) on another four-tuple`);
  }

  /** Counts time from now on. */
  restartTime(): void {
    this.epochMs = this.clock.nowMs;
    this.trace.push(`${''.padStart(10)} -- time 0 --`);
  }

  // ---- the application ----

  connect(atMs: number): void {
    this.advance(atMs);
    const tuple = tupleOf(this.clientAddress, this.serverAddress, CLIENT_PORT, SERVER_PORT);
    this.addFlow(tuple, 0, false);
    this.note('connect');
    this.app.connection = this.host.connect(tuple, 0, this.app, this.clock.nowMs);
    this.settle();
  }

  accept(atMs: number): void {
    this.act(atMs, 'accept', () => this.connection.accept());
  }

  reject(atMs: number, reset: boolean): void {
    this.act(atMs, 'reject', () => this.connection.reject(reset, this.clock.nowMs));
  }

  write(atMs: number, length: number): void {
    this.act(atMs, `write ${length}`, () => {
      if (this.app.write(length) !== length) this.fail('the send buffer did not take it all');
    });
  }

  finish(atMs: number): void {
    this.act(atMs, 'finish', () => this.connection.finish());
  }

  abort(atMs: number): void {
    this.act(atMs, 'abort', () => this.connection.abort(this.clock.nowMs));
  }

  /** The reader takes `limit` bytes more. */
  read(atMs: number, limit = Number.POSITIVE_INFINITY): void {
    this.act(atMs, `read ${limit}`, () => {
      this.app.readLimit = this.app.readBytes + limit;
      this.connection.resumeReading();
    });
  }

  setPathUsable(atMs: number, pathId: number, usable: boolean): void {
    this.act(atMs, `path ${pathId} usable ${usable}`, () => this.host.setPathUsable(pathId, usable, this.clock.nowMs));
  }

  /** Something else that the application or the path layer does. */
  act(atMs: number, text: string, action: () => void): void {
    this.advance(atMs);
    this.note(text);
    action();
    this.settle();
  }

  assert(condition: boolean, message: string): void {
    if (!condition) this.fail(message);
  }

  equal(got: unknown, wanted: unknown, message: string): void {
    if (got !== wanted) this.fail(`${message}: ${String(got)}, expected ${String(wanted)}`);
  }

  // ---- handshakes; each ends with time 0 ----

  /** A flow of the peer towards the host's listener. */
  listen(): Flow {
    return this.addFlow(tupleOf(this.serverAddress, this.clientAddress, SERVER_PORT, CLIENT_PORT), 0, false);
  }

  /** The host is the server of an established MPTCP connection, one round trip of 20 ms old. */
  server(options: HandshakeOptions = {}): Flow {
    const flow = this.listen();
    const flags = options.capableFlags ?? 0x01;
    const { win = 65_535 } = options;
    this.inject(0, syn({ win, capable: { flags }, ...options.synOptions }));
    this.expect(0, synAckOfHost({ capable: {} }));
    this.inject(RTT_MS, ack({ win, capable: { flags } }));
    this.mptcp = true;
    this.checksums = (flags & 0x80) !== 0 || this.host.checksum;
    this.expectNothing(RTT_MS);
    this.restartTime();
    return flow;
  }

  /** The host is the client; the peer's first DSS has come, so that MPTCP is proved. */
  client(options: HandshakeOptions & { proved?: boolean } = {}): Flow {
    this.connect(0);
    this.expect(0, synOfHost({ capable: {} }));
    this.inject(RTT_MS, synAck({ capable: { flags: options.capableFlags ?? 0x01 }, ...options.synOptions }));
    this.expect(RTT_MS, ack({ capable: { length: 20 } }));
    this.mptcp = true;
    this.checksums = ((options.capableFlags ?? 0) & 0x80) !== 0 || this.host.checksum;
    if (options.proved !== false) this.inject(RTT_MS, ack());
    this.restartTime();
    return this.flow;
  }

  /** Plain TCP: the peer has no MPTCP. */
  plainServer(options: HandshakeOptions = {}): Flow {
    const flow = this.listen();
    const { win = 65_535 } = options;
    this.inject(0, syn({ win, ...options.synOptions }));
    this.expect(0, synAckOfHost({ plain: true }));
    this.inject(RTT_MS, ack({ win }));
    this.expectNothing(RTT_MS);
    this.restartTime();
    return flow;
  }

  plainClient(options: HandshakeOptions = {}): Flow {
    this.connect(0);
    this.expect(0, synOfHost({ capable: {} }));
    this.inject(RTT_MS, synAck(options.synOptions));
    this.expect(RTT_MS, ack({ plain: true }));
    this.restartTime();
    return this.flow;
  }

  /** A flow of the peer on another path, with nothing sent on it yet. */
  joinFlow(pathId = 1, port = 41_000): Flow {
    return this.addFlow(tupleOf(pathAddress(pathId, 1), pathAddress(pathId, 2), SERVER_PORT, port + this.flows.length), pathId, true);
  }

  /** The peer joins with a second subflow; 20 ms pass, time goes on. */
  peerJoins(atMs: number, pathId = 1, backup = false): Flow {
    const flow = this.joinFlow(pathId);
    flow.inject(atMs, syn({ join: { backup } }));
    flow.expect(atMs, synAckOfHost({ join: {} }));
    flow.inject(atMs + RTT_MS, ack({ join: {} }));
    flow.expect(atMs + RTT_MS, ack({ dss: {} }));
    return flow;
  }

  /** The host's join SYN on a path is expected at this time; the flow it opens is returned. */
  expectJoinSyn(atMs: number, pathId = 1, spec: SegmentSpec = synOfHost({ join: {} })): Flow {
    this.advance(atMs);
    const i = this.unclaimed.findIndex((sent) => sent.pathId === pathId && (sent.flags & SYN) !== 0);
    if (i < 0) this.fail(`no SYN of a join on path ${pathId}`);
    const [sent] = this.unclaimed.splice(i, 1) as [SentSegment];
    const [tuple] = this.unclaimedTuples.splice(i, 1) as [FourTuple];
    const flow = this.addFlow(tuple, pathId, true);
    this.learn(flow, sent);
    flow.unexpected.push(sent);
    this.expectOn(flow, atMs, spec);
    return flow;
  }

  /** Joins that the host starts are not this script's matter. */
  unclaim(): void {
    this.unclaimed.length = 0;
    this.unclaimedTuples.length = 0;
  }

  /** The host's join is answered: SYN/ACK, its third ACK, our fourth; 20 ms pass. */
  hostJoins(atMs: number, pathId = 1, backup = false): Flow {
    const flow = this.expectJoinSyn(atMs, pathId);
    flow.inject(atMs + RTT_MS, synAck({ join: { backup } }));
    flow.expect(atMs + RTT_MS, ack({ join: {} }));
    flow.inject(atMs + RTT_MS, ack());
    return flow;
  }

  /** The reset of a stranger's segment leaves no flow behind, but goes to the flow that the script made. */
  addFlow(tuple: FourTuple, pathId: number, isJoin: boolean): Flow {
    const flow = new Flow(this, `f${this.flows.length}`, tuple, pathId, this.flows.length, isJoin);
    this.flows.push(flow);
    return flow;
  }

  /** HMAC of an ADD_ADDR of the peer, for options that lie about one of its parts. */
  addAddrHmac(id: number, address: Uint8Array, port: number): Uint8Array {
    return addAddrHmac(this.peer.key, this.hostKeys?.key ?? new Uint8Array(8), id, address, port);
  }

  /** Checksum of a mapping of the peer that covers more than one segment. */
  peerChecksum(dsn: number, ssn: number, length: number): number {
    return dssChecksum(this.peer.idsn + BigInt(dsn), ssn, length, peerPayload(dsn, length));
  }

  // ---- for flows ----

  injectOn(flow: Flow, atMs: number, written: SegmentSpec): void {
    this.advance(atMs);
    const { packet, spec } = emitSpec(this, flow, written);
    const length = spec.len ?? 0;
    flow.peerNext = Math.max(
      flow.peerNext,
      (spec.seq ?? 0) + length + ((spec.flags & SYN) !== 0 ? 1 : 0) + ((spec.flags & FIN) !== 0 ? 1 : 0),
    );
    if (length > 0 && spec.capable !== undefined) this.peerDataNext = Math.max(this.peerDataNext, 1 + length);
    if (spec.dss?.dsn !== undefined) {
      this.peerDataNext = Math.max(this.peerDataNext, spec.dss.dsn + (spec.dss.length ?? length + (spec.dss.fin === true ? 1 : 0)));
    }
    if (parseSegment(packet, viewOf(packet), 0, packet.length, false, this.parsed) !== '') this.fail("the script's segment does not parse");
    this.note(`< ${flow.name} ${segmentText(this, flow, this.parsed, false)}`);
    this.host.handlePacket(packet, 0, packet.length, false, flow.pathId, this.clock.nowMs);
    this.settle();
  }

  expectOn(flow: Flow, atMs: number, spec: SegmentSpec, toleranceMs = 1): SentSegment {
    if (flow.unexpected.length === 0) this.advance(atMs + toleranceMs, () => flow.unexpected.length > 0);
    const got = flow.unexpected.shift();
    if (got === undefined) this.fail(`nothing was sent on ${flow.name} by ${atMs} ms`);
    const faults = faultsOf(this, flow, spec, got);
    const sentMs = got.atMs - this.epochMs;
    if (Math.abs(sentMs - atMs) > toleranceMs) faults.push(`sent at ${sentMs.toFixed(1)} ms, expected at ${atMs} ms`);
    if (faults.length > 0) this.fail(`${flow.name} at ${sentMs.toFixed(1)} ms: ${faults.join('; ')}`);
    return got;
  }

  expectNothingOn(flow: Flow, untilMs: number): void {
    this.advance(untilMs);
    this.failOnUnexpected(flow);
  }

  hostIdsn(): bigint {
    return this.hostKeys?.idsn ?? 0n;
  }

  /** A data sequence number of the host's or the peer's stream, from its IDSN. */
  relativeDsn(whose: 'host' | 'peer', dsnHigh: number, dsnLow: number, bytes: number): number {
    const idsn = whose === 'host' ? this.hostIdsn() : this.peer.idsn;
    if (bytes === 4) return (dsnLow - Number(idsn & 0xffff_ffffn)) >>> 0;
    return Number(BigInt.asIntN(64, ((BigInt(dsnHigh) << 32n) | BigInt(dsnLow)) - idsn));
  }

  /** All that was sent has been expected, and the host holds no memory once it has closed. */
  end(): void {
    for (const flow of this.flows) this.failOnUnexpected(flow);
    if (this.unclaimed.length > 0) this.fail(`${this.unclaimed.length} unexpected segment(s) on another four-tuple`);
    if (this.app.corruptAt >= 0) this.fail(`the application read a wrong byte at ${this.app.corruptAt}`);
    if (this.app.closedCount > 1) this.fail('onClosed was called more than once');
    if (this.host.connectionCount === 0 && this.host.pool.inUseBytes !== 0) this.fail('blocks are still in use after the end');
  }

  fail(message: string): never {
    throw new ScriptFailure(message);
  }

  // ---- within ----

  private handleIncoming(connection: MptcpConnection): void {
    connection.setHandler(this.app);
    this.app.connection = connection;
    if (this.options.accept !== 'manual') connection.accept();
  }

  private note(text: string): void {
    this.trace.push(`${this.nowMs.toFixed(1).padStart(10)} ${text}`);
  }

  /** Runs the host's clock until then, or until `enough`. */
  advance(toMs: number, enough: () => boolean = () => false): void {
    const until = this.epochMs + toMs;
    if (until < this.clock.nowMs - 1e-6) this.fail(`the script goes back in time to ${toMs} ms`);
    while (!enough()) {
      const at = this.timer?.pending === true ? this.timer.atMs : Number.POSITIVE_INFINITY;
      if (at > until) {
        this.clock.runUntil(Math.max(until, this.clock.nowMs));
        return;
      }
      this.clock.runUntil(at);
    }
  }

  private settle(): void {
    const nowMs = this.clock.nowMs;
    this.pollsAtOneTime = nowMs === this.lastPollMs ? this.pollsAtOneTime + 1 : 0;
    this.lastPollMs = nowMs;
    if (this.pollsAtOneTime > MAX_POLLS_AT_ONE_TIME) this.fail('the host asks to be polled for ever at one time');
    this.host.poll(nowMs);
    if (this.timer !== undefined) this.clock.cancel(this.timer);
    this.timer = undefined;
    const at = this.host.nextTimeoutMs();
    if (at !== Number.POSITIVE_INFINITY) this.timer = this.clock.schedule(at, () => this.settle());
  }

  private record(pathId: number, packet: Uint8Array): void {
    const parsed = this.parsed;
    const fault = parseSegment(packet, viewOf(packet), 0, packet.length, false, parsed);
    if (fault !== '') this.fail(`the host's own segment does not parse: ${fault}`);
    const addressBytes = parsed.ipVersion === 4 ? 4 : 16;
    const tuple = tupleOf(
      packet.slice(parsed.sourceAddressOffset, parsed.sourceAddressOffset + addressBytes),
      packet.slice(parsed.destinationAddressOffset, parsed.destinationAddressOffset + addressBytes),
      parsed.sourcePort,
      parsed.destinationPort,
    );
    const sent = sentSegment(this.clock.nowMs, pathId, parsed, packet);
    const flow = this.flows.find((known) => sameTuple(known.tuple, tuple) && known.pathId === pathId);
    if (flow === undefined) {
      this.unclaimed.push(sent);
      this.unclaimedTuples.push(tuple);
      this.note(
        `> path ${pathId} port ${tuple.localPort} ${segmentText(this, { hostIss: parsed.sequenceNumber, peerIss: 0 } as Flow, parsed, true)}`,
      );
      return;
    }
    this.learn(flow, sent);
    this.note(`> ${flow.name} ${segmentText(this, flow, parsed, true)}`);
    flow.unexpected.push(sent);
  }

  /** What the peer learns from a segment of the host: initial sequence number, key, nonce, mappings. */
  private learn(flow: Flow, sent: SentSegment): void {
    if (!flow.hostIssKnown && (sent.flags & SYN) !== 0) {
      flow.hostIss = sent.sequenceNumber;
      flow.hostIssKnown = true;
    }
    const seq = (sent.sequenceNumber - flow.hostIss) >>> 0;
    const end = seq + sent.payload.length + ((sent.flags & SYN) !== 0 ? 1 : 0) + ((sent.flags & FIN) !== 0 ? 1 : 0);
    if ((sent.flags & RST) === 0) flow.hostNext = Math.max(flow.hostNext, end);
    const { mpCapable, mpJoin, dss, seen } = sent.mptcp;
    if ((seen & SEEN_MP_CAPABLE) !== 0 && mpCapable.length >= 12 && this.hostKeys === undefined)
      this.hostKeys = keysOf(mpCapable.senderKey.slice(), this.version);
    if ((seen & SEEN_MP_JOIN) !== 0 && mpJoin.length <= 16) flow.hostNonce = mpJoin.nonce;
    if ((seen & SEEN_MP_CAPABLE) !== 0 && mpCapable.length >= 22) this.learnMapping(flow, 1, 1, mpCapable.dataLength, false);
    if ((seen & SEEN_DSS) !== 0 && dss.dsnBytes !== 0) {
      const dsn = this.relativeDsn('host', dss.dsnHigh, dss.dsnLow, dss.dsnBytes);
      this.learnMapping(flow, dss.subflowSequenceNumber, dsn, dss.dataLength, dss.dataFin);
    }
  }

  private learnMapping(flow: Flow, ssn: number, dsn: number, length: number, isFin: boolean): void {
    // RFC 8684 (3.3.1): length 0 is without end.
    const bytes = length === 0 ? Number.POSITIVE_INFINITY : length - (isFin ? 1 : 0);
    if (bytes > 0 && ssn > 0) flow.mappings.push({ ssn, dsn, length: bytes });
    this.hostDataNext = Math.max(this.hostDataNext, dsn + length);
  }

  private failOnUnexpected(flow: Flow): void {
    const first = flow.unexpected[0];
    if (first !== undefined)
      this.fail(
        `${flow.unexpected.length} unexpected segment(s) on ${flow.name}, the first at ${(first.atMs - this.epochMs).toFixed(1)} ms`,
      );
  }
}

/** Expectations of the host's own SYN: which TCP options it carries is not the matter of most scripts. */
export function synOfHost(rest: Partial<SegmentSpec> = {}): SegmentSpec {
  return { flags: SYN, seq: 0, len: 0, ...rest };
}

export function synAckOfHost(rest: Partial<SegmentSpec> = {}): SegmentSpec {
  return { flags: synAck().flags, seq: 0, ack: 1, len: 0, ...rest };
}

/** Address of a join on a path: 1 is the host's side, 2 the peer's. */
export function pathAddress(pathId: number, side: number): Uint8Array {
  return Uint8Array.of(100, 127, pathId, side);
}

export function tupleOf(localAddress: Uint8Array, remoteAddress: Uint8Array, localPort: number, remotePort: number): FourTuple {
  return { ipVersion: localAddress.length === 4 ? 4 : 6, localAddress, remoteAddress, localPort, remotePort };
}

function sameTuple(a: FourTuple, b: FourTuple): boolean {
  return (
    a.localPort === b.localPort &&
    a.remotePort === b.remotePort &&
    a.localAddress.join() === b.localAddress.join() &&
    a.remoteAddress.join() === b.remoteAddress.join()
  );
}

function sentSegment(atMs: number, pathId: number, parsed: TcpSegment, packet: Uint8Array): SentSegment {
  return {
    atMs,
    pathId,
    flags: parsed.flags,
    sequenceNumber: parsed.sequenceNumber,
    acknowledgmentNumber: parsed.acknowledgmentNumber,
    window: parsed.window,
    payload: packet.slice(parsed.payloadOffset, parsed.payloadOffset + parsed.payloadBytes),
    optionBytes: parsed.payloadOffset - (parsed.ipVersion === 4 ? 40 : 60),
    mss: parsed.mss,
    windowScale: parsed.windowScale,
    sackPermitted: parsed.sackPermitted,
    hasTimestamps: parsed.hasTimestamps,
    timestampValue: parsed.timestampValue,
    timestampEcho: parsed.timestampEcho,
    sack: [...parsed.sack.subarray(0, 2 * parsed.sackCount)],
    mptcp: structuredClone(parsed.mptcp),
    checksumValid: verifyTcpChecksum(packet, 0, packet.length),
  };
}

/** One script is one test, named for the behaviour. */
export function script(name: string, run: (s: ScriptHost) => void): void;
export function script(name: string, options: ScriptOptions, run: (s: ScriptHost) => void): void;
export function script(name: string, first: ScriptOptions | ((s: ScriptHost) => void), second?: (s: ScriptHost) => void): void {
  const [options, run] = typeof first === 'function' ? [{}, first] : [first, second as (s: ScriptHost) => void];
  const s = new ScriptHost(options);
  try {
    run(s);
    s.end();
    t.pass(name);
  } catch (error) {
    const message =
      error instanceof Error ? (error instanceof ScriptFailure ? error.message : (error.stack ?? error.message)) : String(error);
    for (const line of s.trace.slice(-MAX_TRACE_LINES)) t.comment(line);
    t.fail(name, { because: message });
  }
}
