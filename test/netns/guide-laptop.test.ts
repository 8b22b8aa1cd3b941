/** docs/guide.md, "A laptop with two hotspots", as it is written: real daemons in namespaces that stand for its hosts. */

import { join } from 'node:path';
import t from 'tap';
import type { LabProcess } from '../../src/lab/lab-api.js';
import { createLab, WEB_ADDRESS } from '../../src/lab/topology.js';
import { bestRate, follow, GuideHost, sharesOf } from './guide-hosts.js';
import { readGuide } from './guide-reader.js';
import { nameUplink, settleServer, startWeb } from './guide-world.js';
import { until } from './tunnel-rig.js';

const LINKS = [
  { rateBitsPerSec: 3e6, delayMs: 10, queuePackets: 200 },
  { rateBitsPerSec: 2e6, delayMs: 25, queuePackets: 200 },
];

t.setTimeout(230_000);

t.test('a laptop with two hotspots', async (t) => {
  const lab = await createLab({ links: LINKS });
  const names = [`${WEB_ADDRESS} web.example`];
  const laptop = new GuideHost(lab.client, join(lab.folder, 'laptop'), '', names);
  const server = new GuideHost(lab.server, join(lab.folder, 'server'), '', names);
  t.teardown(async () => {
    await laptop.close();
    await server.close();
    await lab.close();
  });
  await settleServer(lab);
  await nameUplink(lab, 0, 'wlan0');
  await nameUplink(lab, 1, 'usb0');
  const web = await startWeb(lab.web);
  t.teardown(() => web.stop());

  let download: LabProcess | undefined;

  await follow(t, readGuide('A laptop with two hotspots'), {
    hosts: { laptop, server },
    directions: {
      'a download is as fast as both hotspots together': async () => {
        // 3 and 2 Mbit/s: more than 3 can only be both.
        const shares = await sharesOf(t, laptop, () => bestRate(t, laptop, 'http://web.example/2MB', 3.4e6));
        for (const share of shares) t.ok(share > 0.4e6, 'this path has carried its part');
      },
      'a download begins': async () => {
        download = laptop.start('curl -so 5MB http://web.example/5MB');
        await until('the download is under way', async () => (await laptop.status()).connections > 0, 30_000);
      },
      'the first hotspot goes out of reach, without a word': async () => {
        await lab.links[0]!.blackhole(true);
      },
      'it comes back': async () => {
        await lab.links[0]!.blackhole(false);
      },
      'the download ends, whole': async () => {
        t.equal(await download!.exited, 0, 'curl is content');
        t.equal(await laptop.run('wc -c < 5MB'), '5000000\n');
      },
      'the USB cable is pulled out': async () => {
        await lab.client.run('ip', ['link', 'set', 'usb0', 'down']);
      },
    },
  });
});
