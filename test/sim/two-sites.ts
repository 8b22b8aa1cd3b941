/**
 * Two gateways with `[egress] mode = "tun"`, each with a network behind it, on the virtual clock. Between them are simulated paths; behind each is one TCP
 * stack that stands for all hosts there, at the far side of the TUN.
 */

import type { ByteStream, ByteStreamHandler } from '../../src/mptcp-over-udp/byte-stream.js';
import type { TcpEndpoint } from '../../src/mptcp-over-udp/tcp/endpoint.js';
import { EndpointHost } from '../../src/mptcp-over-udp/tcp/endpoint-host.js';
import type { FourTuple } from '../../src/mptcp-over-udp/tcp/header-template.js';
import type { CloseReason } from '../../src/mptcp-over-udp/tcp/tcp-connection.js';
import { cutSegments } from '../../src/mptcp-over-udp/wire/cut-segments.js';
import { emitIcmpError, type IcmpErrorKind, MAX_ICMP_ERROR_BYTES } from '../../src/mptcp-over-udp/wire/icmp.js';
import { formatIp, parseIp } from '../../src/tun/ip-prefix.js';
import { AllowedIps } from '../../src/tunnel/gateway/allowed-ips.js';
import { PeerLimits } from '../../src/tunnel/gateway/peer-limits.js';
import type { PathLink, PeerLink } from '../../src/tunnel/link.js';
import { StreamPlane } from '../../src/tunnel/planes/stream-plane.js';
import { createPrng } from './prng.js';
import { SimClock, type SimEvent } from './sim-clock.js';
import { SimLink, type SimLinkOptions } from './sim-link.js';
import { patternByte } from './two-hosts.js';

export const HOST_A = '10.1.0.5';
export const HOST_B = '10.2.0.7';
const MTU_BYTES = 1400;
/** From a gateway to the hosts behind it. */
const LAN_DELAY_MS = 0.2;

/** What becomes of a packet on its way to the hosts of a site. */
export type LanVerdict = 'pass' | 'drop' | { readonly icmp: IcmpErrorKind; readonly mtuBytes?: number };

/** One end of a connection of hosts: sends a pattern, checks what it reads against it, keeps what happened. */
export class SiteStream implements ByteStreamHandler {
  established = false;
  readBytes = 0;
  sentBytes = 0;
  corrupt = false;
  ended = false;
  closed: CloseReason | undefined;
  readLimit = Number.POSITIVE_INFINITY;
  /** What the host behind sees as its peer: "10.1.0.5:40000". */
  remote = '';
  stream: ByteStream | undefined;
  private readonly total: number;
  private readonly finishes: boolean;
  private readonly block = new Uint8Array(16_384);

  constructor(total: number, finishes = true) {
    this.total = total;
    this.finishes = finishes;
  }

  attach(endpoint: TcpEndpoint): this {
    this.stream = endpoint;
    this.remote = `${formatIp(endpoint.tuple.remoteAddress)}:${endpoint.tuple.remotePort}`;
    return this;
  }

  onEstablished(): void {
    this.established = true;
    this.fill();
  }

  onData(bytes: Uint8Array, at: number, length: number): number {
    const n = Math.min(length, this.readLimit - this.readBytes);
    for (let i = 0; i < n; i++) if (bytes[at + i] !== patternByte(this.readBytes + i)) this.corrupt = true;
    this.readBytes += n;
    return n;
  }

  onEnd(): void {
    this.ended = true;
  }

  onWritable(): void {
    this.fill();
  }

  onClosed(reason: CloseReason): void {
    this.closed = reason;
  }

  private fill(): void {
    while (this.sentBytes < this.total) {
      const want = Math.min(this.block.length, this.total - this.sentBytes);
      for (let i = 0; i < want; i++) this.block[i] = patternByte(this.sentBytes + i);
      const taken = this.stream!.write(this.block, 0, want);
      this.sentBytes += taken;
      if (taken < want) return;
    }
    if (this.finishes) this.stream!.finish();
  }
}

interface SiteOptions {
  seed: number;
  initiator: boolean;
  /** Name of the peer. */
  other: string;
  permits: (destination: string) => boolean;
  allowedIps: string;
  steer: 'aggregate' | 'datagram';
}

export class Site {
  readonly plane: StreamPlane;
  readonly hosts: EndpointHost;
  readonly peer: PeerLink;
  readonly links: PathLink[] = [];
  /** Packets that left for each path. */
  readonly sentPackets: number[] = [];
  /** TCP packets out of the TUN that were not for the plane. */
  unknownCount = 0;
  /** ICMP errors that applications here got: kind by type and code, "3/1". */
  readonly icmp: string[] = [];
  /** Serves a connection to hosts here, or refuses it. */
  onDial: (endpoint: TcpEndpoint) => SiteStream | undefined = () => undefined;
  verdict: (packet: Uint8Array) => LanVerdict = () => 'pass';
  /** What the peer may carry; set nothing: all. */
  readonly limits: PeerLimits;
  private readonly clock: SimClock;
  private timer: SimEvent | undefined;

  constructor(clock: SimClock, { seed, initiator, other, permits, allowedIps, steer }: SiteOptions) {
    this.clock = clock;
    this.peer = { name: other, publicKey: '', state: 'up', lastError: '', initiator, paths: this.links, allowedIps: [], enrolling: false };
    const routes = new AllowedIps<PeerLink>();
    routes.add(allowedIps, this.peer);
    const randomBytes = bytesFrom(seed);
    this.limits = new PeerLimits(
      () => ({ emitPacket: () => false }),
      () => clock.nowMs,
    );
    this.plane = new StreamPlane({
      config: { scheduler: 'ecf', congestionControl: 'bbr', steer },
      egress: 'tun',
      isOwnAddress: () => false,
      tunMtuBytes: MTU_BYTES,
      randomBytes,
      tunSink: { sendSegments: (_path, ...segments) => cut(segments, (packet) => this.toHosts(packet)) },
      writeTun: (packet, offset, length) => this.toHosts(packet.slice(offset, offset + length)),
      peerFor: (destination) => routes.lookup(destination, 0, 4),
      permitsSource: (peer, source) => routes.isAllowedSource(peer, source, 0, 4),
      permitsDestination: (destination) => permits(formatIp(destination)),
      gatesOf: (peer) => this.limits.gatesOf(peer),
      wake: () => {},
    });
    this.hosts = new EndpointHost({
      sink: { sendSegments: (_path, ...segments) => cut(segments, (packet) => this.toTun(packet)) },
      randomBytes,
      mtuBytes: MTU_BYTES,
      onSyn: (endpoint, nowMs) => {
        const stream = this.onDial(endpoint);
        if (stream === undefined) {
          endpoint.reject(true, nowMs);
          return;
        }
        endpoint.setHandler(stream.attach(endpoint));
        endpoint.accept();
      },
    });
  }

  dial(stream: SiteStream, from: string, fromPort: number, to: string, toPort: number): SiteStream {
    const endpoint = this.hosts.connect(tupleOf(from, fromPort, to, toPort), stream, this.clock.nowMs);
    stream.attach(endpoint);
    this.settle();
    return stream;
  }

  /** As a program without a TUN does, under an address of its own. */
  dialDirectly(stream: SiteStream, from: string, fromPort: number, to: string, toPort: number): SiteStream {
    const opened = this.plane.dial(tupleOf(from, fromPort, to, toPort), stream, this.clock.nowMs);
    if (typeof opened === 'string') throw new Error(opened);
    stream.stream = opened;
    this.settle();
    return stream;
  }

  /** Polls all until nothing is due, and arms one timer. */
  settle(): void {
    const nowMs = this.clock.nowMs;
    this.limits.poll(nowMs);
    this.hosts.poll(nowMs);
    this.plane.poll(nowMs);
    if (this.timer !== undefined) this.clock.cancel(this.timer);
    const at = Math.min(this.limits.nextTimeoutMs(nowMs), this.hosts.nextTimeoutMs(), this.plane.nextTimeoutMs());
    if (at !== Number.POSITIVE_INFINITY) this.timer = this.clock.schedule(at, () => this.settle());
  }

  private toTun(packet: Uint8Array): void {
    this.clock.schedule(this.clock.nowMs + LAN_DELAY_MS, () => {
      if (this.plane.handleTunPacket(packet, 0, packet.length, this.clock.nowMs) !== '') this.unknownCount++;
      this.settle();
    });
  }

  /** The way from the TUN to the hosts of the site, with a router on it. */
  private toHosts(packet: Uint8Array): void {
    this.clock.schedule(this.clock.nowMs + LAN_DELAY_MS, () => {
      if (packet[9] === 1) {
        this.icmp.push(`${packet[20]}/${packet[21]}`);
        this.hosts.handleIcmpError(packet, 0, packet.length, this.clock.nowMs);
      } else this.route(packet);
      this.settle();
    });
  }

  private route(packet: Uint8Array): void {
    const verdict = this.verdict(packet);
    if (verdict === 'pass') this.hosts.handlePacket(packet, 0, packet.length, this.clock.nowMs);
    if (typeof verdict === 'string') return;
    const error = new Uint8Array(MAX_ICMP_ERROR_BYTES);
    const length = emitIcmpError(error, verdict.icmp, verdict.mtuBytes ?? 0, packet.slice(16, 20), packet, 0, packet.length);
    this.plane.handleTunIcmp(error, 0, length, this.clock.nowMs);
  }
}

export class TwoSites {
  readonly clock = new SimClock(1_000);
  /** A dials B's gateway. */
  readonly a: Site;
  readonly b: Site;

  constructor(options: {
    paths: readonly SimLinkOptions[];
    seed?: number;
    permits?: (destination: string) => boolean;
    steerB?: 'aggregate' | 'datagram';
  }) {
    const seed = options.seed ?? 1;
    const permits = options.permits ?? (() => true);
    this.a = new Site(this.clock, { seed: seed * 2, initiator: true, other: 'b', permits, allowedIps: '10.2.0.0/16', steer: 'aggregate' });
    this.b = new Site(this.clock, {
      seed: seed * 2 + 1,
      initiator: false,
      other: 'a',
      permits,
      allowedIps: '10.1.0.0/16',
      steer: options.steerB ?? 'aggregate',
    });
    const prng = createPrng(seed);
    for (const [id, shape] of options.paths.entries()) {
      const up = new SimLink<() => void>(this.clock, prng, shape);
      const down = new SimLink<() => void>(this.clock, prng, shape);
      up.receiver = (deliver) => deliver();
      down.receiver = (deliver) => deliver();
      const links: PathLink[] = [];
      for (const [from, to, link] of [
        [this.a, this.b, up],
        [this.b, this.a, down],
      ] as const) {
        const path = simPath(id, 2 * (shape.delayMs ?? 0), (packet, isStream) => {
          from.sentPackets[id] = (from.sentPackets[id] ?? 0) + 1;
          link.send(() => {
            const back = to.links[id]!;
            if (isStream) to.plane.handlePathPacket(to.peer, back, packet, 0, packet.length, false, this.clock.nowMs);
            else to.plane.handleUnreachable(packet, 0, packet.length);
            to.settle();
          }, packet.length);
        });
        links.push(path);
        from.links.push(path);
      }
      this.a.plane.handlePathChange(this.a.peer, links[0]!, this.clock.nowMs);
      this.b.plane.handlePathChange(this.b.peer, links[1]!, this.clock.nowMs);
    }
  }

  run(ms: number): void {
    this.clock.runUntil(this.clock.nowMs + ms);
  }
}

export function tupleOf(local: string, localPort: number, remote: string, remotePort: number): FourTuple {
  return { ipVersion: 4, localAddress: parseIp(local)!, localPort, remoteAddress: parseIp(remote)!, remotePort };
}

function simPath(id: number, rttMs: number, send: (packet: Uint8Array, isStream: boolean) => void): PathLink {
  const path: Partial<PathLink> = {
    id,
    name: `link${id}`,
    state: 'up',
    rttMs,
    minRttMs: rttMs,
    returnQueueMs: 0,
    priority: 0,
    backup: false,
    innerMtuBytes: MTU_BYTES,
    segmentPayloadBytes: 0,
    sendSegments: (...segments) => cut(segments, (packet) => send(packet, true)),
    sendPacket: (packet, offset, length) => {
      send(packet.slice(offset, offset + length), false);
      return true;
    },
  };
  return path as PathLink;
}

type Segments = [Uint8Array, number, Uint8Array, number, number, number];

function cut(segments: Segments, emit: (packet: Uint8Array) => void): void {
  cutSegments(...segments, (packet, length) => emit(packet.slice(0, length)));
}

function bytesFrom(seed: number): (count: number) => Uint8Array {
  const prng = createPrng(seed);
  return (count) => Uint8Array.from({ length: count }, () => Math.floor(prng.uniform() * 256));
}
