/**
 * TCP connections through the real tunnel, one after the other and some at once: how many a second, and what they leave.
 *
 *   sudo node dist/test/bench/tunnel-connections.js [COUNT=100000] [AT_ONCE=20]
 *
 * Prints one JSON object.
 */

import { startTrafficServer } from '../../src/lab/traffic.js';
import { openInSequence } from '../netns/tunnel-crowd.js';
import { createTunnelRig, until } from '../netns/tunnel-rig.js';

const COUNT = Number(process.argv[2] ?? 100_000);
const AT_ONCE = Number(process.argv[3] ?? 20);
const WARM_UP_COUNT = 2000;
const PARTS = 10;
const SIDES = ['client', 'server'] as const;

const rig = await createTunnelRig({ links: [{}, {}], wires: true });
try {
  await startTrafficServer(rig.lab.web);
  const resident = async () => {
    for (const side of SIDES) await until('no connection', async () => (await rig.status(side)).connections === 0, 30_000);
    return Promise.all(SIDES.map(async (side) => Math.round((await rig.residentBytes(side)) / 2 ** 20)));
  };
  await openInSequence(rig, WARM_UP_COUNT, AT_ONCE);
  const residentMib = [await resident()];
  let seconds = 0;
  let served = 0;
  const errors: string[] = [];
  for (let part = 0; part < PARTS; part++) {
    const crowd = await openInSequence(rig, Math.ceil(COUNT / PARTS), AT_ONCE);
    seconds += crowd.seconds;
    served += crowd.echoed;
    errors.push(...crowd.errors);
    residentMib.push(await resident());
  }
  const perSecond = Math.round(served / seconds);
  process.stdout.write(
    `${JSON.stringify({ benchmark: 'tunnel-connections', count: COUNT, atOnce: AT_ONCE, served, perSecond, residentMib, errors })}\n`,
  );
} finally {
  await rig.close();
}
process.exit(0);
