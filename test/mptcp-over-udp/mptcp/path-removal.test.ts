import tap from 'tap';
import type { MptcpConnection } from '../../../src/mptcp-over-udp/mptcp/connection.js';
import type { SimLinkOptions } from '../../sim/sim-link.js';
import { PatternPeer, TwoHosts, type TwoHostsOptions } from '../../sim/two-hosts.js';

const CABLE: SimLinkOptions = { rateBitsPerSec: 20e6, delayMs: 10, queuePackets: 300 };
const RADIO: SimLinkOptions = { rateBitsPerSec: 10e6, delayMs: 30, queuePackets: 300 };
const TOTAL_BYTES = 6_000_000;

interface Download {
  hosts: TwoHosts;
  client: PatternPeer;
  /** The server's end, once its SYN has come. */
  served: MptcpConnection[];
  connection: MptcpConnection;
}

function download(options: Partial<TwoHostsOptions> = {}): Download {
  const served: MptcpConnection[] = [];
  const hosts: TwoHosts = new TwoHosts({
    paths: [CABLE, RADIO],
    serverEvents: {
      onIncoming(connection) {
        served.push(connection);
        new PatternPeer(hosts.clock, TOTAL_BYTES).accept(connection);
      },
    },
    ...options,
  });
  const client = new PatternPeer(hosts.clock, 0, false);
  const connection = client.connect(hosts, 0);
  return { hosts, client, served, connection };
}

function remove(hosts: TwoHosts, side: 'client' | 'server', pathId: number): void {
  hosts[side].paths.remove(pathId, hosts.clock.nowMs);
  hosts.settle(hosts[side]);
}

function finished(t: Pick<typeof tap, 'equal'>, { hosts, client }: Download, ms: number): void {
  hosts.run(ms);
  t.equal(client.readBytes, TOTAL_BYTES, 'all of it has come');
  t.equal(client.corruptCount, 0);
}

tap.test('a transfer goes on over the other path when one is removed in the middle', async (t) => {
  for (const pathId of [0, 1]) {
    const run = download();
    run.hosts.run(1000);
    t.equal(run.connection.subflows.length, 2);
    t.ok(run.client.readBytes > 0 && run.client.readBytes < TOTAL_BYTES);
    remove(run.hosts, 'client', pathId);
    t.same(
      run.connection.subflows.map((subflow) => subflow.pathId),
      [1 - pathId],
    );
    run.hosts.run(100);
    t.same(
      run.served[0]!.subflows.map((subflow) => subflow.pathId),
      [1 - pathId],
      'the other side heard of it by REMOVE_ADDR or RST',
    );
    remove(run.hosts, 'server', pathId);
    finished(t, run, 10_000);
    t.ok(run.client.longestGapMs < 300, `${run.client.longestGapMs} ms`);
  }
});

tap.test('the other side closes its subflow although the path is dead for RSTs: REMOVE_ADDR goes over another', async (t) => {
  let dead = false;
  const run = download({ inspect: (_fromClient, pathId) => !(dead && pathId === 1) });
  run.hosts.run(1000);
  dead = true;
  remove(run.hosts, 'client', 1);
  run.hosts.run(100);
  t.equal(run.served[0]!.subflows.length, 1);
  finished(t, run, 10_000);
});

tap.test('without any path the connection waits, and joins the next', async (t) => {
  const run = download();
  run.hosts.run(1000);
  const [cable] = [run.hosts.client.paths.get(0)!];
  const served = run.hosts.server.paths.get(0)!;
  for (const pathId of [0, 1]) for (const side of ['client', 'server'] as const) remove(run.hosts, side, pathId);
  run.hosts.run(5000);
  const before = run.client.readBytes;
  t.ok(before < TOTAL_BYTES);
  t.equal(run.connection.closed, false);
  for (const [side, path] of [['server', served] as const, ['client', cable] as const]) {
    run.hosts[side].paths.set({ ...path, usable: false, rttMs: 20 });
    run.hosts[side].paths.setUsable(0, true, run.hosts.clock.nowMs);
    run.hosts.settle(run.hosts[side]);
  }
  finished(t, run, 15_000);
});

tap.test('a handshake under way moves to another path', async (t) => {
  let lost = true;
  const run = download({ inspect: (_fromClient, pathId) => !(lost && pathId === 0) });
  run.hosts.run(50);
  t.equal(run.served.length, 0, 'the SYN was lost');
  remove(run.hosts, 'client', 0);
  t.equal(run.connection.closed, false);
  t.equal(run.connection.subflows[0]!.pathId, 1);
  remove(run.hosts, 'server', 0);
  lost = false;
  finished(t, run, 15_000);
});
