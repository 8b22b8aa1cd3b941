/** Networks that let only some traffic through, made of nftables: the real program finds a carrier that passes, keeps connections, and goes back. */

import { setTimeout as sleep } from 'node:timers/promises';
import { appendFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { WEB_ADDRESS } from '../../src/lab/topology.js';
import { runTraffic, startTraffic, startTrafficServer, TRAFFIC_PORT } from '../../src/lab/traffic.js';
import { createTunnelRig, rateBetween, type TunnelRig, until } from './tunnel-rig.js';

const LINKS = [
  { rateBitsPerSec: 50e6, delayMs: 10, queuePackets: 300 },
  { rateBitsPerSec: 30e6, delayMs: 30, queuePackets: 250 },
];
const TARGET = { host: WEB_ADDRESS, port: TRAFFIC_PORT };
const PORT = 443;
const CARRIERS = `
[carriers]
quic_port = ${PORT}
webtransport_port = ${PORT}
`;
const SECONDS = 8;
const STEADY_MS = 2500;

t.setTimeout(240_000);

interface CarrierRig extends TunnelRig {
  /** Drops what `rule` says, as a network before the server would; "" lets all pass. */
  block(rule: string): Promise<void>;
}

/** `paths`: lines of the client's configuration. */
async function createCarrierRig(t: Test, { paths, blocked = '', links = LINKS }: { paths?: string; blocked?: string; links?: typeof LINKS }) {
  const rig = await createTunnelRig({
    links,
    up: false,
    append: { server: CARRIERS },
    ...(paths === undefined ? {} : { paths }),
    environment: { MPTUNNEL_STATE_DIR: `/tmp/mpt-carriers-${process.pid}` },
  });
  t.teardown(() => rig.close());
  const block = async (rule: string): Promise<void> => {
    const chains = rule === '' ? '' : `chain in { type filter hook input priority 0; ${rule} }`;
    await rig.lab.server.run('nft', ['-f', '-'], { input: `table inet hostile {}; delete table inet hostile; table inet hostile { ${chains} }\n` });
  };
  await startTrafficServer(rig.lab.web);
  await rig.up('server');
  const hash = /certificate_sha256 = "([0-9a-f]{64})"/.exec(rig.log('server'))?.[1];
  t.ok(hash, 'the server says which certificate clients are to expect');
  appendFileSync(rig.configFile('client'), `quic_port = ${PORT}\nwebtransport_port = ${PORT}\ncertificate_sha256 = "${hash}"\n`);
  await block(blocked);
  return Object.assign(rig, { block }) as CarrierRig;
}

async function carriersOf(rig: TunnelRig): Promise<string[]> {
  const { paths } = (await rig.status('client')).peers[0]!;
  return paths.map(({ state, carrier = 'udp' }) => (state === 'up' ? carrier : state));
}

async function rate(rig: TunnelRig, op: 'download' | 'upload'): Promise<number> {
  const samples: { atMs: number; bytes: number }[] = [];
  await runTraffic(rig.lab.client, { op, ...TARGET, seconds: SECONDS }, (line) => {
    if (line.type === 'sample') samples.push(line);
  });
  return rateBetween(samples, STEADY_MS, Number.POSITIVE_INFINITY);
}

const DROP_UDP = 'meta l4proto udp drop;';
const DROP_UDP_BUT_443 = `meta l4proto udp udp dport != ${PORT} drop;`;

t.test('all UDP is dropped: the tunnel comes up over WebTransport, and both links carry', async (t) => {
  const rig = await createCarrierRig(t, { blocked: DROP_UDP });
  const startMs = performance.now();
  await rig.up('client');
  await until('both paths up', async () => (await carriersOf(rig)).every((carrier) => carrier === 'webtransport'), 10_000);
  t.comment(`up after ${(performance.now() - startMs).toFixed(0)} ms`);
  const mbit = (await rate(rig, 'download')) / 1e6;
  t.comment(`download: ${mbit.toFixed(1)} Mbit/s`);
  t.ok(mbit > 45, 'more than one link has');
});

t.test('UDP passes on 443 only: the tunnel comes up over QUIC', async (t) => {
  const rig = await createCarrierRig(t, { blocked: DROP_UDP_BUT_443 });
  await rig.up('client');
  await until('both paths up', async () => (await carriersOf(rig)).every((carrier) => carrier === 'quic'), 10_000);
  const mbit = (await rate(rig, 'download')) / 1e6;
  t.comment(`download: ${mbit.toFixed(1)} Mbit/s`);
  t.ok(mbit > 45, 'more than one link has');
});

t.test('UDP is dropped in the middle of a transfer: it goes on over another carrier', async (t) => {
  const rig = await createCarrierRig(t, {});
  await rig.up('client');
  await until('over UDP', async () => (await carriersOf(rig)).every((carrier) => carrier === 'udp'), 10_000);
  const transfer = startTraffic(rig.lab.client, { op: 'download', ...TARGET, silenceMs: 30_000 });
  await sleep(2000);
  await rig.block(DROP_UDP);
  const backMs = await until('over WebTransport', async () => (await carriersOf(rig)).every((carrier) => carrier === 'webtransport'), 20_000);
  t.comment(`over WebTransport after ${backMs.toFixed(0)} ms`);
  await sleep(3000);
  transfer.stop();
  const result = await transfer.result;
  t.equal(result.error, undefined, 'the connection lived');
  t.ok(backMs < 10_000);
});

t.test('one path over UDP and one over WebTransport aggregate; a new connection is answered soon', async (t) => {
  const paths = '[[path]]\nname = "dsl"\ninterface = "wan0"\ncarrier = "udp"\n[[path]]\nname = "web"\ninterface = "wan1"\ncarrier = "webtransport"\n';
  const rig = await createCarrierRig(t, { paths });
  await rig.up('client');
  await until('both up', async () => `${await carriersOf(rig)}` === 'udp,webtransport', 10_000);
  const mbit = (await rate(rig, 'download')) / 1e6;
  t.comment(`download: ${mbit.toFixed(1)} of 80 Mbit/s`);
  t.ok(mbit > 55, 'more than the better link');
  const echoes = { op: 'echo', ...TARGET, count: 10, intervalMs: 100 } as const;
  const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1]!;
  const idle = median((await runTraffic(rig.lab.client, echoes)).timesMs!);
  const load = startTraffic(rig.lab.client, { op: 'download', ...TARGET });
  await sleep(2000);
  const loaded = median((await runTraffic(rig.lab.client, echoes)).timesMs!);
  load.stop();
  t.comment(`first byte of a new connection: ${idle.toFixed(0)} ms idle, ${loaded.toFixed(0)} ms under load`);
  t.ok(loaded < 5 * idle + 80);
});

t.test('to a stranger the port is a web server', async (t) => {
  const rig = await createCarrierRig(t, {});
  const get = `fetch('https://203.0.113.1/x').then(async (r) => console.log(r.status))`;
  const { stdout } = await rig.lab.client.run('env', ['NODE_TLS_REJECT_UNAUTHORIZED=0', process.execPath, '-e', get]);
  t.match(stdout, /404/);
});
