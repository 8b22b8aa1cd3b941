/** Outer addresses change under a running transfer: those of NATs before the client, which knows nothing of it, and that of the server. Needs root. */

import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { runTraffic, startTraffic, startTrafficServer, TRAFFIC_PORT, type TrafficResult } from '../../src/lab/traffic.js';
import { ip } from './guide-world.js';
import { RoamingRig, WEB } from './roaming-rig.js';
import { until } from './tunnel-rig.js';

t.setTimeout(200_000);

const BACK_WITHIN_MS = 30_000;

async function startRig(t: Test): Promise<RoamingRig> {
  const rig = await RoamingRig.create();
  t.teardown(() => rig.close());
  await startTrafficServer(rig.server);
  await until('both paths are up', async () => (await rig.status('server')).peers[0]!.paths.every(({ state }) => state === 'up'), 10_000);
  return rig;
}

/** Runs `act` in the middle of a transfer; how long nothing came at most, and what it has carried. */
async function during(
  rig: RoamingRig,
  op: 'download' | 'upload',
  act: () => Promise<void>,
): Promise<TrafficResult & { longestGapMs: number }> {
  let longestGapMs = 0;
  const run = startTraffic(rig.client, { op, host: WEB, port: TRAFFIC_PORT, silenceMs: BACK_WITHIN_MS }, (line) => {
    if (line.type === 'sample') longestGapMs = Math.max(longestGapMs, line.gapMs ?? 0);
  });
  await sleep(1500);
  await act();
  await sleep(1000);
  run.stop();
  return { ...(await run.result), longestGapMs };
}

t.test('NATs lose their mappings and get other addresses, one after the other', async (t) => {
  const rig = await startRig(t);
  const before = (await rig.path('server', 'link0')).remote;
  t.match(before, /^198\.18\.0\.2:/);
  for (const [op, from, to] of [
    ['download', 2, 3],
    ['upload', 3, 2],
  ] as const) {
    const { error, faultAt, longestGapMs } = await during(rig, op, async () => {
      for (const index of [0, 1]) {
        await rig.renumberNat(index, `198.18.${index}.${from}`, `198.18.${index}.${to}`);
        const followed = async (): Promise<boolean> => {
          const path = await rig.path('server', `link${index}`);
          return path.remote.startsWith(`198.18.${index}.${to}:`) && path.state === 'up';
        };
        t.comment(`the server follows link${index} within ${Math.round(await until('the server follows', followed, BACK_WITHIN_MS))} ms`);
        await until('the client is content', async () => (await rig.path('client', `link${index}`)).state === 'up', BACK_WITHIN_MS);
      }
    });
    t.equal(error, undefined, `${op}: the connection lives`);
    if (op === 'download') {
      t.equal(faultAt, -1, 'every byte is right');
      t.comment(`longest time without a byte: ${longestGapMs} ms`);
      t.ok(longestGapMs < 1500, 'the other path carries meanwhile');
    }
  }
});

t.test('the only path of both that is left is behind the NAT that changes', async (t) => {
  const rig = await startRig(t);
  await ip(rig.client, 'link set wan1 down');
  const { error, faultAt } = await during(rig, 'download', async () => {
    await rig.renumberNat(0, '198.18.0.2', '198.18.0.3');
    const followed = async (): Promise<boolean> => (await rig.path('server', 'link0')).remote.startsWith('198.18.0.3:');
    t.comment(`the server follows within ${Math.round(await until('the server follows', followed, BACK_WITHIN_MS))} ms`);
  });
  t.same({ error, faultAt }, { error: undefined, faultAt: -1 }, 'the connection lives, every byte is right');
});

t.test('the server moves to another address, and its name with it', async (t) => {
  const rig = await startRig(t);
  const { error, faultAt } = await during(rig, 'download', async () => {
    await ip(rig.server, 'address add 203.0.113.9/32 dev lo', 'address del 203.0.113.1/32 dev lo');
    rig.nameServer('203.0.113.9');
    const moved = async (): Promise<boolean> =>
      (await rig.status('client')).peers[0]!.paths.every(({ remote, state }) => remote === '203.0.113.9:5180' && state === 'up');
    t.comment(`both paths are there after ${Math.round(await until('both paths go there', moved, BACK_WITHIN_MS))} ms`);
  });
  t.same({ error, faultAt }, { error: undefined, faultAt: -1 }, 'the connection lives, every byte is right');
  const { bytes } = await runTraffic(rig.client, { op: 'download', host: WEB, port: TRAFFIC_PORT, bytes: 300_000 });
  t.equal(bytes, 300_000, 'and new ones begin');
});
