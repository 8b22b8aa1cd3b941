/**
 * A gateway, an Internet that knows nothing of the tunnel's networks, and three clients:
 *
 *   one, two    a default route by their wire to the gateway, and the whole Internet through the tunnel
 *   three       a default route that leads nowhere, and only the tunnel's own networks through the tunnel
 *   nas         192.168.9.2 behind three, its default router; the gateway routes that network to three
 *   inet        198.51.100.2 and 2001:db8:98::2; the gateway is 198.51.100.1 and 2001:db8:98::1 there, and forwards nothing by itself
 */

import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatKey, generatePrivateKey } from '../../src/crypto/keys.js';
import { publicKeyOf } from '../../src/crypto/x25519.js';
import { HostGroup, type NamespaceHost } from '../../src/lab/namespaces.js';
import type { TunnelStatus } from '../../src/tunnel/status.js';
import { PROGRAM } from './tunnel-rig.js';

export const CLIENTS = ['one', 'two', 'three'] as const;
export type Client = (typeof CLIENTS)[number];
export type Side = Client | 'gateway';

export const GATEWAY = { 4: '198.51.100.1', 6: '2001:db8:98::1' } as const;
export const NAS = '192.168.9.2';
export const INET = { 4: '198.51.100.2', 6: '2001:db8:98::2' } as const;

const PORT = 5180;
const NETWORKS = ['10.77.0.0/24', 'fd77::/64'];

/** Of client N: 10.77.0.N+1 and fd77::N+1. */
export function addressOf(client: Client, family: 4 | 6): string {
  const host = CLIENTS.indexOf(client) + 2;
  return family === 4 ? `10.77.0.${host}` : `fd77::${host}`;
}

export class GatewayRig {
  readonly group = new HostGroup();
  readonly hosts: Record<Side | 'inet' | 'nas', NamespaceHost>;
  readonly #keys = Object.fromEntries([...CLIENTS, 'gateway'].map((side) => [side, generatePrivateKey(randomBytes)])) as Record<
    Side,
    Uint8Array
  >;

  private constructor(hosts: GatewayRig['hosts'], group: HostGroup) {
    this.hosts = hosts;
    this.group = group;
  }

  static async create(): Promise<GatewayRig> {
    const group = new HostGroup();
    try {
      const hosts = {} as GatewayRig['hosts'];
      for (const role of ['gateway', 'inet', 'nas', ...CLIENTS] as const) hosts[role] = await group.addHost(role);
      const rig = new GatewayRig(hosts, group);
      await rig.#connect();
      for (const side of [...CLIENTS, 'gateway'] as const) {
        mkdirSync(rig.#folder(side), { mode: 0o700 });
        if (side !== 'gateway') rig.#write(side, rig.#clientConfig(side));
      }
      return rig;
    } catch (error) {
      await group.close();
      throw error;
    }
  }

  /** `more`: keys of a peer's table; `tail`: [egress], [[forward]] and what else is wanted. */
  configureGateway(tail: string, more: Partial<Record<Client, string>> = {}, clients: readonly Client[] = CLIENTS): void {
    const peers = clients.map(
      (client) => `[[peer]]
name = "${client}"
public_key = "${this.publicKey(client)}"
allowed_ips = ["${addressOf(client, 4)}/32", "${addressOf(client, 6)}/128"${client === 'three' ? ', "192.168.9.0/24"' : ''}]
${more[client] ?? ''}
`,
    );
    this.#write(
      'gateway',
      `[interface]
name = "mpt0"
private_key = "${formatKey(this.#keys.gateway)}"
address = ["10.77.0.1/24", "fd77::1/64"]
listen_port = ${PORT}

${peers.join('\n')}
${tail}
`,
    );
  }

  async up(...sides: Side[]): Promise<void> {
    for (const side of sides) await this.mptunnel(side, 'up', this.configFile(side), '--timeout', '30');
  }

  async mptunnel(side: Side, ...args: string[]): Promise<string> {
    const environment = [`MPTUNNEL_RUN_DIR=${this.#folder(side)}`, `MPTUNNEL_STATE_DIR=${this.#folder(side)}.state`, 'NODE_OPTIONS='];
    const { stdout } = await this.hosts[side].run('env', [...environment, process.execPath, PROGRAM, ...args], { timeoutMs: 60_000 });
    return stdout;
  }

  async status(side: Side): Promise<TunnelStatus> {
    return JSON.parse(await this.mptunnel(side, 'status', 'mpt0', '--json')) as TunnelStatus;
  }

  configFile(side: Side): string {
    return join(this.group.folder, `${side}.toml`);
  }

  /** All that a gateway might change of its host. */
  async networkOf(side: Side): Promise<string> {
    const script = `ip -o link | sed 's/^[0-9]*: //'; ip -o addr | sed 's/^[0-9]*: //'; ip route show table all; ip -6 route show table all
      ip rule; ip -6 rule; nft list ruleset; cd /proc/sys/net
      grep -H . ipv4/ip_forward ipv4/conf/*/forwarding ipv4/conf/*/rp_filter ipv6/conf/*/forwarding ipv6/conf/*/accept_ra`;
    return (await this.hosts[side].run('sh', ['-c', script])).stdout;
  }

  async close(): Promise<void> {
    for (const side of [...CLIENTS, 'gateway'] as const) await this.mptunnel(side, 'down', 'mpt0').catch(() => undefined);
    await this.group.close();
  }

  #folder(side: Side): string {
    return join(this.group.folder, side);
  }

  #write(side: Side, text: string): void {
    writeFileSync(this.configFile(side), text, { mode: 0o600 });
  }

  publicKey(side: Side): string {
    return formatKey(publicKeyOf(this.#keys[side]));
  }

  #clientConfig(client: Client): string {
    const host = CLIENTS.indexOf(client) + 2;
    const isWhole = client !== 'three';
    return `[interface]
name = "mpt0"
private_key = "${formatKey(this.#keys[client])}"
address = ["10.77.0.${host}/24", "fd77::${host}/64"]

[[path]]
name = "wire"
interface = "wan0"

[[peer]]
name = "gateway"
public_key = "${this.publicKey('gateway')}"
endpoint = "10.90.${host}.1:${PORT}"
allowed_ips = ${JSON.stringify(isWhole ? ['0.0.0.0/0', '::/0'] : NETWORKS)}
${isWhole ? '' : 'accept_forwards = true\n\n[egress]\nmode = "tun"\nallow = ["192.168.9.0/24"]'}
`;
  }

  async #connect(): Promise<void> {
    const { gateway, inet, nas, three } = this.hosts;
    for (const host of Object.values(this.hosts)) await prepare(host);
    await ip(
      gateway,
      `link add lan0 type veth peer name lan0 netns ${inet.namespace}`,
      `address add ${GATEWAY[4]}/24 dev lan0`,
      `address add ${GATEWAY[6]}/64 dev lan0 nodad`,
      'link set lan0 up',
    );
    await ip(inet, `address add ${INET[4]}/24 dev lan0`, `address add ${INET[6]}/64 dev lan0 nodad`, 'link set lan0 up');
    await ip(
      three,
      `link add lan0 type veth peer name lan0 netns ${nas.namespace}`,
      'address add 192.168.9.1/24 dev lan0',
      'link set lan0 up',
    );
    await ip(nas, `address add ${NAS}/24 dev lan0`, 'link set lan0 up', 'route add default via 192.168.9.1');
    for (const [index, client] of CLIENTS.entries()) {
      const [host, name] = [index + 2, `wan${index + 2}`];
      await ip(
        gateway,
        `link add ${name} type veth peer name wan0 netns ${this.hosts[client].namespace}`,
        `address add 10.90.${host}.1/24 dev ${name}`,
        `link set ${name} up`,
      );
      await ip(this.hosts[client], `address add 10.90.${host}.2/24 dev wan0`, 'link set wan0 up');
      // Three's default route swallows whatever does not go into the tunnel.
      const defaults =
        client === 'three'
          ? [
              'link add nowhere type veth peer name far',
              'link set far up',
              'link set nowhere up',
              'route add default dev nowhere',
              '-6 route add default dev nowhere',
            ]
          : [`route add default via 10.90.${host}.1`];
      for (const line of defaults) await this.hosts[client].run('ip', line.split(' '));
    }
  }
}

async function ip(host: NamespaceHost, ...lines: string[]): Promise<void> {
  await host.run('ip', ['-batch', '-'], { input: `${lines.join('\n')}\n` });
}

/** As distributions have it: strict about where packets come from, and no chatter of neighbours. */
async function prepare(host: NamespaceHost): Promise<void> {
  await ip(host, 'link set lo up');
  const values = {
    'ipv4/conf/all/rp_filter': 0,
    'ipv4/conf/default/rp_filter': 1,
    'ipv4/ip_forward': 0,
    'ipv6/conf/all/forwarding': 0,
    'ipv6/conf/default/accept_ra': 0,
    'ipv6/conf/default/accept_dad': 0,
    'ipv6/conf/default/router_solicitations': 0,
  };
  const script = Object.entries(values).map(([name, value]) => `echo ${value} > /proc/sys/net/${name}`);
  await host.run('sh', ['-e', '-c', script.join('\n')]);
}
