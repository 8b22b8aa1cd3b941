/** A path whose round trip is longer than challenges are apart: its length is known as soon as it is up, and nothing begins on it. */

import t from 'tap';
import { WEB_ADDRESS } from '../../src/lab/topology.js';
import { runTraffic, startTrafficServer, TRAFFIC_PORT } from '../../src/lab/traffic.js';
import { createTunnelRig, until } from './tunnel-rig.js';

t.setTimeout(60_000);

t.test('connections begin on the near path, though the far one has the lower number', async (t) => {
  const rig = await createTunnelRig({
    links: [
      { rateBitsPerSec: 50e6, delayMs: 320 },
      { rateBitsPerSec: 50e6, delayMs: 10 },
    ],
  });
  t.teardown(() => rig.close());
  await startTrafficServer(rig.lab.web);
  const { timesMs } = await runTraffic(rig.lab.client, { op: 'echo', host: WEB_ADDRESS, port: TRAFFIC_PORT, count: 5, intervalMs: 50 });
  t.ok(Math.max(...timesMs!) < 300, `first bytes after ${timesMs!.map((ms) => ms.toFixed(0)).join(', ')} ms`);
  for (const side of ['client', 'server'] as const) {
    // The side that answers has the far path up one of its round trips later.
    const pathsUp = async (): Promise<boolean> => (await rig.status(side)).peers[0]!.paths.every(({ state }) => state === 'up');
    await until(`${side}: both paths up`, pathsUp, 5000);
    const [far, near] = (await rig.status(side)).peers[0]!.paths;
    t.ok(far!.rttMs > 600 && far!.rttMs < 900, `${side}, far: ${far!.rttMs} ms`);
    t.ok(near!.rttMs >= 20 && near!.rttMs < 100, `${side}, near: ${near!.rttMs} ms`);
  }
});
