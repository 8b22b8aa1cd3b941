/** When connections get their further subflows where many are opened at once. */

import t from 'tap';
import type { MptcpConnection } from '../../../src/mptcp-over-udp/mptcp/connection.js';
import { JoinPacing } from '../../../src/mptcp-over-udp/mptcp/join-pacing.js';
import { PatternPeer, TwoHosts } from '../../sim/two-hosts.js';

const PATH = { rateBitsPerSec: 1e9, delayMs: 5, queuePackets: 1000 };
/** As many as join at once. */
const BURST = 100;

interface Opened {
  connection: MptcpConnection;
  peer: PatternPeer;
}

function twoHosts(downloadBytes: number): { hosts: TwoHosts; open: (uploadBytes?: number) => Opened } {
  const hosts: TwoHosts = new TwoHosts({
    paths: [PATH, PATH],
    serverEvents: {
      onIncoming: (connection) => {
        new PatternPeer(hosts.clock, downloadBytes).accept(connection);
      },
    },
  });
  const open = (uploadBytes = 100): Opened => {
    const peer = new PatternPeer(hosts.clock, uploadBytes, false);
    const connection = peer.connect(hosts);
    return { connection, peer };
  };
  return { hosts, open };
}

t.test('as many joins as a burst has, and then so many a second', async (t) => {
  const pacing = new JoinPacing();
  let atOnce = 0;
  while (pacing.firstJoinMs(1_000) === 1_000) atOnce++;
  t.equal(atOnce, BURST);
  t.equal(pacing.firstJoinMs(1_000), 1_250);
  let inASecond = 0;
  for (let nowMs = 1_000; nowMs < 2_000; nowMs++) if (pacing.firstJoinMs(nowMs) === nowMs) inASecond++;
  t.ok(Math.abs(inASecond - 200) <= 1, `${inASecond}`);
});

t.test('a connection alone joins with its first round trip, one of very many when it has lived for a moment', async (t) => {
  const { hosts, open } = twoHosts(100);
  const alone = open();
  hosts.run(35);
  t.equal(alone.connection.subflows.length, 2);
  const many = Array.from({ length: 3 * BURST }, () => open());
  hosts.run(100);
  const joined = many.filter(({ connection }) => connection.subflows.length === 2).length;
  t.ok(joined >= BURST && joined < 1.5 * BURST, `${joined} of ${many.length}`);
  t.ok(many.every(({ peer }) => peer.readBytes === 100));
  hosts.run(200);
  t.ok(many.every(({ connection }) => connection.subflows.length === 2));
});

/** From now on no connection may join at once. */
function spend(hosts: TwoHosts): void {
  hosts.client.joinPacing.firstJoinMs = (nowMs) => nowMs + 250;
}

t.test('among very many, one that is over within a moment costs the other path nothing', async (t) => {
  const { hosts, open } = twoHosts(100);
  spend(hosts);
  const { connection, peer } = open();
  hosts.run(60);
  t.equal(peer.readBytes, 100);
  connection.finish();
  hosts.settle(hosts.client);
  hosts.run(2_000);
  t.equal(peer.closed, 'finished');
  t.same(
    hosts.paths.map(({ up }) => up.counters.deliveredPackets > 0),
    [true, false],
  );
});

t.test('among very many, one with much to carry joins without delay, whoever sends', async (t) => {
  for (const [upload, download] of [
    [2_000_000, 0],
    [0, 2_000_000],
  ] as const) {
    const { hosts, open } = twoHosts(download);
    spend(hosts);
    const large = open(upload);
    hosts.run(75);
    t.equal(large.connection.subflows.length, 2, upload > 0 ? 'upload' : 'download');
  }
});

t.test('when its path fails, one that waits joins the other at once', async (t) => {
  const { hosts, open } = twoHosts(100);
  spend(hosts);
  const { connection, peer } = open();
  hosts.run(60);
  t.equal(connection.subflows.length, 1);
  const pathId = connection.subflows[0]!.pathId;
  hosts.setPathUsable(pathId, false);
  hosts.run(40);
  t.ok(connection.subflows.some((subflow) => subflow.pathId !== pathId && subflow.usable));
  t.equal(peer.closed, undefined);
});
