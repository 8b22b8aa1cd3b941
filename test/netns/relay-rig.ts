/**
 * Two sites behind NATs of their own, and two hosts that may be relays:
 *
 *   a 10.1.0.2 --- natA 198.18.1.2 --- net --- natB 198.18.2.2 --- b 10.2.0.2
 *                                       |--- relay0 203.0.113.2, relay1 203.0.114.2
 *
 * A NAT lets in what was asked for alone. `steady` gives a socket the same outer port towards all (RFC 4787: endpoint-independent mapping), `symmetric` another one towards each.
 */

import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatKey, generatePrivateKey } from '../../src/crypto/keys.js';
import { publicKeyOf } from '../../src/crypto/x25519.js';
import type { LabProcess } from '../../src/lab/lab-api.js';
import { HostGroup, type NamespaceHost } from '../../src/lab/namespaces.js';
import type { RelayStatus } from '../../src/tunnel/relay/relay-server.js';
import type { TunnelStatus } from '../../src/tunnel/status.js';
import { PROGRAM, until } from './tunnel-rig.js';

export type NatKind = 'steady' | 'symmetric';
export type Site = 'a' | 'b';
export const ADDRESS: Readonly<Record<Site, string>> = { a: '10.77.0.1', b: '10.77.0.2' };
const RELAY_PORT = 5181;
const RELAY_ADDRESSES = ['203.0.113.2', '203.0.114.2'] as const;
const SECRETS = { a: generatePrivateKey(randomBytes), b: generatePrivateKey(randomBytes) };
const UP_TIMEOUT_MS = 40_000;

type Hosts = Readonly<Record<'a' | 'b' | 'natA' | 'natB' | 'net' | 'relay0' | 'relay1', NamespaceHost>>;

export class RelayRig {
  readonly hosts: Hosts;
  readonly #group: HostGroup;
  readonly #relays: (LabProcess | undefined)[] = [undefined, undefined];

  private constructor(group: HostGroup, hosts: Hosts) {
    this.#group = group;
    this.hosts = hosts;
  }

  static async create(nat: NatKind): Promise<RelayRig> {
    const group = new HostGroup();
    try {
      const names = ['a', 'b', 'natA', 'natB', 'net', 'relay0', 'relay1'] as const;
      const made = await Promise.all(names.map(async (name) => [name, await group.addHost(name)] as const));
      const rig = new RelayRig(group, Object.fromEntries(made) as unknown as Hosts);
      await rig.#connect(nat);
      for (const site of ['a', 'b'] as const) mkdirSync(rig.#folder(site), { mode: 0o700 });
      return rig;
    } catch (error) {
      await group.close();
      throw error;
    }
  }

  async startRelay(index: 0 | 1): Promise<void> {
    const keys = (['a', 'b'] as const).flatMap((site) => ['--allow', formatKey(publicKeyOf(SECRETS[site]))]);
    const args = ['relay', '--listen', String(RELAY_PORT), '--key', this.#keyFile(index), '--json', '--status-every', '1', ...keys];
    const relay = this.hosts[`relay${index}`].spawn('env', ['NODE_OPTIONS=', process.execPath, PROGRAM, ...args]);
    this.#relays[index] = relay;
    await until('the relay runs', async () => this.#linesOf(relay).length > 0, UP_TIMEOUT_MS);
  }

  async killRelay(index: 0 | 1): Promise<void> {
    this.#relays[index]?.kill('SIGKILL');
    await this.#relays[index]?.exited;
  }

  /** The newest that it told. */
  relayStatus(index: 0 | 1): RelayStatus {
    return JSON.parse(this.#linesOf(this.#relays[index]!).at(-1)!) as RelayStatus;
  }

  /** Both sites name the relays of `relays`, which were started before; b waits, a dials. */
  async up(relays: readonly (0 | 1)[]): Promise<void> {
    const vias = relays.map((index) => {
      const key = publicKeyOf(Buffer.from(readFileSync(this.#keyFile(index), 'utf8'), 'base64'));
      return `${RELAY_ADDRESSES[index]}:${RELAY_PORT}#${formatKey(key)}`;
    });
    this.#configure('a', vias.map((via, i) => `[[path]]\nname = "relay${i}"\ninterface = "lan"\nvia = "${via}"\n`).join('\n'), '');
    this.#configure('b', '', `relays = ${JSON.stringify(vias)}`);
    for (const site of ['b', 'a'] as const) await this.start(site);
  }

  async start(site: Site): Promise<void> {
    await this.mptunnel(site, 'up', this.#configFile(site), '--timeout', '30');
  }

  mptunnel(site: Site, ...args: string[]) {
    const environment = [`MPTUNNEL_RUN_DIR=${this.#folder(site)}`, `MPTUNNEL_STATE_DIR=${this.#folder(site)}.state`, 'NODE_OPTIONS='];
    return this.hosts[site].run('env', [...environment, process.execPath, PROGRAM, ...args], { timeoutMs: UP_TIMEOUT_MS });
  }

  async status(site: Site): Promise<TunnelStatus> {
    return JSON.parse((await this.mptunnel(site, 'status', 'mpt0', '--json')).stdout) as TunnelStatus;
  }

  async paths(site: Site) {
    return (await this.status(site)).peers[0]!.paths;
  }

  async close(): Promise<void> {
    for (const site of ['a', 'b'] as const) await this.mptunnel(site, 'down', 'mpt0').catch(() => undefined);
    for (const relay of this.#relays) relay?.kill('SIGTERM');
    await this.#group.close();
  }

  #linesOf(relay: LabProcess): string[] {
    return readFileSync(relay.logFile, 'utf8')
      .split('\n')
      .slice(0, -1)
      .filter((line) => line.startsWith('{'));
  }

  #folder(site: Site): string {
    return join(this.#group.folder, site);
  }

  #configFile(site: Site): string {
    return join(this.#group.folder, `${site}.toml`);
  }

  #keyFile(index: number): string {
    return join(this.#group.folder, `relay${index}.key`);
  }

  #configure(site: Site, paths: string, more: string): void {
    const other = site === 'a' ? 'b' : 'a';
    writeFileSync(
      this.#configFile(site),
      `[interface]
name = "mpt0"
private_key = "${formatKey(SECRETS[site])}"
address = ["${ADDRESS[site]}/24"]
${more}

${paths}
[[peer]]
name = "${other}"
public_key = "${formatKey(publicKeyOf(SECRETS[other]))}"
allowed_ips = ["${ADDRESS[other]}/32"]
`,
      { mode: 0o600 },
    );
  }

  async #connect(nat: NatKind): Promise<void> {
    const { a, b, natA, natB, net, relay0, relay1 } = this.hosts;
    for (const host of Object.values(this.hosts)) await ip(host, 'link set lo up');
    await wire(a, 'lan', '10.1.0.2', natA, 'lan', '10.1.0.1');
    await wire(b, 'lan', '10.2.0.2', natB, 'lan', '10.2.0.1');
    await wire(natA, 'wan', '198.18.1.2', net, 'na', '198.18.1.1');
    await wire(natB, 'wan', '198.18.2.2', net, 'nb', '198.18.2.1');
    await wire(relay0, 'eth', RELAY_ADDRESSES[0], net, 'nr0', '203.0.113.1');
    await wire(relay1, 'eth', RELAY_ADDRESSES[1], net, 'nr1', '203.0.114.1');
    const gateways = [
      [a, '10.1.0.1'],
      [b, '10.2.0.1'],
      [natA, '198.18.1.1'],
      [natB, '198.18.2.1'],
      [relay0, '203.0.113.1'],
      [relay1, '203.0.114.1'],
    ] as const;
    for (const [host, gateway] of gateways) await ip(host, `route add default via ${gateway}`);
    for (const host of [natA, natB, net]) await host.run('sysctl', ['-qw', 'net.ipv4.ip_forward=1']);
    for (const host of [natA, natB]) await host.run('nft', ['-f', '-'], { input: natRules(nat) });
  }
}

/** As a home router has them: what comes unasked is dropped, so that it leaves no trace that would take the port from who is asked next. */
function natRules(kind: NatKind): string {
  return `table ip nat {
  chain out { type nat hook postrouting priority srcnat; oifname "wan" masquerade ${kind === 'symmetric' ? 'fully-random' : ''}; }
}
table ip filter {
  chain in { type filter hook input priority filter; iifname "wan" ct state new drop; }
  chain through { type filter hook forward priority filter; iifname "wan" ct state new drop; }
}
`;
}

async function wire(one: NamespaceHost, name: string, address: string, other: NamespaceHost, otherName: string, otherAddress: string) {
  await ip(one, `link add ${name} type veth peer name ${otherName} netns ${other.namespace}`);
  await ip(one, `address add ${address}/24 dev ${name}`, `link set ${name} up`);
  await ip(other, `address add ${otherAddress}/24 dev ${otherName}`, `link set ${otherName} up`);
}

async function ip(host: NamespaceHost, ...lines: string[]): Promise<void> {
  await host.run('ip', ['-batch', '-'], { input: `${lines.join('\n')}\n` });
}
