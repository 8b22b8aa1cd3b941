/**
 * The stream plane: TCP connections of this host become MPTCP connections to a peer, under the application's own addresses and ports; those that a peer opens
 * are dialled here. One MPTCP host per peer, one set of TCP endpoints at the TUN.
 */

import type { ByteStream, ByteStreamHandler } from '../../mptcp-over-udp/byte-stream.js';
import type { PathMemory } from '../../mptcp-over-udp/congestion/congestion-control.js';
import { CONGESTION_CONTROLS } from '../../mptcp-over-udp/congestion/congestion-controls.js';
import type { MptcpConnection } from '../../mptcp-over-udp/mptcp/connection.js';
import { MptcpHost } from '../../mptcp-over-udp/mptcp/host.js';
import { SCHEDULERS } from '../../mptcp-over-udp/scheduler/schedulers.js';
import type { SegmentSink } from '../../mptcp-over-udp/segment-sink.js';
import type { TcpEndpoint } from '../../mptcp-over-udp/tcp/endpoint.js';
import { EndpointHost } from '../../mptcp-over-udp/tcp/endpoint-host.js';
import type { FourTuple } from '../../mptcp-over-udp/tcp/header-template.js';
import { BlockPool } from '../../mptcp-over-udp/tcp/payload-block.js';
import type { CloseReason } from '../../mptcp-over-udp/tcp/tcp-connection.js';
import type { EgressConfig, StreamConfig } from '../config.js';
import type { ConnectionPage, ConnectionQuery } from '../connections.js';
import type { PathLink, PeerLink } from '../link.js';
import type { DnsStream } from '../steering/dns-streams.js';
import type { DnsWatch } from '../steering/dns-watch.js';
import { FlowRules } from '../steering/flow-rules.js';
import { ConnectionList, type ListedConnection } from './connection-list.js';
import { DialNotices, isSameTuple } from './dial-notices.js';
import { createSocketEgress, createTunEgress, type DialledStream, type Egress, swapped } from './egress.js';
import { ProgramStream } from './program-stream.js';
import { SpliceHalf, type StreamGatePlace } from './splice.js';
import { StreamRules } from './stream-rules.js';
import { emitSynUnreachable, MAX_NOTICE_BYTES, parseSynUnreachable, type UnreachableKind, unreachableKindOf } from './syn-unreachable.js';

export interface StreamPlaneOptions {
  config: StreamConfig;
  /** Those of the datagrams; absent: none. */
  rules?: FlowRules;
  /** How connections that peers open are dialled; default by sockets. */
  egress?: EgressConfig['mode'];
  /** The same for one connection that the peer opens from `source` to `destination`; default: as `egress` says. */
  egressFor?: (peer: PeerLink, source: Uint8Array, destination: Uint8Array) => EgressConfig['mode'];
  /** What keeps a peer's streams below a limit of its; asked once, and what stands there may change. Default: nothing. */
  gatesOf?: (peer: PeerLink) => StreamGatePlace;
  /** Of this host, on the TUN; 4 or 16 bytes. Default: there is nothing but this host behind the TUN. */
  isOwnAddress?: (address: Uint8Array) => boolean;
  tunMtuBytes: number;
  randomBytes: (count: number) => Uint8Array;
  /** Towards applications. */
  tunSink: SegmentSink;
  /** Writes one whole IP packet to the TUN. Borrowed until return. */
  writeTun: (packet: Uint8Array, offset: number, length: number) => void;
  /** Which peer a destination is routed to. */
  peerFor: (destination: Uint8Array) => PeerLink | undefined;
  /** May this peer use that source address? */
  permitsSource: (peer: PeerLink, source: Uint8Array) => boolean;
  /** A peer dialled from an address that it may not use. Borrowed until return. */
  onSourceRefused?: (peer: PeerLink, source: Uint8Array) => void;
  /** May connections from peers reach that destination? */
  permitsDestination: (destination: Uint8Array) => boolean;
  /** Hears answers of DNS that come to applications here. */
  dns?: DnsWatch;
  /** A path was put on the bench, as status will say: our side sends nothing new there for a while. */
  onPathBenched?: (peer: PeerLink, path: PathLink, reason: string) => void;
  /** Something outside of a batch made work: poll and flush soon. */
  wake: () => void;
}

/** Inner addresses of joins: 100.127.<path>.<1 client, 2 server>, of the shared range (RFC 6598); they never leave the tunnel. */
function joinAddress(pathId: number, isClient: boolean): Uint8Array {
  return new Uint8Array([100, 127, pathId, isClient ? 1 : 2]);
}

/** What congestion controls learn of a path; what the path layer knows is always its newest word. */
function pathMemory(path: () => PathLink): PathMemory {
  return {
    minRttMs: -1,
    bandwidthBytesPerSec: 0,
    get returnQueueMs(): number {
      return path().returnQueueMs;
    },
  };
}

interface PeerStreams {
  readonly peer: PeerLink;
  readonly host: MptcpHost;
  /** By path id. */
  readonly links: (PathLink | undefined)[];
  readonly gates: StreamGatePlace;
  /** Opened by the peer, and to it, in all. */
  rxConnections: number;
  txConnections: number;
}

const NO_GATES: StreamGatePlace = { in: undefined, out: undefined };

export class StreamPlane {
  readonly endpoints: EndpointHost;
  private readonly options: StreamPlaneOptions;
  private readonly egresses: Readonly<Record<EgressConfig['mode'], Egress>>;
  private readonly pool = new BlockPool();
  private readonly streams = new Map<PeerLink, PeerStreams>();
  private readonly hosts: MptcpHost[] = [];
  private readonly notice = new Uint8Array(MAX_NOTICE_BYTES);
  private readonly counters: Record<string, number> = {};
  private readonly list = new ConnectionList();
  private readonly rules: StreamRules;
  /** Connections of this program's own that are not answered yet. */
  private readonly dialled = new Map<MptcpConnection, DialNotices>();
  /** What `handleTunPacket` was given, for `admitsSyn`. */
  private packet: Uint8Array = new Uint8Array(0);
  private packetOffset = 0;
  private packetBytes = 0;

  constructor(options: StreamPlaneOptions) {
    this.options = options;
    this.rules = new StreamRules(options.rules ?? new FlowRules([]), options.config.steer);
    this.endpoints = new EndpointHost({
      sink: options.tunSink,
      randomBytes: options.randomBytes,
      mtuBytes: options.tunMtuBytes,
      pool: this.pool,
      ...(options.isOwnAddress === undefined ? {} : { isOwnAddress: options.isOwnAddress }),
      onSyn: (endpoint, nowMs) => this.handleSyn(endpoint, nowMs),
      admitsSyn: () => this.rules.judgeSyn(this.packet, this.packetOffset, this.packetBytes) === 'stream',
    });
    this.egresses = { tun: createTunEgress(this.endpoints), socket: createSocketEgress(options.wake) };
  }

  /** TCP that applications of ours begin ends here, unless a rule says otherwise. */
  get isTerminator(): boolean {
    return this.options.config.steer === 'aggregate';
  }

  /** A TCP packet out of the TUN may be ours. */
  get isAsked(): boolean {
    return this.rules.mayTerminate || this.endpoints.endpointCount > 0;
  }

  /** Not TCP: true when it is an ICMP error about a segment of ours. */
  handleTunIcmp(bytes: Uint8Array, offset: number, length: number, nowMs: number): boolean {
    return this.endpoints.endpointCount > 0 && this.endpoints.handleIcmpError(bytes, offset, length, nowMs);
  }

  /** A TCP packet out of the TUN; the result is that of `EndpointHost.handlePacket`. SYN_NOT_ADMITTED: it is the datagram plane's. */
  handleTunPacket(bytes: Uint8Array, offset: number, length: number, nowMs: number): string {
    this.packet = bytes;
    this.packetOffset = offset;
    this.packetBytes = length;
    return this.endpoints.handlePacket(bytes, offset, length, nowMs);
  }

  /** Connections under way go over to other paths where the rules want them now; their scheduler stays. */
  handleRulesChange(nowMs: number): void {
    for (const { host, links } of this.streams.values()) {
      for (const connection of [...host.openConnections()]) {
        const { pathPolicy } = this.rules.routeOf(connection, links);
        if (pathPolicy !== undefined || connection.pathPolicy !== undefined) connection.setPathPolicy(pathPolicy, nowMs);
      }
    }
    this.options.wake();
  }

  /** An IP packet of the stream plane from a peer. */
  handlePathPacket(
    peer: PeerLink,
    path: PathLink,
    bytes: Uint8Array,
    offset: number,
    length: number,
    coalesced: boolean,
    nowMs: number,
  ): void {
    this.streamsOf(peer).host.handlePacket(bytes, offset, length, coalesced, path.id, nowMs);
  }

  /** A datagram from a peer that says that egress could not reach what an application of ours dials: told to it in its own sequence numbers, and true. */
  handleUnreachable(bytes: Uint8Array, offset: number, length: number): boolean {
    const said = parseSynUnreachable(bytes, offset, length);
    if (said !== undefined && this.noteUnreachable(said.tuple)) return true;
    const endpoint = said === undefined ? undefined : this.endpoints.find(said.tuple);
    if (said === undefined || endpoint === undefined || endpoint.state !== 'closed') return false;
    this.options.writeTun(this.notice, 0, emitSynUnreachable(this.notice, endpoint.tuple, endpoint.irs, said.kind));
    return true;
  }

  /** `tuple`: as the far side has it. The reset follows. */
  private noteUnreachable(tuple: FourTuple): boolean {
    for (const [connection, notices] of this.dialled) {
      if (!isSameTuple(connection.tuple, swapped(tuple))) continue;
      notices.unreachable = true;
      return true;
    }
    return false;
  }

  handlePathChange(peer: PeerLink, path: PathLink, nowMs: number): void {
    const { host, links } = this.streamsOf(peer);
    links[path.id] = path;
    const usable = path.state === 'up';
    const known = host.paths.get(path.id);
    if (known === undefined) {
      if (!usable) return;
      const isClient = peer.initiator;
      host.paths.set({
        id: path.id,
        localAddress: joinAddress(path.id, isClient),
        remoteAddress: joinAddress(path.id, !isClient),
        usable: false,
        get rttMs(): number {
          return Math.max(0, (links[path.id] ?? path).rttMs);
        },
        mtuBytes: path.innerMtuBytes,
        segmentPayloadBytes: path.segmentPayloadBytes,
        memory: pathMemory(() => links[path.id] ?? path),
        priority: path.priority,
        backup: path.backup,
        cost: path.cost,
      });
    } else {
      known.priority = path.priority;
      host.paths.setBackup(path.id, path.backup);
      host.paths.setCost(path.id, path.cost);
      host.paths.setMtu(path.id, path.innerMtuBytes, path.segmentPayloadBytes);
    }
    host.paths.setLimit(path.id, path.limit);
    host.paths.setUsable(path.id, usable, nowMs);
  }

  /** Gone for good: subflows there end, and the connections go on over the others. */
  handlePathRemoved(peer: PeerLink, path: PathLink, nowMs: number): void {
    const streams = this.streams.get(peer);
    if (streams === undefined) return;
    streams.host.paths.remove(path.id, nowMs);
    streams.links[path.id] = undefined;
  }

  poll(nowMs: number): void {
    for (let round = 0; round < 4; round++) {
      this.endpoints.poll(nowMs);
      for (let i = 0; i < this.hosts.length; i++) (this.hosts[i] as MptcpHost).poll(nowMs);
      if (this.nextTimeoutMs() > nowMs) return;
    }
  }

  nextTimeoutMs(): number {
    let at = this.endpoints.nextTimeoutMs();
    for (let i = 0; i < this.hosts.length; i++) at = Math.min(at, (this.hosts[i] as MptcpHost).nextTimeoutMs());
    return at;
  }

  /** Why the path carries nothing new from our side now, and for how long yet; undefined when it may. */
  bench(peer: PeerLink, pathId: number, nowMs: number): { reason: string; remainingMs: number } | undefined {
    const bench = this.streams.get(peer)?.host.paths.get(pathId)?.bench;
    if (bench === undefined || !bench.isBenched(nowMs)) return undefined;
    return { reason: bench.reason, remainingMs: bench.untilMs - nowMs };
  }

  connectionCount(peer: PeerLink): number {
    return this.streams.get(peer)?.host.connectionCount ?? 0;
  }

  /** Opened since the peer is known, by it and to it. */
  connectionTotals(peer: PeerLink): { rxConnections: number; txConnections: number } {
    const { rxConnections = 0, txConnections = 0 } = this.streams.get(peer) ?? {};
    return { rxConnections, txConnections };
  }

  /** Some of the connections with their subflows, for people. */
  connections(query: ConnectionQuery, nowMs: number): ConnectionPage {
    return this.list.page(this.allConnections(), query, nowMs);
  }

  allCounters(): Record<string, number> {
    const all: Record<string, number> = { ...this.counters };
    for (const [prefix, counters] of [
      ['tun-', this.endpoints.counters] as const,
      ...this.hosts.map((host) => ['', host.counters] as const),
    ]) {
      for (const [name, value] of Object.entries(counters)) all[prefix + name] = (all[prefix + name] ?? 0) + value;
    }
    return all;
  }

  abortAll(nowMs: number): void {
    for (const host of this.hosts) host.abortAll(nowMs);
    this.poll(nowMs);
  }

  private *allConnections(): Iterable<ListedConnection> {
    for (const { peer, host, links } of this.streams.values()) {
      const pathName = (pathId: number): string => links[pathId]?.name ?? String(pathId);
      for (const connection of host.openConnections())
        yield { peer: peer.name, connection, pathName, rule: this.rules.ruleNumber(connection) };
    }
  }

  /** Its connections are aborted, and nothing is kept of it. Before the link layer forgets it, so that their resets may leave. */
  removePeer(peer: PeerLink, nowMs: number): void {
    const streams = this.streams.get(peer);
    if (streams === undefined) return;
    streams.host.abortAll(nowMs);
    this.poll(nowMs);
    this.streams.delete(peer);
    this.hosts.splice(this.hosts.indexOf(streams.host), 1);
  }

  private count(counter: string): void {
    this.counters[counter] = (this.counters[counter] ?? 0) + 1;
  }

  private streamsOf(peer: PeerLink): PeerStreams {
    const known = this.streams.get(peer);
    if (known !== undefined) return known;
    const links: (PathLink | undefined)[] = [];
    const sink: SegmentSink = {
      sendSegments: (pathId, header, headerBytes, payload, payloadOffset, payloadBytes, segmentBytes) => {
        links[pathId]?.sendSegments(header, headerBytes, payload, payloadOffset, payloadBytes, segmentBytes);
      },
    };
    const host = new MptcpHost({
      // Between peers no middlebox sees the option, and a slow dial on the far side must not cost the connection its paths.
      capableSynCount: Number.POSITIVE_INFINITY,
      sink,
      randomBytes: this.options.randomBytes,
      scheduler: SCHEDULERS[this.options.config.scheduler](),
      congestionControl: CONGESTION_CONTROLS[this.options.config.congestionControl],
      pool: this.pool,
      events: {
        onIncoming: (connection, nowMs) => this.handleIncoming(made, connection, nowMs),
        onPathBenched: ({ id }, reason) => {
          const path = links[id];
          if (path !== undefined) this.options.onPathBenched?.(peer, path, reason);
        },
      },
    });
    const gates = this.options.gatesOf?.(peer) ?? NO_GATES;
    const made: PeerStreams = { peer, host, links, gates, rxConnections: 0, txConnections: 0 };
    this.streams.set(peer, made);
    this.hosts.push(host);
    for (const path of peer.paths) this.handlePathChange(peer, path, performance.now());
    return made;
  }

  /** An application dials: MPTCP towards the peer under its own four-tuple; it is answered when the far side has answered. */
  private handleSyn(endpoint: TcpEndpoint, nowMs: number): void {
    const { tuple } = endpoint;
    const peer = this.options.peerFor(tuple.localAddress);
    if (peer === undefined) {
      this.count('stream-no-peer');
      endpoint.reject(true, nowMs);
      return;
    }
    const streams = this.streamsOf(peer);
    const { host, links } = streams;
    const route = this.rules.routeOfSyn(links);
    const path = host.paths.best(route.pathPolicy);
    if (path === undefined || peer.state !== 'up') {
      // Not yet, or not now: the application's next SYN asks again.
      this.count('stream-peer-not-up');
      endpoint.reject(false, nowMs);
      return;
    }
    let established = false;
    const fromPeer = new SpliceHalf(
      endpoint,
      () => {
        established = true;
        endpoint.accept();
      },
      (reason, atMs) => {
        if (established) closeOther(endpoint, reason, atMs);
        else this.rejectEndpoint(endpoint, reason, atMs);
      },
    );
    const { pathPolicy, scheduler } = route;
    const dns = this.options.dns?.watchStream(tuple.localPort);
    const answers = this.answersTo(fromPeer, dns, () => connection);
    const connection = host.connect(swapped(tuple), path.id, answers, nowMs, {
      ...(pathPolicy === undefined ? {} : { pathPolicy }),
      ...(scheduler === undefined ? {} : { scheduler }),
    });
    this.rules.note(connection, route);
    const toPeer = new SpliceHalf(connection, ignore, (reason, atMs) => closeOther(connection, reason, atMs));
    fromPeer.gateBy(streams.gates, 'in', connection);
    toPeer.gateBy(streams.gates, 'out', endpoint);
    endpoint.setHandler(dns?.queries(toPeer) ?? toPeer);
    streams.txConnections++;
  }

  /** `handler` of a connection, by which DNS may have to wait. */
  private answersTo(handler: ByteStreamHandler, dns: DnsStream | undefined, connection: () => ByteStream): ByteStreamHandler {
    if (dns === undefined) return handler;
    return dns.answers(handler, () => {
      connection().resumeReading();
      this.options.wake();
    });
  }

  /**
   * A connection of this program's own, under an address of ours on the tunnel, which nobody behind the TUN has asked for. `handler` hears how it ends; unreachable is told
   * apart from refused where the far side says so.
   */
  dial(tuple: FourTuple, handler: ByteStreamHandler, nowMs: number): ByteStream | 'no-peer' | 'not-up' {
    const peer = this.options.peerFor(tuple.remoteAddress);
    if (peer === undefined) return 'no-peer';
    const streams = this.streamsOf(peer);
    const path = streams.host.paths.best();
    if (path === undefined || peer.state !== 'up') return 'not-up';
    const stream = new ProgramStream(handler, streams.gates);
    const dns = this.options.dns?.watchStream(tuple.remotePort);
    const fromPeer = this.answersTo(stream.fromPeer, dns, () => connection);
    const notices = new DialNotices(fromPeer, () => this.dialled.delete(connection));
    const connection = streams.host.connect(tuple, path.id, notices, nowMs);
    stream.attach(connection, (toPeer) => dns?.queries(toPeer) ?? toPeer);
    this.dialled.set(connection, notices);
    const { pathPolicy, scheduler } = this.rules.routeOf(connection, streams.links);
    if (pathPolicy !== undefined) connection.setPathPolicy(pathPolicy, nowMs);
    if (scheduler !== undefined) connection.scheduler = scheduler.forConnection();
    streams.txConnections++;
    return stream;
  }

  /** What the far side said; an ICMP error of its own has told the application more, where there was one. */
  private rejectEndpoint(endpoint: TcpEndpoint, reason: CloseReason, nowMs: number): void {
    endpoint.reject(reason !== 'timeout', nowMs);
  }

  /** A peer dials through us. */
  private handleIncoming(streams: PeerStreams, connection: MptcpConnection, nowMs: number): void {
    const { tuple } = connection;
    if (!this.options.permitsSource(streams.peer, tuple.remoteAddress)) {
      this.count('stream-source-not-allowed');
      this.options.onSourceRefused?.(streams.peer, tuple.remoteAddress);
      connection.reject(false, nowMs);
      return;
    }
    if (!this.options.permitsDestination(tuple.localAddress)) {
      this.count('stream-destination-not-allowed');
      this.rejectIncoming(streams, connection, 'unreachable', 'host-unreachable', nowMs);
      return;
    }
    const { pathPolicy, scheduler } = this.rules.routeOf(connection, streams.links);
    if (pathPolicy !== undefined) connection.setPathPolicy(pathPolicy, nowMs);
    if (scheduler !== undefined) connection.scheduler = scheduler.forConnection();
    let established = false;
    const { egressFor, egress = 'socket' } = this.options;
    const mode = egressFor?.(streams.peer, tuple.remoteAddress, tuple.localAddress) ?? egress;
    const toPeer = new SpliceHalf(
      connection,
      () => {
        established = true;
        connection.accept();
      },
      (reason, atMs) => {
        if (established) closeOther(connection, reason, atMs);
        else this.rejectIncoming(streams, connection, reason, unreachableKindOf(dialled.unreachable), atMs);
      },
    );
    const dialled: DialledStream = this.egresses[mode](tuple, toPeer, nowMs);
    const fromPeer = new SpliceHalf(dialled, ignore, (reason, atMs) => closeOther(dialled, reason, atMs));
    toPeer.gateBy(streams.gates, 'out', dialled);
    connection.setHandler(fromPeer.gateBy(streams.gates, 'in', connection));
    streams.rxConnections++;
  }

  /** Refused: RST. Unreachable: ICMP, then RST for our own stack over there. Timed out: silence, as the far side was. */
  private rejectIncoming(
    streams: PeerStreams,
    connection: MptcpConnection,
    reason: CloseReason,
    kind: UnreachableKind,
    nowMs: number,
  ): void {
    if (connection.closed) return;
    if (reason === 'unreachable') {
      const length = emitSynUnreachable(this.notice, connection.tuple, 0, kind);
      streams.links[connection.subflows[0]?.pathId ?? 0]?.sendPacket(this.notice, 0, length, 0, 0, 0, 0);
    }
    connection.reject(reason !== 'timeout', nowMs);
  }
}

function ignore(): void {
  // The splice's other half decides when to accept.
}

function closeOther(stream: { abort(nowMs: number): void }, reason: CloseReason, nowMs: number): void {
  // A close in good order has crossed as half-closes already.
  if (reason !== 'finished') stream.abort(nowMs);
}
