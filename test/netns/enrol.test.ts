/** Invites from end to end: real daemons, real handshakes, hosts in namespaces. */

import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { createLab, SERVER_PUBLIC_ADDRESS, WEB_ADDRESS } from '../../src/lab/topology.js';
import { runTraffic, startTrafficServer, TRAFFIC_PORT } from '../../src/lab/traffic.js';
import { Hosts } from './enrol-hosts.js';
import { until } from './tunnel-rig.js';

t.setTimeout(400_000);

t.test('init, invite, join, up', async (t) => {
  const lab = await createLab({ links: [{ delayMs: 2 }, { delayMs: 4 }] });
  const hosts = new Hosts(lab);
  t.teardown(() => hosts.close());
  await startTrafficServer(lab.web);
  const serverConfig = join(hosts.etc.server!, 'mpt0.toml');
  const clientConfig = join(hosts.etc.client!, 'mpt0.toml');
  const init = ['init', 'server', '--dir', hosts.etc.server!, '--address', '10.77.0.1/24', '--endpoint', SERVER_PUBLIC_ADDRESS];
  await hosts.mptunnel('server', init);
  await hosts.mptunnel('server', ['up', serverConfig]);

  await t.test('a client joins by one line, is up over both links, and reaches the web through the server', async (t) => {
    const made = await hosts.invite('laptop');
    t.match(made, { addresses: ['10.77.0.2/24'], endpoints: [`${SERVER_PUBLIC_ADDRESS}:5180`], routes: ['0.0.0.0/0'], warning: '' });
    const joined = await hosts.mptunnel('client', ['join', '-', '--dir', hosts.etc.client!], { input: made.line });
    t.match(joined.stdout, /^Enrolled as laptop at 203\.0\.113\.1:5180: 10\.77\.0\.2\/24\.\n/);
    for (const file of ['mpt0.toml', 'mpt0.key']) t.equal(statSync(join(hosts.etc.client!, file)).mode & 0o777, 0o600, file);
    await hosts.mptunnel('client', ['up', clientConfig, '--timeout', '60']);
    await until('the peer is up', async () => (await hosts.peers())[0]?.state === 'up', 15_000);
    const [peer] = await hosts.peers();
    t.match(peer, { name: 'laptop', allowedIps: ['10.77.0.2/32'] });
    const status = JSON.parse((await hosts.mptunnel('client', ['status', 'mpt0', '--json'])).stdout);
    t.same(
      status.peers[0].paths.map((path: { name: string }) => path.name).sort(),
      ['wan0', 'wan1'],
      'each uplink with a default route is a path',
    );
    const { bytes, faultAt } = await runTraffic(lab.client, { op: 'download', host: WEB_ADDRESS, port: TRAFFIC_PORT, bytes: 300_000 });
    t.match({ bytes, faultAt }, { bytes: 300_000, faultAt: -1 }, 'a download through it, byte for byte');
    await lab.client.run('ping', ['-c', '2', '-W', '5', '10.77.0.1'], { timeoutMs: 30_000 });
  });

  await t.test('the same line a second time is refused at once, and enrols nobody', async (t) => {
    // One that was used a moment ago is still known; later its holder is a stranger.
    const made = await hosts.invite('once');
    await hosts.mptunnel('client', ['join', made.line, '--dir', join(hosts.etc.client!, 'a')]);
    t.match(
      await hosts.fails('client', ['join', made.line, '--dir', join(hosts.etc.client!, 'b')]),
      /this invite was used already: ask for another/,
    );
    t.same(readdirSync(join(hosts.etc.client!, 'b')), [], 'no key and no configuration are left');
    await hosts.mptunnel('server', ['peer', 'remove', 'mpt0', 'once']);
  });

  await t.test('a line that was revoked, has expired or is damaged enrols nobody', async (t) => {
    const dir = join(hosts.etc.client!, 'c');
    const revoked = await hosts.invite('revoked');
    await hosts.mptunnel('server', ['invite', 'revoke', 'mpt0', 'revoked']);
    const expired = await hosts.invite('expired', '--expires', '1s');
    await sleep(1100);
    t.equal((await hosts.mptunnel('server', ['invite', 'list', 'mpt0'])).stdout, 'No invite is open.\n');
    for (const { line } of [revoked, expired])
      t.match(
        await hosts.fails('client', ['join', line, '--dir', dir, '--timeout', '3']),
        /no answer from 203\.0\.113\.1:5180 within 3 s: the invite was used, revoked or has expired/,
      );
    const damaged = revoked.line.slice(0, -1) + (revoked.line.endsWith('A') ? 'B' : 'A');
    t.match(await hosts.fails('client', ['join', damaged, '--dir', dir]), /damaged on its way .*copy the whole line/);
    t.same(
      (await hosts.peers()).map(({ name }) => name),
      ['laptop'],
    );
  });

  await t.test('what was enrolled stays over restarts of both daemons', async (t) => {
    const open = await hosts.invite('later');
    for (const side of ['client', 'server'] as const) await hosts.mptunnel(side, ['down', 'mpt0']);
    await hosts.mptunnel('server', ['up', serverConfig]);
    await hosts.mptunnel('client', ['up', clientConfig, '--timeout', '60']);
    await lab.client.run('ping', ['-c', '2', '-W', '5', '10.77.0.1'], { timeoutMs: 30_000 });
    t.match(
      (await hosts.peers()).map(({ name }) => name),
      ['laptop'],
    );
    const joined = await hosts.mptunnel('client', ['join', open.line, '--name', 'mpt1', '--dir', hosts.etc.second!, '--json']);
    t.match(JSON.parse(joined.stdout), { name: 'mpt1', addresses: ['10.77.0.6/24'] }, 'an open invite, too');
  });

  await t.test('a peer file that an administrator writes, changes or deletes counts after a reload; others are not touched', async (t) => {
    const file = join(hosts.etc.server!, 'mpt0.peers.d', 'printer.toml');
    const reload = async (): Promise<string> => (await hosts.mptunnel('server', ['reload', 'mpt0'])).stdout;
    writeFileSync(file, `public_key = "${Buffer.alloc(32, 7).toString('base64')}"\nallowed_ips = ["10.77.0.40/32"]\n`, { mode: 0o600 });
    t.match(await reload(), /peer printer: added/);
    writeFileSync(file, `public_key = "${Buffer.alloc(32, 7).toString('base64')}"\nallowed_ips = ["10.77.0.41/32"]\n`);
    t.match(await reload(), /peer printer: changed/);
    t.match(
      (await hosts.peers()).find(({ name }) => name === 'printer'),
      { allowedIps: ['10.77.0.41/32'] },
    );
    writeFileSync(file, 'public_key = "no key"\n');
    t.match(await hosts.fails('server', ['reload', 'mpt0']), /printer\.toml:1: public_key is not a key/);
    t.equal((await hosts.peers()).length, 3, 'a faulty file changes nothing');
    rmSync(file);
    const said = await reload();
    t.match(said, /peer printer: removed/);
    t.notMatch(said, /laptop|later/);
    await lab.client.run('ping', ['-c', '1', '-W', '5', '10.77.0.1'], { timeoutMs: 30_000 });
  });

  await t.test('a peer that is removed is out at once, and others stay', async (t) => {
    await hosts.mptunnel('server', ['peer', 'remove', 'mpt0', 'laptop']);
    await t.rejects(lab.client.run('ping', ['-c', '1', '-W', '2', '10.77.0.1'], { timeoutMs: 30_000 }));
    t.same(
      (await hosts.peers()).map(({ name }) => name),
      ['later'],
    );
    t.same(readdirSync(join(hosts.etc.server!, 'mpt0.peers.d')), ['later.toml']);
    const status = JSON.parse((await hosts.mptunnel('client', ['status', 'mpt0', '--json'])).stdout);
    t.equal(status.peers[0].state, 'connecting', 'its handshakes find no answer');
    t.match(readFileSync(join(hosts.etc.server!, 'run', 'mpt0.log'), 'utf8'), /peer laptop removed/);
  });
});
