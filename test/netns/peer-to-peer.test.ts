/** Two clients of one server: they reach each other where the server's [egress] allows it, and not otherwise. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { createLab, SERVER_PUBLIC_ADDRESS, TUNNEL_NETWORK } from '../../src/lab/topology.js';
import { runTraffic, startTrafficServer, TRAFFIC_PORT } from '../../src/lab/traffic.js';
import { Hosts } from './enrol-hosts.js';
import { until } from './tunnel-rig.js';

/** The server, as the host of the web network sees it. */
const SERVER_NEAR_WEB = '198.51.100.1';
const NETWORK = '10.77.0.0/24';

t.setTimeout(300_000);

t.test('peers reach each other only where allowed', async (t) => {
  const lab = await createLab({ links: [{ delayMs: 2 }] });
  const hosts = new Hosts(lab);
  t.teardown(() => hosts.close());
  const config = (side: string) => join(hosts.etc[side]!, 'mpt0.toml');
  await hosts.mptunnel('server', [
    'init',
    'server',
    '--dir',
    hosts.etc.server!,
    '--address',
    '10.77.0.1/24',
    '--endpoint',
    SERVER_PUBLIC_ADDRESS,
  ]);
  await lab.server.run('sysctl', ['-qw', 'net.ipv4.ip_forward=1']);
  await hosts.mptunnel('server', ['up', config('server')]);
  for (const [side, peer, endpoint] of [
    ['client', 'one', SERVER_PUBLIC_ADDRESS],
    ['web', 'two', SERVER_NEAR_WEB],
  ] as const) {
    const { line } = await hosts.invite(peer, '--endpoint', endpoint, '--routes', NETWORK);
    await hosts.mptunnel(side, ['join', '-', '--dir', hosts.etc[side]!], { input: line });
    // The web's host has no default route that would make a path by itself.
    writeFileSync(config(side), readFileSync(config(side), 'utf8').replace('paths = "auto"', ''));
    // Its route back to the tunnel's network would be another way to what is routed into the tunnel.
    if (side === 'web') await lab.web.run('ip', ['route', 'del', TUNNEL_NETWORK]);
    await hosts.mptunnel(side, ['up', config(side), '--timeout', '60']);
  }
  await startTrafficServer(lab.web);
  const ping = () => lab.client.run('ping', ['-c', '1', '-W', '3', '10.77.0.3'], { timeoutMs: 30_000 });
  const download = () => runTraffic(lab.client, { op: 'download', host: '10.77.0.3', port: TRAFFIC_PORT, bytes: 100_000 });

  await lab.client.run('ping', ['-c', '1', '-W', '5', '10.77.0.1'], { timeoutMs: 30_000 });
  await t.rejects(ping(), 'no packet goes from peer to peer');
  await t.rejects(download(), 'and no connection');

  await hosts.mptunnel('server', ['down', 'mpt0']);
  writeFileSync(
    config('server'),
    readFileSync(config('server'), 'utf8').replace('mode = "socket"', `mode = "socket"\nallow = ["${NETWORK}"]`),
  );
  await hosts.mptunnel('server', ['up', config('server')]);
  await until('both peers are back', async () => (await hosts.peers()).every(({ state }) => state === 'up'), 60_000);
  await ping();
  const { bytes, faultAt } = await download();
  t.same({ bytes, faultAt }, { bytes: 100_000, faultAt: -1 }, 'with `allow`, both do');
});
