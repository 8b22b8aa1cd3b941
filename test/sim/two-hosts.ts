/** Two MPTCP hosts joined by simulated paths, on the virtual clock: segments are really cut, carried as bytes, and parsed again. */

import type { ByteStreamHandler } from '../../src/mptcp-over-udp/byte-stream.js';
import { createBbr } from '../../src/mptcp-over-udp/congestion/bbr.js';
import type { CongestionControlFactory, PathMemory } from '../../src/mptcp-over-udp/congestion/congestion-control.js';
import type { MptcpConnection } from '../../src/mptcp-over-udp/mptcp/connection.js';
import { MptcpHost } from '../../src/mptcp-over-udp/mptcp/host.js';
import type { EngineConnectOptions, MptcpHostEvents, MptcpHostOptions } from '../../src/mptcp-over-udp/mptcp/host-options.js';
import { createEcf } from '../../src/mptcp-over-udp/scheduler/ecf.js';
import type { Scheduler } from '../../src/mptcp-over-udp/scheduler/scheduler.js';
import type { FourTuple } from '../../src/mptcp-over-udp/tcp/header-template.js';
import type { CloseReason } from '../../src/mptcp-over-udp/tcp/tcp-connection.js';
import { cutSegments } from '../../src/mptcp-over-udp/wire/cut-segments.js';
import { ReturnDelay } from '../../src/tunnel/path/return-delay.js';
import { createPrng, type Prng } from './prng.js';
import { SimClock, type SimEvent } from './sim-clock.js';
import { SimLink, type SimLinkOptions } from './sim-link.js';

/** Outer IP, UDP, data header and tag around each inner packet. */
export const TUNNEL_OVERHEAD_BYTES = 56;
const ACK_SPACING_MS = 5;
const INNER_MTU_BYTES = 1_500 - TUNNEL_OVERHEAD_BYTES;

export interface SimPath {
  /** Client to server, and back. */
  up: SimLink<Uint8Array>;
  down: SimLink<Uint8Array>;
}

export interface TwoHostsOptions {
  seed?: number;
  paths: SimLinkOptions[];
  congestionControl?: CongestionControlFactory;
  scheduler?: Scheduler;
  /** As in MptcpHostOptions; 0 holds every receive window at its initial size. */
  receiveMemoryBytes?: number;
  /** Shared with other pairs of hosts. */
  clock?: SimClock;
  /** See and maybe drop (return false) every packet at the line. */
  inspect?: (fromClient: boolean, pathId: number, packet: Uint8Array) => boolean;
  /** More options for both hosts. */
  host?: Partial<MptcpHostOptions>;
  clientEvents?: MptcpHostEvents;
  serverEvents?: MptcpHostEvents;
}

function bytesFrom(prng: Prng): (count: number) => Uint8Array {
  return (count) => {
    const bytes = new Uint8Array(count);
    for (let i = 0; i < count; i++) bytes[i] = Math.floor(prng.uniform() * 256);
    return bytes;
  };
}

/** What the path layer knows of one direction, as often as path acknowledgements come at most. */
class SimPathMemory implements PathMemory {
  minRttMs = -1;
  bandwidthBytesPerSec = 0;
  private readonly wayHere = new ReturnDelay();
  private lastMs = Number.NEGATIVE_INFINITY;

  get returnQueueMs(): number {
    return this.wayHere.excessMs;
  }

  handleArrival(sentMs: number, nowMs: number): void {
    if (nowMs - this.lastMs < ACK_SPACING_MS) return;
    this.lastMs = nowMs;
    this.wayHere.handleSample(sentMs, nowMs);
  }
}

export class TwoHosts {
  readonly clock: SimClock;
  readonly client: MptcpHost;
  readonly server: MptcpHost;
  readonly paths: SimPath[] = [];
  private readonly timers = new Map<MptcpHost, SimEvent>();
  /** When each packet was sent: the path acknowledgements of the real thing carry the clock. */
  private readonly sentMs = new WeakMap<Uint8Array, number>();
  private nextPort = 40_000;

  constructor(options: TwoHostsOptions) {
    this.clock = options.clock ?? new SimClock(1_000);
    const prng = createPrng(options.seed ?? 1);
    const inspect = options.inspect ?? ((): boolean => true);
    const make = (isClient: boolean): MptcpHost =>
      new MptcpHost({
        sink: {
          sendSegments: (pathId, header, headerBytes, payload, offset, length, segmentBytes) =>
            cutSegments(header, headerBytes, payload, offset, length, segmentBytes, (packet, packetBytes) => {
              const copy = packet.slice(0, packetBytes);
              if (!inspect(isClient, pathId, copy)) return;
              this.sentMs.set(copy, this.clock.nowMs);
              const path = this.paths[pathId] as SimPath;
              (isClient ? path.up : path.down).send(copy, copy.length);
            }),
        },
        randomBytes: bytesFrom(createPrng((options.seed ?? 1) * 2 + (isClient ? 0 : 1))),
        scheduler: options.scheduler ?? createEcf(),
        ...(options.receiveMemoryBytes === undefined ? {} : { receiveMemoryBytes: options.receiveMemoryBytes }),
        congestionControl: options.congestionControl ?? createBbr,
        ...options.host,
        ...(isClient
          ? options.clientEvents === undefined
            ? {}
            : { events: options.clientEvents }
          : options.serverEvents === undefined
            ? {}
            : { events: options.serverEvents }),
      });
    this.client = make(true);
    this.server = make(false);
    for (const [id, shape] of options.paths.entries()) {
      const up = new SimLink<Uint8Array>(this.clock, prng, { overheadBytes: TUNNEL_OVERHEAD_BYTES, ...shape });
      const down = new SimLink<Uint8Array>(this.clock, prng, { overheadBytes: TUNNEL_OVERHEAD_BYTES, ...shape });
      const clientMemory = new SimPathMemory();
      const serverMemory = new SimPathMemory();
      up.receiver = (packet) => this.deliver(this.server, serverMemory, packet, id);
      down.receiver = (packet) => this.deliver(this.client, clientMemory, packet, id);
      this.paths.push({ up, down });
      const client = new Uint8Array([100, 127, id, 1]);
      const server = new Uint8Array([100, 127, id, 2]);
      const rttMs = 2 * (shape.delayMs ?? 0);
      const common = { id, usable: true, rttMs, mtuBytes: INNER_MTU_BYTES };
      this.client.paths.set({ ...common, localAddress: client, remoteAddress: server, memory: clientMemory });
      this.server.paths.set({ ...common, localAddress: server, remoteAddress: client, memory: serverMemory });
    }
  }

  connect(handler: ByteStreamHandler, pathId = this.client.paths.best()?.id ?? 0, options: EngineConnectOptions = {}): MptcpConnection {
    const connection = this.client.connect(this.nextTuple(), pathId, handler, this.clock.nowMs, options);
    this.settle(this.client);
    return connection;
  }

  private nextTuple(): FourTuple {
    return {
      ipVersion: 4,
      localAddress: new Uint8Array([10, 77, 0, 2]),
      remoteAddress: new Uint8Array([198, 51, 100, 2]),
      localPort: this.nextPort++,
      remotePort: 80,
    };
  }

  /** As `connect`, with something written before the SYN leaves, which goes with it where a cookie is known (RFC 7413). */
  connectFast(handler: ByteStreamHandler, first: Uint8Array, fastOpen = true): MptcpConnection {
    const connection = this.client.connect(this.nextTuple(), 0, handler, this.clock.nowMs, { fastOpen });
    connection.write(first, 0, first.length);
    this.settle(this.client);
    return connection;
  }

  /** Runs `ms` of virtual time. */
  run(ms: number): void {
    this.clock.runUntil(this.clock.nowMs + ms);
  }

  /** Polls a host after something touched it from outside, and arms its timer. */
  settle(host: MptcpHost): void {
    host.poll(this.clock.nowMs);
    const armed = this.timers.get(host);
    if (armed !== undefined) this.clock.cancel(armed);
    const at = host.nextTimeoutMs();
    if (at !== Number.POSITIVE_INFINITY)
      this.timers.set(
        host,
        this.clock.schedule(at, () => this.settle(host)),
      );
  }

  /** Nothing arrives over it any more, and nobody is told. */
  setSilent(pathId: number, silent = true): void {
    const path = this.paths[pathId];
    if (path === undefined) throw new RangeError(`pathId ${pathId}: there is no such path`);
    path.up.blackhole = silent;
    path.down.blackhole = silent;
  }

  setPathUsable(pathId: number, usable: boolean): void {
    for (const host of [this.client, this.server]) {
      host.paths.setUsable(pathId, usable, this.clock.nowMs);
      this.settle(host);
    }
  }

  private deliver(host: MptcpHost, memory: SimPathMemory, packet: Uint8Array, pathId: number): void {
    memory.handleArrival(this.sentMs.get(packet) ?? this.clock.nowMs, this.clock.nowMs);
    const fault = host.handlePacket(packet, 0, packet.length, false, pathId, this.clock.nowMs);
    if (fault !== '') throw new Error(`our own segment does not parse: ${fault}`);
    this.settle(host);
  }
}

/** The byte at a position of the test stream: a function of the position alone, so that both ends can check. */
export function patternByte(position: number): number {
  return (Math.imul(position, 0x9e37_79b1) >>> 24) ^ (position & 0xff);
}

/** A stream's end for tests: sends a pattern, checks what it reads against it, keeps what happened and when. */
export class PatternPeer implements ByteStreamHandler {
  established = false;
  establishedMs = -1;
  readBytes = 0;
  sentBytes = 0;
  ended = false;
  closed: CloseReason | undefined;
  corruptAt = -1;
  corruptCount = 0;
  /** Longest time without a byte, between first and last. */
  longestGapMs = 0;
  lastReadMs = -1;
  /** Bytes that the reader takes before it stops; raise and call `resume`. */
  readLimit = Number.POSITIVE_INFINITY;
  connection: MptcpConnection | undefined;
  private readonly clock: SimClock;
  /** It stops there, unless it is raised, and `fill` called. */
  sendTotal: number;
  private readonly finishAfter: boolean;
  private readonly block = new Uint8Array(32_768);
  private finished = false;

  constructor(clock: SimClock, sendTotal: number, finishAfter = true) {
    this.clock = clock;
    this.sendTotal = sendTotal;
    this.finishAfter = finishAfter;
  }

  /** Accepts a connection that came, as its handler from now on. */
  accept(connection: MptcpConnection): this {
    this.connection = connection;
    connection.setHandler(this);
    connection.accept();
    return this;
  }

  /** Opens a connection, and is its handler. */
  connect(hosts: TwoHosts, pathId?: number): MptcpConnection {
    this.connection = hosts.connect(this, pathId);
    return this.connection;
  }

  onEstablished(nowMs: number): void {
    this.established = true;
    this.establishedMs = nowMs;
    this.fill();
  }

  onData(bytes: Uint8Array, at: number, length: number): number {
    const n = Math.min(length, this.readLimit - this.readBytes);
    for (let i = 0; i < n; i++) {
      if (bytes[at + i] === patternByte(this.readBytes + i)) continue;
      if (this.corruptCount++ === 0) this.corruptAt = this.readBytes + i;
    }
    if (n > 0) {
      if (this.lastReadMs >= 0) this.longestGapMs = Math.max(this.longestGapMs, this.clock.nowMs - this.lastReadMs);
      this.lastReadMs = this.clock.nowMs;
    }
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

  fill(): void {
    const { connection } = this;
    if (connection === undefined) return;
    while (this.sentBytes < this.sendTotal) {
      const want = Math.min(this.block.length, this.sendTotal - this.sentBytes);
      for (let i = 0; i < want; i++) this.block[i] = patternByte(this.sentBytes + i);
      const n = connection.write(this.block, 0, want);
      this.sentBytes += n;
      if (n < want) return;
    }
    if (this.finishAfter && !this.finished) {
      this.finished = true;
      connection.finish();
    }
  }
}
