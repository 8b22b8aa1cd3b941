/** Everything of the host goes through the tunnel: what DHCP does to its routes meanwhile, and the kill switch. Real kernels; needs root. */

import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { WEB_ADDRESS, WEB_ADDRESS_V6 } from '../../src/lab/topology.js';
import { startTraffic, startTrafficServer, TRAFFIC_PORT } from '../../src/lab/traffic.js';
import { crash, createTunnelRig, type TunnelRig, until } from './tunnel-rig.js';
import { changeConfig, ip, startChatter, tunnelRules, watchLinks, webAnswers, withInterface } from './whole-host-rig.js';

const LINKS = [
  { rateBitsPerSec: 20e6, delayMs: 5, queuePackets: 200 },
  { rateBitsPerSec: 20e6, delayMs: 10, queuePackets: 200 },
];
const EVERYTHING = ['0.0.0.0/0', '::/0'];

t.setTimeout(300_000);

async function routeTo(rig: TunnelRig, address: string): Promise<string> {
  return (await rig.lab.client.run('ip', ['route', 'get', address])).stdout;
}

t.test('a download over the default route survives what DHCP clients and network managers do', async (t) => {
  const rig = await createTunnelRig({
    links: LINKS,
    allowedIps: EVERYTHING,
    paths: '[paths]\nauto = true\ninclude = ["wan*", "up*"]\n',
  });
  t.teardown(() => rig.close());
  await startTrafficServer(rig.lab.web);
  // An address that only the default route leads to.
  await rig.lab.web.run('ip', ['address', 'add', '192.0.2.80/32', 'dev', 'lo']);
  await ip(rig, 'server', 'route add 192.0.2.80/32 via 198.51.100.2');
  t.match(await routeTo(rig, '192.0.2.80'), / dev mpt0 /);

  let bytes = 0;
  const run = startTraffic(rig.lab.client, { op: 'download', host: '192.0.2.80', port: TRAFFIC_PORT, silenceMs: 20_000 }, (line) => {
    if (line.type === 'sample') bytes = line.bytes;
  });
  const flows = async (what: string): Promise<void> => {
    const before = bytes;
    await until(`bytes after: ${what}`, async () => bytes > before + 500_000, 20_000);
    t.match(await routeTo(rig, '192.0.2.80'), / dev mpt0 /, what);
  };
  await flows('the start');

  await ip(rig, 'client', 'route add default via 10.90.1.2 dev wan1 metric 50');
  await flows('a better default route was added');
  await ip(rig, 'client', 'route del default via 10.90.0.2 dev wan0');
  await flows('a default route was removed');
  await ip(rig, 'client', 'route replace default via 10.90.0.2 dev wan0 metric 20', 'route del default via 10.90.1.2 dev wan1 metric 50');
  await flows('the default route was replaced');

  await ip(
    rig,
    'client',
    'address del 10.90.1.1/24 dev wan1',
    'address add 10.90.1.55/24 dev wan1',
    'route replace default via 10.90.1.2 dev wan1 metric 101',
  );
  await flows('an address was renewed as another');

  await ip(rig, 'server', 'address add 10.90.1.3/24 dev wan1');
  await ip(rig, 'client', 'route replace default via 10.90.1.3 dev wan1 metric 101');
  await flows('a gateway is another');

  await ip(
    rig,
    'client',
    'link set wan0 down',
    'link set wan0 name up0',
    'link set up0 up',
    'address replace 10.90.0.1/24 dev up0',
    'route replace default via 10.90.0.2 dev up0 metric 100',
  );
  const isPath = async (): Promise<boolean> =>
    (await rig.status('client')).peers[0]!.paths.some(({ name, state }) => name === 'up0' && state === 'up');
  await until('the interface by its new name is a path', isPath, 15_000);
  await flows('an interface was renamed');

  t.equal((await tunnelRules(rig)).length, 4);
  for (const family of ['-4', '-6']) {
    const { stdout } = await rig.lab.client.run('ip', [family, 'rule']);
    for (const [, priority] of stdout.matchAll(/^(\d+):.*proto 84/gm))
      await rig.lab.client.run('ip', [family, 'rule', 'del', 'priority', priority!]);
  }
  await until('rules that were removed are back', async () => (await tunnelRules(rig)).length === 4, 5000);
  await flows('rules were removed and came back');
  await rig.lab.client.run('sh', ['-c', 'ip link set mpt0 down; ip link set mpt0 up']);
  await until('routes that went with the device are back', async () => (await routeTo(rig, '192.0.2.80')).includes(' dev mpt0 '), 5000);
  await flows('the device of the tunnel went down and up');
  t.match(rig.log('client'), /had been removed by another program: they are back/);

  run.stop();
  const { error, faultAt } = await run.result;
  t.same({ error, faultAt }, { error: undefined, faultAt: -1 }, 'the connection survived, every byte is right');
  await rig.mptunnel('client', 'down', 'mpt0');
  t.strictSame(await tunnelRules(rig), [], 'down takes the rules back, those that were put back too');
});

t.test('with the kill switch nothing but the tunnel leaves, from up until down', async (t) => {
  const rig = await createTunnelRig({ links: LINKS, up: false, allowedIps: EVERYTHING });
  t.teardown(() => rig.close());
  changeConfig(rig, 'client', withInterface('kill_switch = true'));
  await startTrafficServer(rig.lab.web);
  t.ok(await webAnswers(rig), 'without the tunnel the web is reached by the links');
  await rig.up('server');
  await rig.up('client');
  await sleep(500);
  const watch = await watchLinks(rig.lab.server);
  t.ok(await webAnswers(rig), 'with it, too');
  const chatter = [startChatter(rig.lab.client, WEB_ADDRESS, TRAFFIC_PORT), startChatter(rig.lab.client, WEB_ADDRESS_V6, TRAFFIC_PORT)];
  t.teardown(() => {
    for (const one of chatter) one.stop();
  });
  await Promise.all(chatter.map(({ said }) => said));
  await sleep(500);
  const before = await watch.packets();
  t.ok(before.ours > 0);
  t.equal(before.others, 0, 'the chatter of applications goes through the tunnel');

  await crash(rig, 'client');
  t.notMatch((await rig.lab.client.run('ip', ['link'])).stdout, /mpt0/, 'the device is gone with the daemon');
  const startMs = performance.now();
  t.notOk(await webAnswers(rig), 'nothing is reached');
  t.comment(`refused after ${Math.round(performance.now() - startMs)} ms`);
  for (const address of [WEB_ADDRESS, '10.90.0.2', 'fd90:0::2'])
    await t.rejects(rig.lab.client.run('ping', ['-c', '1', '-W', '1', address], { timeoutMs: 10_000 }), address);
  await sleep(1000);
  const dead = await watch.packets();
  t.equal(dead.others, 0, 'not a packet has left after kill -9');
  const refused = (await rig.lab.client.run('nft', ['list', 'counter', 'inet', 'mptunnel_mpt0_kill-switch', 'refused'])).stdout;
  t.ok(Number(/packets (\d+)/.exec(refused)?.[1]) > 50, 'it was the kill switch that held them back');

  await t.rejects(rig.mptunnel('client', 'status', 'mpt0'), /mpt0 has crashed, and its kill switch is in force/);
  const broken = rig.configFile('client').replace('.toml', '-broken.toml');
  writeFileSync(broken, readFileSync(rig.configFile('client'), 'utf8').replace(':5180', ':5999'), { mode: 0o600 });
  await t.rejects(rig.mptunnel('client', 'up', broken, '-t', '2'), /not reached within 2 s/);
  // Its attempts went to another port.
  const attempts = await watch.packets();
  await sleep(500);
  t.equal((await watch.packets()).others, attempts.others, 'an up that fails leaves in force what a crash had left');

  await rig.up('client');
  t.ok(await webAnswers(rig), 'the next up is up');
  t.equal((await watch.packets()).others, attempts.others, 'and nothing slipped through while it came');

  await rig.mptunnel('client', 'down', 'mpt0');
  await until('down lets everything out again', async () => (await watch.packets()).others > attempts.others, 5000);
  t.ok(await webAnswers(rig));
  t.notMatch((await rig.lab.client.run('nft', ['list', 'ruleset'])).stdout, /mptunnel/, 'no table is left');

  await t.test('prefixes that are allowed stay in reach; down --force ends it after a crash', async (t) => {
    changeConfig(rig, 'client', withInterface('kill_switch_allow = ["10.90.0.0/24"]'));
    await rig.up('client');
    await crash(rig, 'client');
    await rig.lab.client.run('ping', ['-c', '1', '-W', '2', '10.90.0.2'], { timeoutMs: 10_000 });
    await t.rejects(rig.lab.client.run('ping', ['-c', '1', '-W', '1', '10.90.1.2'], { timeoutMs: 10_000 }));
    await rig.mptunnel('client', 'down', '--force', 'mpt0');
    t.ok(await webAnswers(rig));
    t.strictSame(await tunnelRules(rig), []);
    await rig.mptunnel('client', 'down', '--force', 'mpt0');
    t.pass('and a second time there is nothing to do');
  });
});
