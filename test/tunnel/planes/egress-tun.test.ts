/** Site to site: connections of hosts behind two gateways, with their own addresses, begun on either side. */

import t from 'tap';
import { SYN } from '../../../src/mptcp-over-udp/wire/segment.js';
import { HOST_A, HOST_B, type Site, SiteStream, TwoSites } from '../../sim/two-sites.js';

const PATHS = [
  { rateBitsPerSec: 20e6, delayMs: 10, queuePackets: 60 },
  { rateBitsPerSec: 20e6, delayMs: 20, queuePackets: 60 },
];
const BYTES = 3_000_000;

/** Serves every connection there by a stream that sends `total`; what it made. */
function serve(site: Site, total: number, finishes = true): SiteStream[] {
  const served: SiteStream[] = [];
  site.onDial = () => {
    const stream = new SiteStream(total, finishes);
    served.push(stream);
    return stream;
  };
  return served;
}

for (const starter of ['a', 'b'] as const) {
  t.test(`begun by a host behind ${starter}: both ways, over both paths, under the addresses of the hosts`, async (t) => {
    const sites = new TwoSites({ paths: PATHS });
    const [near, far] = starter === 'a' ? [sites.a, sites.b] : [sites.b, sites.a];
    const [from, to] = starter === 'a' ? [HOST_A, HOST_B] : [HOST_B, HOST_A];
    const served = serve(far, BYTES);
    const client = near.dial(new SiteStream(BYTES), from, 40_000, to, 80);
    const startMs = sites.clock.nowMs;
    while (sites.clock.nowMs < startMs + 10_000 && !(client.ended && served[0]?.ended === true)) sites.run(10);
    const tookMs = sites.clock.nowMs - startMs;
    t.ok(tookMs < (0.9 * BYTES * 8000) / 20e6, `${tookMs} ms: a path alone would need more`);
    sites.run(10_000);
    t.equal(served.length, 1);
    for (const end of [client, served[0]!])
      t.match(end, { established: true, readBytes: BYTES, corrupt: false, ended: true, closed: 'finished' });
    t.equal(served[0]!.remote, `${from}:40000`, 'the far host sees whom it talks to');
    for (const site of [sites.a, sites.b])
      t.ok(
        site.sentPackets.every((count) => count > 400),
        `both paths carry it: ${site.sentPackets}`,
      );
    for (const site of [sites.a, sites.b]) {
      t.equal(site.hosts.endpointCount, 0);
      t.equal(site.plane.endpoints.endpointCount, 0, 'nothing is left');
      t.equal(site.plane.connectionCount(site.peer), 0);
    }
  });
}

t.test('a refused connection is refused', async (t) => {
  const sites = new TwoSites({ paths: PATHS });
  const client = sites.a.dial(new SiteStream(10), HOST_A, 40_000, HOST_B, 81);
  sites.run(1_000);
  t.match(client, { established: false, closed: 'refused' });
  t.same(sites.a.icmp, []);
});

for (const [kind, code, reason] of [
  ['net-unreachable', '3/0', 'unreachable'],
  ['host-unreachable', '3/1', 'unreachable'],
  ['admin-prohibited', '3/13', 'unreachable'],
  ['time-exceeded', '3/1', 'unreachable'],
] as const) {
  t.test(`ICMP ${kind} of a router behind the far gateway reaches the application`, async (t) => {
    const sites = new TwoSites({ paths: PATHS });
    sites.b.verdict = () => ({ icmp: kind });
    const client = sites.a.dial(new SiteStream(10), HOST_A, 40_000, HOST_B, 80);
    sites.run(1_000);
    t.match(client, { established: false, closed: reason });
    t.same(sites.a.icmp, [code]);
    t.equal(sites.b.plane.endpoints.endpointCount, 0);
  });
}

t.test('ICMP port unreachable, as a firewall says it, is a refusal', async (t) => {
  const sites = new TwoSites({ paths: PATHS });
  sites.b.verdict = () => ({ icmp: 'port-unreachable' });
  const client = sites.a.dial(new SiteStream(10), HOST_A, 40_000, HOST_B, 80);
  sites.run(1_000);
  t.match(client, { established: false, closed: 'refused' });
  t.same(sites.a.icmp, []);
});

t.test('a silent host stays silent, and the attempt ends by itself on both sides', async (t) => {
  const sites = new TwoSites({ paths: PATHS });
  let syns = 0;
  sites.b.verdict = (packet) => {
    if ((packet[33]! & SYN) !== 0) syns++;
    return 'drop';
  };
  const client = sites.a.dial(new SiteStream(10), HOST_A, 40_000, HOST_B, 80);
  sites.run(20_000);
  t.match(client, { established: false, closed: undefined });
  t.ok(syns >= 4, `SYN is repeated: ${syns}`);
  sites.run(300_000);
  t.match(client, { established: false, closed: 'timeout' });
  t.equal(sites.b.plane.endpoints.endpointCount, 0);
  t.equal(sites.b.plane.connectionCount(sites.b.peer), 0);
});

t.test('a router with a smaller MTU behind the far gateway: segments shrink and all arrives', async (t) => {
  const sites = new TwoSites({ paths: PATHS });
  let tooBig = 0;
  sites.b.verdict = (packet) => {
    if (packet.length <= 1200) return 'pass';
    tooBig++;
    return { icmp: 'packet-too-big', mtuBytes: 1200 };
  };
  const served = serve(sites.b, 10);
  sites.a.dial(new SiteStream(500_000), HOST_A, 40_000, HOST_B, 80);
  sites.run(10_000);
  t.match(served[0]!, { readBytes: 500_000, corrupt: false, ended: true });
  t.ok(tooBig > 0 && tooBig < 60, `${tooBig} were too big`);
});

t.test('an ICMP error about a segment that is not in flight changes nothing (RFC 5927)', async (t) => {
  const sites = new TwoSites({ paths: PATHS });
  const served = serve(sites.b, 10, false);
  let forged = 0;
  sites.b.verdict = (packet) => {
    if (forged > 0 || (packet[33]! & SYN) === 0) return 'pass';
    forged++;
    new DataView(packet.buffer).setUint32(24, 12345);
    return { icmp: 'host-unreachable' };
  };
  const client = sites.a.dial(new SiteStream(10, false), HOST_A, 40_000, HOST_B, 80);
  sites.run(3_000);
  t.equal(forged, 1);
  t.match(client, { established: true, readBytes: 10 });
  t.equal(served.length, 1);
});

t.test('half-close: what the far host says after our FIN arrives', async (t) => {
  const sites = new TwoSites({ paths: PATHS });
  const served = serve(sites.b, 0, false);
  const client = sites.a.dial(new SiteStream(1000), HOST_A, 40_000, HOST_B, 80);
  sites.run(1_000);
  t.match(served[0]!, { readBytes: 1000, ended: true, closed: undefined });
  t.match(client, { ended: false, closed: undefined });
  const answer = Uint8Array.from({ length: 5 }, () => 0);
  served[0]!.stream!.write(answer, 0, answer.length);
  served[0]!.stream!.finish();
  sites.b.settle();
  sites.run(3_000);
  t.match(client, { readBytes: 5, ended: true, closed: 'finished' });
});

t.test('a reset of the far host is a reset, and one of ours too', async (t) => {
  const sites = new TwoSites({ paths: PATHS });
  const served = serve(sites.b, 10, false);
  const client = sites.a.dial(new SiteStream(10, false), HOST_A, 40_000, HOST_B, 80);
  sites.run(1_000);
  served[0]!.stream!.abort(sites.clock.nowMs);
  sites.b.settle();
  sites.run(1_000);
  t.equal(client.closed, 'reset');
  const again = sites.a.dial(new SiteStream(10, false), HOST_A, 40_001, HOST_B, 80);
  sites.run(1_000);
  again.stream!.abort(sites.clock.nowMs);
  sites.a.settle();
  sites.run(1_000);
  t.equal(served[1]!.closed, 'reset');
});

t.test('a slow reader holds its writer back, and nothing is lost', async (t) => {
  const sites = new TwoSites({ paths: PATHS });
  let server: SiteStream | undefined;
  sites.b.onDial = () => {
    server = new SiteStream(0, false);
    server.readLimit = 1000;
    return server;
  };
  const total = 40_000_000;
  const client = sites.a.dial(new SiteStream(total), HOST_A, 40_000, HOST_B, 80);
  sites.run(20_000);
  const held = client.sentBytes;
  t.ok(held < 20_000_000, `${held} bytes were taken`);
  sites.run(5_000);
  t.ok(client.sentBytes - held < 1_000_000, 'and no more');
  server!.readLimit = Number.POSITIVE_INFINITY;
  server!.stream!.resumeReading();
  sites.b.settle();
  sites.run(20_000);
  t.match(server!, { readBytes: total, corrupt: false, ended: true });
});

t.test('both hosts open the same four-tuple at once: one connection (RFC 9293, 3.5)', async (t) => {
  // Later than that the first SYN has met a host that does not listen.
  for (const apartMs of [0, 5, 9, 10.3]) {
    const sites = new TwoSites({ paths: PATHS });
    const first = sites.a.dial(new SiteStream(50_000), HOST_A, 5000, HOST_B, 6000);
    sites.run(apartMs);
    const second = sites.b.dial(new SiteStream(60_000), HOST_B, 6000, HOST_A, 5000);
    sites.run(10_000);
    t.match(first, { established: true, readBytes: 60_000, corrupt: false, ended: true }, `${apartMs} ms apart`);
    t.match(second, { established: true, readBytes: 50_000, corrupt: false, ended: true });
    for (const site of [sites.a, sites.b]) t.equal(site.plane.endpoints.endpointCount, 0, 'nothing is left');
  }
});

t.test('a four-tuple that is used again after its connection is served again', async (t) => {
  const sites = new TwoSites({ paths: PATHS });
  const served = serve(sites.b, 1000);
  for (let i = 1; i <= 3; i++) {
    const client = sites.a.dial(new SiteStream(1000), HOST_A, 40_000, HOST_B, 80);
    sites.run(i === 1 ? 2500 : 5000);
    t.match(client, { established: true, readBytes: 1000, ended: true }, `time ${i}`);
  }
  t.equal(served.length, 3);
});

t.test('what a peer may not reach is refused, and what it may not be is not heard', async (t) => {
  const sites = new TwoSites({ paths: PATHS, permits: (destination) => destination !== '10.2.0.66' });
  const served = serve(sites.b, 10);
  const denied = sites.a.dial(new SiteStream(10), HOST_A, 40_000, '10.2.0.66', 80);
  const forged = sites.a.dial(new SiteStream(10), '10.9.0.1', 40_000, HOST_B, 80);
  sites.run(5_000);
  t.match(denied, { established: false, closed: 'unreachable' });
  t.match(forged, { established: false, closed: undefined });
  t.same(served, []);
  t.match(sites.b.plane.allCounters(), { 'stream-destination-not-allowed': 1 });
  t.ok(sites.b.plane.allCounters()['stream-source-not-allowed']! >= 1);
});

t.test('a gateway that sends its own TCP packet by packet still dials for its peer, and takes no connection', async (t) => {
  const sites = new TwoSites({ paths: PATHS, steerB: 'datagram' });
  const served = serve(sites.b, 50_000);
  t.equal(sites.b.plane.isAsked, false);
  const client = sites.a.dial(new SiteStream(50_000), HOST_A, 40_000, HOST_B, 80);
  sites.run(60);
  t.equal(sites.b.plane.isAsked, true, 'while it has one');
  sites.run(5_000);
  t.match(client, { readBytes: 50_000, corrupt: false, ended: true });
  t.match(served, [{ readBytes: 50_000, corrupt: false, ended: true }]);
  t.equal(sites.b.unknownCount, 0);
  sites.b.dial(new SiteStream(10), HOST_B, 40_000, HOST_A, 80);
  sites.run(100);
  t.equal(sites.b.unknownCount, 1, 'its own SYN is left to the datagram plane');
});
