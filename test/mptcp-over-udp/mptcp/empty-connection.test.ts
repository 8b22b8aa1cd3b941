/** Connections in which nobody sends a byte: nothing but the DATA_FIN can prove MPTCP to the client. */

import t from 'tap';
import { SYN } from '../../../src/mptcp-over-udp/wire/segment.js';
import { PatternPeer, TwoHosts } from '../../sim/two-hosts.js';

const LINK = { rateBitsPerSec: 20e6, delayMs: 10, queuePackets: 100 };

/** `drop`: the n-th segment of the client after its SYN, from 0. */
function closeWithoutData(drop: number): { client: PatternPeer; server: PatternPeer | undefined; fallback: boolean } {
  const made: { server?: PatternPeer } = {};
  let sent = -1;
  const hosts: TwoHosts = new TwoHosts({
    paths: [LINK],
    inspect: (fromClient, _pathId, packet) => {
      if (!fromClient || ((packet[33] as number) & SYN) !== 0) return true;
      sent++;
      return sent !== drop;
    },
    serverEvents: {
      onIncoming: (connection) => {
        // Ends when the client has ended, and not before.
        const peer = new PatternPeer(hosts.clock, 0, false);
        peer.onEnd = () => {
          peer.ended = true;
          connection.finish();
        };
        made.server = peer.accept(connection);
      },
    },
  });
  const client = new PatternPeer(hosts.clock, 0, false);
  const connection = client.connect(hosts);
  hosts.run(100);
  connection.finish();
  hosts.settle(hosts.client);
  hosts.run(20_000);
  return { client, server: made.server, fallback: connection.fallback };
}

t.test('a client that ends without a byte is told of the end, although the peer has shown no DSS', async (t) => {
  const { client, server, fallback } = closeWithoutData(-1);
  t.ok(client.ended && server?.ended);
  t.equal(client.closed, 'finished');
  t.equal(server?.closed, 'finished');
  t.notOk(fallback);
});

t.test('the same when the third ACK is lost: the keys go again in front of the DATA_FIN', async (t) => {
  const { client, server, fallback } = closeWithoutData(0);
  t.equal(client.closed, 'finished');
  t.equal(server?.closed, 'finished');
  t.notOk(fallback);
});
