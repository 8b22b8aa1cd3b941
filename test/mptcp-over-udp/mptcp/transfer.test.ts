/** Whole connections between two of our hosts over simulated paths. */

import t from 'tap';
import type { MptcpConnection } from '../../../src/mptcp-over-udp/mptcp/connection.js';
import type { SimLinkOptions } from '../../sim/sim-link.js';
import { PatternPeer, TwoHosts, type TwoHostsOptions } from '../../sim/two-hosts.js';

interface Transfer {
  hosts: TwoHosts;
  client: PatternPeer;
  server: PatternPeer;
  connection: MptcpConnection;
}

function startTransfer(uploadBytes: number, downloadBytes: number, options: TwoHostsOptions): Transfer {
  const made: { server?: PatternPeer } = {};
  const hosts: TwoHosts = new TwoHosts({
    ...options,
    serverEvents: {
      onIncoming: (connection) => {
        made.server = new PatternPeer(hosts.clock, downloadBytes).accept(connection);
      },
    },
  });
  const client = new PatternPeer(hosts.clock, uploadBytes);
  const connection = client.connect(hosts);
  hosts.run(2_000);
  return { hosts, client, server: made.server as PatternPeer, connection };
}

const DSL: SimLinkOptions = { rateBitsPerSec: 50e6, delayMs: 10, queuePackets: 1000 };
const LTE: SimLinkOptions = { rateBitsPerSec: 30e6, delayMs: 30, queuePackets: 1000 };

function megabitsPerSec(bytes: number, ms: number): number {
  return (bytes * 8) / 1000 / ms;
}

t.test('both directions arrive intact and both ends close', async (t) => {
  const { hosts, client, server } = startTransfer(3_000_000, 5_000_000, { paths: [DSL, LTE] });
  hosts.run(20_000);
  t.equal(server.readBytes, 3_000_000);
  t.equal(client.readBytes, 5_000_000);
  t.equal(server.corruptAt, -1);
  t.equal(client.corruptAt, -1);
  t.ok(client.ended && server.ended);
  t.equal(client.closed, 'finished');
  t.equal(server.closed, 'finished');
  t.equal(hosts.client.connectionCount, 0);
  t.equal(hosts.server.connectionCount, 0);
  t.equal(hosts.client.pool.inUseBytes, 0);
  t.equal(hosts.server.pool.inUseBytes, 0);
});

t.test('one stream fills two unequal paths', async (t) => {
  for (const [name, up, down] of [
    ['download', 0, 1e9],
    ['upload', 1e9, 0],
  ] as const) {
    const { hosts, client, server } = startTransfer(up, down, { paths: [DSL, LTE] });
    hosts.run(3_000);
    const reader = up > 0 ? server : client;
    const before = reader.readBytes;
    hosts.run(8_000);
    const rate = megabitsPerSec(reader.readBytes - before, 8_000);
    t.comment(`${name}: ${rate.toFixed(1)} Mbit/s`);
    t.equal(reader.corruptAt, -1);
    t.ok(rate > 68, `${name}: ${rate.toFixed(1)} Mbit/s of 80`);
  }
});

t.test('random loss of 1 % on both paths does not collapse the sum', async (t) => {
  const { hosts, client } = startTransfer(0, 1e9, {
    paths: [
      { ...DSL, lossRatio: 0.01 },
      { ...LTE, lossRatio: 0.01 },
    ],
  });
  hosts.run(3_000);
  const before = client.readBytes;
  hosts.run(8_000);
  const rate = megabitsPerSec(client.readBytes - before, 8_000);
  t.comment(`${rate.toFixed(1)} Mbit/s`);
  t.equal(client.corruptAt, -1);
  t.ok(rate > 62, `${rate.toFixed(1)} Mbit/s of 80`);
});

t.test('a path that goes silent costs less than a second, without any link event, and is used again after its return', async (t) => {
  for (const cut of [0, 1]) {
    const { hosts, client } = startTransfer(0, 1e9, { paths: [DSL, LTE] });
    hosts.run(3_000);
    client.longestGapMs = 0;
    hosts.setSilent(cut);
    hosts.run(4_000);
    t.comment(`path ${cut}: gap ${client.longestGapMs.toFixed(0)} ms`);
    t.ok(client.longestGapMs < 1_000, `gap ${client.longestGapMs.toFixed(0)} ms`);
    hosts.setSilent(cut, false);
    hosts.setPathUsable(cut, false);
    hosts.setPathUsable(cut, true);
    hosts.run(2_000);
    const { counters } = hosts.paths[cut]!.down;
    const before = counters.deliveredBytes;
    hosts.run(1_000);
    t.ok(counters.deliveredBytes - before > 1_000_000, 'carries data again');
    t.equal(client.corruptAt, -1);
    t.equal(client.closed, undefined);
  }
});

t.test('a path reported down hands its data to the other at once', async (t) => {
  const { hosts, client } = startTransfer(0, 1e9, { paths: [DSL, LTE] });
  hosts.run(3_000);
  client.longestGapMs = 0;
  hosts.setSilent(0);
  hosts.setPathUsable(0, false);
  hosts.run(2_000);
  t.comment(`gap ${client.longestGapMs.toFixed(0)} ms`);
  t.ok(client.longestGapMs < 250, `gap ${client.longestGapMs.toFixed(0)} ms`);
  t.equal(client.corruptAt, -1);
});

t.test('what a dead path had brought already does not go again before what is missing', async (t) => {
  const near: SimLinkOptions = { rateBitsPerSec: 60e6, delayMs: 12, queuePackets: 1000 };
  const far: SimLinkOptions = { rateBitsPerSec: 15e6, delayMs: 45, queuePackets: 1000 };
  for (const laterMs of [0, 37, 74]) {
    const { hosts, server } = startTransfer(1e9, 0, { paths: [near, far] });
    hosts.run(2_000 + laterMs);
    server.longestGapMs = 0;
    hosts.setSilent(0);
    hosts.setPathUsable(0, false);
    hosts.run(2_000);
    // One crossing of the far path, its queue, and what came but was not acknowledged; 100 ms when all goes in order.
    t.ok(server.longestGapMs < 80, `gap ${server.longestGapMs.toFixed(0)} ms`);
    t.equal(server.corruptAt, -1);
  }
});

t.test('all paths lost for half a minute: the connection waits and goes on', async (t) => {
  const { hosts, client } = startTransfer(0, 60_000_000, { paths: [DSL, LTE] });
  for (const id of hosts.paths.keys()) {
    hosts.setSilent(id);
    hosts.setPathUsable(id, false);
  }
  hosts.run(30_000);
  t.equal(client.closed, undefined);
  for (const id of hosts.paths.keys()) {
    hosts.setSilent(id, false);
    hosts.setPathUsable(id, true);
  }
  hosts.run(8_000);
  t.equal(client.readBytes, 60_000_000);
  t.equal(client.corruptAt, -1);
});

t.test('a reader that stops closes the window, and opens it again', async (t) => {
  const { hosts, client, server, connection } = startTransfer(0, 60_000_000, { paths: [DSL, LTE] });
  client.readLimit = 100_000 + client.readBytes;
  hosts.run(10_000);
  const stopped = client.readBytes;
  t.ok(server.sentBytes < 60_000_000, 'the sender was held back');
  t.ok(hosts.client.pool.inUseBytes < 80_000_000, 'bounded');
  client.readLimit = Number.POSITIVE_INFINITY;
  connection.resumeReading();
  hosts.settle(hosts.client);
  hosts.run(10_000);
  t.ok(client.readBytes > stopped);
  t.equal(client.readBytes, 60_000_000);
  t.equal(client.corruptAt, -1);
});

t.test('abort is a FASTCLOSE: the other side sees a reset', async (t) => {
  const { hosts, client, server, connection } = startTransfer(1e9, 1e9, { paths: [DSL, LTE] });
  connection.abort(hosts.clock.nowMs);
  hosts.run(1_000);
  t.equal(client.closed, 'aborted');
  t.equal(server.closed, 'reset');
  t.equal(hosts.server.connectionCount, 0);
  t.equal(hosts.client.pool.inUseBytes, 0);
  t.equal(hosts.server.pool.inUseBytes, 0);
});

t.test('a SYN that is rejected is refused at the other end', async (t) => {
  const hosts: TwoHosts = new TwoHosts({
    paths: [DSL],
    serverEvents: { onIncoming: (connection, nowMs) => connection.reject(true, nowMs) },
  });
  const client = new PatternPeer(hosts.clock, 0);
  client.connect(hosts);
  hosts.run(1_000);
  t.equal(client.closed, 'refused');
  t.equal(client.established, false);
});

t.test('a thousand connections at once finish, and leave nothing', async (t) => {
  const hosts: TwoHosts = new TwoHosts({
    paths: [DSL, LTE],
    serverEvents: {
      onIncoming: (connection) => {
        new PatternPeer(hosts.clock, 5_000).accept(connection);
      },
    },
  });
  const clients: PatternPeer[] = [];
  for (let i = 0; i < 1_000; i++) {
    const client = new PatternPeer(hosts.clock, 2_000);
    client.connect(hosts);
    clients.push(client);
  }
  hosts.run(30_000);
  t.equal(clients.filter((client) => client.readBytes === 5_000 && client.closed === 'finished').length, 1_000);
  t.equal(hosts.client.connectionCount, 0);
  t.equal(hosts.server.connectionCount, 0);
  t.equal(hosts.client.pool.inUseBytes, 0);
  t.equal(hosts.server.pool.inUseBytes, 0);
});

t.test('loss, reordering by two paths and duplicates from reinjection never corrupt the stream', async (t) => {
  for (let seed = 1; seed <= 12; seed++) {
    const { hosts, client, server } = startTransfer(700_000, 900_000, {
      seed,
      paths: [
        { rateBitsPerSec: 10e6, delayMs: 5, jitterMs: 3, lossRatio: 0.05, queuePackets: 30 },
        { rateBitsPerSec: 3e6, delayMs: 60, jitterMs: 10, lossRatio: 0.08, queuePackets: 30 },
        { rateBitsPerSec: 20e6, delayMs: 2, lossRatio: 0.15, queuePackets: 10 },
      ],
    });
    hosts.run(60_000);
    t.equal(client.readBytes, 900_000, `seed ${seed}: download`);
    t.equal(server.readBytes, 700_000, `seed ${seed}: upload`);
    t.equal(client.corruptAt, -1, `seed ${seed}`);
    t.equal(server.corruptAt, -1, `seed ${seed}`);
    t.equal(client.closed, 'finished', `seed ${seed}`);
    t.equal(hosts.client.pool.inUseBytes + hosts.server.pool.inUseBytes, 0, `seed ${seed}: blocks`);
  }
});

t.test('what a slow path loses is repaired on a much faster one, within a small part of the traffic', async (t) => {
  const slow: SimLinkOptions = { rateBitsPerSec: 20e6, delayMs: 300, lossRatio: 0.01, queuePackets: 2000 };
  const { hosts, client } = startTransfer(0, 50_000_000, { paths: [DSL, slow], seed: 5 });
  hosts.run(20_000);
  t.equal(client.readBytes, 50_000_000);
  t.equal(client.corruptAt, -1);
  const repairs = hosts.server.counters['mptcp-repairs'] ?? 0;
  t.ok(repairs > 20, `${repairs} repairs`);
  t.ok(repairs * 1_460 < 0.04 * 50_000_000 + (128 << 10), 'no more than the budget');
  const alike = startTransfer(0, 50_000_000, { paths: [DSL, { ...DSL, lossRatio: 0.01 }], seed: 5 });
  alike.hosts.run(20_000);
  t.equal(alike.client.readBytes, 50_000_000);
  const needless = alike.hosts.server.counters['mptcp-repairs'] ?? 0;
  t.ok(needless < repairs / 2, `${needless} where the other is faster only now and then`);
});

t.test('a repair that finds no other subflow does not stand in the way of what a dead path had in flight', async (t) => {
  const near: SimLinkOptions = { rateBitsPerSec: 20e6, delayMs: 10, queuePackets: 1000 };
  const lossy: SimLinkOptions = { rateBitsPerSec: 12e6, delayMs: 45, lossRatio: 0.02, queuePackets: 1000 };
  for (const told of [true, false]) {
    for (let seed = 1; seed <= 6; seed++) {
      const { hosts, client } = startTransfer(0, 1e9, { paths: [near, lossy], seed });
      hosts.run(1_000);
      t.ok((hosts.server.counters['mptcp-repairs'] ?? 0) > 0, 'losses of the slow path are being repaired on the near one');
      hosts.setSilent(0);
      if (told) hosts.setPathUsable(0, false);
      client.longestGapMs = 0;
      hosts.run(4_000);
      t.ok(client.longestGapMs < 1_000, `gap ${client.longestGapMs.toFixed(0)} ms, seed ${seed}, ${told ? 'told' : 'silent'}`);
      t.ok(hosts.clock.nowMs - client.lastReadMs < 1_000, 'and it goes on');
    }
  }
});
