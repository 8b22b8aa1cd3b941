/** Streams on a path with a limit, on the virtual clock: the limit is the program's own, charged with every packet that leaves. */

import t from 'tap';
import { createBbr } from '../../../src/mptcp-over-udp/congestion/bbr.js';
import { createCubic } from '../../../src/mptcp-over-udp/congestion/cubic.js';
import type { MptcpConnection } from '../../../src/mptcp-over-udp/mptcp/connection.js';
import { createEcf } from '../../../src/mptcp-over-udp/scheduler/ecf.js';
import { RateLimit } from '../../../src/tunnel/path/rate-limit.js';
import type { SimLinkOptions } from '../../sim/sim-link.js';
import { PatternPeer, TUNNEL_OVERHEAD_BYTES, TwoHosts, type TwoHostsOptions } from '../../sim/two-hosts.js';

const LINK: SimLinkOptions = { rateBitsPerSec: 50e6, delayMs: 10, queuePackets: 300 };
const TEN_MEGABITS = 1_250_000;

/** Downloads from a server that keeps to limits, by path. */
class LimitedServer {
  readonly hosts: TwoHosts;
  readonly limits: (RateLimit | undefined)[] = [];
  readonly sentBytes = [0, 0];
  readonly readers: PatternPeer[] = [];
  #sender: PatternPeer | undefined;

  constructor(links: SimLinkOptions[], options: Partial<TwoHostsOptions> = {}) {
    this.hosts = new TwoHosts({
      paths: links,
      inspect: (fromClient, pathId, packet) => {
        if (fromClient) return true;
        const bytes = packet.length + TUNNEL_OVERHEAD_BYTES;
        this.limits[pathId]?.chargeStream(bytes);
        this.sentBytes[pathId]! += bytes;
        return true;
      },
      serverEvents: {
        onIncoming: (connection) => {
          const peer = new PatternPeer(this.hosts.clock, Number.POSITIVE_INFINITY, false);
          this.#sender = peer;
          peer.connection = connection;
          connection.setHandler(peer);
          connection.accept();
        },
      },
      ...options,
    });
  }

  setLimit(pathId: number, bytesPerSec: number): void {
    const limit = bytesPerSec === 0 ? undefined : new RateLimit(bytesPerSec);
    this.limits[pathId] = limit;
    this.hosts.server.paths.setLimit(pathId, limit);
    this.hosts.settle(this.hosts.server);
  }

  /** The last download's server has nothing more to send. */
  stop(): void {
    this.#sender!.sendTotal = 0;
  }

  /** So much more of it. */
  write(bytes: number): void {
    this.#sender!.sendTotal = this.#sender!.sentBytes + bytes;
    this.#sender!.fill();
    this.hosts.settle(this.hosts.server);
  }

  download(): { reader: PatternPeer; connection: MptcpConnection } {
    const reader = new PatternPeer(this.hosts.clock, 0, false);
    const connection = this.hosts.connect(reader);
    reader.connection = connection;
    this.readers.push(reader);
    return { reader, connection };
  }

  /** Bytes per second that left on each path. */
  run(ms: number): number[] {
    const before = [...this.sentBytes];
    this.hosts.run(ms);
    return this.sentBytes.map((bytes, i) => ((bytes - before[i]!) * 1000) / ms);
  }
}

t.test('a download keeps to the limit of one path, fills it, and takes the other in full; the queue of the path stays empty', async (t) => {
  const server = new LimitedServer([LINK, LINK]);
  server.setLimit(1, TEN_MEGABITS);
  const { reader } = server.download();
  server.hosts.run(2000);
  const path = server.hosts.paths[1]!.down.counters;
  path.queueDelayMaxMs = 0;
  const [free, limited] = server.run(4000);
  t.comment(
    `${((free! * 8) / 1e6).toFixed(1)} and ${((limited! * 8) / 1e6).toFixed(2)} Mbit/s, at most ${path.queueDelayMaxMs.toFixed(1)} ms queued`,
  );
  t.ok(limited! <= 1.01 * TEN_MEGABITS, 'within the limit');
  t.ok(limited! >= 0.95 * TEN_MEGABITS, 'all of it');
  t.ok(free! > 0.85 * 6_250_000, 'and the other path as ever');
  t.ok(path.queueDelayMaxMs < 3, 'nothing queues');
  t.equal(reader.corruptAt, -1);
});

t.test('a limit is set, changed and taken away while a download goes on', async (t) => {
  const server = new LimitedServer([LINK]);
  const { reader, connection } = server.download();
  server.hosts.run(2000);
  t.ok(server.run(1000)[0]! > 0.85 * 6_250_000, 'without a limit');
  for (const megabits of [10, 2, 20]) {
    server.setLimit(0, megabits * 125_000);
    server.hosts.run(500);
    const [rate] = server.run(3000);
    t.ok(rate! <= 1.01 * megabits * 125_000 && rate! >= 0.93 * megabits * 125_000, `${megabits} Mbit/s: ${((rate! * 8) / 1e6).toFixed(2)}`);
  }
  server.setLimit(0, 0);
  server.hosts.run(1500);
  t.ok(server.run(2000)[0]! > 0.8 * 6_250_000, 'and without one again');
  t.equal(reader.corruptAt, -1);
  t.notOk(connection.closed);
});

t.test('connections share a limit evenly, whoever came first', async (t) => {
  const server = new LimitedServer([LINK]);
  server.setLimit(0, TEN_MEGABITS);
  for (let i = 0; i < 12; i++) {
    server.download();
    server.hosts.run(150);
  }
  server.hosts.run(1000);
  const before = server.readers.map(({ readBytes }) => readBytes);
  const [rate] = server.run(6000);
  const got = server.readers.map(({ readBytes }, i) => readBytes - before[i]!);
  const mean = got.reduce((sum, bytes) => sum + bytes, 0) / got.length;
  t.comment(`mean ${mean.toFixed(0)} bytes, ${Math.min(...got)} to ${Math.max(...got)}`);
  t.ok(rate! <= 1.01 * TEN_MEGABITS && rate! >= 0.95 * TEN_MEGABITS, `${((rate! * 8) / 1e6).toFixed(2)} Mbit/s`);
  t.ok(Math.min(...got) > 0.6 * mean && Math.max(...got) < 1.4 * mean, 'none starves');
});

t.test('a path that goes while others wait for their turn leaves nobody waiting', async (t) => {
  const server = new LimitedServer([LINK, LINK]);
  server.setLimit(0, TEN_MEGABITS);
  const downloads = Array.from({ length: 5 }, () => server.download());
  server.hosts.run(2000);
  for (const host of [server.hosts.client, server.hosts.server]) {
    host.paths.remove(0, server.hosts.clock.nowMs);
    server.hosts.settle(host);
  }
  server.hosts.run(500);
  const before = downloads.map(({ reader }) => reader.readBytes);
  t.ok(server.run(2000)[1]! > 0.85 * 6_250_000, 'the other path carries all');
  for (const [i, { reader }] of downloads.entries()) {
    t.ok(reader.readBytes > before[i]!, `download ${i} goes on`);
    t.equal(reader.corruptAt, -1);
  }
});

t.test('a stream that one path with a limit cannot carry does not wait for it, though its window was larger once', async (t) => {
  for (const createControl of [createBbr, createCubic]) {
    // Queues too short to be remembered in round trips.
    const near: SimLinkOptions = { rateBitsPerSec: 50e6, delayMs: 5, queuePackets: 40 };
    const server = new LimitedServer([near, { ...near, delayMs: 20 }], { congestionControl: createControl, scheduler: createEcf() });
    const { reader } = server.download();
    server.hosts.run(3000);
    server.setLimit(0, 250_000);
    server.hosts.run(1000);
    server.stop();
    server.hosts.run(3000);
    const latencies: number[] = [];
    for (let i = 0; i < 40; i++) {
      const [target, startMs] = [reader.readBytes + 20_000, server.hosts.clock.nowMs];
      server.write(20_000);
      while (reader.readBytes < target && server.hosts.clock.nowMs < startMs + 1000) server.hosts.run(1);
      latencies.push(server.hosts.clock.nowMs - startMs);
    }
    const mean = latencies.reduce((sum, ms) => sum + ms, 0) / latencies.length;
    t.comment(`${createControl.name}: mean ${mean.toFixed(0)} ms, worst ${Math.max(...latencies)} ms`);
    // By the path with the limit alone 85 ms.
    t.ok(mean < 60, `${mean.toFixed(0)} ms`);
  }
});
