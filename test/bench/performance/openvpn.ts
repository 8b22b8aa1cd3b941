/** OpenVPN (UDP, AES-256-GCM, certificates known by their fingerprints) between the hosts of a lab, over its first link. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { runCommand } from '../../../src/lab/namespaces.js';
import { type Lab, SERVER_PUBLIC_ADDRESS } from '../../../src/lab/topology.js';
import type { PeerTunnel } from './carrier.js';
import { PEER_CLIENT_ADDRESS, PEER_GATEWAY_ADDRESS, untilItCarries } from './peer-tunnel.js';

const PORT = 1194;

interface Identity {
  key: string;
  certificate: string;
  fingerprint: string;
}

export async function startOpenvpn(lab: Lab): Promise<PeerTunnel> {
  const folder = join(lab.folder, 'openvpn');
  mkdirSync(folder, { mode: 0o700, recursive: true });
  const [client, gateway] = [await makeIdentity(folder, 'client'), await makeIdentity(folder, 'gateway')];
  const common = (own: Identity, other: Identity, address: string, otherAddress: string): string[] => [
    ...['--dev', 'tun0', '--dev-type', 'tun', '--proto', 'udp', '--cipher', 'AES-256-GCM', '--data-ciphers', 'AES-256-GCM'],
    ...['--key', own.key, '--cert', own.certificate, '--peer-fingerprint', other.fingerprint],
    ...['--ifconfig', address, otherAddress, '--fast-io', '--disable-dco', '--verb', '1'],
  ];
  const server = lab.server.spawn('openvpn', [
    ...common(gateway, client, PEER_GATEWAY_ADDRESS, PEER_CLIENT_ADDRESS),
    ...['--tls-server', '--dh', 'none', '--lport', String(PORT), '--multihome'],
  ]);
  const user = lab.client.spawn('openvpn', [
    ...common(client, gateway, PEER_CLIENT_ADDRESS, PEER_GATEWAY_ADDRESS),
    ...['--tls-client', '--remote', SERVER_PUBLIC_ADDRESS, String(PORT), '--nobind'],
  ]);
  await untilItCarries(lab.client, [user, server]);
  return { gateway: PEER_GATEWAY_ADDRESS, daemons: [user.pid, server.pid] };
}

async function makeIdentity(folder: string, name: string): Promise<Identity> {
  const [key, certificate] = [join(folder, `${name}.key`), join(folder, `${name}.crt`)];
  await runCommand('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '30'],
    ...['-subj', `/CN=${name}`, '-keyout', key, '-out', certificate],
  ]);
  const { stdout } = await runCommand('openssl', ['x509', '-noout', '-fingerprint', '-sha256', '-in', certificate]);
  return { key, certificate, fingerprint: stdout.trim().replace(/^.*=/, '') };
}
