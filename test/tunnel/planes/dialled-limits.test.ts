/** Limits of a peer and connections that a program dials without a TUN, on a virtual clock. */

import t from 'tap';
import { HOST_A, HOST_B, type Site, SiteStream, TwoSites } from '../../sim/two-sites.js';

const PATHS = [
  { rateBitsPerSec: 20e6, delayMs: 10, queuePackets: 60 },
  { rateBitsPerSec: 20e6, delayMs: 20, queuePackets: 60 },
];
const MBIT = 125_000;
const BYTES = 2_000_000;

function serve(site: Site, total: number): SiteStream[] {
  const served: SiteStream[] = [];
  site.onDial = () => {
    const stream = new SiteStream(total);
    served.push(stream);
    return stream;
  };
  return served;
}

const megabits = (bytes: number, ms: number): number => bytes / MBIT / (ms / 1000);

for (const side of ['a', 'b'] as const) {
  const whose = side === 'a' ? 'our own for the peer that we dial' : "the peer's for us";
  t.test(`${whose}: each direction is held to its own limit, and all arrives in good order`, async (t) => {
    const sites = new TwoSites({ paths: PATHS });
    sites[side].limits.setLimits(sites[side].peer, { limitUpBytesPerSec: 4 * MBIT, limitDownBytesPerSec: 8 * MBIT });
    const served = serve(sites.b, BYTES);
    const client = sites.a.dialDirectly(new SiteStream(BYTES), HOST_A, 40_000, HOST_B, 80);
    sites.run(1500);
    const [down, up] = [client.readBytes, served[0]!.readBytes];
    sites.run(500);
    const rates = { up: megabits(served[0]!.readBytes - up, 500), down: megabits(client.readBytes - down, 500) };
    t.ok(rates.up > 3.5 && rates.up < 4.5, `up ${rates.up.toFixed(2)} Mbit/s`);
    t.ok(rates.down > 7.2 && rates.down < 8.8, `down ${rates.down.toFixed(2)} Mbit/s`);
    sites.run(70_000);
    for (const end of [client, served[0]!]) t.match(end, { readBytes: BYTES, corrupt: false, ended: true, closed: 'finished' });
    for (const site of [sites.a, sites.b]) {
      t.equal(site.plane.connectionCount(site.peer), 0, 'nothing is left');
      t.equal(site.limits.nextTimeoutMs(sites.clock.nowMs), Number.POSITIVE_INFINITY, 'nothing waits');
    }
  });
}

t.test('a connection of a host by the TUN and one that the program dials share the limit', async (t) => {
  const sites = new TwoSites({ paths: PATHS });
  sites.a.limits.setLimits(sites.a.peer, { limitUpBytesPerSec: 8 * MBIT });
  const served = serve(sites.b, 0);
  sites.a.dialDirectly(new SiteStream(2 * BYTES), HOST_A, 40_000, HOST_B, 80);
  sites.a.dial(new SiteStream(2 * BYTES), HOST_A, 40_001, HOST_B, 80);
  sites.run(500);
  const before = served.map(({ readBytes }) => readBytes);
  sites.run(2000);
  const rates = served.map(({ readBytes }, i) => megabits(readBytes - before[i]!, 2000));
  const total = rates.reduce((a, b) => a + b);
  t.ok(total > 6.5 && total < 8.5, `${total.toFixed(2)} Mbit/s in all`);
  for (const rate of rates) t.ok(rate > total / 4, `${rate.toFixed(2)} Mbit/s`);
});

t.test('a limit that comes, changes and goes under a connection', async (t) => {
  const sites = new TwoSites({ paths: PATHS });
  serve(sites.b, 20_000_000);
  const client = sites.a.dialDirectly(new SiteStream(0, false), HOST_A, 40_000, HOST_B, 80);
  const rate = (limitDownBytesPerSec?: number): number => {
    sites.a.limits.setLimits(sites.a.peer, limitDownBytesPerSec === undefined ? {} : { limitDownBytesPerSec });
    sites.a.settle();
    sites.run(500);
    const before = client.readBytes;
    sites.run(1000);
    return megabits(client.readBytes - before, 1000);
  };
  t.ok(rate() > 20, 'both paths');
  const [four, twelve, free] = [rate(4 * MBIT), rate(12 * MBIT), rate()];
  t.ok(four > 3.6 && four < 4.4, `${four.toFixed(2)} Mbit/s`);
  t.ok(twelve > 11 && twelve < 13, `${twelve.toFixed(2)} Mbit/s`);
  t.ok(free > 20, `${free.toFixed(2)} Mbit/s`);
  t.notOk(client.corrupt);
});

t.test('one that ends while it waits for its turn hears of its end alone', async (t) => {
  const sites = new TwoSites({ paths: PATHS });
  sites.a.limits.setLimits(sites.a.peer, { limitUpBytesPerSec: 1000 });
  serve(sites.b, 0);
  const client = sites.a.dialDirectly(new SiteStream(BYTES), HOST_A, 40_000, HOST_B, 80);
  sites.run(500);
  const sent = client.sentBytes;
  t.ok(sent > 0 && sent < 10_000, `${sent} bytes`);
  client.stream!.abort(sites.clock.nowMs);
  sites.run(10_000);
  t.equal(client.closed, 'aborted');
  t.equal(client.sentBytes, sent);
});
