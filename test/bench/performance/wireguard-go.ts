/** WireGuard in userspace between the hosts of a lab, over its first link. */

import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LabProcess } from '../../../src/lab/lab-api.js';
import { type NamespaceHost, runCommand } from '../../../src/lab/namespaces.js';
import { type Lab, SERVER_PUBLIC_ADDRESS } from '../../../src/lab/topology.js';
import type { PeerTunnel } from './carrier.js';
import { PEER_CLIENT_ADDRESS, PEER_GATEWAY_ADDRESS, untilItCarries } from './peer-tunnel.js';

const PORT = 51_820;
/** wg-quick's default on a link of 1500. */
const MTU_BYTES = 1420;
const SOCKET_TIMEOUT_MS = 5000;
const POLL_MS = 20;

let count = 0;

/** Its control socket lies in a folder that namespaces share: names must be unique on the machine. */
function interfaceName(side: string): string {
  return `wg${side}${process.pid.toString(36)}.${count}`;
}

export async function startWireguardGo(lab: Lab): Promise<PeerTunnel> {
  count += 1;
  const [clientKey, gatewayKey] = [await genkey(), await genkey()];
  const gateway = await startSide(lab, lab.server, interfaceName('g'), {
    address: PEER_GATEWAY_ADDRESS,
    config: `[Interface]
PrivateKey = ${gatewayKey.secret}
ListenPort = ${PORT}
[Peer]
PublicKey = ${clientKey.open}
AllowedIPs = ${PEER_CLIENT_ADDRESS}/32
`,
  });
  const client = await startSide(lab, lab.client, interfaceName('c'), {
    address: PEER_CLIENT_ADDRESS,
    config: `[Interface]
PrivateKey = ${clientKey.secret}
[Peer]
PublicKey = ${gatewayKey.open}
AllowedIPs = ${PEER_GATEWAY_ADDRESS}/32
Endpoint = ${SERVER_PUBLIC_ADDRESS}:${PORT}
`,
  });
  await untilItCarries(lab.client, [client, gateway]);
  return { gateway: PEER_GATEWAY_ADDRESS, daemons: [client.pid, gateway.pid] };
}

async function genkey(): Promise<{ secret: string; open: string }> {
  const secret = (await runCommand('wg', ['genkey'])).stdout.trim();
  return { secret, open: (await runCommand('wg', ['pubkey'], { input: secret })).stdout.trim() };
}

async function startSide(lab: Lab, host: NamespaceHost, name: string, side: { address: string; config: string }): Promise<LabProcess> {
  const daemon = host.spawn('wireguard-go', ['-f', name]);
  let ended = false;
  void daemon.exited.then(() => {
    ended = true;
  });
  const deadlineMs = performance.now() + SOCKET_TIMEOUT_MS;
  while (!existsSync(`/var/run/wireguard/${name}.sock`) && !ended && performance.now() < deadlineMs) await sleep(POLL_MS);
  const file = join(lab.folder, `${name}.conf`);
  writeFileSync(file, side.config, { mode: 0o600 });
  await host.run('wg', ['setconf', name, file]);
  await host.run('ip', ['address', 'add', `${side.address}/24`, 'dev', name]);
  await host.run('ip', ['link', 'set', name, 'mtu', String(MTU_BYTES), 'up']);
  return daemon;
}
