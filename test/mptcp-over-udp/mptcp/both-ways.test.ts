/** A download and an upload at once: each is the other's queue on the way back, and neither may take that for its own. */

import t from 'tap';
import { PROFILES, sumOfRatesBitsPerSec } from '../../bench/profiles/profiles.js';
import { bulkServer, connectBulk } from '../../sim/bulk-peer.js';
import { TwoHosts } from '../../sim/two-hosts.js';

const WARM_UP_MS = 5_000;
const WINDOW_MS = 10_000;
/** Framing and the acknowledgements of the other direction take some 13 % of each way. */
const LEAST_SHARE = 0.78;

for (const name of ['dual_lte', 'dsl_60_15']) {
  t.test(`${name}: a download and an upload at once each carry at least ${LEAST_SHARE} of the sum of the links`, async (t) => {
    const profile = PROFILES.find((candidate) => candidate.name === name);
    if (profile === undefined) throw new Error(`no profile ${name}`);
    // The first that comes is the download.
    const server = bulkServer((index) => index === 0);
    const hosts = new TwoHosts({
      seed: 3,
      paths: profile.paths.map((path) => ({ ...path, queueCountsInFlight: true })),
      serverEvents: server,
    });
    const download = connectBulk(hosts, false);
    connectBulk(hosts, true);
    hosts.run(WARM_UP_MS);
    const before = [download.readBytes, server.peers[1]?.readBytes ?? 0];
    hosts.run(WINDOW_MS);
    const after = [download.readBytes, server.peers[1]?.readBytes ?? 0];
    const possibleBits = (sumOfRatesBitsPerSec(profile, WARM_UP_MS, WARM_UP_MS + WINDOW_MS) * WINDOW_MS) / 1_000;
    for (const [index, way] of ['down', 'up'].entries()) {
      const share = ((after[index]! - before[index]!) * 8) / possibleBits;
      t.comment(`${way}: ${share.toFixed(3)}`);
      t.ok(share >= LEAST_SHARE, `${way}: ${share.toFixed(3)}`);
    }
  });
}
