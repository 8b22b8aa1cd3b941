import t from 'tap';
import { MESSAGE_INITIATION } from '../../../src/tunnel/session/messages.js';
import { type Host, makePair, PUBLIC, sentBy, setRoutes } from './two-hosts.js';

const initiated = (host: Host) => host.endpoint.counters.handshakesInitiated!;

function bothInitiate(seed: number) {
  const pair = makePair({ seed, links: [{ delayMs: 30 }], serverInitiates: true });
  const clientWins = Buffer.compare(PUBLIC.client, PUBLIC.server) > 0;
  // The link layer's probes: neither side stays without an answer.
  pair.network.tick = { everyMs: 1_000, run: () => void (pair.client.sendData(0) && pair.server.sendData(0)) };
  return { ...pair, winner: clientWins ? pair.client : pair.server, loser: clientWins ? pair.server : pair.client };
}

t.test('when both begin at once, one handshake comes out: that of the greater public key', async (t) => {
  const { network, winner, loser } = bothInitiate(1);
  setRoutes(winner, [0]);
  setRoutes(loser, [0]);
  network.runUntil(10_000);
  t.equal(initiated(winner), 1);
  t.equal(initiated(loser), 0);
  t.equal(winner.endpoint.counters.tieBreakIgnored, 1);
  t.same(winner.eventTypes(), ['epoch-ready']);
  t.same(loser.eventTypes(), ['epoch-ready', 'epoch-confirmed']);
  t.ok(winner.sendData(0) && loser.sendData(0));
  network.runUntil(10_100);
  t.ok(winner.received >= 1 && loser.received >= 1);
});

t.test('the second to begin does not begin when it has just answered', async (t) => {
  const { network, winner, loser } = bothInitiate(2);
  setRoutes(loser, [0]);
  network.runUntil(40);
  setRoutes(winner, [0]);
  network.runUntil(10_000);
  t.equal(initiated(winner) + initiated(loser), 1);
});

t.test('having answered, the loser holds its own initiation back for 2 s, then tries again', async (t) => {
  const { network, winner, loser } = bothInitiate(8);
  network.filter = ({ from }) => from === winner;
  setRoutes(winner, [0]);
  setRoutes(loser, [0]);
  winner.endpoint.setRoutes(1, [], 0);
  network.runUntil(2_000);
  t.equal(sentBy(loser, MESSAGE_INITIATION).length, 1);
  network.runUntil(2_400);
  t.equal(sentBy(loser, MESSAGE_INITIATION).length, 2);
});

t.test('when the winner’s initiations do not get through, the loser’s are heard after a second', async (t) => {
  const { network, winner, loser } = bothInitiate(3);
  network.filter = ({ from, bytes }) => !(from === winner && bytes[0] === 0x01);
  setRoutes(winner, [0]);
  setRoutes(loser, [0]);
  network.runUntil(5_000);
  t.equal(initiated(loser), 1);
  t.ok(winner.eventTypes().includes('epoch-confirmed'));
});

t.test('over ten minutes of traffic both go on with one handshake per renewal', async (t) => {
  for (const seed of [4, 5, 6]) {
    const { network, winner, loser } = bothInitiate(seed);
    setRoutes(winner, [0]);
    setRoutes(loser, [0]);
    network.runUntil(1_000);
    let refused = 0;
    network.tick = {
      everyMs: 500,
      run: () => {
        for (const host of [winner, loser]) if (!host.sendData(0)) refused++;
      },
    };
    network.runUntil(600_000);
    const count = initiated(winner) + initiated(loser);
    t.ok(count >= 5 && count <= 6, `seed ${seed}: ${count} handshakes`);
    t.equal(refused + winner.undeliverable + loser.undeliverable, 0, `seed ${seed}`);
  }
});

t.test('when the epoch’s initiator does not renew, the other one takes over', async (t) => {
  const { network, winner, loser } = bothInitiate(7);
  setRoutes(winner, [0]);
  network.runUntil(1_000);
  setRoutes(loser, [0]);
  setRoutes(winner, []);
  network.tick = { everyMs: 500, run: () => void (winner.sendData(0) && loser.sendData(0)) };
  network.runUntil(170_000);
  t.equal(initiated(winner), 1);
  t.equal(initiated(loser), 1);
});
