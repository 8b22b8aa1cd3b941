/** The host's name resolution while a tunnel is up, and after whatever ends it; and how the tunnel finds its own server meanwhile. Real kernels; needs root. */

import { mkdirSync, readdirSync, readFileSync, readlinkSync, rmdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { WEB_ADDRESS } from '../../src/lab/topology.js';
import { startTrafficServer } from '../../src/lab/traffic.js';
import { crash, createTunnelRig, until } from './tunnel-rig.js';
import { changeConfig, ip, startNameServer, tunnelRules, webAnswers, withInterface } from './whole-host-rig.js';

const LINKS = [
  { rateBitsPerSec: 20e6, delayMs: 5, queuePackets: 200 },
  { rateBitsPerSec: 20e6, delayMs: 10, queuePackets: 200 },
];
const EVERYTHING = ['0.0.0.0/0', '::/0'];
const RESOLV_CONF = 'search lan\nnameserver 10.90.0.2\nnameserver 10.90.1.2\noptions timeout:1\n';

t.setTimeout(300_000);

t.test('the DNS of the host is the one in the tunnel, and that of before after whatever happens', async (t) => {
  const folder = t.testdir({ 'resolv.conf': RESOLV_CONF });
  const file = join(folder, 'resolv.conf');
  const rig = await createTunnelRig({
    links: LINKS,
    up: false,
    allowedIps: EVERYTHING,
    append: { client: '[dns]\nservers = ["10.77.0.1"]\nsearch = ["corp.test"]\n' },
    environment: { MPTUNNEL_RESOLV_CONF: file },
  });
  t.teardown(() => rig.close());
  await rig.up('server');
  const read = (): string => readFileSync(file, 'utf8');
  const isOurs = (): void => {
    t.match(read(), /^search corp\.test\nnameserver 10\.77\.0\.1$/m);
    t.notMatch(read(), /^nameserver 10\.90/m);
  };

  await rig.up('client');
  isOurs();
  await rig.mptunnel('client', 'down', 'mpt0');
  t.equal(read(), RESOLV_CONF, 'after down');

  await rig.up('client');
  await crash(rig, 'client');
  isOurs();
  await rig.up('client');
  isOurs();
  await rig.mptunnel('client', 'down', 'mpt0');
  t.equal(read(), RESOLV_CONF, 'after kill -9, up and down');

  await rig.up('client');
  await crash(rig, 'client');
  await rig.mptunnel('client', 'down', '--force', 'mpt0');
  t.equal(read(), RESOLV_CONF, 'after kill -9 and down --force');

  await rig.up('client');
  await crash(rig, 'client');
  // As after a power cut.
  rmSync(join(rig.lab.folder, 'client'), { recursive: true });
  mkdirSync(join(rig.lab.folder, 'client'), { mode: 0o700 });
  await rig.mptunnel('client', 'down', '--force', 'mpt0');
  t.equal(read(), RESOLV_CONF, 'after kill -9, the loss of /run, and down --force');
  t.strictSame(await tunnelRules(rig), [], 'nor is a rule left');

  await rig.up('client');
  writeFileSync(file, 'nameserver 9.9.9.9\n');
  const { stderr } = await rig.mptunnel('client', 'down', 'mpt0');
  t.equal(read(), 'nameserver 9.9.9.9\n', 'a change of the user stays');
  t.match(stderr, /not undone: .*resolv\.conf was changed while the tunnel was up, and stays as it is now/, 'and is told');

  rmSync(file);
  writeFileSync(join(folder, 'managed'), RESOLV_CONF);
  symlinkSync('managed', file);
  await rig.up('client');
  isOurs();
  t.equal(readFileSync(join(folder, 'managed'), 'utf8'), RESOLV_CONF, "a link's target is left alone");
  await crash(rig, 'client');
  await rig.mptunnel('client', 'down', 'mpt0');
  t.equal(readlinkSync(file), 'managed', 'and it is a link again');

  await rig.up('client');
  const second = join(rig.lab.folder, 'second.toml');
  writeFileSync(
    second,
    readFileSync(rig.configFile('client'), 'utf8')
      .replace('name = "mpt0"', 'name = "mpt1"')
      .replace('10.77.0.2/24", "fd77::2/64"', '10.79.0.2/24"')
      .replace(/allowed_ips = .*/, 'allowed_ips = ["10.79.0.0/24"]')
      .replace('["10.77.0.1"]', '["10.79.0.1"]'),
    { mode: 0o600 },
  );
  // The server knows one client by this key: the second tunnel takes its place, and it is only the DNS that matters here.
  await rig.mptunnel('client', 'up', second);
  t.match(read(), /^nameserver 10\.79\.0\.1$/m, 'of two tunnels the last one has it');
  await rig.mptunnel('client', 'down', 'mpt0');
  t.match(read(), /^nameserver 10\.79\.0\.1$/m);
  await rig.mptunnel('client', 'down', 'mpt1');
  t.equal(readlinkSync(file), 'managed');
});

t.test('in a namespace with an /etc/resolv.conf of its own it is that one', async (t) => {
  const rig = await createTunnelRig({
    links: LINKS,
    up: false,
    allowedIps: EVERYTHING,
    append: { client: '[dns]\nservers = ["10.77.0.1"]\n' },
  });
  t.teardown(() => rig.close());
  const etc = join('/etc/netns', rig.lab.client.namespace);
  mkdirSync(etc, { recursive: true });
  t.teardown(() => {
    rmSync(etc, { recursive: true });
    // Where others have something in it, it stays.
    if (readdirSync('/etc/netns').length === 0) rmdirSync('/etc/netns');
  });
  writeFileSync(join(etc, 'resolv.conf'), RESOLV_CONF);
  const outside = readFileSync('/etc/resolv.conf', 'utf8');
  await rig.up('server');
  await rig.up('client');
  const names = startNameServer(rig.lab.server, '10.77.0.1', 'web.test', WEB_ADDRESS);
  t.teardown(() => names.stop());
  await names.said;
  t.match((await rig.lab.client.run('cat', ['/etc/resolv.conf'])).stdout, /^nameserver 10\.77\.0\.1$/m);
  t.match((await rig.lab.client.run('getent', ['ahostsv4', 'web.test'])).stdout, /^198\.51\.100\.2 /, 'a name is asked through the tunnel');
  await crash(rig, 'client');
  await rig.mptunnel('client', 'down', 'mpt0');
  t.equal(readFileSync(join(etc, 'resolv.conf'), 'utf8'), RESOLV_CONF);
  t.equal(readFileSync('/etc/resolv.conf', 'utf8'), outside, "the host's own was never touched");
});

t.test("the server's name is asked beside the tunnel: with kill switch, tunnel DNS, and the server at another address", async (t) => {
  const folder = t.testdir({ 'resolv.conf': RESOLV_CONF });
  const rig = await createTunnelRig({
    links: LINKS,
    up: false,
    allowedIps: EVERYTHING,
    append: { client: '[dns]\nservers = ["10.77.0.1"]\n' },
    environment: { MPTUNNEL_RESOLV_CONF: join(folder, 'resolv.conf') },
  });
  t.teardown(() => rig.close());
  changeConfig(rig, 'client', (text) => withInterface('kill_switch = true')(text).replace('203.0.113.1:5180', 'vpn.test:5180'));
  await startTrafficServer(rig.lab.web);
  let names = startNameServer(rig.lab.server, '10.90.1.2', 'vpn.test', '203.0.113.1');
  t.teardown(() => names.stop());
  await names.said;
  await rig.up('server');
  await rig.up('client');
  t.ok(await webAnswers(rig));
  await crash(rig, 'client');
  await rig.up('client');
  t.ok(await webAnswers(rig), 'after a crash, with kill switch and DNS of the dead tunnel in force');

  names.stop();
  await names.result.catch(() => undefined);
  names = startNameServer(rig.lab.server, '10.90.1.2', 'vpn.test', '203.0.113.2');
  await names.said;
  await ip(rig, 'server', 'address add 203.0.113.2/32 dev lo', 'address del 203.0.113.1/32 dev lo');
  const remotes = async (): Promise<string[]> => (await rig.status('client')).peers[0]!.paths.map(({ remote }) => remote);
  await until('paths lead to the new address', async () => (await remotes()).every((remote) => remote === '203.0.113.2:5180'), 60_000);
  await until('and the tunnel works there', () => webAnswers(rig), 30_000);
});
