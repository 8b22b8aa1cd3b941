/** The daemon as the systemd unit runs it, and with less: an ordinary user whose only capability is CAP_NET_ADMIN. */

import { chmodSync, chownSync, copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { WEB_ADDRESS } from '../../src/lab/topology.js';
import { runTraffic, startTrafficServer, TRAFFIC_PORT } from '../../src/lab/traffic.js';
import { startNotifyReceiver } from '../control/notify-receiver.js';
import { createTunnelRig, PROGRAM, until } from './tunnel-rig.js';

const NOBODY = 65534;
const CAP_NET_ADMIN_MASK = 1n << 12n;

t.setTimeout(300_000);

t.test('with CAP_NET_ADMIN alone an ordinary user runs a tunnel over two devices, and a service manager hears of it', async (t) => {
  const rig = await createTunnelRig({ links: [{ delayMs: 2 }, { delayMs: 4 }], up: false });
  const folder = mkdtempSync(join(tmpdir(), 'mpt-caps-'));
  t.teardown(async () => {
    await rig.close();
    rmSync(folder, { recursive: true, force: true });
  });
  await startTrafficServer(rig.lab.web);
  chmodSync(folder, 0o755);
  const receiver = await startNotifyReceiver(folder);
  t.teardown(() => receiver.close());
  await rig.up('server');

  const [config, run, state] = [join(folder, 'client.toml'), join(folder, 'run'), join(folder, 'state')];
  copyFileSync(rig.configFile('client'), config);
  for (const path of [run, state]) mkdirSync(path, { mode: 0o700 });
  for (const path of [config, run, state]) chownSync(path, NOBODY, NOBODY);
  const environment = [
    `MPTUNNEL_RUN_DIR=${run}`,
    `MPTUNNEL_STATE_DIR=${state}`,
    'NODE_OPTIONS=',
    `NOTIFY_SOCKET=${receiver.socket}`,
    'WATCHDOG_USEC=1000000',
  ];
  const capabilities = ['--inh-caps', '-all,+net_admin', '--ambient-caps', '-all,+net_admin', '--bounding-set', '-all,+net_admin'];
  const command = [
    ...environment,
    'setpriv',
    `--reuid=${NOBODY}`,
    `--regid=${NOBODY}`,
    '--clear-groups',
    '--no-new-privs',
    ...capabilities,
  ];
  // Where udev has been, the device is open to all; elsewhere only in the mounts of this process.
  const open = 'mknod "$0" c 10 200 && chmod 666 "$0" && mount --bind "$0" /dev/net/tun && exec env "$@"';
  const program = [process.execPath, PROGRAM, 'up', config, '--foreground', '--timeout', '0'];
  const daemon = rig.lab.client.spawn('sh', ['-c', open, join(folder, 'tun'), ...command, ...program]);
  const log = (): string => readFileSync(daemon.logFile, 'utf8');
  try {
    await until('READY=1 with the peer reached', async () => receiver.heard.includes('READY=1 STATUS=up'), 60_000);
  } catch (error) {
    t.comment(log());
    throw error;
  }
  t.ok(receiver.heard.includes('READY=1 STATUS=waiting for the peer'), 'started before the peer was reached');

  const { pid } = JSON.parse(readFileSync(join(run, 'mpt0.json'), 'utf8')) as { pid: number };
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  t.match(status, new RegExp(`^Uid:\\s+${NOBODY}\\s+${NOBODY}\\s`, 'm'));
  for (const set of ['CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
    t.equal(BigInt(`0x${new RegExp(`^${set}:\\s+(\\w+)$`, 'm').exec(status)?.[1]}`), CAP_NET_ADMIN_MASK, set);

  const { bytes, faultAt } = await runTraffic(rig.lab.client, { op: 'download', host: WEB_ADDRESS, port: TRAFFIC_PORT, bytes: 500_000 });
  t.same({ bytes, faultAt }, { bytes: 500_000, faultAt: -1 }, 'a download through it, byte for byte');
  await until(
    'both paths up',
    async () => {
      const [peer] = (await rig.status('server')).peers;
      return peer?.paths.length === 2 && peer.paths.every(({ state }) => state === 'up');
    },
    15_000,
  );
  await until('the watchdog hears', async () => receiver.heard.includes('WATCHDOG=1'), 10_000);

  daemon.kill('SIGTERM');
  t.equal(await daemon.exited, 0);
  t.ok(receiver.heard.some((line) => line.startsWith('STOPPING=1')));
  t.same(
    readdirSync(run).filter((file) => !file.endsWith('.log')),
    [],
    'nothing is left',
  );
  t.equal((await rig.lab.client.run('ip', ['-o', 'link', 'show'])).stdout.includes('mpt0'), false);
});
