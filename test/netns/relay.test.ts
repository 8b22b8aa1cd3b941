/** Two sites behind NATs, with nothing but a relay in common: the real programs, from `mptunnel relay` to what applications send. */

import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { runTraffic, startTrafficServer, TRAFFIC_PORT } from '../../src/lab/traffic.js';
import { ADDRESS, type NatKind, RelayRig, type Site } from './relay-rig.js';
import { crash, until } from './tunnel-rig.js';

t.setTimeout(300_000);

const BYTES = 300_000;

async function startRig(t: Test, nat: NatKind, relays: readonly (0 | 1)[] = [0]): Promise<RelayRig> {
  const rig = await RelayRig.create(nat);
  t.teardown(() => rig.close());
  for (const index of relays) await rig.startRelay(index);
  await rig.up(relays);
  for (const site of ['a', 'b'] as const) await startTrafficServer(rig.hosts[site]);
  return rig;
}

async function carries(t: Test, rig: RelayRig, message: string): Promise<void> {
  for (const [from, to] of [
    ['a', 'b'],
    ['b', 'a'],
  ] as const) {
    const { bytes, faultAt } = await runTraffic(rig.hosts[from], { op: 'download', host: ADDRESS[to], port: TRAFFIC_PORT, bytes: BYTES });
    t.same({ bytes, faultAt }, { bytes: BYTES, faultAt: -1 }, `${message}: ${from} from ${to}`);
    await rig.hosts[from].run('ping', ['-c', '1', '-W', '5', ADDRESS[to]]);
  }
}

const stateOf = async (rig: RelayRig, site: Site, name: string): Promise<string> =>
  (await rig.paths(site)).find((path) => path.name === name)?.state ?? 'none';

t.test('behind symmetric NATs all goes by the relay; when it dies, the path by another relay carries', async (t) => {
  const rig = await startRig(t, 'symmetric', [0, 1]);
  await until('both paths are up', async () => (await rig.paths('b')).filter(({ state }) => state === 'up').length === 2, 30_000);
  const before = rig.relayStatus(0).counters.forwardedBytes! + rig.relayStatus(1).counters.forwardedBytes!;
  await carries(t, rig, 'with both');
  for (const path of [...(await rig.paths('a')), ...(await rig.paths('b'))]) t.equal(path.relayed, true, `${path.name} is relayed`);
  await until(
    'the relays have counted it',
    async () => rig.relayStatus(0).counters.forwardedBytes! + rig.relayStatus(1).counters.forwardedBytes! - before > 2 * BYTES * 0.9,
    20_000,
  );
  t.match((await rig.mptunnel('a', 'status', 'mpt0')).stdout, /relay0 goes via 203\.0\.113\.2:5181/);
  await rig.killRelay(0);
  await until('its path is down', async () => (await stateOf(rig, 'a', 'relay0')) === 'down', 30_000);
  t.equal(await stateOf(rig, 'a', 'relay1'), 'up');
  await carries(t, rig, 'with the other');
  await rig.startRelay(0);
  await until('its path is back', async () => (await stateOf(rig, 'a', 'relay0')) === 'up', 30_000);
});

t.test('behind NATs that give a socket one outer port the path leaves the relay, which may die then', async (t) => {
  const rig = await startRig(t, 'steady');
  const isDirect = async (site: Site): Promise<boolean> =>
    (await rig.paths(site)).every((path) => path.state === 'up' && path.relayed === false);
  await until('direct on both sides', async () => (await isDirect('a')) && (await isDirect('b')), 30_000);
  const [path] = await rig.paths('a');
  t.match(path, { via: '203.0.113.2:5181', remote: /^198\.18\.2\.2:/, seenAs: /^198\.18\.1\.2:/ });
  t.match((await rig.mptunnel('a', 'status', 'mpt0')).stdout, /relay0 goes direct, beside 203\.0\.113\.2:5181/);
  // What it tells is a second old.
  await sleep(1500);
  const before = rig.relayStatus(0).counters.forwardedDatagrams!;
  await carries(t, rig, 'directly');
  await sleep(1500);
  t.equal(rig.relayStatus(0).counters.forwardedDatagrams, before, 'the relay stands still');
  t.equal(rig.relayStatus(0).connectedSessions, 1, 'and is kept');
  await rig.killRelay(0);
  await carries(t, rig, 'without the relay');
  t.match(await rig.paths('a'), [{ state: 'up', relayed: false }]);
});

t.test('the direct way is cut: the path goes on by the relay', async (t) => {
  const rig = await startRig(t, 'steady');
  const is = async (relayed: boolean): Promise<boolean> =>
    [...(await rig.paths('a')), ...(await rig.paths('b'))].every((path) => path.state === 'up' && path.relayed === relayed);
  await until('direct on both sides', () => is(false), 30_000);
  await rig.hosts.net.run('nft', ['-f', '-'], {
    input: `table ip cut {
  chain through { type filter hook forward priority filter; iifname "na" oifname "nb" drop; iifname "nb" oifname "na" drop; }
}
`,
  });
  await until('by the relay on both sides', () => is(true), 30_000);
  await carries(t, rig, 'by the relay');
  t.match((await rig.mptunnel('b', 'status', 'mpt0')).stdout, /waits at relay 203\.0\.113\.2:5181, seen as 198\.18\.2\.2:/);
  await crash(rig, 'b');
  await rig.start('b');
  await until('by the relay again', () => is(true), 60_000);
  await carries(t, rig, 'after a crash of the waiting side');
});
