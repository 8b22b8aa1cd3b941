import t from 'tap';
import type { MptcpConnection } from '../../../src/mptcp-over-udp/mptcp/connection.js';
import type { PathPolicy } from '../../../src/mptcp-over-udp/mptcp/path-policy.js';
import { createRedundant } from '../../../src/mptcp-over-udp/scheduler/redundant.js';
import { acceptBulk, BulkPeer } from '../../sim/bulk-peer.js';
import type { SimLinkOptions } from '../../sim/sim-link.js';
import { TwoHosts } from '../../sim/two-hosts.js';

const LINK: SimLinkOptions = { rateBitsPerSec: 20e6, delayMs: 10, queuePackets: 300 };
/** More than acknowledgements and signals need. */
const DATA_PACKET_BYTES = 500;

const among = (...pathIds: number[]): PathPolicy => ({ rank: (pathId) => pathIds.indexOf(pathId), oneAtATime: false, isNamed: true });
const inOrder = (...pathIds: number[]): PathPolicy => ({ ...among(...pathIds), oneAtATime: true });

/** Downloads over three paths, and what data packets they take from the server. */
class World {
  readonly hosts: TwoHosts;
  readonly served: MptcpConnection[] = [];
  readonly dataPackets = [0, 0, 0];
  readonly syns = [0, 0, 0];

  constructor() {
    this.hosts = new TwoHosts({
      paths: [LINK, LINK, { ...LINK, delayMs: 20 }],
      inspect: (fromClient, pathId, packet) => {
        if (!fromClient && packet.length > DATA_PACKET_BYTES) this.dataPackets[pathId]!++;
        if (fromClient && (packet[33]! & 0x12) === 0x02) this.syns[pathId]!++;
        return true;
      },
      serverEvents: {
        onIncoming: (connection) => {
          this.served.push(connection);
          acceptBulk(connection, true);
        },
      },
    });
  }

  download(pathPolicy: PathPolicy): MptcpConnection {
    const client = new BulkPeer(false);
    const connection = this.hosts.connect(client, this.hosts.client.paths.best(pathPolicy)!.id, { pathPolicy });
    client.connection = connection;
    return connection;
  }

  setPolicy(connection: MptcpConnection, policy: PathPolicy | undefined): void {
    connection.setPathPolicy(policy, this.hosts.clock.nowMs);
    this.hosts.settle(this.hosts.client);
  }

  setUsable(pathId: number, usable: boolean): void {
    this.hosts.setPathUsable(pathId, usable);
  }

  /** Data packets on each path within `ms`. */
  run(ms: number): number[] {
    const before = [...this.dataPackets];
    this.hosts.run(ms);
    return this.dataPackets.map((count, i) => count - before[i]!);
  }
}

t.test('a connection has subflows on the paths that are named, and no SYN goes elsewhere', async (t) => {
  const world = new World();
  const connection = world.download(among(2, 1));
  world.run(3000);
  t.same(connection.subflows.map(({ pathId }) => pathId).sort(), [1, 2]);
  t.equal(world.syns[0], 0);
  t.equal(world.dataPackets[0], 0);
  t.ok(world.dataPackets[1]! > 1000 && world.dataPackets[2]! > 1000);
});

t.test('one that is pinned waits for its path, and goes on when that returns', async (t) => {
  const world = new World();
  const connection = world.download(among(1));
  world.run(1000);
  world.setUsable(1, false);
  world.run(300);
  t.same(world.run(3000), [0, 0, 0]);
  t.equal(connection.closed, false);
  world.setUsable(1, true);
  const [first, pinned, third] = world.run(2000);
  t.same([first, third], [0, 0]);
  t.ok(pinned! > 1000);
  t.equal(world.hosts.client.paths.best(among(1))!.id, 1);
  world.setUsable(1, false);
  t.equal(world.hosts.client.paths.best(among(1)), undefined, 'nothing can begin there now');
});

t.test('one at a time: the next in order when the first fails, and back when it returns', async (t) => {
  const world = new World();
  world.download(inOrder(2, 0, 1));
  world.run(1000);
  const carries = (): number[] => {
    world.run(500);
    return world.run(1000).flatMap((count, i) => (count > 100 ? [i] : []));
  };
  t.same(carries(), [2]);
  world.setUsable(2, false);
  t.same(carries(), [0], 'not both that are left');
  world.setUsable(0, false);
  t.same(carries(), [1]);
  world.setUsable(2, true);
  t.same(carries(), [2]);
});

t.test('a path that is named is used though it is a backup, on both sides', async (t) => {
  const world = new World();
  for (const host of [world.hosts.client, world.hosts.server]) host.paths.setBackup(1, true);
  world.download(among(0, 1));
  world.run(1000);
  const [first, backup] = world.run(1000);
  t.ok(first! > 500 && backup! > 500, 'both carry data');
});

t.test('a policy that changes moves a connection that is under way, and leaves nothing behind', async (t) => {
  const world = new World();
  const connection = world.download(among(0));
  world.run(1000);
  world.setPolicy(connection, among(1, 2));
  world.run(1000);
  t.same(connection.subflows.map(({ pathId }) => pathId).sort(), [1, 2], 'the first subflow ended when another had come');
  t.equal(world.run(1000)[0], 0);
  world.setPolicy(connection, undefined);
  world.run(2000);
  t.same(connection.subflows.map(({ pathId }) => pathId).sort(), [0, 1, 2]);
  t.equal(connection.closed, false);
  t.equal(world.served.length, 1);
});

t.test('a policy of the side that answers holds back what it does not want', async (t) => {
  const world = new World();
  const client = new BulkPeer(false);
  client.connection = world.hosts.connect(client, 0);
  world.run(100);
  world.served[0]!.setPathPolicy(among(0), world.hosts.clock.nowMs);
  world.hosts.settle(world.hosts.server);
  world.run(1000);
  const [first, ...others] = world.run(1000);
  t.ok(first! > 500);
  t.same(others, [0, 0]);
});

t.test('a connection may have a scheduler of its own', async (t) => {
  const world = new World();
  const client = new BulkPeer(true);
  const connection = world.hosts.connect(client, 0, { scheduler: createRedundant() });
  t.equal(connection.scheduler.name, 'redundant');
  const other = world.hosts.connect(new BulkPeer(true), 0);
  t.equal(other.scheduler.name, 'ecf');
});
