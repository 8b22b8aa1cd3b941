/** Networks that let only some traffic through: the real program finds a carrier that passes, keeps connections, and aggregates paths over different carriers. */

import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { SERVER_PUBLIC_ADDRESS } from '../../src/lab/topology.js';
import { startTraffic } from '../../src/lab/traffic.js';
import { CARRIER_PORT, carriersOf, createCarrierRig, firstByteMs, protocolsOf, rateOf, TARGET } from './carrier-rig.js';
import { until } from './tunnel-rig.js';

const LINKS = [
  { rateBitsPerSec: 50e6, delayMs: 10, queuePackets: 300 },
  { rateBitsPerSec: 30e6, delayMs: 30, queuePackets: 250 },
];
const DROP_UDP = 'meta l4proto udp drop;';
const DROP_UDP_443 = `udp dport ${CARRIER_PORT} drop;`;
const DROP_UDP_BUT_443 = `meta l4proto udp udp dport != ${CARRIER_PORT} drop;`;
const SECONDS = 6;
const STEADY_MS = 2000;
const UP_LIMIT_MS = 15_000;
/** UDP is dropped: a path is back over TCP. */
const BACK_LIMIT_MS = 5000;

t.setTimeout(240_000);

for (const [what, blocked, carrier, protocol] of [
  ['all UDP is dropped', DROP_UDP, 'webtransport', 'HTTP/2'],
  [`UDP passes on ${CARRIER_PORT} only`, DROP_UDP_BUT_443, 'quic', 'none'],
] as const) {
  t.test(`${what}: the tunnel comes up over ${carrier}, and one stream has both links`, async (t) => {
    const rig = await createCarrierRig({ links: LINKS, blocked });
    t.teardown(() => rig.close());
    const upMs = await until('both paths up', async () => (await carriersOf(rig)).every((one) => one === carrier), UP_LIMIT_MS);
    t.comment(`both up ${upMs.toFixed(0)} ms after the client was ready`);
    t.same(await protocolsOf(rig), [protocol, protocol]);
    const mbit = (await rateOf(rig, 'download', SECONDS, STEADY_MS)) / 1e6;
    t.ok(mbit > 45, `download: ${mbit.toFixed(1)} of 80 Mbit/s`);
  });
}

t.test('UDP is dropped in the middle of a transfer: it goes on over another carrier, and back when UDP passes again', async (t) => {
  const rig = await createCarrierRig({ links: LINKS });
  t.teardown(() => rig.close());
  await until('over UDP', async () => (await carriersOf(rig)).every((one) => one === 'udp'), UP_LIMIT_MS);
  const transfer = startTraffic(rig.lab.client, { op: 'download', ...TARGET, silenceMs: 60_000 });
  await sleep(2000);
  await rig.block(DROP_UDP);
  const backMs = await until('over WebTransport', async () => (await carriersOf(rig)).every((one) => one === 'webtransport'), 20_000);
  t.comment(`over WebTransport after ${backMs.toFixed(0)} ms`);
  await sleep(2000);
  transfer.stop();
  const { error } = await transfer.result;
  t.equal(error, undefined, 'the connection lived');
});

t.test(
  'WebTransport goes over HTTP/3 where UDP passes, and over HTTP/2 soon after it is dropped in the middle of a transfer',
  async (t) => {
    const paths = ['wan0', 'wan1'].map((name) => `[[path]]\nname = "${name}"\ninterface = "${name}"\ncarrier = "webtransport"\n`).join('');
    const rig = await createCarrierRig({ links: LINKS, paths });
    t.teardown(() => rig.close());
    const upMs = await until('over HTTP/3', async () => (await protocolsOf(rig)).every((one) => one === 'HTTP/3'), UP_LIMIT_MS);
    t.comment(`both up over HTTP/3 ${upMs.toFixed(0)} ms after the client was ready`);
    const mbit = (await rateOf(rig, 'download', SECONDS, STEADY_MS)) / 1e6;
    t.ok(mbit > 45, `download: ${mbit.toFixed(1)} of 80 Mbit/s`);
    const transfer = startTraffic(rig.lab.client, { op: 'download', ...TARGET, silenceMs: 60_000 });
    await sleep(2000);
    await rig.block(DROP_UDP);
    const backMs = await until('over HTTP/2', async () => (await protocolsOf(rig)).every((one) => one === 'HTTP/2'), BACK_LIMIT_MS);
    t.comment(`over HTTP/2 after ${backMs.toFixed(0)} ms`);
    await sleep(2000);
    transfer.stop();
    const { error } = await transfer.result;
    t.equal(error, undefined, 'the connection lived');
  },
);

t.test('one path over UDP and one over WebTransport on TCP aggregate, and a new connection is answered soon under load', async (t) => {
  const paths = ['udp', 'webtransport']
    .map((carrier, i) => `[[path]]\nname = "p${i}"\ninterface = "wan${i}"\ncarrier = "${carrier}"\n`)
    .join('');
  const rig = await createCarrierRig({ links: LINKS, paths, blocked: DROP_UDP_443 });
  t.teardown(() => rig.close());
  await until('both up', async () => `${await carriersOf(rig)}` === 'udp,webtransport', UP_LIMIT_MS);
  t.same(await protocolsOf(rig), ['none', 'HTTP/2']);
  const mbit = (await rateOf(rig, 'download', SECONDS, STEADY_MS)) / 1e6;
  t.ok(mbit > 55, `download: ${mbit.toFixed(1)} of 80 Mbit/s`);
  const { idleMs, loadedMs } = await firstByteMs(rig);
  t.ok(loadedMs < 5 * idleMs + 80, `first byte: ${idleMs.toFixed(0)} ms idle, ${loadedMs.toFixed(0)} ms under load`);
});

t.test('to a stranger the port is a web server', async (t) => {
  const rig = await createCarrierRig({ links: LINKS.slice(0, 1) });
  t.teardown(() => rig.close());
  const get = `fetch('https://${SERVER_PUBLIC_ADDRESS}/x').then((answer) => console.log(answer.status))`;
  const { stdout } = await rig.lab.client.run('env', ['NODE_TLS_REJECT_UNAUTHORIZED=0', process.execPath, '-e', get]);
  t.match(stdout, /404/);
});
