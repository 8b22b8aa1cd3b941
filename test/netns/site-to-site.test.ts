/** Two sites: hosts behind either gateway talk to those behind the other under their own addresses, over both links, and are told what a router would tell. */

import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import type { NamespaceHost } from '../../src/lab/namespaces.js';
import { runTraffic, startTrafficServer, TRAFFIC_PORT } from '../../src/lab/traffic.js';
import { CLOSED_A, CLOSED_B, GATEWAY_B, HOST_A, HOST_A_V6, HOST_B, HOST_B_V6, NOWHERE, SiteRig } from './site-rig.js';
import { inside } from './tunnel-remote.js';

/** Slow, so that a busy machine is not the limit. */
const LINKS = [
  { rateBitsPerSec: 5e6, delayMs: 10, queuePackets: 60 },
  { rateBitsPerSec: 4e6, delayMs: 20, queuePackets: 60 },
];
/** How fast it goes depends on what else the machine does; that both paths add up is held by test/tunnel/planes/egress-tun.test.ts. */
const BYTES = 2_000_000;
const NAMED_PORT = 9001;
const LATE_ANSWER_PORT = 9002;
const REJECTED_PORT = 9003;
const RESET_PORT = 9004;
const DROPPED_PORT = 9005;
const FORWARDED_PORT = 8443;
const LATE_ANSWER_BYTES = 300_000;

t.setTimeout(400_000);

interface Dialled {
  connected: boolean;
  code: string;
  ms: number;
  /** What the far side saw and said: "10.1.0.5 40123 > 10.2.0.7 9001". */
  said: string;
}

/** Dials, reads to the end, and tells how it ended. */
function dial(
  host: NamespaceHost,
  target: string,
  port: number,
  from: { localAddress?: string; localPort?: number } = {},
  patienceMs = 8_000,
) {
  return inside(
    host,
    async ({ target, port, from, patienceMs }) => {
      const net = await import('node:net');
      const startMs = performance.now();
      return new Promise<Dialled>((resolve) => {
        let said = '';
        let connected = false;
        const end = (code: string) => resolve({ connected, code, ms: performance.now() - startMs, said });
        const socket = net.connect({ host: target, port, ...from });
        const timer = setTimeout(() => end('SILENCE'), patienceMs);
        socket.on('connect', () => {
          connected = true;
        });
        socket.on('data', (chunk) => {
          said += chunk.toString();
        });
        socket.on('error', (error: NodeJS.ErrnoException) => end(error.code ?? ''));
        socket.on('close', () => {
          clearTimeout(timer);
          end('');
        });
      });
    },
    { target, port, from, patienceMs },
  ).result;
}

/** A host whose servers tell whom they see (getpeername), and answer late. */
async function serve(host: NamespaceHost): Promise<void> {
  await startTrafficServer(host);
  await inside(
    host,
    async ({ named, late, bytes }, say) => {
      const net = await import('node:net');
      const listen = (port: number, onConnection: (socket: import('node:net').Socket) => void) =>
        new Promise<void>((resolve) => {
          const server = net.createServer({ allowHalfOpen: true }, (socket) => {
            socket.on('error', () => undefined);
            onConnection(socket);
          });
          server.listen(port, '::', resolve);
        });
      const plain = (address: string | undefined) => address?.replace('::ffff:', '');
      await listen(named, (socket) => {
        socket.end(`${plain(socket.remoteAddress)} ${socket.remotePort} > ${plain(socket.localAddress)} ${socket.localPort}`);
        socket.resume();
      });
      await listen(late, (socket) => socket.resume().on('end', () => socket.end(Buffer.alloc(bytes, 7))));
      say('listening');
      return new Promise<void>(() => undefined);
    },
    { named: NAMED_PORT, late: LATE_ANSWER_PORT, bytes: LATE_ANSWER_BYTES },
  ).said;
}

t.test('two sites', async (t) => {
  const rig = await SiteRig.create({ links: LINKS });
  t.teardown(() => rig.close());
  const { lanA, lanB } = rig;
  const gatewayB = rig.gateway('b');
  for (const host of [lanA, lanB, gatewayB]) await serve(host);

  await t.test('each side sees the addresses and ports of the other, IPv4 and IPv6', async (t) => {
    for (const [host, from, to] of [
      [lanA, HOST_A, HOST_B],
      [lanB, HOST_B, HOST_A],
      [lanA, HOST_A_V6, HOST_B_V6],
      [lanB, HOST_B_V6, HOST_A_V6],
    ] as const) {
      const { said } = await dial(host, to, NAMED_PORT, { localAddress: from, localPort: 40_123 });
      t.equal(said, `${from} 40123 > ${to} ${NAMED_PORT}`);
    }
    t.match((await dial(rig.gateway('a'), HOST_B, NAMED_PORT)).said, /^10\.77\.0\.2 /, 'the gateway itself is its tunnel address');
    t.match((await dial(lanA, GATEWAY_B, NAMED_PORT)).said, new RegExp(`^${HOST_A} `), 'a service of the far gateway sees the host too');
  });

  await t.test('UDP and ping keep their addresses as well', async (t) => {
    await lanA.run('ping', ['-c', '1', '-W', '5', HOST_B], { timeoutMs: 20_000 });
    await lanB.run('ping', ['-c', '1', '-W', '5', HOST_A], { timeoutMs: 20_000 });
    const result = await runTraffic(lanA, { op: 'udp-echo', host: HOST_B, port: TRAFFIC_PORT, count: 20, intervalMs: 20 });
    t.equal(result.timesMs!.length, 20);
  });

  await t.test('an application is told what a router told us', async (t) => {
    const rules = `table inet t { chain f { type filter hook forward priority 0;
      tcp dport ${REJECTED_PORT} reject
      tcp dport ${RESET_PORT} reject with tcp reset
      tcp dport ${DROPPED_PORT} drop
    }; }`;
    await gatewayB.run('nft', ['-f', '-'], { input: rules });
    await gatewayB.run('ip', ['route', 'add', 'prohibit', '10.3.9.0/24']);
    await gatewayB.run('ip', ['route', 'add', 'prohibit', 'fd03::/64']);
    for (const [what, target, port, code] of [
      ['no listener', HOST_B, 4, 'ECONNREFUSED'],
      ['no listener, IPv6', HOST_B_V6, 4, 'ECONNREFUSED'],
      ['a firewall that rejects', HOST_B, REJECTED_PORT, 'ECONNREFUSED'],
      ['a firewall that resets', HOST_B, RESET_PORT, 'ECONNREFUSED'],
      ['no route', NOWHERE, 80, 'ENETUNREACH'],
      ['a prohibited route', '10.3.9.1', 80, 'EHOSTUNREACH'],
      ['a prohibited route, IPv6', 'fd03::1', 80, 'EACCES'],
    ] as const) {
      const dialled = await dial(lanA, target, port);
      t.match(dialled, { connected: false, code }, what);
      t.ok(dialled.ms < 1500, 'at once');
    }
    t.match(await dial(lanA, '10.2.0.99', 80), { connected: false, code: 'EHOSTUNREACH' }, 'no such neighbour');
    t.match(await dial(lanA, HOST_B, DROPPED_PORT, {}, 3000), { connected: false, code: 'SILENCE' }, 'a firewall that drops');
    t.match(await dial(lanB, HOST_A, 4), { connected: false, code: 'ECONNREFUSED' }, 'the other way too');
  });

  await t.test('half-close: the answer after our FIN arrives whole, both ways', async (t) => {
    for (const [host, target] of [
      [lanA, HOST_B],
      [lanB, HOST_A],
    ] as const) {
      const bytes = await inside(
        host,
        async ({ target, port }) => {
          const net = await import('node:net');
          return new Promise<number>((resolve, reject) => {
            let bytes = 0;
            const socket = net.connect({ host: target, port, allowHalfOpen: true }, () => socket.end('question'));
            socket.on('data', (chunk) => {
              bytes += chunk.length;
            });
            socket.on('end', () => resolve(bytes));
            socket.on('error', reject);
          });
        },
        { target, port: LATE_ANSWER_PORT },
      ).result;
      t.equal(bytes, LATE_ANSWER_BYTES);
    }
  });

  await t.test('port forwards of the far gateway, before the tunnel and behind it', async (t) => {
    const rules = `table ip forwards { chain p { type nat hook prerouting priority dstnat;
      iifname "mpt0" ip daddr 10.77.0.1 tcp dport ${FORWARDED_PORT} dnat to ${HOST_B}:${NAMED_PORT}
      iifname "lan0" ip daddr ${GATEWAY_B} tcp dport ${FORWARDED_PORT} dnat to ${HOST_A}:${NAMED_PORT}
    }; }`;
    await gatewayB.run('nft', ['-f', '-'], { input: rules });
    const behind = await dial(lanA, '10.77.0.1', FORWARDED_PORT, { localPort: 40_200 });
    t.equal(behind.said, `${HOST_A} 40200 > ${HOST_B} ${NAMED_PORT}`, "the gateway's own address leads to a host behind it");
    const before = await dial(lanB, GATEWAY_B, FORWARDED_PORT, { localPort: 40_201 });
    t.equal(before.said, `${HOST_B} 40201 > ${HOST_A} ${NAMED_PORT}`, 'and to a host of the other site');
  });

  await t.test('what [egress] denies is refused on both sides, TCP and datagrams; a reload changes it at once', async (t) => {
    const ping = (host: NamespaceHost, target: string) => host.run('ping', ['-c', '1', '-W', '3', target], { timeoutMs: 20_000 });
    for (const [host, target] of [
      [lanA, CLOSED_B],
      [lanB, CLOSED_A],
    ] as const) {
      t.match(await dial(host, target, NAMED_PORT), { connected: false, code: 'EHOSTUNREACH' }, target);
      await t.rejects(ping(host, target), /filtered|failed/i);
    }
    rig.configure('b', { deny: [] });
    t.match((await rig.mptunnel('b', 'reload', 'mpt0')).stdout, /\[egress\] allow, deny: changed/);
    t.match((await dial(lanA, CLOSED_B, NAMED_PORT)).said, new RegExp(`> ${CLOSED_B} `));
    await ping(lanA, CLOSED_B);
    t.match(await dial(lanB, CLOSED_A, NAMED_PORT), { connected: false, code: 'EHOSTUNREACH' }, 'the other side has its own');
  });

  await t.test('a source that is not in allowed_ips is not heard', async (t) => {
    await lanA.run('ip', ['address', 'add', '10.9.0.5/32', 'dev', 'lo']);
    await rig.gateway('a').run('ip', ['route', 'add', '10.9.0.5/32', 'via', HOST_A]);
    t.match(await dial(lanA, HOST_B, NAMED_PORT, { localAddress: '10.9.0.5' }, 3000), { connected: false, code: 'SILENCE' });
    await t.rejects(lanA.run('ping', ['-c', '1', '-W', '2', '-I', '10.9.0.5', HOST_B], { timeoutMs: 20_000 }));
  });

  await t.test('a route that overlaps with a network here is refused at reload and up, with both by name', async (t) => {
    const running = runTraffic(lanA, { op: 'download', host: HOST_B, port: TRAFFIC_PORT, seconds: 3 });
    await sleep(500);
    const message = /allowed_ips of peer site-b: 10\.1\.0\.0\/20 overlaps with 10\.1\.0\.0\/24, the network of lan0 here/;
    rig.configure('a', { alsoRouted: ['10.1.0.0/20'] });
    await t.rejects(rig.mptunnel('a', 'reload', 'mpt0'), { message });
    t.equal((await running).error, undefined, 'the running tunnel is not touched');
    const forwarding = async () =>
      (await rig.gateway('a').run('sysctl', ['-n', 'net.ipv4.ip_forward', 'net.ipv6.conf.all.forwarding'])).stdout.trim();
    t.equal(await forwarding(), '1\n1', 'the gateway forwards');
    await rig.mptunnel('a', 'down', 'mpt0');
    t.equal(await forwarding(), '0\n0', 'and no longer when it is none');
    await t.rejects(rig.mptunnel('a', 'up', rig.configFile('a')), { message });
    t.notMatch((await rig.gateway('a').run('ip', ['link'])).stdout, /mpt0/, 'nothing is left behind');
    rig.configure('a');
    await rig.mptunnel('a', 'up', rig.configFile('a'));
    t.match((await dial(lanA, HOST_B, NAMED_PORT)).said, new RegExp(`^${HOST_A} `));
  });

  for (const [name, host, target] of [
    ['A', lanA, HOST_B],
    ['B', lanB, HOST_A],
  ] as const) {
    for (const op of ['download', 'upload'] as const) {
      await t.test(`${op} begun by a host behind ${name}: both links`, async (t) => {
        const before = await Promise.all(rig.lab.links.map((link) => link.counters()));
        const { bitsPerSec = 0 } = await runTraffic(host, { op, host: target, port: TRAFFIC_PORT, bytes: BYTES, silenceMs: 60_000 });
        const after = await Promise.all(rig.lab.links.map((link) => link.counters()));
        const towardsB = (name === 'A') === (op === 'upload');
        const carried = after.map((counters, i) =>
          towardsB ? counters.upBytes - before[i]!.upBytes : counters.downBytes - before[i]!.downBytes,
        );
        t.comment(
          `${(bitsPerSec / 1e6).toFixed(1)} Mbit/s; by link ${carried.map((bytes) => `${(bytes / 1e6).toFixed(1)} MB`).join(', ')}`,
        );
        const total = carried.reduce((sum, bytes) => sum + bytes, 0);
        for (const [i, bytes] of carried.entries()) t.ok(bytes > 0.2 * total, `link ${i} has its part`);
      });
    }
  }
});
