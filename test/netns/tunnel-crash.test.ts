/** Whatever ends a tunnel, or keeps it from starting: addresses, routes and rules of the host are as they were. */

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { formatKey, generatePrivateKey } from '../../src/crypto/keys.js';
import { publicKeyOf } from '../../src/crypto/x25519.js';
import { WEB_ADDRESS } from '../../src/lab/topology.js';
import { runTraffic, startTraffic, startTrafficServer, TRAFFIC_PORT } from '../../src/lab/traffic.js';
import { crash, createTunnelRig, PROGRAM, type TunnelRig, until } from './tunnel-rig.js';

const LINKS = [
  { rateBitsPerSec: 100e6, delayMs: 2 },
  { rateBitsPerSec: 100e6, delayMs: 4 },
];

t.setTimeout(240_000);

/** All that a tunnel might change. */
async function networkOf(rig: TunnelRig): Promise<string> {
  const script = `ip -o link | sed 's/^[0-9]*: //'; ip -o addr | sed 's/^[0-9]*: //'; ip route show table all; ip -6 route show table all
    ip rule; ip -6 rule; nft list ruleset; grep -H . /proc/sys/net/ipv4/conf/*/rp_filter /proc/sys/net/ipv4/conf/*/src_valid_mark`;
  return (await rig.lab.client.run('sh', ['-c', script])).stdout;
}

async function carries(rig: TunnelRig): Promise<void> {
  const device = await rig.lab.client.run('ip', ['route', 'get', WEB_ADDRESS]);
  if (!device.stdout.includes('dev mpt0')) throw new Error(`${WEB_ADDRESS} does not go into the tunnel: ${device.stdout}`);
  await runTraffic(rig.lab.client, { op: 'download', host: WEB_ADDRESS, port: TRAFFIC_PORT, bytes: 300_000 });
}

function runFolderOf(rig: TunnelRig): string[] {
  const folder = join(rig.lab.folder, 'client');
  return existsSync(folder) ? readdirSync(folder) : [];
}

/** `mptunnel up` of a changed configuration: its exit code, lines of standard error, and time. */
async function tryUp(rig: TunnelRig, change: (config: string) => string): Promise<{ code: number; lines: string[]; seconds: number }> {
  const file = join(rig.lab.folder, 'changed.toml');
  writeFileSync(file, change(readFileSync(rig.configFile('client'), 'utf8')), { mode: 0o600 });
  const startMs = performance.now();
  const run = rig.lab.client.spawn('env', [
    `MPTUNNEL_RUN_DIR=${join(rig.lab.folder, 'client')}`,
    `MPTUNNEL_STATE_DIR=${join(rig.lab.folder, 'client.state')}`,
    process.execPath,
    PROGRAM,
    'up',
    file,
    '-t',
    '2',
  ]);
  const code = await run.exited;
  const lines = readFileSync(run.logFile, 'utf8')
    .split('\n')
    .filter((line) => line !== '');
  return { code, lines, seconds: (performance.now() - startMs) / 1000 };
}

t.test('the host is as it was', async (t) => {
  // A default route through the tunnel takes marks, rules and a table of its own.
  const rig = await createTunnelRig({ links: LINKS, up: false, allowedIps: ['0.0.0.0/0', '::/0'] });
  t.teardown(() => rig.close());
  await startTrafficServer(rig.lab.web);
  await rig.up('server');
  const before = await networkOf(rig);

  await t.test('after down', async (t) => {
    await rig.up('client');
    await carries(rig);
    t.not(await networkOf(rig), before, 'the tunnel changes something');
    await rig.mptunnel('client', 'down', 'mpt0');
    t.equal(await networkOf(rig), before, 'down takes it back');
    t.strictSame(runFolderOf(rig), [], 'no file is left');
  });

  await t.test('after a crash, by the next up and its down', async (t) => {
    await rig.up('client');
    await crash(rig, 'client');
    await rig.up('client');
    await carries(rig);
    t.equal((await rig.status('client')).peers[0]!.state, 'up', 'the next up is up');
    await rig.mptunnel('client', 'down', 'mpt0');
    t.equal(await networkOf(rig), before, 'nothing of either is left');
  });

  await t.test('after a crash, by down', async (t) => {
    await rig.up('client');
    await crash(rig, 'client');
    await rig.mptunnel('client', 'down', 'mpt0');
    t.equal(await networkOf(rig), before, 'nothing is left');
  });

  await t.test('after Ctrl-C, in the middle of a transfer', async (t) => {
    const folder = join(rig.lab.folder, 'client');
    const environment = [`MPTUNNEL_RUN_DIR=${folder}`, `MPTUNNEL_STATE_DIR=${folder}.state`];
    // Packets come while the tunnel closes, a little sooner or later each time.
    for (let i = 0; i < 5; i++) {
      const command = [...environment, process.execPath, PROGRAM, 'up', rig.configFile('client'), '--foreground'];
      const foreground = rig.lab.client.spawn('env', command);
      await until(
        'it is up',
        () =>
          rig.status('client').then(
            ({ peers }) => peers[0]?.state === 'up',
            () => false,
          ),
        10_000,
      );
      const download = startTraffic(rig.lab.client, { op: 'download', host: WEB_ADDRESS, port: TRAFFIC_PORT });
      await sleep(600);
      foreground.kill('SIGINT');
      const code = await foreground.exited;
      t.equal(code, 0, 'it ends in good order');
      if (code !== 0) t.comment(readFileSync(foreground.logFile, 'utf8'));
      t.match((await download.result).error, /ECONNRESET|ECONNREFUSED|silence|ended/, 'the application is told');
      t.equal(await networkOf(rig), before, 'nothing is left');
    }
  });

  await t.test('when the server crashes and returns, the client finds it by itself', async (t) => {
    await rig.up('client');
    process.kill((await rig.status('server')).pid, 'SIGKILL');
    await sleep(500);
    await rig.up('server');
    const ms = await until(
      'connections pass again',
      () =>
        carries(rig).then(
          () => true,
          () => false,
        ),
      30_000,
    );
    t.comment(`connections pass again ${(ms / 1000).toFixed(1)} s after the server's return`);
    await rig.mptunnel('client', 'down', 'mpt0');
    t.equal(await networkOf(rig), before, 'nothing is left');
  });

  await t.test('when it cannot start: one line that says what to do, exit 1', async (t) => {
    const otherKey = formatKey(publicKeyOf(generatePrivateKey((count) => new Uint8Array(count).fill(7))));
    const cases: [string, (config: string) => string, RegExp][] = [
      ['a wrong key', (text) => text.replace(/(name = "vps"\npublic_key = ")[^"]*/, `$1${otherKey}`), /key/],
      ['an unreachable server', (text) => text.replace('203.0.113.1:5180', '203.0.113.77:5180'), /203\.0\.113\.77:5180/],
      ['a closed port', (text) => text.replace('203.0.113.1:5180', '203.0.113.1:5999'), /203\.0\.113\.1:5999/],
      ['a missing device', (text) => text.replace('interface = "wan1"', 'interface = "wan7"'), /wan7/],
      ['a typo in a key', (text) => text.replace('public_key', 'pubic_key'), /public_key/],
      ['no TOML', (text) => text.replace('[interface]', '[interface'), /TOML/],
      ['an address that is none', (text) => text.replace('10.77.0.2/24', '10.77.0.299/24'), /10\.77\.0\.299/],
      ['a device name that is taken', (text) => text.replace('name = "mpt0"', 'name = "wan0"'), /wan0/],
    ];
    for (const [name, change, saying] of cases) {
      const { code, lines, seconds } = await tryUp(rig, change);
      t.comment(`${name} (${seconds.toFixed(1)} s): ${lines.join(' | ')}`);
      t.equal(code, 1, `${name}: exit 1`);
      t.equal(lines.length, 1, 'one line');
      t.match(lines[0], saying, 'that names it');
      t.equal(await networkOf(rig), before, 'and nothing is left');
      t.strictSame(runFolderOf(rig), [], 'no file either');
    }
  });
});
