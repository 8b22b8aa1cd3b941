/** Checksums, MP_FAIL and address signals between two of our hosts. */

import t from 'tap';
import type { MptcpHostOptions } from '../../../src/mptcp-over-udp/mptcp/host-options.js';
import { PatternPeer, TwoHosts, type TwoHostsOptions } from '../../sim/two-hosts.js';

function start(
  up: number,
  down: number,
  host: Partial<MptcpHostOptions>,
  options: Partial<TwoHostsOptions> & Pick<TwoHostsOptions, 'paths'>,
  finish = true,
) {
  const made: { server?: PatternPeer } = {};
  const hosts: TwoHosts = new TwoHosts({
    ...options,
    host,
    serverEvents: {
      ...options.serverEvents,
      onIncoming: (connection) => {
        made.server = new PatternPeer(hosts.clock, down, finish).accept(connection);
      },
    },
  });
  const client = new PatternPeer(hosts.clock, up, finish);
  const connection = client.connect(hosts);
  hosts.run(200);
  return { hosts, client, server: made.server as PatternPeer, connection };
}

const LINK = { rateBitsPerSec: 20e6, delayMs: 10, queuePackets: 100 };

t.test('with checksums asked for by one side, data arrives and both sides use them', async (t) => {
  const { hosts, client, server, connection } = start(
    2_000_000,
    2_000_000,
    { checksum: true },
    { paths: [{ ...LINK, lossRatio: 0.02 }, LINK] },
  );
  hosts.run(10_000);
  t.equal(client.readBytes, 2_000_000);
  t.equal(server.readBytes, 2_000_000);
  t.equal(client.corruptAt, -1);
  t.equal(server.corruptAt, -1);
  t.ok(connection.checksum && server.connection?.checksum);
  t.equal(hosts.client.pool.inUseBytes + hosts.server.pool.inUseBytes, 0);
});

t.test('a bad checksum on one of two subflows resets it, and its data comes by the other', async (t) => {
  let damaged = 0;
  const { hosts, client, server } = start(
    0,
    3_000_000,
    { checksum: true },
    {
      paths: [LINK, LINK],
      inspect: (fromClient, pathId, packet) => {
        if (!fromClient && pathId === 1 && packet.length > 1_000 && damaged < 1) {
          damaged++;
          packet[packet.length - 1] = (packet[packet.length - 1] as number) ^ 0x55;
        }
        return true;
      },
    },
  );
  hosts.run(10_000);
  t.equal(damaged, 1);
  t.equal(client.readBytes, 3_000_000);
  t.equal(client.corruptAt, -1);
  t.equal(client.closed, 'finished');
  t.equal(server.closed, 'finished');
  t.equal(hosts.client.counters['mptcp-bad-checksum'], 1);
});

t.test('a bad checksum on the only subflow: MP_FAIL, infinite mapping, both directions go on, and one byte differs', async (t) => {
  let packets = 0;
  const { hosts, client, server } = start(
    1_500_000,
    3_000_000,
    { checksum: true },
    {
      paths: [LINK],
      inspect: (fromClient, _pathId, packet) => {
        if (!fromClient && packet.length > 1_000 && ++packets === 300)
          packet[packet.length - 1] = (packet[packet.length - 1] as number) ^ 0x55;
        return true;
      },
    },
  );
  hosts.run(10_000);
  t.equal(client.readBytes, 3_000_000);
  t.equal(server.readBytes, 1_500_000);
  t.equal(client.corruptCount, 1);
  t.equal(server.corruptAt, -1);
  t.equal(hosts.server.counters['mptcp-fail-received'], 1);
  t.equal(hosts.client.counters['mptcp-infinite-mapping-received'], 1);
  t.ok(hosts.client.counters['mptcp-bad-checksum'] === 1 && client.connection?.fallback && server.connection?.fallback);
  t.equal(client.closed, 'finished');
  t.equal(server.closed, 'finished');
});

t.test('ADD_ADDR is echoed and told, MP_PRIO moves the data, REMOVE_ADDR closes', async (t) => {
  const told: string[] = [];
  const { hosts, client, server, connection } = start(
    0,
    1e9,
    {},
    {
      paths: [LINK, LINK],
      clientEvents: {
        onAnnounced: (_c, address) => told.push(`announced ${address.addressId} ${address.address.join('.')} ${address.port}`),
      },
      serverEvents: {
        onPriority: (_c, subflow, backup) => told.push(`priority ${subflow.pathId} ${backup}`),
        onRemoved: (_c, ids) => told.push(`removed ${ids.join(',')}`),
      },
    },
  );
  hosts.run(1_000);
  server.connection?.addresses.announce({ addressId: 9, address: new Uint8Array([192, 0, 2, 9]), port: 4443 }, hosts.clock.nowMs);
  hosts.settle(hosts.server);
  hosts.run(5_000);
  t.same(told, ['announced 9 192.0.2.9 4443'], 'told once: the echo stops the repeats');
  const backup = connection.subflows.find((subflow) => subflow.pathId === 1);
  backup?.setBackup(true);
  hosts.settle(hosts.client);
  hosts.run(500);
  const [path0, path1] = hosts.paths.map((path) => path.down.counters.deliveredBytes) as [number, number];
  hosts.run(1_000);
  t.ok((hosts.paths[0]?.down.counters.deliveredBytes as number) - path0 > 2_000_000);
  t.ok((hosts.paths[1]?.down.counters.deliveredBytes as number) - path1 < 50_000, 'a backup carries nothing while a regular subflow can');
  const serverSide = server.connection?.subflows.find((subflow) => subflow.pathId === 1);
  connection.addresses.withdraw(new Uint8Array([2]), hosts.clock.nowMs);
  hosts.settle(hosts.client);
  hosts.run(100);
  t.equal(backup?.state, 'closed');
  t.equal(serverSide?.state, 'closed');
  t.ok(told.includes('removed 2'));
  t.equal(client.corruptAt, -1);
  t.ok(told.includes('priority 1 true'));
});

t.test('timestamps: offered by both, data arrives over loss, and the options leave room for SACK', async (t) => {
  let withTimestamps = 0;
  const { hosts, client, server } = start(
    1_000_000,
    1_000_000,
    { timestamps: true },
    {
      paths: [
        { ...LINK, lossRatio: 0.03 },
        { ...LINK, lossRatio: 0.03 },
      ],
      inspect: (_fromClient, _pathId, packet) => {
        for (let at = 40; at + 1 < 20 + ((packet[32] as number) >> 4) * 4; ) {
          if (packet[at] === 8) withTimestamps++;
          if (packet[at] === 0) break;
          at += packet[at] === 1 ? 1 : Math.max(2, packet[at + 1] as number);
        }
        return true;
      },
    },
  );
  hosts.run(10_000);
  t.equal(client.readBytes, 1_000_000);
  t.equal(server.readBytes, 1_000_000);
  t.equal(client.corruptAt, -1);
  t.equal(server.corruptAt, -1);
  t.ok(withTimestamps > 1_000);
  t.equal(hosts.client.counters['tcp-paws'] ?? 0, 0);
});

t.test('a path that carries smaller packets from now on: the transfer goes on in smaller segments', async (t) => {
  let largest = 0;
  const { hosts, client } = start(
    0,
    4_000_000,
    {},
    {
      paths: [LINK],
      inspect: (_fromClient, _pathId, packet) => {
        largest = Math.max(largest, packet.length);
        return true;
      },
    },
  );
  t.ok(largest > 1_400);
  for (const host of [hosts.client, hosts.server]) {
    host.paths.setMtu(0, 1_000);
    hosts.settle(host);
  }
  largest = 0;
  hosts.run(5_000);
  t.ok(largest <= 1_000, `${largest}`);
  t.equal(client.readBytes, 4_000_000);
  t.equal(client.corruptAt, -1);
});

t.test('keepalive: a peer that is gone is noticed by a connection that has nothing to send', async (t) => {
  const { hosts, client } = start(0, 1_000, { keepaliveMs: 10_000 }, { paths: [LINK] }, false);
  client.connection?.write(new Uint8Array(10), 0, 10);
  hosts.settle(hosts.client);
  hosts.run(1_000);
  hosts.setSilent(0);
  hosts.run(15_000);
  t.equal(client.closed, undefined);
  hosts.run(15 * 60_000);
  t.equal(client.closed, 'timeout');
});

t.test('version 0 (RFC 6824): keys in the SYN, SHA-1, joins, data both ways, ADD_ADDR without HMAC', async (t) => {
  const told: string[] = [];
  const { hosts, client, server, connection } = start(
    1_000_000,
    1_000_000,
    { version: 0, acceptVersion0: true },
    {
      // Version 0 sends ADD_ADDR once: it must not be lost.
      paths: [LINK, LINK],
      clientEvents: { onAnnounced: (_c, address) => told.push(`${address.addressId} ${address.address.join('.')} ${address.port}`) },
    },
  );
  t.equal(connection.version, 0);
  t.equal(server.connection?.version, 0);
  t.equal(connection.subflows.length, 2);
  t.ok(connection.subflows.every((subflow) => subflow.confirmed));
  server.connection?.addresses.announce({ addressId: 9, address: new Uint8Array([192, 0, 2, 9]), port: 0 }, hosts.clock.nowMs);
  hosts.settle(hosts.server);
  hosts.run(10_000);
  t.same(told, ['9 192.0.2.9 0']);
  t.equal(client.readBytes, 1_000_000);
  t.equal(server.readBytes, 1_000_000);
  t.equal(client.corruptAt, -1);
  t.equal(server.corruptAt, -1);
  t.equal(client.closed, 'finished');
  t.equal(server.closed, 'finished');
});

t.test('a SYN of version 0 towards a host that does not accept it falls back to TCP', async (t) => {
  const { hosts, client, server } = start(100_000, 100_000, { version: 0 }, { paths: [LINK] });
  hosts.run(5_000);
  t.ok(client.connection?.fallback);
  t.ok(server.connection?.fallback);
  t.equal(client.readBytes, 100_000);
  t.equal(server.readBytes, 100_000);
});
