/** Schedulers in whole connections: what they are chosen for. */

import t from 'tap';
import { createReno } from '../../../src/mptcp-over-udp/congestion/reno.js';
import type { MptcpConnection } from '../../../src/mptcp-over-udp/mptcp/connection.js';
import { SCHEDULERS, type SchedulerName } from '../../../src/mptcp-over-udp/scheduler/schedulers.js';
import type { SimLinkOptions } from '../../sim/sim-link.js';
import { PatternPeer, TwoHosts, type TwoHostsOptions } from '../../sim/two-hosts.js';
import { type Download, measure, messageLatencies, SCENARIOS, type Scenario, startDownload } from './scheduler-table.js';

interface Transfer {
  hosts: TwoHosts;
  client: PatternPeer;
  server: MptcpConnection;
}

/** A download of so many bytes; the two seconds of its beginning have run. */
function download(name: SchedulerName, bytes: number, options: TwoHostsOptions): Transfer {
  const made: { server?: MptcpConnection } = {};
  const hosts: TwoHosts = new TwoHosts({
    congestionControl: createReno,
    ...options,
    scheduler: SCHEDULERS[name](),
    serverEvents: {
      onIncoming: (connection) => {
        made.server = connection;
        new PatternPeer(hosts.clock, bytes).accept(connection);
      },
    },
  });
  const client = new PatternPeer(hosts.clock, 0);
  client.connect(hosts);
  hosts.run(2_000);
  return { hosts, client, server: made.server as MptcpConnection };
}

const NEAR: SimLinkOptions = { rateBitsPerSec: 10e6, delayMs: 10, queuePackets: 60 };
const FAR: SimLinkOptions = { rateBitsPerSec: 10e6, delayMs: 40, queuePackets: 60 };

function scenario(name: string): Scenario {
  return SCENARIOS.find((known) => known.name === name) as Scenario;
}

t.test('every scheduler delivers every byte in order, over loss and reordering, and leaves nothing behind', async (t) => {
  for (const name of Object.keys(SCHEDULERS) as SchedulerName[]) {
    const { hosts, client } = download(name, 1_500_000, {
      paths: [
        { ...NEAR, lossRatio: 0.03, jitterMs: 2, queuePackets: 20 },
        { ...FAR, lossRatio: 0.05, jitterMs: 8, queuePackets: 20 },
        { rateBitsPerSec: 3e6, delayMs: 100, lossRatio: 0.1, queuePackets: 10 },
      ],
    });
    hosts.run(60_000);
    t.equal(client.readBytes, 1_500_000, name);
    t.equal(client.corruptAt, -1, name);
    t.equal(client.closed, 'finished', name);
    t.equal(hosts.client.pool.inUseBytes + hosts.server.pool.inUseBytes, 0, `${name}: blocks`);
  }
});

t.test('redundant: on equal paths every byte goes out on both', async (t) => {
  const { hosts, client } = download('redundant', 4_000_000, { paths: [NEAR, { ...NEAR, delayMs: 12 }] });
  hosts.run(8_000);
  t.equal(client.readBytes, 4_000_000);
  for (const [id, path] of hosts.paths.entries()) {
    t.ok(path.down.counters.deliveredBytes > 0.95 * 4_000_000, `path ${id}: ${path.down.counters.deliveredBytes}`);
  }
  t.ok((hosts.server.counters['mptcp-duplicates'] ?? 0) > 1_000);
});

t.test('redundant: a slow path skips what is through already, and does not hold the fast one', async (t) => {
  const { hosts, client } = download('redundant', 1e9, { paths: [NEAR, { rateBitsPerSec: 1e6, delayMs: 100, queuePackets: 60 }] });
  const before = client.readBytes;
  hosts.run(5_000);
  const rate = ((client.readBytes - before) * 8) / 5_000_000;
  t.ok(rate > 0.95 * 10 * (1_380 / 1_500), `${rate.toFixed(2)} of 10 Mbit/s`);
});

t.test('redundant: a path that goes silent leaves no gap', async (t) => {
  const { hosts, client } = download('redundant', 1e9, { paths: [NEAR, FAR] });
  client.longestGapMs = 0;
  hosts.setSilent(0);
  hosts.run(3_000);
  t.comment(`gap ${client.longestGapMs.toFixed(0)} ms`);
  // The far path runs behind by its delay and what it still had to send of the same data.
  t.ok(client.longestGapMs < 150, `gap ${client.longestGapMs.toFixed(0)} ms`);
  const before = client.readBytes;
  hosts.run(1_000);
  t.ok(client.readBytes - before > 900_000, 'and goes on at the rate of the other');
  t.equal(client.corruptAt, -1);
});

t.test('redundant, round-robin, priority: a backup carries nothing while a regular subflow is usable, and all when none is', async (t) => {
  for (const name of ['redundant', 'round-robin', 'priority', 'blest', 'ecf'] as const) {
    const { hosts, server, client } = download(name, 1e9, { paths: [NEAR, FAR] });
    for (const subflow of server.subflows) if (subflow.pathId === 1) subflow.remoteBackup = true;
    hosts.run(1_000);
    const far = (hosts.paths[1] as TwoHosts['paths'][number]).down.counters;
    const before = far.deliveredBytes;
    hosts.run(2_000);
    t.ok(far.deliveredBytes - before < 20_000, `${name}: ${far.deliveredBytes - before} bytes on the backup`);
    hosts.setPathUsable(0, false);
    hosts.run(2_000);
    t.ok(far.deliveredBytes - before > 1_000_000, `${name}: the backup takes over`);
    t.equal(client.corruptAt, -1);
  }
});

t.test('priority: a stream that the cheap path can carry stays there, a greater one spills over', async (t) => {
  const paths = (hosts: TwoHosts): number[] => hosts.paths.map((path) => path.down.counters.deliveredBytes);
  // The cheap path is the slower one: min-rtt would not choose it.
  const start = (endless: boolean): Download =>
    startDownload(
      'priority',
      {
        name: 'far and cheap',
        paths: [
          [10, 10, 0, 60],
          [10, 40, 0, 60],
        ],
        priorities: [1, 0],
      },
      endless,
    );
  const thin = start(false);
  messageLatencies(thin);
  const [dear, cheap] = paths(thin.hosts) as [number, number];
  t.comment(`1.6 Mbit/s of messages: ${cheap} bytes on the cheap path, ${dear} on the dear one`);
  t.ok(cheap > 8 * dear, 'messages stay on the cheap path');
  const bulk = start(true);
  bulk.hosts.run(1_000);
  const before = paths(bulk.hosts);
  bulk.hosts.run(3_000);
  for (const [id, bytes] of paths(bulk.hosts).entries()) t.ok(bytes - (before[id] as number) > 3_300_000, `bulk fills path ${id}`);
});

t.test('a host path gives its priority to the subflows on it', async (t) => {
  const hosts = new TwoHosts({ paths: [NEAR, FAR] });
  hosts.client.paths.set({ ...(hosts.client.paths.get(0) as NonNullable<ReturnType<typeof hosts.client.paths.get>>), priority: 3 });
  const connection = hosts.connect(new PatternPeer(hosts.clock, 0));
  t.equal(connection.subflows[0]?.priority, 3);
});

t.test('BLEST: a window too small for both paths is not wasted on the slow one', async (t) => {
  const limited = scenario('window of 512 kB');
  const [minRtt, blest] = [measure('min-rtt', limited), measure('blest', limited)];
  // min-rtt reaches as much, but only by sending again on the near path what waits on the far one.
  t.ok(blest.goodputPercent >= minRtt.goodputPercent, `${blest.goodputPercent} % against ${minRtt.goodputPercent} %`);
  t.ok(blest.reinjections < minRtt.reinjections / 2, `${blest.reinjections} reinjections against ${minRtt.reinjections}`);
});

t.test('ECF: short messages wait for the near path rather than end on the far one', async (t) => {
  const unequal = scenario('fast and near, slow and far');
  const [minRtt, ecf] = [measure('min-rtt', unequal), measure('ecf', unequal)];
  t.ok(ecf.messageMeanMs < 0.5 * minRtt.messageMeanMs, `${ecf.messageMeanMs} ms against ${minRtt.messageMeanMs} ms`);
  t.ok(ecf.goodputPercent >= minRtt.goodputPercent - 3, 'and bulk does not pay for it');
});

t.test('redundant: under loss on both paths short messages come sooner', async (t) => {
  const lossy = scenario('1 % loss on both');
  const [minRtt, redundant] = [measure('min-rtt', lossy), measure('redundant', lossy)];
  t.ok(redundant.messageMeanMs < minRtt.messageMeanMs, `${redundant.messageMeanMs} ms against ${minRtt.messageMeanMs} ms`);
});
