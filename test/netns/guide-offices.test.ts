/** docs/guide.md, "Two offices", as it is written: real daemons in namespaces that stand for its hosts. */

import { join } from 'node:path';
import t from 'tap';
import { HostGroup } from '../../src/lab/namespaces.js';
import { createLab } from '../../src/lab/topology.js';
import { bestRate, follow, GuideHost, sharesOf } from './guide-hosts.js';
import { readGuide } from './guide-reader.js';
import { ip, nameUplink, settleServer, startWeb } from './guide-world.js';

const LINKS = [
  { rateBitsPerSec: 3e6, delayMs: 10, queuePackets: 100 },
  { rateBitsPerSec: 2.5e6, delayMs: 20, queuePackets: 100 },
];
const [HOST_A, HOST_B] = ['10.1.0.5', '10.2.0.7'];

t.setTimeout(230_000);

t.test('two offices', async (t) => {
  const lab = await createLab({ links: LINKS });
  const group = new HostGroup();
  t.teardown(async () => {
    await lab.close();
    await group.close();
  });
  const behindA = await group.addHost('pc-a');
  const host = (name: string, namespace: typeof behindA): GuideHost => new GuideHost(namespace, join(lab.folder, name), '', []);
  const [officeA, officeB] = [host('office-a', lab.client), host('office-b', lab.server)];
  const [pcA, pcB] = [host('pc-a', behindA), host('pc-b', lab.web)];
  t.teardown(async () => {
    await officeA.close();
    await officeB.close();
  });
  await settleServer(lab);
  await nameUplink(lab, 0, 'eth0');
  await nameUplink(lab, 1, 'eth1');
  await ip(
    lab.client,
    `link add lan0 type veth peer name eth0 netns ${behindA.namespace}`,
    'address add 10.1.0.1/24 dev lan0',
    'link set lan0 up',
  );
  await ip(behindA, 'link set lo up', `address add ${HOST_A}/24 dev eth0`, 'link set eth0 up', 'route add default via 10.1.0.1');
  await ip(lab.server, 'address add 10.2.0.1/24 dev lan0');
  await ip(lab.web, `address add ${HOST_B}/24 dev lan0`, `route replace default via 10.2.0.1 src ${HOST_B}`);
  const webs = [await startWeb(behindA, HOST_A), await startWeb(lab.web, HOST_B)];
  t.teardown(() => {
    for (const web of webs) web.stop();
  });

  await follow(t, readGuide('Two offices'), {
    hosts: { 'office-a': officeA, 'office-b': officeB, 'pc-a': pcA, 'pc-b': pcB },
    directions: {
      'a copy from pc-b to pc-a is as fast as both links together': async () => {
        // 3 and 2.5 Mbit/s: more than 3 can only be both.
        const shares = await sharesOf(t, officeA, () => bestRate(t, pcA, `http://${HOST_B}/2MB`, 3.5e6));
        for (const share of shares) t.ok(share > 0.4e6, 'this link has carried its part');
        await bestRate(t, pcB, `http://${HOST_A}/2MB`, 3.5e6);
      },
      'one link of office A fails': () => lab.links[0]!.blackhole(true),
    },
  });
});
