/**
 * Several connections of different hosts behind common bottlenecks, on one virtual clock: who gets how much. Each connection has its own access
 * link (delay, no limit of rate) for each of its paths; downloads of all of them meet in the queues of the bottlenecks.
 */

import type { CongestionControlFactory } from '../../src/mptcp-over-udp/congestion/congestion-control.js';
import type { MptcpConnection } from '../../src/mptcp-over-udp/mptcp/connection.js';
import type { Scheduler } from '../../src/mptcp-over-udp/scheduler/scheduler.js';
import { type BulkPeer, bulkServer, connectBulk } from './bulk-peer.js';
import { createPrng } from './prng.js';
import { SimClock } from './sim-clock.js';
import { SimLink, type SimLinkOptions } from './sim-link.js';
import { TUNNEL_OVERHEAD_BYTES, TwoHosts } from './two-hosts.js';

interface Crossing {
  packet: Uint8Array;
  deliver: (packet: Uint8Array, lengthBytes: number) => void;
}

export interface BottleneckFlow {
  /** Indices of bottlenecks, one for each path. */
  paths: number[];
  congestionControl: CongestionControlFactory;
  scheduler?: Scheduler;
  /** One way, 20 when absent: one figure for each path. */
  delaysMs?: number[];
}

export interface FlowResult {
  /** What the application read. */
  goodputBitsPerSec: number;
  /** By path: what its access link delivered, headers and repeats included. */
  pathBitsPerSec: number[];
  connection: MptcpConnection;
  hosts: TwoHosts;
}

export class SharedBottlenecks {
  readonly clock = new SimClock(1_000);
  readonly links: SimLink<Crossing>[];
  readonly flows: { hosts: TwoHosts; client: BulkPeer; server: MptcpConnection; startBytes: number; pathStartBytes: number[] }[] = [];
  private readonly seed: number;
  private measuredFromMs = 0;

  constructor(bottlenecks: SimLinkOptions[], seed = 1) {
    this.seed = seed;
    const prng = createPrng(seed + 1_000);
    this.links = bottlenecks.map(
      (shape) =>
        new SimLink<Crossing>(this.clock, prng, { overheadBytes: TUNNEL_OVERHEAD_BYTES, ...shape }, ({ packet, deliver }, lengthBytes) =>
          deliver(packet, lengthBytes),
        ),
    );
  }

  /** Opens a connection that downloads without end. */
  start(flow: BottleneckFlow): void {
    const server = bulkServer();
    const hosts = new TwoHosts({
      clock: this.clock,
      seed: this.seed * 100 + this.flows.length,
      // A trace of jitter, so that flows do not lock into phases of a drop-tail queue that only equal clocks know.
      paths: flow.paths.map((_, i) => ({ delayMs: flow.delaysMs?.[i] ?? 20, jitterMs: 0.3 })),
      congestionControl: flow.congestionControl,
      ...(flow.scheduler === undefined ? {} : { scheduler: flow.scheduler }),
      serverEvents: server,
    });
    for (const [i, bottleneck] of flow.paths.entries()) {
      const down = (hosts.paths[i] as TwoHosts['paths'][number]).down;
      const deliver = down.receiver;
      const link = this.links[bottleneck] as SimLink<Crossing>;
      down.receiver = (packet, lengthBytes) => link.send({ packet, deliver }, lengthBytes);
    }
    const client = connectBulk(hosts, false);
    this.run(300);
    this.flows.push({
      hosts,
      client,
      server: server.peers[0]?.connection as MptcpConnection,
      startBytes: 0,
      pathStartBytes: flow.paths.map(() => 0),
    });
  }

  run(ms: number): void {
    this.clock.runUntil(this.clock.nowMs + ms);
  }

  /** Results count from here. */
  mark(): void {
    this.measuredFromMs = this.clock.nowMs;
    for (const flow of this.flows) {
      flow.startBytes = flow.client.readBytes;
      flow.pathStartBytes = flow.hosts.paths.map((path) => path.down.counters.deliveredBytes);
    }
  }

  results(): FlowResult[] {
    const perSec = 8_000 / (this.clock.nowMs - this.measuredFromMs);
    return this.flows.map((flow) => ({
      goodputBitsPerSec: (flow.client.readBytes - flow.startBytes) * perSec,
      pathBitsPerSec: flow.hosts.paths.map((path, i) => (path.down.counters.deliveredBytes - (flow.pathStartBytes[i] as number)) * perSec),
      connection: flow.server,
      hosts: flow.hosts,
    }));
  }
}
