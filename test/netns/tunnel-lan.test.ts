/** Hosts behind the client: their TCP over both links, their own addresses at the far side, or masqueraded. Real kernels; needs root. */

import t, { type Test } from 'tap';
import { HostGroup, type NamespaceHost } from '../../src/lab/namespaces.js';
import { WEB_ADDRESS, WEB_ADDRESS_V6 } from '../../src/lab/topology.js';
import { runTraffic, startTrafficServer, TRAFFIC_PORT } from '../../src/lab/traffic.js';
import { inside } from './tunnel-remote.js';
import { crash, createTunnelRig, type TunnelRig, type TunnelRigOptions, until } from './tunnel-rig.js';
import { changeConfig, seenAs, startAddressTeller, watchLinks, withInterface } from './whole-host-rig.js';

const LINKS = [
  { rateBitsPerSec: 20e6, delayMs: 5, queuePackets: 200 },
  { rateBitsPerSec: 20e6, delayMs: 10, queuePackets: 200 },
];
const LAN_NETWORKS = ['192.168.5.0/24', 'fd95::/64'];
const LAN_ADDRESS = '192.168.5.2';
const LAN_ADDRESS_V6 = 'fd95::2';
/** Of the client on its first link. */
const OUTER_ADDRESS = '10.90.0.1';
const OUTER_ADDRESS_V6 = 'fd90::1';
const TELLER_PORT = 7777;
const SYSCTLS = [
  'ipv4/conf/br0/forwarding',
  'ipv4/conf/wan0/forwarding',
  'ipv4/ip_forward',
  'ipv6/conf/all/forwarding',
  'ipv6/conf/br0/forwarding',
];

t.setTimeout(300_000);

interface LanRig {
  rig: TunnelRig;
  lan: NamespaceHost;
}

async function createLanRig(t: Test, lanLines: string, options: Partial<TunnelRigOptions> = {}): Promise<LanRig> {
  const rig = await createTunnelRig({
    links: LINKS,
    up: false,
    allowedIps: ['0.0.0.0/0', '::/0'],
    append: { client: `[lan]\ninterfaces = ["br0"]\n${lanLines}` },
    ...options,
  });
  const group = new HostGroup();
  t.teardown(async () => {
    await rig.close();
    await group.close();
  });
  const lan = await group.addHost('lan');
  const { client, server, web } = rig.lab;
  const lines = (host: NamespaceHost, ...batch: string[]) => host.run('ip', ['-batch', '-'], { input: `${batch.join('\n')}\n` });
  await lines(
    client,
    `link add br0 type veth peer name eth0 netns ${lan.namespace}`,
    'address add 192.168.5.1/24 dev br0',
    'address add fd95::1/64 dev br0 nodad',
    'link set br0 up',
  );
  await lines(
    lan,
    'link set lo up',
    `address add ${LAN_ADDRESS}/24 dev eth0`,
    `address add ${LAN_ADDRESS_V6}/64 dev eth0 nodad`,
    'link set eth0 up',
    'route add default via 192.168.5.1',
    'route add default via fd95::1',
  );
  await lines(web, ...LAN_NETWORKS.map((network) => `route add ${network} via ${network.includes(':') ? 'fd98::1' : '198.51.100.1'}`));
  // A fresh namespace may have it from the machine.
  await client.run('sh', ['-c', 'for f in /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding; do echo 0 > $f; done']);
  await server.run('sh', ['-c', 'for f in /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding; do echo 1 > $f; done']);
  await startTrafficServer(web);
  const teller = startAddressTeller(web, TELLER_PORT);
  t.teardown(() => teller.stop());
  await teller.said;
  return { rig, lan };
}

/** The gateway knows what is behind its peer. */
function addLanToServer(rig: TunnelRig): void {
  changeConfig(rig, 'server', (text) =>
    text.replace(
      'allowed_ips = ["10.77.0.2/32"',
      `allowed_ips = [${LAN_NETWORKS.map((network) => `"${network}"`).join(', ')}, "10.77.0.2/32"`,
    ),
  );
}

async function sysctls(host: NamespaceHost): Promise<string> {
  return (await host.run('sh', ['-c', `cd /proc/sys/net && head -v -n 1 ${SYSCTLS.join(' ')}`])).stdout;
}

const ping = (host: NamespaceHost, address: string) =>
  host.run('ping', ['-c', '2', '-i', '0.3', '-W', '3', address], { timeoutMs: 20_000 });

t.test('routed: TCP over both links, UDP and ping with their own addresses', async (t) => {
  const { rig, lan } = await createLanRig(t, '');
  const before = await sysctls(rig.lab.client);
  await rig.up('server');
  await rig.up('client');

  await t.test('a gateway that does not know the network says what to do', async (t) => {
    await t.rejects(ping(lan, WEB_ADDRESS), 'nothing comes back');
    await until('the status says so', async () => (await rig.status('server')).peers[0]?.refusedSource !== undefined, 5000);
    t.match((await rig.status('server')).peers[0]!.refusedSource, { address: LAN_ADDRESS });
    t.match((await rig.mptunnel('server', 'status', 'mpt0')).stdout, /packets? refused: 192\.168\.5\.2 is not in its allowed_ips/);
    t.match(rig.log('server'), /peer home sends from 192\.168\.5\.2, which is not in its allowed_ips: refused \(1 so far\)/);
    t.equal(rig.log('server').match(/which is not in its allowed_ips/g)?.length, 1, 'once a minute');
  });

  addLanToServer(rig);
  await rig.mptunnel('server', 'reload', 'mpt0');
  await until('the client is back', async () => (await rig.status('server')).peers[0]?.state === 'up', 30_000);

  await t.test('a download of a LAN host uses both links, every byte right', async (t) => {
    const received = async () => (await rig.status('client')).peers[0]!.paths.map(({ rxBytes }) => rxBytes);
    const start = await received();
    const result = await runTraffic(lan, { op: 'download', host: WEB_ADDRESS, port: TRAFFIC_PORT, bytes: 12_000_000 });
    t.match(result, { bytes: 12_000_000, faultAt: -1 });
    const shares = (await received()).map((bytes, index) => bytes - start[index]!);
    t.comment(`by link: ${shares.join(', ')} bytes`);
    for (const share of shares) t.ok(share > 2_000_000, 'this link has carried its part');
    const v6 = await runTraffic(lan, { op: 'download', host: WEB_ADDRESS_V6, port: TRAFFIC_PORT, bytes: 300_000 });
    t.match(v6, { bytes: 300_000, faultAt: -1 }, 'IPv6, too');
  });

  await t.test('the application at the far side sees the addresses of the LAN host', async (t) => {
    t.equal(await seenAs(lan, WEB_ADDRESS, TELLER_PORT), LAN_ADDRESS);
    t.equal(await seenAs(lan, WEB_ADDRESS_V6, TELLER_PORT), LAN_ADDRESS_V6);
    await ping(lan, WEB_ADDRESS);
    await ping(lan, WEB_ADDRESS_V6);
    t.equal(await seenAs(rig.lab.client, WEB_ADDRESS, TELLER_PORT), '10.77.0.2', 'and those of the client itself are its own');
  });

  const during = await sysctls(rig.lab.client);
  t.match(during, /ipv4\/conf\/br0\/forwarding <==\n1\n/);
  t.match(during, /ipv4\/conf\/wan0\/forwarding <==\n0\n/, 'nobody on an uplink may send through this host');
  t.match(during, /ipv4\/ip_forward <==\n0\n/);
  t.match(during, /ipv6\/conf\/all\/forwarding <==\n1\n/);
  await crash(rig, 'client');
  await rig.mptunnel('client', 'down', 'mpt0');
  t.equal(await sysctls(rig.lab.client), before, 'after a crash and down forwarding is as it was');
  t.equal((await rig.lab.client.run('nft', ['list', 'ruleset'])).stdout, '', 'and no table is left');
});

t.test('masqueraded: the gateway need not know the network', async (t) => {
  const { rig, lan } = await createLanRig(t, 'masquerade = true\n');
  await rig.up('server');
  await rig.up('client');
  t.equal(await seenAs(lan, WEB_ADDRESS, TELLER_PORT), '10.77.0.2');
  t.equal(await seenAs(lan, WEB_ADDRESS_V6, TELLER_PORT), 'fd77::2');
  await ping(lan, WEB_ADDRESS);
  const result = await runTraffic(lan, { op: 'download', host: WEB_ADDRESS, port: TRAFFIC_PORT, bytes: 1_000_000 });
  t.match(result, { bytes: 1_000_000, faultAt: -1 });
  t.equal((await rig.status('server')).peers[0]?.refusedSource, undefined);
});

t.test('TCP that goes packet by packet is told the right segment size', async (t) => {
  const { rig, lan } = await createLanRig(t, '', { stream: 'steer = "datagram"' });
  addLanToServer(rig);
  await rig.up('server');
  await rig.up('client');
  // The first SYN to arrive, as the web host sees its option 2.
  const capture = rig.lab.web.spawn('tcpdump', ['-n', '-v', '-c', '1', '-i', 'lan0', 'tcp[tcpflags] == tcp-syn']);
  await until('tcpdump listens', async () => (await rig.lab.web.run('cat', [capture.logFile])).stdout.includes('listening on'), 5000);
  const result = await runTraffic(lan, { op: 'download', host: WEB_ADDRESS, port: TRAFFIC_PORT, bytes: 300_000 });
  t.match(result, { bytes: 300_000, faultAt: -1 });
  await capture.exited;
  const seen = (await rig.lab.web.run('cat', [capture.logFile])).stdout;
  t.match(seen, /mss 1380\b/);
  t.match(seen, /192\.168\.5\.2\.\d+ > 198\.51\.100\.2\.8080/);
});

t.test('with the kill switch nothing of the LAN leaves beside the tunnel either, and the LAN itself stays in reach', async (t) => {
  const { rig, lan } = await createLanRig(t, '');
  changeConfig(rig, 'client', withInterface('kill_switch = true'));
  addLanToServer(rig);
  await rig.up('server');
  await rig.up('client');
  await ping(lan, WEB_ADDRESS);
  const watch = await watchLinks(rig.lab.server);
  await crash(rig, 'client');
  await t.rejects(ping(lan, WEB_ADDRESS));
  await t.rejects(ping(lan, WEB_ADDRESS_V6));
  const dial = inside(
    lan,
    async ({ address }) => {
      const { connect } = await import('node:net');
      return await new Promise<string>((resolve) => {
        connect({ host: address, port: 8080, timeout: 3000 })
          .on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''))
          .on('timeout', () => resolve('silence'))
          .on('connect', () => resolve('connected'));
      });
    },
    { address: WEB_ADDRESS },
  );
  t.match(await dial.result, /^E/, 'a LAN host is told at once');
  await ping(lan, '192.168.5.1');
  await ping(rig.lab.client, LAN_ADDRESS);
  t.equal((await watch.packets()).others, 0, 'not a packet has left');
  await rig.mptunnel('client', 'down', 'mpt0');
});

t.test('what a rule takes past the tunnel, it takes for the hosts of the LAN, too, and brings back nothing but the answers', async (t) => {
  const port = TELLER_PORT + 1;
  const { rig, lan } = await createLanRig(
    t,
    'masquerade = true\n\n[[rule]]\nprotocol = "udp"\nport = 7777\nbypass = true\n\n[[rule]]\nprotocol = "tcp"\nbypass = true\n',
  );
  changeConfig(rig, 'client', withInterface('kill_switch = true'));
  const { client, server, web } = rig.lab;
  const teller = startAddressTeller(web, port);
  t.teardown(() => teller.stop());
  await teller.said;
  const picture = async (): Promise<string> => `${await sysctls(client)}\n${(await client.run('nft', ['list', 'ruleset'])).stdout}`;
  const before = await picture();
  await rig.up('server');
  await rig.up('client');

  await t.test('datagrams and TCP, under the address of the link', async (t) => {
    t.equal(await seenAs(lan, WEB_ADDRESS, TELLER_PORT), OUTER_ADDRESS);
    t.equal(await seenAs(lan, WEB_ADDRESS_V6, TELLER_PORT), OUTER_ADDRESS_V6);
    t.equal(await seenAs(client, WEB_ADDRESS, TELLER_PORT), OUTER_ADDRESS, "the host's own likewise");
    const watch = await watchLinks(server);
    const result = await runTraffic(lan, { op: 'download', host: WEB_ADDRESS, port: TRAFFIC_PORT, bytes: 1_000_000 });
    t.match(result, { bytes: 1_000_000, faultAt: -1 });
    t.ok((await watch.packets()).others > 20, 'it went past the tunnel');
    await watch.close();
  });

  await t.test('and nothing else', async (t) => {
    const watch = await watchLinks(server);
    t.equal(await seenAs(lan, WEB_ADDRESS, port), '10.77.0.2');
    await ping(lan, WEB_ADDRESS);
    t.equal((await watch.packets()).others, 0);
    await watch.close();
  });

  await t.test('nobody on an uplink gets in', async (t) => {
    await server.run('ip', ['route', 'add', '192.168.5.0/24', 'via', OUTER_ADDRESS]);
    const table =
      'table inet watch { counter strangers { }; chain in { type filter hook prerouting priority -400; ip saddr 10.90.0.2 counter name "strangers"; }; }';
    await lan.run('nft', [table]);
    const strangers = async (): Promise<string> => (await lan.run('nft', ['list', 'counter', 'inet', 'watch', 'strangers'])).stdout;
    const knock = async (): Promise<void> => {
      await t.rejects(ping(server, LAN_ADDRESS));
      await seenAs(server, LAN_ADDRESS, TELLER_PORT).catch(() => undefined);
    };
    await knock();
    t.match(await strangers(), /packets 0 /, 'not even by the port of the rule');
    await client.run('nft', ['delete', 'table', 'inet', 'mptunnel_mpt0_lan-replies']);
    await knock();
    t.match(await strangers(), /packets [1-9]/, 'but for that table they would');
  });

  await crash(rig, 'client');
  await rig.mptunnel('client', 'down', 'mpt0');
  t.equal(await picture(), before, 'after a crash and down all is as it was');
});
