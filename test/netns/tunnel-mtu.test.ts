/** Links that carry smaller packets than their interfaces take, and say nothing of it: found by probing, each direction on its own, and what is larger gets through. */

import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { WEB_ADDRESS, WEB_ADDRESS_V6 } from '../../src/lab/topology.js';
import { runTraffic, startTraffic, startTrafficServer, TRAFFIC_PORT } from '../../src/lab/traffic.js';
import { createTunnelRig, rateBetween, type TunnelRig, until } from './tunnel-rig.js';

type Side = 'client' | 'server';

/** IPv4, UDP, and what the tunnel adds. */
const OVERHEAD_BYTES = 56;
/** To this near a size is found. */
const NEAR_BYTES = 8;
const SEARCH_LIMIT_MS = 20_000;
const LINKS = [10, 20].map((delayMs) => ({ rateBitsPerSec: 50e6, delayMs, queuePackets: 300 }));

t.setTimeout(150_000);

/** What is larger vanishes on its way to `side` on link `index`, without a word. */
async function narrow(rig: TunnelRig, side: Side, index: number, carriedBytes: number): Promise<void> {
  const table = `narrow${index}`;
  const rule = `iifname "wan${index}" meta length > ${carriedBytes} counter drop`;
  const chain = `chain in { type filter hook prerouting priority -300; ${rule}; }`;
  await rig.lab[side].run('nft', ['-f', '-'], {
    input: `table inet ${table}\ndelete table inet ${table}\ntable inet ${table} {\n${chain}\n}\n`,
  });
}

async function widen(rig: TunnelRig, index: number): Promise<void> {
  for (const side of ['client', 'server'] as const) await rig.lab[side].run('nft', ['delete', 'table', 'inet', `narrow${index}`]);
}

const mtuOf = async (rig: TunnelRig, side: Side, index: number): Promise<number> =>
  (await rig.status(side)).peers[0]!.paths.find(({ name }) => name === `link${index}`)?.innerMtuBytes ?? 0;

/** Of what `side` sends on link `index`. */
function untilFound(rig: TunnelRig, side: Side, index: number, carriedBytes: number): Promise<number> {
  const found = async (): Promise<boolean> => {
    const tooLittle = carriedBytes - OVERHEAD_BYTES - (await mtuOf(rig, side, index));
    return tooLittle >= 0 && tooLittle <= NEAR_BYTES;
  };
  return until(`${side} knows link${index}`, found, SEARCH_LIMIT_MS);
}

const ping = async (rig: TunnelRig, side: Side, ...args: string[]): Promise<string> =>
  (await rig.lab[side].run('sh', ['-c', `ping -n -W 2 ${args.join(' ')} 2>&1 || true`])).stdout;

async function allUp(rig: TunnelRig): Promise<boolean> {
  const { peers } = await rig.status('client');
  return peers[0]!.paths.length === LINKS.length && peers[0]!.paths.every(({ state }) => state === 'up');
}

t.test('a link that was narrow before, both ways', async (t) => {
  const carriedBytes = 1410;
  const rig = await createTunnelRig({ links: LINKS, up: false });
  t.teardown(() => rig.close());
  const { client, web } = rig.lab;
  await startTrafficServer(web);
  for (const side of ['client', 'server'] as const) await narrow(rig, side, 0, carriedBytes);
  await rig.up('server');
  await rig.up('client');
  for (const side of ['client', 'server'] as const) {
    t.comment(`${side}: ${Math.round(await untilFound(rig, side, 0, carriedBytes))} ms`);
    t.equal(await mtuOf(rig, side, 1), 1500 - OVERHEAD_BYTES, 'the other path is as it was');
  }
  t.match((await rig.mptunnel('client', 'status', 'mpt0')).stdout, /link0 carries packets of up to 14\d\d bytes from here/);
  // The device lets 1420 bytes pass. Whoever forbids fragments is told, as by any router; others are served in pieces.
  t.match(await ping(rig, 'client', '-c 1 -M do -s 1385', WEB_ADDRESS), /(Frag needed|[Mm]essage too long).*mtu ?=? ?13[45]\d/);
  t.match(await ping(rig, 'client', '-c 1 -M do -s 1365', WEB_ADDRESS_V6), /(too big|[Mm]essage too long).*mtu ?[=:]? ?13[45]\d/);
  t.match(await ping(rig, 'client', '-c 5 -i 0.2 -M dont -s 1390', WEB_ADDRESS), / 0% packet loss/);
  const { bytes: echoes } = await runTraffic(client, { op: 'udp-echo', host: WEB_ADDRESS, port: TRAFFIC_PORT, count: 20, sizeBytes: 4000 });
  t.ok(echoes! >= 19, `${echoes} of 20 datagrams of 4000 bytes and back`);
  const { bytes } = await runTraffic(client, { op: 'download', host: WEB_ADDRESS, port: TRAFFIC_PORT, seconds: 4 });
  t.ok((bytes! * 8) / 4 > 40e6, `${((bytes! * 8) / 4e6).toFixed(1)} of 100 Mbit/s`);
  t.ok(await allUp(rig));
});

t.test('links that are narrow one way: only who sends that way sends less', async (t) => {
  const rig = await createTunnelRig({ links: LINKS, up: false });
  t.teardown(() => rig.close());
  await startTrafficServer(rig.lab.web);
  await narrow(rig, 'server', 0, 1400);
  await narrow(rig, 'client', 1, 1330);
  await rig.up('server');
  await rig.up('client');
  await untilFound(rig, 'client', 0, 1400);
  await untilFound(rig, 'server', 1, 1330);
  for (const op of ['download', 'upload'] as const) {
    const { bytes } = await runTraffic(rig.lab.client, { op, host: WEB_ADDRESS, port: TRAFFIC_PORT, seconds: 4 });
    t.ok((bytes! * 8) / 4 > 40e6, `${op}: ${((bytes! * 8) / 4e6).toFixed(1)} of 100 Mbit/s`);
  }
  t.equal(await mtuOf(rig, 'server', 0), 1500 - OVERHEAD_BYTES, 'down by the first');
  t.equal(await mtuOf(rig, 'client', 1), 1500 - OVERHEAD_BYTES, 'up by the second');
  t.ok(await allUp(rig));
});

t.test('a link that becomes narrow under a TCP connection of the datagram plane, and is replaced by a wide one', async (t) => {
  const carriedBytes = 1330;
  const rig = await createTunnelRig({ links: LINKS.slice(0, 1), stream: 'steer = "datagram"' });
  t.teardown(() => rig.close());
  const { client, web } = rig.lab;
  await startTrafficServer(web);
  await untilFound(rig, 'client', 0, 1500);
  for (const op of ['download', 'upload'] as const) {
    const samples: { atMs: number; bytes: number }[] = [];
    const transfer = startTraffic(client, { op, host: WEB_ADDRESS, port: TRAFFIC_PORT, seconds: 12 }, (line) => {
      if (line.type === 'sample') samples.push(line);
    });
    await sleep(4000);
    const sender = op === 'download' ? 'server' : 'client';
    for (const side of ['client', 'server'] as const) await narrow(rig, side, 0, carriedBytes);
    t.comment(`${op}: ${Math.round(await untilFound(rig, sender, 0, carriedBytes))} ms`);
    t.equal((await transfer.result).error, undefined);
    const rates = [rateBetween(samples, 1000, 4000), rateBetween(samples, 9000, 12_000)].map((rate) => rate / 1e6);
    t.ok(rates[1]! > 20, `${op}: ${rates.map((rate) => rate.toFixed(1)).join(' before, ')} of 50 Mbit/s afterwards`);
    // Of both directions the one that carries data finds it at once, the other by the time that it does.
    const { bytes } = await runTraffic(client, {
      op: 'udp-echo',
      host: WEB_ADDRESS,
      port: TRAFFIC_PORT,
      count: 40,
      sizeBytes: 4000,
      intervalMs: 200,
    });
    t.ok(bytes! >= 20, `${bytes} of 40 datagrams of 4000 bytes and back`);
    for (const side of ['client', 'server'] as const) await untilFound(rig, side, 0, carriedBytes);
    await widen(rig, 0);
    // The hosts remember for ten minutes what they were told.
    for (const host of [client, web]) await host.run('ip', ['route', 'flush', 'cache']);
    await rig.lab.links[0]!.setDown(true);
    await sleep(1000);
    await rig.lab.links[0]!.setDown(false);
    for (const side of ['client', 'server'] as const) await untilFound(rig, side, 0, 1500);
  }
});
