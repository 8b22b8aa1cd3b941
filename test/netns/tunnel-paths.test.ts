/**
 * Paths that come and go by themselves, by command and by a changed configuration, under a download of which every byte is checked. Needs root.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { WEB_ADDRESS } from '../../src/lab/topology.js';
import { startTraffic, startTrafficServer, TRAFFIC_PORT, type TrafficRun } from '../../src/lab/traffic.js';
import type { PathStatus } from '../../src/tunnel/status.js';
import { createTunnelRig, type TunnelRig, until } from './tunnel-rig.js';

const LINKS = [
  { rateBitsPerSec: 20e6, delayMs: 10, queuePackets: 200 },
  { rateBitsPerSec: 20e6, delayMs: 10, queuePackets: 200 },
];
/** The lab's links are TUN devices, so they have to be named. */
const AUTO = '[paths]\nauto = true\ninclude = ["wan*"]\nexclude = ["wan7"]\n';
/** Of what the server sends: a path that carries data, and one that has only probes and what was on its way. */
const CARRIES_SHARE = 0.1;
const IDLE_SHARE = 0.03;

t.setTimeout(180_000);

async function pathsOf(rig: TunnelRig, side: 'client' | 'server'): Promise<Map<string, PathStatus>> {
  return new Map((await rig.status(side)).peers[0]!.paths.map((path) => [path.name, path]));
}

const names = async (rig: TunnelRig, side: 'client' | 'server'): Promise<string> => [...(await pathsOf(rig, side)).keys()].sort().join(' ');

async function isUp(rig: TunnelRig, name: string): Promise<boolean> {
  return (await pathsOf(rig, 'client')).get(name)?.state === 'up';
}

/** The share of one path in what the server sends within `ms`; 0 where it has no such path. */
async function sendShare(rig: TunnelRig, name: string, ms: number): Promise<number> {
  const before = await pathsOf(rig, 'server');
  await sleep(ms);
  const after = await pathsOf(rig, 'server');
  const sent = (path: PathStatus): number => path.txBytes - (before.get(path.name)?.txBytes ?? path.txBytes);
  const total = [...after.values()].reduce((sum, path) => sum + sent(path), 0);
  const path = after.get(name);
  return path === undefined || total === 0 ? 0 : sent(path) / total;
}

async function ip(rig: TunnelRig, side: 'client' | 'server', ...lines: string[]): Promise<void> {
  await rig.lab[side].run('ip', ['-batch', '-'], { input: `${lines.join('\n')}\n` });
}

/** As a modem that is plugged in: a device, then its address and route. */
async function plug(rig: TunnelRig, index: number): Promise<void> {
  const name = `wan${index}`;
  await ip(rig, 'client', `link add ${name} type veth peer name ${name} netns ${rig.lab.server.namespace}`);
  await ip(rig, 'server', `address add 10.90.${index}.2/24 dev ${name}`, `link set ${name} up`);
  await ip(
    rig,
    'client',
    `address add 10.90.${index}.1/24 dev ${name}`,
    `link set ${name} up`,
    `route add default via 10.90.${index}.2 dev ${name} metric ${100 + index}`,
  );
}

/** When the client's log says so for the first time, as wall clock. */
function loggedAtMs(rig: TunnelRig, text: string): number {
  const line = rig
    .log('client')
    .split('\n')
    .find((one) => one.includes(text));
  return line === undefined ? Number.NaN : Date.parse(line.split(' ')[0]!);
}

function download(rig: TunnelRig): TrafficRun {
  return startTraffic(rig.lab.client, { op: 'download', host: WEB_ADDRESS, port: TRAFFIC_PORT, silenceMs: 20_000 }, () => {});
}

t.test('automatic paths follow interfaces while a download goes on', async (t) => {
  const rig = await createTunnelRig({ links: LINKS, paths: AUTO });
  t.teardown(() => rig.close());
  await startTrafficServer(rig.lab.web);
  await until('both links are paths', async () => (await isUp(rig, 'wan0')) && (await isUp(rig, 'wan1')), 10_000);
  const run = download(rig);
  await until('both carry data', async () => (await sendShare(rig, 'wan1', 500)) > CARRIES_SHARE, 15_000);

  await plug(rig, 5);
  const pluggedMs = Date.now();
  await until('the new interface is a path', () => isUp(rig, 'wan5'), 5000);
  const appearedMs = loggedAtMs(rig, 'path vps/wan5:') - pluggedMs;
  t.comment(`the path was there ${appearedMs} ms after the interface had its route`);
  t.ok(appearedMs < 500, 'within 500 ms');
  await until('it carries data', async () => (await sendShare(rig, 'wan5', 500)) > CARRIES_SHARE, 10_000);
  t.equal(await names(rig, 'server'), 'wan0 wan1 wan5', 'the server knows it by its name');

  await plug(rig, 7);
  await ip(rig, 'client', 'link del wan5');
  await until('the path is gone on both sides', async () => (await names(rig, 'server')) === 'wan0 wan1', 15_000);
  t.equal(await names(rig, 'client'), 'wan0 wan1', 'and the excluded interface is none');

  await ip(
    rig,
    'client',
    'address del 10.90.1.1/24 dev wan1',
    'address add 10.90.1.77/24 dev wan1',
    'route replace default via 10.90.1.2 dev wan1 metric 101',
  );
  const moved = async (): Promise<boolean> => (await pathsOf(rig, 'server')).get('wan1')?.remote.startsWith('10.90.1.77:') === true;
  await until('the path moves to the new address', moved, 10_000);
  await until('it carries data from there', async () => (await sendShare(rig, 'wan1', 500)) > CARRIES_SHARE, 10_000);

  run.stop();
  t.equal((await run.result).error, undefined, 'the connection survived, every byte is right');
});

t.test('paths are set, added, removed and reloaded by command while a download goes on', async (t) => {
  const rig = await createTunnelRig({ links: LINKS });
  t.teardown(() => rig.close());
  await startTrafficServer(rig.lab.web);
  const run = download(rig);
  const carries = (name: string) => async (): Promise<boolean> => (await sendShare(rig, name, 500)) > CARRIES_SHARE;
  await until('both carry data', carries('link1'), 15_000);

  t.equal((await rig.mptunnel('client', 'set', 'mpt0', 'path', 'link1', 'backup=on')).stdout, 'path link1: changed\n');
  // The command itself takes a part of the second.
  await sleep(700);
  const heldShare = await sendShare(rig, 'link1', 1500);
  t.comment(`the backup has ${(100 * heldShare).toFixed(1)} % of what the server sends`);
  t.ok(heldShare < IDLE_SHARE, 'a second later the server sends no data there');
  t.match((await rig.mptunnel('client', 'path', 'list', 'mpt0')).stdout, /^link1 +up .* backup +0 +0 +- +-$/m);
  await rig.mptunnel('client', 'set', 'mpt0', 'path', 'link1', 'backup=off');
  await until('it carries data again', carries('link1'), 10_000);

  await rig.mptunnel('client', 'path', 'remove', 'mpt0', 'link0');
  await until('the server forgets it', async () => (await names(rig, 'server')) === 'link1', 5000);
  t.equal((await rig.mptunnel('client', 'path', 'add', 'mpt0', 'other', 'interface=wan0', 'priority=3')).stdout, 'path other: added\n');
  await until('the one that was added carries data', carries('other'), 10_000);
  t.equal((await pathsOf(rig, 'server')).get('other')!.priority, 3);
  await t.rejects(rig.mptunnel('client', 'path', 'remove', 'mpt0', 'nope'), /known are/);

  const file = rig.configFile('client');
  const written = readFileSync(file, 'utf8');
  writeFileSync(file, written.replace('name = "link1"', 'nome = "link1"'));
  await t.rejects(rig.mptunnel('client', 'reload', 'mpt0'), /"?nome"? .*did you mean "name"/);
  t.equal(await names(rig, 'client'), 'link1 other', 'a faulty file changes nothing');
  writeFileSync(file, written.replace('interface = "wan1"', 'interface = "wan1"\nbackup = true'));
  process.kill((await rig.status('client')).pid, 'SIGHUP');
  await until('SIGHUP reloads', async () => (await pathsOf(rig, 'server')).get('link1')?.backup === true, 5000);

  run.stop();
  t.equal((await run.result).error, undefined, 'the connection survived, every byte is right');
});
