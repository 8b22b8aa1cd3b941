import t from 'tap';
import type { MptcpConnection } from '../../../src/mptcp-over-udp/mptcp/connection.js';
import type { Subflow } from '../../../src/mptcp-over-udp/mptcp/subflow.js';
import { createPriority } from '../../../src/mptcp-over-udp/scheduler/priority.js';
import { acceptBulk, BulkPeer } from '../../sim/bulk-peer.js';
import type { SimLinkOptions } from '../../sim/sim-link.js';
import { TwoHosts, type TwoHostsOptions } from '../../sim/two-hosts.js';

const LINK: SimLinkOptions = { rateBitsPerSec: 20e6, delayMs: 10, queuePackets: 300 };
/** More than acknowledgements and signals need. */
const DATA_PACKET_BYTES = 500;

/** A download over two paths, and what its data packets from the server took, by path. */
class Download {
  readonly hosts: TwoHosts;
  readonly served: MptcpConnection[] = [];
  readonly connection: MptcpConnection;
  readonly dataPackets = [0, 0];
  /** MP_PRIO vanishes: 3 bytes of kind 30 and subtype 5 (RFC 8684, 3.3.8). */
  losesPrio = false;

  constructor(options: Partial<TwoHostsOptions> = {}) {
    this.hosts = new TwoHosts({
      paths: [LINK, LINK],
      inspect: (fromClient, pathId, packet) => {
        if (!fromClient && packet.length > DATA_PACKET_BYTES) this.dataPackets[pathId]!++;
        return !(this.losesPrio && packet.length < DATA_PACKET_BYTES && hasMpPrio(packet));
      },
      serverEvents: {
        onIncoming: (connection) => {
          this.served.push(connection);
          acceptBulk(connection, true);
        },
      },
      ...options,
    });
    const client = new BulkPeer(false);
    this.connection = this.hosts.connect(client);
    client.connection = this.connection;
  }

  /** As the tunnel does: both sides hear of it. */
  setBackup(pathId: number, backup: boolean): void {
    for (const host of [this.hosts.client, this.hosts.server]) {
      host.paths.setBackup(pathId, backup);
      this.hosts.settle(host);
    }
  }

  /** Data packets on each path within `ms`. */
  run(ms: number): number[] {
    const before = [...this.dataPackets];
    this.hosts.run(ms);
    return this.dataPackets.map((count, i) => count - before[i]!);
  }
}

function hasMpPrio(packet: Uint8Array): boolean {
  const options = packet.subarray(40, 20 + ((packet[32]! >> 4) << 2));
  for (let at = 0; at < options.length; at += options[at]! <= 1 ? 1 : Math.max(2, options[at + 1]!)) {
    if (options[at] === 30 && options[at + 2]! >> 4 === 5) return true;
  }
  return false;
}

const on = (connection: MptcpConnection, pathId: number): Subflow | undefined =>
  connection.subflows.find((subflow) => subflow.pathId === pathId);

t.test('a path that becomes a backup carries nothing new a moment later, and its share again when it is none any more', async (t) => {
  for (const losesPrio of [false, true]) {
    const run = new Download();
    run.run(2000);
    run.losesPrio = losesPrio;
    run.setBackup(1, true);
    // What is on its way, and the MP_PRIO.
    run.run(200);
    t.equal(on(run.connection, 1)!.localBackup, true, 'the peer is asked');
    const held = run.run(1000);
    t.equal(held[1], 0);
    t.ok(held[0]! > 1000);
    run.setBackup(1, false);
    run.run(500);
    t.ok(run.run(1000)[1]! > 1000);
  }
});

t.test('a backup carries on when the other path fails', async (t) => {
  const run = new Download();
  run.run(1000);
  run.setBackup(1, true);
  run.run(500);
  run.hosts.setPathUsable(0, false);
  run.run(300);
  const failed = run.run(1000);
  t.equal(failed[0], 0);
  t.ok(failed[1]! > 1000);
});

t.test('a join over a backup path says so in its B bit, and is no place for a connection to begin', async (t) => {
  const run = new Download();
  const hosts = run.hosts;
  run.setBackup(0, true);
  const client = new BulkPeer(false);
  const connection = hosts.connect(client);
  client.connection = connection;
  t.equal(connection.subflows[0]!.pathId, 1, 'it begins on the other');
  run.run(1000);
  const [first, second] = [on(connection, 0)!, on(run.served.at(-1)!, 0)!];
  t.equal(first.remoteBackup, true, 'told by the SYN/ACK');
  t.equal(second.remoteBackup, true, 'told by the SYN');
  t.equal(run.served.at(-1)!.subflows.find((subflow) => subflow.pathId === 1)!.heldBack, false);
});

t.test('with the scheduler priority a connection begins on the first in order', async (t) => {
  const { hosts } = new Download({ scheduler: createPriority(), paths: [LINK, { ...LINK, delayMs: 50 }] });
  t.equal(hosts.client.paths.best()!.id, 0, 'of equals the fastest');
  hosts.client.paths.get(0)!.priority = 5;
  t.equal(hosts.client.paths.best()!.id, 1);
});
