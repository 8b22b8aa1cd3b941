/** `mptunnel up` without root: as the user whom a persistent TUN was made for, and as "root" of a user namespace (`unshare -Urn`). */

import { chmodSync, chownSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { WEB_ADDRESS } from '../../src/lab/topology.js';
import { runTraffic, startTrafficServer, TRAFFIC_PORT } from '../../src/lab/traffic.js';
import { createTunnelRig, PROGRAM, type TunnelRig, until } from './tunnel-rig.js';

const NOBODY = 65_534;
const NO_CAPABILITY = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--inh-caps=-all', '--bounding-set=-all'];
/** Where udev has been, the device is open to all; elsewhere only in the mounts of this process. */
const OPEN_TUN = 'mknod "$0" c 10 200 && chmod 666 "$0" && mount --bind "$0" /dev/net/tun && exec "$@"';
const DOWNLOAD_BYTES = 500_000;

t.setTimeout(240_000);

interface User {
  readonly rig: TunnelRig;
  /** Of the user. */
  readonly folder: string;
  /** `env ... mptunnel up` in the foreground. */
  readonly up: readonly string[];
}

/** The server is up; the client's configuration is an ordinary user's. */
async function prepare(t: Test): Promise<User> {
  const rig = await createTunnelRig({ links: [{ delayMs: 2 }, { delayMs: 4 }], up: false });
  const folder = mkdtempSync(join(tmpdir(), 'mpt-user-'));
  t.teardown(async () => {
    await rig.close();
    rmSync(folder, { recursive: true, force: true });
  });
  chmodSync(folder, 0o755);
  const [config, run] = [join(folder, 'client.toml'), join(folder, 'run')];
  copyFileSync(rig.configFile('client'), config);
  mkdirSync(run, { mode: 0o700 });
  for (const path of [config, run]) chownSync(path, NOBODY, NOBODY);
  await startTrafficServer(rig.lab.web);
  await rig.up('server');
  const up = [
    'env',
    `MPTUNNEL_RUN_DIR=${run}`,
    `MPTUNNEL_STATE_DIR=${run}/state`,
    'NODE_OPTIONS=',
    process.execPath,
    PROGRAM,
    'up',
    config,
    '--foreground',
  ];
  return { rig, folder, up };
}

async function untilBothPathsAreUp(t: Test, rig: TunnelRig, logFile: string): Promise<void> {
  const areUp = async (): Promise<boolean> => {
    const [peer] = (await rig.status('server')).peers;
    return peer?.paths.length === 2 && peer.paths.every(({ state }) => state === 'up');
  };
  try {
    await until('both paths up', areUp, 60_000);
  } catch (error) {
    t.comment(readFileSync(logFile, 'utf8'));
    throw error;
  }
}

t.test('a user without any capability runs a tunnel on the TUN that root has made for it', async (t) => {
  const { rig, folder, up } = await prepare(t);
  const { client } = rig.lab;
  const lines = [
    `tuntap add mpt0 mode tun user ${NOBODY}`,
    'link set mpt0 mtu 1420 txqueuelen 10000 gso_max_size 60000 up',
    'addr add 10.77.0.2/24 dev mpt0',
    'addr add fd77::2/64 dev mpt0 nodad',
    'route add 198.51.100.0/24 dev mpt0',
    'route add fd98::/64 dev mpt0',
  ];
  await client.run('ip', ['-batch', '-'], { input: `${lines.join('\n')}\n` });
  const daemon = client.spawn('sh', ['-c', OPEN_TUN, join(folder, 'tun'), ...NO_CAPABILITY, ...up]);
  await untilBothPathsAreUp(t, rig, daemon.logFile);

  const { pid } = JSON.parse(readFileSync(join(folder, 'run', 'mpt0.json'), 'utf8')) as { pid: number };
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  for (const set of ['CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) t.match(status, new RegExp(`^${set}:\\s+0+$`, 'm'), set);
  const { bytes, faultAt } = await runTraffic(client, { op: 'download', host: WEB_ADDRESS, port: TRAFFIC_PORT, bytes: DOWNLOAD_BYTES });
  t.same({ bytes, faultAt }, { bytes: DOWNLOAD_BYTES, faultAt: -1 }, 'a download through it, byte for byte');

  daemon.kill('SIGTERM');
  t.equal(await daemon.exited, 0);
  t.notMatch(readFileSync(daemon.logFile, 'utf8'), /not undone|not permitted/i);
  t.match((await client.run('ip', ['addr', 'show', 'mpt0'])).stdout, '10.77.0.2/24', 'what root has made stays');
});

t.test('in a user namespace of its own a user runs a tunnel, which it makes and takes back', async (t) => {
  const { rig, folder, up } = await prepare(t);
  const { client } = rig.lab;
  // The links come from outside, as those of a container do; all else is done inside.
  const script = [
    'echo $$ > "$0/pid"; until [ -e "$0/go" ]; do sleep 0.1; done',
    'ip link set lo up; ip addr add 10.90.0.1/24 dev wan0; ip addr add 10.90.1.1/24 dev wan1; ip link set wan0 up; ip link set wan1 up',
    'ip route add default via 10.90.0.2 metric 100; ip route add default via 10.90.1.2 metric 101',
    'exec "$@"',
  ].join('\n');
  const own = join(folder, 'own');
  mkdirSync(own);
  chownSync(own, NOBODY, NOBODY);
  const isolated = [...NO_CAPABILITY.slice(0, 4), 'unshare', '--user', '--map-root-user', '--net', 'sh', '-c', script, own, ...up];
  const daemon = client.spawn('sh', ['-c', OPEN_TUN, join(folder, 'tun'), ...isolated]);
  const pid = async (): Promise<string> => readFileSync(join(own, 'pid'), 'utf8').trim();
  await until('its namespace', () => pid().then(Boolean, () => false), 20_000);
  for (const wan of ['wan0', 'wan1']) await client.run('ip', ['link', 'set', wan, 'netns', await pid()]);
  await client.run('touch', [join(own, 'go')]);
  await untilBothPathsAreUp(t, rig, daemon.logFile);

  const inside = ['--target', await pid(), '--user', '--net', '--preserve-credentials'];
  const address = await client.run('nsenter', [...inside, 'ip', 'addr', 'show', 'mpt0']);
  t.match(address.stdout, '10.77.0.2/24');
  const ask = `exec 3<>/dev/tcp/${WEB_ADDRESS}/${TRAFFIC_PORT} && echo connected`;
  t.match((await client.run('nsenter', [...inside, 'bash', '-c', ask])).stdout, 'connected', 'a connection through it');
  t.ok((await rig.status('server')).peers[0]!.traffic!.rxConnections > 0, 'by the tunnel');

  daemon.kill('SIGTERM');
  t.equal(await daemon.exited, 0);
  t.notMatch(readFileSync(daemon.logFile, 'utf8'), /not undone/);
});
