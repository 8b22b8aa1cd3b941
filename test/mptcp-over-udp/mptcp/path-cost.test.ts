/** A path that costs beside one that does not, as LTE beside DSL, on the virtual clock. */

import t from 'tap';
import type { MptcpConnection } from '../../../src/mptcp-over-udp/mptcp/connection.js';
import { SCHEDULERS, type SchedulerName } from '../../../src/mptcp-over-udp/scheduler/schedulers.js';
import { BulkPeer } from '../../sim/bulk-peer.js';
import type { SimLinkOptions } from '../../sim/sim-link.js';
import { TwoHosts } from '../../sim/two-hosts.js';

/** The dear one is the faster and the nearer: left alone, every scheduler would choose it. */
const CHEAP: SimLinkOptions = { rateBitsPerSec: 10e6, delayMs: 20, queuePackets: 100 };
const DEAR: SimLinkOptions = { rateBitsPerSec: 30e6, delayMs: 8, queuePackets: 200 };
const DATA_PACKET_BYTES = 500;

class Page {
  readonly hosts: TwoHosts;
  readonly dataBytes: number[];
  served: MptcpConnection | undefined;
  readonly connection: MptcpConnection;
  readonly #bulk: BulkPeer;

  /** `endless`: the server sends without end; else what `serve` says. */
  constructor(endless: boolean, costs: readonly number[], links: SimLinkOptions[], scheduler: SchedulerName = 'ecf') {
    this.dataBytes = links.map(() => 0);
    this.#bulk = new BulkPeer(endless);
    this.hosts = new TwoHosts({
      paths: links,
      scheduler: SCHEDULERS[scheduler](),
      inspect: (fromClient, pathId, packet) => {
        if (!fromClient && packet.length > DATA_PACKET_BYTES) this.dataBytes[pathId]! += packet.length;
        return true;
      },
      serverEvents: {
        onIncoming: (connection) => {
          this.#bulk.connection = connection;
          this.served = connection;
          connection.setHandler(this.#bulk);
          connection.accept();
        },
      },
    });
    this.setCosts(costs);
    const client = new BulkPeer(false);
    this.connection = this.hosts.connect(client);
    client.connection = this.connection;
  }

  setCosts(costs: readonly number[]): void {
    for (const host of [this.hosts.client, this.hosts.server]) {
      for (const [id, cost] of costs.entries()) host.paths.setCost(id, cost);
      this.hosts.settle(host);
    }
  }

  /** As much of it as the send buffer takes. */
  serve(bytes: number): void {
    this.served!.write(new Uint8Array(bytes), 0, bytes);
    this.hosts.settle(this.hosts.server);
  }

  run(ms: number): number[] {
    const before = [...this.dataBytes];
    this.hosts.run(ms);
    return this.dataBytes.map((bytes, i) => bytes - before[i]!);
  }
}

t.test('a connection begins on the cheapest path, though a dearer one is nearer', async (t) => {
  const page = new Page(false, [0, 1], [CHEAP, DEAR]);
  t.equal(page.connection.subflows[0]!.pathId, 0);
});

t.test('pages and messages stay on the cheap path, with every scheduler', async (t) => {
  for (const scheduler of ['ecf', 'blest', 'min-rtt', 'round-robin', 'priority'] as const) {
    const page = new Page(false, [0, 1], [CHEAP, DEAR], scheduler);
    page.hosts.run(500);
    for (let i = 0; i < 10; i++) {
      // 0.2 s of the cheap path at once, every half second.
      page.serve(100_000);
      page.hosts.run(500);
    }
    const [cheap, dear] = page.dataBytes;
    t.ok(cheap! > 1_000_000, `${scheduler}: ${cheap} bytes`);
    t.ok(dear! < 0.01 * cheap!, `${scheduler}: ${dear} on the dear one`);
  }
});

t.test('what the cheap path cannot carry spills over after half a second and some round trips, and no longer than needed', async (t) => {
  const page = new Page(true, [0, 1], [CHEAP, DEAR]);
  const [, early] = page.run(500);
  t.equal(early, 0, 'not at once');
  page.hosts.run(1500);
  const [cheap, dear] = page.run(2000);
  t.ok(cheap! > 0.8 * 2.5e6, `${cheap} bytes on the cheap path`);
  t.ok(dear! > 0.6 * 7.5e6, `${dear} bytes on the dear one`);
  page.setCosts([0, 0]);
  page.hosts.run(500);
  t.ok(page.run(1000)[1]! > 0.6 * 3.75e6, 'costs are taken away while it runs');
});

t.test('once nothing waits any more, the next page is the cheap path’s again', async (t) => {
  const page = new Page(false, [0, 1], [CHEAP, DEAR]);
  page.hosts.run(500);
  for (let i = 0; i < 100; i++) {
    page.serve(200_000);
    page.hosts.run(30);
  }
  t.ok(page.dataBytes[1]! > 1_000_000, 'too much for the cheap path');
  page.hosts.run(5000);
  page.serve(100_000);
  const [cheap, dear] = page.run(1000);
  t.ok(cheap! > 80_000 && dear! === 0, `${cheap} and ${dear}`);
});

t.test('a cheap path that fails is replaced at once', async (t) => {
  const page = new Page(false, [0, 1], [CHEAP, DEAR]);
  page.hosts.run(500);
  // Joins follow the first data.
  page.serve(100_000);
  page.hosts.run(1000);
  page.hosts.setPathUsable(0, false);
  page.serve(100_000);
  const [, taken] = page.run(300);
  t.ok(taken! > 80_000, `${taken} bytes`);
  page.hosts.setPathUsable(0, true);
  page.hosts.run(1000);
  page.serve(100_000);
  const [cheap, dear] = page.run(1000);
  t.ok(cheap! > 80_000 && dear! < 5_000, `and takes over again: ${cheap} and ${dear}`);
});

t.test('of three, the next dearer is taken when the cheaper two are not enough', async (t) => {
  const links = [CHEAP, { ...CHEAP, delayMs: 15 }, DEAR];
  const page = new Page(true, [0, 1, 5], links);
  const taken: number[] = [];
  for (let ms = 0; ms < 4000; ms += 50) {
    page.run(50).forEach((bytes, id) => {
      if (bytes > 0 && taken[id] === undefined) taken[id] = ms;
    });
  }
  t.comment(`first used at ${taken.join(', ')} ms`);
  t.ok(taken[0]! < taken[1]! && taken[1]! < taken[2]!);
  t.ok(taken[2]! - taken[1]! >= 400, 'each has its time');
});
