/**
 * A daemon under a service manager that keeps its descriptors: after a crash, and after a restart, the device and the server's socket are what they were, and
 * datagram flows go on within two seconds of the daemon's return. TCP that ended at the daemon which died is lost, and told so.
 */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { NamespaceHost } from '../../src/lab/namespaces.js';
import { WEB_ADDRESS } from '../../src/lab/topology.js';
import { runTraffic, startTraffic, startTrafficServer, TRAFFIC_PORT } from '../../src/lab/traffic.js';
import { FakeServiceManager } from '../control/fake-service-manager.js';
import { KernelPeer } from '../interop/kernel-peer.js';
import { missingForInterop } from '../interop/kernel-rig.js';
import { inside } from './tunnel-remote.js';
import { createTunnelRig, PROGRAM, type TunnelRig, until } from './tunnel-rig.js';

const LINKS = [
  { rateBitsPerSec: 50e6, delayMs: 5 },
  { rateBitsPerSec: 30e6, delayMs: 15 },
];
const PEER_PROGRAM = fileURLToPath(new URL('../../../test/interop/kernel-peer.py', import.meta.url));
const RETURN_LIMIT_MS = 2000;

let flowCount = 0;

t.setTimeout(180_000);

function managed(rig: TunnelRig, side: 'client' | 'server'): FakeServiceManager {
  const host = rig.lab[side];
  const folder = join(rig.lab.folder, side);
  const run = (command: string, args: string[]) =>
    host.spawnPiped('env', [`MPTUNNEL_RUN_DIR=${folder}`, `MPTUNNEL_STATE_DIR=${folder}.state`, command, ...args]);
  const service = [process.execPath, PROGRAM, 'up', rig.configFile(side), '--foreground', '--timeout', '0'];
  return new FakeServiceManager(run, join(rig.lab.folder, `${side}.notify`), service);
}

/** One socket of the client that sends every 10 ms; `stop` resolves to when answers came, in ms of the wall clock. */
function echoes(rig: TunnelRig): { stop(): Promise<number[]> } {
  const stopFile = join(rig.lab.folder, `stop-${flowCount++}`);
  const flow = inside(
    rig.lab.client,
    async ({ host, port, stopFile }) => {
      const { createSocket } = await import('node:dgram');
      const { existsSync } = await import('node:fs');
      const socket = createSocket('udp4').bind(0);
      const arrivedMs: number[] = [];
      socket.on('message', () => arrivedMs.push(Date.now()));
      // Routes are gone while the daemon is.
      socket.on('error', () => undefined);
      const sending = setInterval(() => socket.send('echo', port, host, () => undefined), 10);
      for (let i = 0; i < 6000 && !existsSync(stopFile); i++) await new Promise((resolve) => setTimeout(resolve, 20));
      clearInterval(sending);
      return arrivedMs;
    },
    { host: WEB_ADDRESS, port: TRAFFIC_PORT, stopFile },
  );
  return {
    stop: () => {
      writeFileSync(stopFile, '');
      return flow.result;
    },
  };
}

async function deviceIndex(rig: TunnelRig, side: 'client' | 'server'): Promise<number> {
  const { stdout } = await rig.lab[side].run('ip', ['-j', 'link', 'show', 'dev', 'mpt0']);
  return JSON.parse(stdout)[0].ifindex;
}

t.test('a service that is started anew', async (t) => {
  const rig = await createTunnelRig({ links: LINKS, up: false });
  t.teardown(() => rig.close());
  await startTrafficServer(rig.lab.web);
  const managers = { server: managed(rig, 'server'), client: managed(rig, 'client') };
  t.teardown(() => {
    for (const manager of Object.values(managers)) manager.close();
  });
  t.strictSame(await managers.server.start(), []);
  await managers.client.start();
  await until('the client is up', async () => (await rig.status('client')).peers[0]?.state === 'up', 10_000);
  t.strictSame([...managers.server.store].sort(), ['tun.mpt0', 'udp6.5180']);
  t.strictSame([...managers.client.store], ['tun.mpt0']);

  for (const [side, how] of [
    ['server', 'kill'],
    ['server', 'stop'],
    ['client', 'kill'],
    ['client', 'stop'],
  ] as const) {
    await t.test(`${side}, ${how === 'kill' ? 'after a crash' : 'by a restart'}`, async (t) => {
      const manager = managers[side];
      const index = await deviceIndex(rig, side);
      const flow = echoes(rig);
      const download = startTraffic(rig.lab.client, { op: 'download', host: WEB_ADDRESS, port: TRAFFIC_PORT });
      await sleep(1500);
      t.equal(await manager.end(how), how === 'kill' ? -9 : 0);
      t.equal(await deviceIndex(rig, side), index, 'the device is there while the daemon is not');
      await sleep(700);
      const given = await manager.start();
      const returnedMs = Date.now();
      t.ok(given.includes('tun.mpt0'));
      t.equal(await deviceIndex(rig, side), index, 'and is the same one afterwards');
      await sleep(RETURN_LIMIT_MS + 1500);
      const arrivedMs = await flow.stop();
      const { error } = await download.result;
      t.match(error, /ECONNRESET|silence|ended|ETIMEDOUT/, 'TCP that ended at the daemon is lost');
      const backMs = arrivedMs.find((ms) => ms > returnedMs) ?? Number.POSITIVE_INFINITY;
      t.comment(`answers again ${backMs - returnedMs} ms after the ${side} was ready`);
      if (!t.ok(backMs - returnedMs < RETURN_LIMIT_MS, 'the flow goes on within two seconds'))
        t.comment(`${new Date(returnedMs).toISOString()} is when it was ready\n${managers.client.errors}\n${managers.server.errors}`);
      const { bytes } = await runTraffic(rig.lab.client, { op: 'download', host: WEB_ADDRESS, port: TRAFFIC_PORT, bytes: 200_000 });
      t.equal(bytes, 200_000, 'new connections pass');
    });
  }

  await t.test("a host's own MPTCP goes on after the server has crashed", { skip: missingForInterop() }, async (t) => {
    const bytes = 12_000_000;
    const peer = (host: NamespaceHost, ...args: string[]): KernelPeer =>
      new KernelPeer(host.spawnPiped('python3', [PEER_PROGRAM, 'mptcp', ...args, '--size', String(bytes)]));
    const web = peer(rig.lab.web, 'listen', WEB_ADDRESS, '5300', 'discard');
    await web.event('listening');
    const client = peer(rig.lab.client, 'connect', WEB_ADDRESS, '5300', 'chargen');
    await client.event('connected');
    await sleep(500);
    await managers.server.end('kill');
    await managers.server.start();
    const [sent, received] = await Promise.all([client.done, web.done]);
    t.equal(received.read, bytes);
    t.equal(received.read_sha256, sent.write_sha256);
    t.equal(sent.info?.fallback, false);
  });

  await t.test('down is for good: the device goes', async (t) => {
    await rig.mptunnel('client', 'down', 'mpt0');
    await until('nothing is kept', async () => managers.client.store.length === 0, 3000);
    const { stdout } = await rig.lab.client.run('ip', ['-o', 'link']);
    t.notMatch(stdout, /mpt0/);
  });
});
