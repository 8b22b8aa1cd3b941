/**
 * A client behind two NATs, as behind two home routers, and a server that has a name:
 *
 *   client  wan0 10.1.0.2 --- 10.1.0.1  nat0  198.18.0.2 --- 198.18.0.1 \
 *           wan1 10.1.1.2 --- 10.1.1.1  nat1  198.18.1.2 --- 198.18.1.1  server  203.0.113.1 (lo), of the web 198.51.100.2 (lo)
 */

import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatKey, generatePrivateKey } from '../../src/crypto/keys.js';
import { publicKeyOf } from '../../src/crypto/x25519.js';
import { HostGroup, type NamespaceHost } from '../../src/lab/namespaces.js';
import type { PathStatus, TunnelStatus } from '../../src/tunnel/status.js';
import { ip } from './guide-world.js';
import { PROGRAM } from './tunnel-rig.js';

export const WEB = '198.51.100.2';
const SERVER_NAME = 'server.example';
const SECRETS = { client: generatePrivateKey(randomBytes), server: generatePrivateKey(randomBytes) };
const UP_TIMEOUT_MS = 40_000;
/** Of both paths together 20 Mbit/s. */
const LIMIT = 'limit_up = "10 Mbit/s"\nlimit_down = "10 Mbit/s"\n';
/** In the mount namespace that `ip netns exec` makes; the file is changed in place. */
const WITH_HOSTS = 'mount --bind "$0" /etc/hosts && exec "$@"';

export type Side = 'client' | 'server';

export class RoamingRig {
  readonly client: NamespaceHost;
  readonly server: NamespaceHost;
  readonly nats: readonly NamespaceHost[];
  readonly #group: HostGroup;

  private constructor(group: HostGroup, [client, server, ...nats]: readonly NamespaceHost[]) {
    this.#group = group;
    this.client = client!;
    this.server = server!;
    this.nats = nats;
  }

  /** Both ends are up before it resolves. */
  static async create(): Promise<RoamingRig> {
    const group = new HostGroup();
    const hosts: NamespaceHost[] = [];
    for (const role of ['client', 'server', 'nat0', 'nat1']) hosts.push(await group.addHost(role));
    const rig = new RoamingRig(group, hosts);
    try {
      await rig.#connect();
      rig.nameServer('203.0.113.1');
      rig.#configure();
      for (const side of ['server', 'client'] as const) {
        mkdirSync(rig.#folder(side), { mode: 0o700 });
        await rig.mptunnel(side, 'up', `${rig.#folder(side)}.toml`, '--timeout', '30');
      }
      return rig;
    } catch (error) {
      await rig.close();
      throw error;
    }
  }

  /** What the server's name stands for. */
  nameServer(address: string): void {
    writeFileSync(this.#hostsFile, `127.0.0.1 localhost\n${address} ${SERVER_NAME}\n`);
  }

  /** The router is given another address by its provider, and forgets all its mappings with the old one. */
  async renumberNat(index: number, from: string, to: string): Promise<void> {
    await ip(
      this.nats[index]!,
      `address del ${from}/24 dev wan`,
      `address add ${to}/24 dev wan`,
      `route replace default via 198.18.${index}.1`,
    );
  }

  mptunnel(side: Side, ...args: string[]) {
    const environment = [`MPTUNNEL_RUN_DIR=${this.#folder(side)}`, `MPTUNNEL_STATE_DIR=${this.#folder(side)}.state`, 'NODE_OPTIONS='];
    const command = ['env', ...environment, process.execPath, PROGRAM, ...args];
    return this[side].run('sh', ['-c', WITH_HOSTS, this.#hostsFile, ...command], { timeoutMs: UP_TIMEOUT_MS });
  }

  async status(side: Side): Promise<TunnelStatus> {
    return JSON.parse((await this.mptunnel(side, 'status', 'mpt0', '--json')).stdout) as TunnelStatus;
  }

  async path(side: Side, name: string): Promise<PathStatus> {
    return (await this.status(side)).peers[0]!.paths.find((path) => path.name === name)!;
  }

  async close(): Promise<void> {
    for (const side of ['client', 'server'] as const) await this.mptunnel(side, 'down', 'mpt0').catch(() => undefined);
    await this.#group.close();
  }

  get #hostsFile(): string {
    return join(this.#group.folder, 'hosts');
  }

  #folder(side: Side): string {
    return join(this.#group.folder, side);
  }

  async #connect(): Promise<void> {
    const { client, server, nats } = this;
    await ip(server, 'link set lo up', 'address add 203.0.113.1/32 dev lo', `address add ${WEB}/32 dev lo`);
    for (const [index, nat] of nats.entries()) {
      await ip(client, `link add wan${index} type veth peer name lan netns ${nat.namespace}`);
      await ip(nat, `link add wan type veth peer name net${index} netns ${server.namespace}`);
      await ip(
        nat,
        `address add 10.1.${index}.1/24 dev lan`,
        `address add 198.18.${index}.2/24 dev wan`,
        'link set lan up',
        'link set wan up',
        `route add default via 198.18.${index}.1`,
      );
      await ip(server, `address add 198.18.${index}.1/24 dev net${index}`, `link set net${index} up`);
      await ip(
        client,
        `address add 10.1.${index}.2/24 dev wan${index}`,
        `link set wan${index} up`,
        `route add default via 10.1.${index}.1 dev wan${index} metric ${100 + index}`,
      );
      await nat.run('sysctl', ['-qw', 'net.ipv4.ip_forward=1']);
      await nat.run('nft', ['-f', '-'], { input: NAT_RULES });
    }
  }

  #configure(): void {
    const paths = [0, 1].map((index) => `[[path]]\nname = "link${index}"\ninterface = "wan${index}"\n${LIMIT}`).join('\n');
    this.#write(
      'client',
      `address = ["10.77.0.2/24"]\n\n${paths}`,
      `endpoint = "${SERVER_NAME}:5180"\nallowed_ips = ["10.77.0.1/32", "${WEB}/32"]`,
    );
    this.#write(
      'server',
      `address = ["10.77.0.1/24"]\nlisten_port = 5180\n\n[egress]\nmode = "socket"\nallow = ["${WEB}/32"]`,
      'allowed_ips = ["10.77.0.2/32"]',
    );
  }

  #write(side: Side, own: string, peer: string): void {
    const other = side === 'client' ? 'server' : 'client';
    writeFileSync(
      `${this.#folder(side)}.toml`,
      `[interface]
name = "mpt0"
private_key = "${formatKey(SECRETS[side])}"
${own}

[[peer]]
name = "${other}"
public_key = "${formatKey(publicKeyOf(SECRETS[other]))}"
${peer}
`,
      { mode: 0o600 },
    );
  }
}

/** As home routers have them: what comes unasked is dropped. */
const NAT_RULES = `table ip nat {
  chain out { type nat hook postrouting priority srcnat; oifname "wan" masquerade; }
}
table ip filter {
  chain in { type filter hook input priority filter; iifname "wan" ct state new drop; }
  chain through { type filter hook forward priority filter; iifname "wan" ct state new drop; }
}
`;
