/**
 * One MPTCP host on a virtual clock, and what goes in and out of it: segments of the script are injected, segments of the host are recorded on their
 * flows until a line of the script expects them. Times are milliseconds since the last `restartTime`.
 */

import type { CongestionControl, CongestionControlFactory } from '../../../src/mptcp-over-udp/congestion/congestion-control.js';
import type { MptcpConnection } from '../../../src/mptcp-over-udp/mptcp/connection.js';
import { MptcpHost } from '../../../src/mptcp-over-udp/mptcp/host.js';
import type { MptcpHostOptions } from '../../../src/mptcp-over-udp/mptcp/host-options.js';
import type { HostPath } from '../../../src/mptcp-over-udp/mptcp/host-paths.js';
import { createMinRtt } from '../../../src/mptcp-over-udp/scheduler/min-rtt.js';
import type { FourTuple } from '../../../src/mptcp-over-udp/tcp/header-template.js';
import { cutSegments } from '../../../src/mptcp-over-udp/wire/cut-segments.js';
import { parseSegment } from '../../../src/mptcp-over-udp/wire/parse-segment.js';
import { ACK, createTcpSegment, FIN, SYN, type TcpSegment } from '../../../src/mptcp-over-udp/wire/segment.js';
import { createPrng } from '../../sim/prng.js';
import { SimClock, type SimEvent } from '../../sim/sim-clock.js';
import { viewOf } from '../wire/packets.js';
import { ScriptApp } from './script-app.js';
import { emitSpec } from './script-codec.js';
import { Flow, type FlowOwner, type SentSegment, sentSegment } from './script-flow.js';
import { faultsOf } from './script-match.js';
import { MTU_BYTES, pathAddress, RTT_MS, sameTuple, tupleOf } from './script-network.js';
import { ScriptPeer } from './script-peer.js';
import type { SegmentSpec } from './script-segment.js';
import { segmentText } from './script-trace.js';

/** A host that talks to itself for ever within one instant fails the script in place of hanging it. */
const MAX_POLLS_AT_ONE_TIME = 1_000;

export class ScriptFailure extends Error {}

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

export class ScriptMachine extends ScriptPeer implements FlowOwner {
  readonly clock = new SimClock(10_000);
  readonly host: MptcpHost;
  /** Of the connection that the script is at. */
  app = new ScriptApp();
  readonly flows: Flow[] = [];
  protected initialFlow = 0;
  readonly events: string[] = [];
  readonly trace: string[] = [];
  /** Segments on four-tuples that no flow has claimed: joins that the host starts, resets of strangers. */
  protected readonly unclaimed: SentSegment[] = [];
  protected readonly unclaimedTuples: FourTuple[] = [];
  private readonly options: ScriptOptions;
  private readonly parsed: TcpSegment = createTcpSegment();
  private epochMs: number;
  private timer: SimEvent | undefined;
  private pollsAtOneTime = 0;
  private lastPollMs = -1;

  constructor(options: ScriptOptions) {
    super(options.version, options.peerKey);
    this.options = options;
    this.epochMs = this.clock.nowMs;
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
      this.host.paths.set({ id, usable: true, rttMs: RTT_MS, mtuBytes: MTU_BYTES, localAddress, remoteAddress, memory });
    }
  }

  /** The path layer changes what it knows of a path. */
  movePath(pathId: number, change: Partial<HostPath>): void {
    const path = this.host.paths.get(pathId);
    if (path === undefined) this.fail(`no path ${pathId}`);
    this.host.paths.set({ ...path, ...change });
  }

  get nowMs(): number {
    return this.clock.nowMs - this.epochMs;
  }

  get connection(): MptcpConnection {
    if (this.app.connection === undefined) this.fail('there is no connection');
    return this.app.connection;
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

  /** Another connection from here on; the flows of those before go on. */
  protected beginConnection(): void {
    this.app = new ScriptApp();
    this.hostKeys = undefined;
    this.mptcp = false;
    this.hostDataNext = 1;
    this.peerDataNext = 1;
    this.initialFlow = this.flows.length;
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

  /** The reset of a stranger's segment leaves no flow behind, but goes to the flow that the script made. */
  addFlow(tuple: FourTuple, pathId: number, isJoin: boolean): Flow {
    const flow = new Flow(this, `f${this.flows.length}`, tuple, pathId, this.flows.length, isJoin);
    this.flows.push(flow);
    return flow;
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
    if ((spec.flags & SYN) !== 0 && spec.ack !== undefined) flow.hostNext = spec.ack;
    if ((spec.flags & (SYN | ACK)) === (SYN | ACK)) flow.hostSynBytes = flow.hostNext - 1;
    if (length > 0 && spec.capable !== undefined && (spec.flags & SYN) === 0) this.peerDataNext = Math.max(this.peerDataNext, 1 + length);
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

  protected note(text: string): void {
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

  protected settle(): void {
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

  protected failOnUnexpected(flow: Flow): void {
    const first = flow.unexpected[0];
    if (first !== undefined)
      this.fail(
        `${flow.unexpected.length} unexpected segment(s) on ${flow.name}, the first at ${(first.atMs - this.epochMs).toFixed(1)} ms`,
      );
  }
}
