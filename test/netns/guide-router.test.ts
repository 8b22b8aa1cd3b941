/** docs/guide.md, "A home router with DSL and LTE", as it is written: real daemons in namespaces that stand for its hosts. */

import { join } from 'node:path';
import t from 'tap';
import { HostGroup } from '../../src/lab/namespaces.js';
import { createLab, WEB_ADDRESS } from '../../src/lab/topology.js';
import { follow, GuideHost, sharesOf } from './guide-hosts.js';
import { readGuide } from './guide-reader.js';
import { ip, nameUplink, settleServer, startWeb } from './guide-world.js';
import { until } from './tunnel-rig.js';
import { startNameServer, watchLinks } from './whole-host-rig.js';

/** Wires, since automatic paths pass by the emulator's devices, which are TUNs; the DSL is full when it has reached the limit of the guide. */
const NAME_SERVER = '9.9.9.9';
/** Of what goes past the tunnel. */
const STREAMING_ADDRESS = '198.51.100.40';
const DEAD_DSL = `table inet dead {
  chain arriving { type filter hook prerouting priority -300; iifname "wan0" drop; }
  chain leaving { type filter hook postrouting priority 300; oifname "wan0" drop; }
}
`;
const RESOLV_CONF = 'nameserver 10.90.0.2\n';

t.setTimeout(230_000);

t.test('a home router with DSL and LTE', async (t) => {
  const lab = await createLab({ links: [{}, {}], wires: true });
  const group = new HostGroup();
  t.teardown(async () => {
    await lab.close();
    await group.close();
  });
  const behind = await group.addHost('pc');
  const folder = (name: string): string => join(lab.folder, name);
  const router = new GuideHost(lab.client, folder('router'), RESOLV_CONF, []);
  const server = new GuideHost(lab.server, folder('server'), '', []);
  const pc = new GuideHost(behind, folder('pc'), `nameserver ${NAME_SERVER}\n`, []);
  t.teardown(async () => {
    await router.close();
    await server.close();
  });
  await settleServer(lab);
  await nameUplink(lab, 0, 'eth0');
  await nameUplink(lab, 1, 'wwan0');
  await ip(
    lab.client,
    `link add br0 type veth peer name eth0 netns ${behind.namespace}`,
    'address add 192.168.5.1/24 dev br0',
    'link set br0 up',
  );
  await ip(behind, 'link set lo up', 'address add 192.168.5.2/24 dev eth0', 'link set eth0 up', 'route add default via 192.168.5.1');
  await ip(lab.web, `address add ${NAME_SERVER}/32 dev lo`);
  await ip(lab.server, `route add ${NAME_SERVER} via ${WEB_ADDRESS}`);
  await ip(lab.web, `address add ${STREAMING_ADDRESS}/24 dev lan0`);
  const web = await startWeb(lab.web);
  const streaming = await startWeb(lab.web, STREAMING_ADDRESS);
  const names = startNameServer(lab.web, NAME_SERVER, 'web.example', WEB_ADDRESS);
  t.teardown(() => {
    web.stop();
    streaming.stop();
    names.stop();
  });
  await names.said;
  const before = await forwarding();

  function forwarding(): Promise<string> {
    return router.run('cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding; ip rule');
  }

  await follow(t, readGuide('A home router with DSL and LTE'), {
    hosts: { router, server, pc },
    directions: {
      'a large download of pc uses both': async () => {
        const [dsl, lte] = await sharesOf(t, router, async () => {
          t.equal(await pc.run('curl -so /dev/null -w "%{size_download}" http://web.example/6MB'), '6000000');
        });
        t.ok(dsl! > 200_000, 'the DSL has its part');
        t.ok(lte! > 200_000, 'the LTE has its part');
      },
      'the DSL is dead': async () => void (await lab.server.run('nft', ['-f', '-'], { input: DEAD_DSL })),
      'the DSL is back': async () => void (await lab.server.run('nft', ['delete', 'table', 'inet', 'dead'])),
      'the daemon of the router is killed': async () => {
        const { pid } = await router.status();
        process.kill(pid, 'SIGKILL');
        const isDead = (): Promise<boolean> => router.attempt('mptunnel status mpt0').then(({ failed }) => failed);
        await until('the daemon is dead', isDead, 30_000);
      },
      'nothing of pc and of the router gets out': async () => {
        const watch = await watchLinks(lab.server);
        for (const host of [pc, router]) t.ok((await host.attempt(`curl -s -m 5 http://${WEB_ADDRESS}/ip`)).failed);
        t.equal((await watch.packets()).others, 0, 'not a packet has left');
        await watch.close();
      },
      'the router is as it was before': async () => {
        t.equal(router.read('etc/resolv.conf'), RESOLV_CONF);
        t.equal(await forwarding(), before);
        t.equal(await router.run('nft list ruleset'), '');
      },
    },
  });
});
