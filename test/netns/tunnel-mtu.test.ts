/** A link that carries smaller packets than its interface takes, and says nothing of it: found by probing, both ways, and what is larger still gets through. */

import t from 'tap';
import { WEB_ADDRESS } from '../../src/lab/topology.js';
import { runTraffic, startTrafficServer, TRAFFIC_PORT } from '../../src/lab/traffic.js';
import { createTunnelRig, type TunnelRig, until } from './tunnel-rig.js';

const CARRIED_BYTES = 1400;
/** IPv4, UDP, and what the tunnel adds. */
const OVERHEAD_BYTES = 56;
const FITTING_BYTES = CARRIED_BYTES - OVERHEAD_BYTES;
const SEARCH_LIMIT_MS = 30_000;

t.setTimeout(120_000);

/** Larger packets vanish on link `index`, whichever way they go. */
async function narrow(rig: TunnelRig, index: number): Promise<void> {
  for (const host of [rig.lab.client, rig.lab.server]) {
    const rule = `iifname "wan${index}" meta length > ${CARRIED_BYTES} drop`;
    await host.run('nft', ['-f', '-'], { input: `table inet narrow {\nchain in { type filter hook input priority 0; ${rule}; }\n}\n` });
  }
}

const mtuOf = async (rig: TunnelRig, side: 'client' | 'server', index: number): Promise<number> =>
  (await rig.status(side)).peers[0]!.paths.find(({ name }) => name === `link${index}`)?.innerMtuBytes ?? 0;

t.test('what a path carries is found without any word of a router', async (t) => {
  const links = [10, 20].map((delayMs) => ({ rateBitsPerSec: 50e6, delayMs, queuePackets: 300 }));
  const rig = await createTunnelRig({ links, up: false });
  t.teardown(() => rig.close());
  await startTrafficServer(rig.lab.web);
  await narrow(rig, 0);
  await rig.up('server');
  await rig.up('client');
  for (const side of ['client', 'server'] as const) {
    const found = async (): Promise<boolean> => {
      const bytes = await mtuOf(rig, side, 0);
      return bytes <= FITTING_BYTES && bytes > FITTING_BYTES - 9;
    };
    await until(`${side} knows`, found, SEARCH_LIMIT_MS);
    t.equal(await mtuOf(rig, side, 1), 1500 - OVERHEAD_BYTES, 'the other path is as it was');
  }
  // Too large for the path, and for one datagram of it: a host that allows it is served in pieces.
  const ping = await rig.lab.client.run('ping', ['-c', '5', '-i', '0.2', '-M', 'dont', '-s', '1390', WEB_ADDRESS]);
  t.match(ping.stdout, / 0% packet loss/);
  const { bytes } = await runTraffic(rig.lab.client, { op: 'download', host: WEB_ADDRESS, port: TRAFFIC_PORT, seconds: 4 });
  t.ok((bytes! * 8) / 4 > 40e6, `${((bytes! * 8) / 4e6).toFixed(1)} of 100 Mbit/s`);
  for (const { state } of (await rig.status('client')).peers[0]!.paths) t.equal(state, 'up');
});
