/** A connection that is opened onto a path which has just gone silent, before anybody knows: it goes on over another as soon as somebody does. */

import t from 'tap';
import type { SimLinkOptions } from '../../sim/sim-link.js';
import { PatternPeer, TwoHosts } from '../../sim/two-hosts.js';

const CABLE: SimLinkOptions = { rateBitsPerSec: 20e6, delayMs: 10, queuePackets: 300 };
const RADIO: SimLinkOptions = { rateBitsPerSec: 10e6, delayMs: 30, queuePackets: 300 };
const TOTAL_BYTES = 300_000;
const NOTICED_MS = 400;

function openOnto(silentFromMs: number): { hosts: TwoHosts; client: PatternPeer } {
  const hosts: TwoHosts = new TwoHosts({
    paths: [CABLE, RADIO],
    serverEvents: { onIncoming: (connection) => void new PatternPeer(hosts.clock, TOTAL_BYTES).accept(connection) },
  });
  const client = new PatternPeer(hosts.clock, 0, false);
  client.connect(hosts, 0);
  hosts.run(silentFromMs);
  hosts.setSilent(0);
  hosts.run(NOTICED_MS - silentFromMs);
  return { hosts, client };
}

// Lost: the SYN; the SYN/ACK; the third ACK and what comes with it.
for (const silentFromMs of [0, 12, 22]) {
  t.test(`silent after ${silentFromMs} ms`, async (t) => {
    const { hosts, client } = openOnto(silentFromMs);
    t.equal(client.readBytes, 0);
    hosts.setPathUsable(0, false);
    hosts.run(1000);
    t.equal(client.readBytes, TOTAL_BYTES, 'all of it has come');
    t.equal(client.corruptCount, 0);
  });
}

t.test('without another path it waits, and takes the next that comes up', async (t) => {
  const { hosts, client } = openOnto(0);
  hosts.setPathUsable(1, false);
  hosts.setPathUsable(0, false);
  hosts.run(3000);
  t.equal(client.readBytes, 0);
  hosts.setPathUsable(1, true);
  hosts.run(1000);
  t.equal(client.readBytes, TOTAL_BYTES);
});

t.test('the path that has returned is joined', async (t) => {
  const { hosts, client } = openOnto(12);
  hosts.setPathUsable(0, false);
  hosts.run(1000);
  hosts.setSilent(0, false);
  hosts.setPathUsable(0, true);
  hosts.run(500);
  t.same(client.connection?.subflows.map(({ pathId }) => pathId).sort(), [0, 1]);
});
