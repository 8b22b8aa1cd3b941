/**
 * The real command line over a tunnel that only pretends. FAKE_TUNNEL chooses how it behaves; the file "device" in the run directory stands for
 * what a real tunnel would leave behind if it were not closed.
 */

import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runCli } from '../../src/cli/main.js';
import { runDirectory } from '../../src/tun/run-directory.js';
import { EventHub } from '../../src/tunnel/event-hub.js';
import type { PacketTap, PathLink } from '../../src/tunnel/link.js';
import { type StartTunnelOptions, type Tunnel, TunnelError } from '../../src/tunnel/tunnel-api.js';

const MODE = process.env.FAKE_TUNNEL ?? 'works';
const PATH = { id: 0, name: 'dsl', local: '10.90.0.1:40000', remote: '203.0.113.1:5180' } as PathLink;
/** IPv4 and UDP headers around four bytes. */
const PACKET = Uint8Array.from([
  ...[0x45, 0, 0, 32, 0, 0, 0x40, 0, 64, 17, 0x66, 0x2f, 10, 77, 0, 1, 10, 77, 0, 2],
  ...[0x13, 0x88, 0x13, 0x89, 0, 12, 0, 0, 1, 2, 3, 4],
]);

async function startTunnel({ config, log }: StartTunnelOptions): Promise<Tunnel> {
  const device = join(runDirectory(), 'device');
  if (MODE === 'no-start') throw new TunnelError('no-tun', 'there is no /dev/net/tun here:\nload the module tun');
  if (MODE === 'never-starts') await new Promise((resolve) => setTimeout(resolve, 60_000));
  writeFileSync(device, '');
  if (MODE === 'dies') process.kill(process.pid, 'SIGKILL');
  if (MODE === 'throws-later')
    setTimeout(() => {
      throw new Error('a defect');
    }, 20);
  const events = new EventHub(log);
  const { name } = config.interface;
  events.emit({ type: 'tunnel', state: 'started', name });
  let tapped: PacketTap | undefined;
  const traffic = setInterval(() => {
    for (let i = 0; i < 10; i++) tapped?.onPacket('out', PATH, 'datagram', PACKET, 0, PACKET.length, PACKET, 0, 0, 0);
  }, 2);
  return {
    peers: [],
    addPeer: async () => {},
    removePeer: async () => false,
    setMessageHandler: () => {},
    sendMessage: () => false,
    status: () => ({
      name: config.interface.name,
      state: 'up',
      pid: process.pid,
      uptimeMs: 65_000,
      peers: [
        {
          name: 'vps',
          publicKey: 'xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=',
          state: 'up',
          lastError: '',
          connections: 3,
          paths: [
            {
              id: 0,
              name: 'dsl',
              local: PATH.local,
              remote: PATH.remote,
              state: 'up',
              rttMs: 20.4,
              minRttMs: 20,
              lossRatio: 0.012,
              deliveryRateBytesPerSec: 6_250_000,
              rxBytes: 1_234_567_890,
              txBytes: 999,
              stateReason: 'it answers',
              inStateMs: 65_000,
              rxBytesPerSec: 6_000_000,
              txBytesPerSec: 120_000,
              innerMtuBytes: 1440,
              priority: 0,
              backup: false,
            },
            {
              id: 1,
              name: 'lte',
              local: '',
              remote: PATH.remote,
              state: 'probing',
              rttMs: -1,
              minRttMs: -1,
              lossRatio: 0,
              deliveryRateBytesPerSec: 0,
              rxBytes: 0,
              stateReason: 'the link is back',
              inStateMs: -1,
              rxBytesPerSec: 0,
              txBytesPerSec: 0,
              innerMtuBytes: 1440,
              priority: 0,
              backup: false,
              txBytes: 0,
            },
          ],
        },
      ],
      connections: 3,
      counters: { badTag: 2, replayed: 0 },
    }),
    ready: async (timeoutMs) => {
      if (MODE !== 'unreachable') return events.emit({ type: 'tunnel', state: 'ready', name });
      await new Promise((resolve) => setTimeout(resolve, timeoutMs));
      throw new TunnelError('unreachable', 'peer vps (203.0.113.1:5180) does not answer: check its endpoint, its firewall and the keys');
    },
    addPath: async ({ name }) => {
      log.info(`fake: add ${name}`);
      return name === 'late' ? 'interface "usb0" does not exist' : '';
    },
    removePath: (name) => {
      if (name !== 'dsl') throw new TunnelError('no-such-path', `There is no path "${name}" here: known are dsl, lte.`);
      log.info(`fake: remove ${name}`);
    },
    changePath: (name, change) => log.info(`fake: change ${name} ${JSON.stringify(change)}`),
    changePeer: (name, change) => {
      if (name !== 'laptop') throw new TunnelError('no-such-peer', `There is no peer "${name}" here: known are laptop, phone.`);
      log.info(`fake: limit ${name} ${JSON.stringify(change)}`);
    },
    reconfigure: async ({ paths }) => ({ done: paths.map(({ name }) => `path ${name}: added`), left: ['[stream]'] }),
    setTap: (tap) => {
      tapped = tap;
    },
    connections: () => ({ total: 0, connections: [] }),
    onEvent: (listener) => events.listen(listener),
    report: (occurrence) => events.emit(occurrence),
    recentEvents: events.recent,
    close: async (reason) => {
      events.emit({ type: 'tunnel', state: 'stopping', name, ...(reason === undefined ? {} : { reason }) });
      if (MODE === 'hangs-at-close') await new Promise((resolve) => setTimeout(resolve, 60_000));
      clearInterval(traffic);
      rmSync(device, { force: true });
    },
  };
}

process.exitCode = await runCli(process.argv.slice(2), {
  entryFile: fileURLToPath(import.meta.url),
  loadStartTunnel: async () => startTunnel,
});
