/**
 * Two sites with a tunnel between their gateways, a host behind each:
 *
 *   lanA 10.1.0.5 --- lan0 10.1.0.1 gateway A ==wan0, wan1== gateway B 10.2.0.1 lan0 --- lanB 10.2.0.7
 *
 * Gateway A is the lab's client and dials; gateway B is its server, and lanB its web. IPv6: fd01::5, fd02::7.
 */

import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatKey, generatePrivateKey } from '../../src/crypto/keys.js';
import { publicKeyOf } from '../../src/crypto/x25519.js';
import type { LinkShape } from '../../src/lab/lab-api.js';
import { HostGroup, type NamespaceHost } from '../../src/lab/namespaces.js';
import { createLab, type Lab, SERVER_PUBLIC_ADDRESS } from '../../src/lab/topology.js';
import { PROGRAM } from './tunnel-rig.js';

export const HOST_A = '10.1.0.5';
export const HOST_B = '10.2.0.7';
export const HOST_A_V6 = 'fd01::5';
export const HOST_B_V6 = 'fd02::7';
export const GATEWAY_B = '10.2.0.1';
/** Another address of each host, which the gateways do not let peers reach. */
export const CLOSED_A = '10.1.0.66';
export const CLOSED_B = '10.2.0.66';
/** Routed to B, where nothing is. */
export const NOWHERE = '10.3.0.1';

export type SiteName = 'a' | 'b';

export interface SiteRigOptions {
  links: readonly Partial<LinkShape>[];
  /** As in LabOptions. */
  wires?: boolean;
  /** Of [egress] on both sides; default "tun". */
  mode?: 'tun' | 'socket';
}

export class SiteRig {
  readonly lab: Lab;
  readonly lanA: NamespaceHost;
  private readonly group: HostGroup;
  private readonly keys = { a: generatePrivateKey(randomBytes), b: generatePrivateKey(randomBytes) };
  private readonly mode: string;

  private constructor(lab: Lab, group: HostGroup, lanA: NamespaceHost, mode: string) {
    this.lab = lab;
    this.group = group;
    this.lanA = lanA;
    this.mode = mode;
  }

  static async create({ links, wires = false, mode = 'tun' }: SiteRigOptions): Promise<SiteRig> {
    const lab = await createLab({ links, wires });
    const group = new HostGroup();
    try {
      const rig = new SiteRig(lab, group, await group.addHost('lan-a'), mode);
      await rig.connectLans();
      for (const site of ['b', 'a'] as const) {
        mkdirSync(rig.folder(site), { mode: 0o700 });
        rig.configure(site);
        await rig.mptunnel(site, 'up', rig.configFile(site));
      }
      return rig;
    } catch (error) {
      await group.close();
      await lab.close();
      throw error;
    }
  }

  get lanB(): NamespaceHost {
    return this.lab.web;
  }

  gateway(site: SiteName): NamespaceHost {
    return site === 'a' ? this.lab.client : this.lab.server;
  }

  configFile(site: SiteName): string {
    return join(this.lab.folder, `${site}.toml`);
  }

  /** Writes a site's file: what it lets peers reach, and what more is routed to its peer. */
  configure(site: SiteName, { deny = [site === 'a' ? CLOSED_A : CLOSED_B], alsoRouted = [] as readonly string[] } = {}): void {
    const isA = site === 'a';
    const allow = isA ? ['10.1.0.0/16', 'fd01::/64'] : ['10.2.0.0/16', '10.3.0.0/16', 'fd02::/64', 'fd03::/64'];
    const remote = isA
      ? ['10.77.0.1/32', '10.2.0.0/16', '10.3.0.0/16', 'fd02::/64', 'fd03::/64']
      : ['10.77.0.2/32', '10.1.0.0/16', 'fd01::/64'];
    const links = isA ? this.lab.links.map((_, i) => `[[path]]\nname = "link${i}"\ninterface = "wan${i}"\n`).join('\n') : '';
    writeFileSync(
      this.configFile(site),
      `[interface]
name = "mpt0"
private_key = "${formatKey(this.keys[site])}"
address = ["10.77.0.${isA ? 2 : 1}/24"]
${isA ? '' : 'listen_port = 5180'}

${links}
[[peer]]
name = "site-${isA ? 'b' : 'a'}"
public_key = "${formatKey(publicKeyOf(this.keys[isA ? 'b' : 'a']))}"
${isA ? `endpoint = "${SERVER_PUBLIC_ADDRESS}:5180"` : ''}
allowed_ips = ${JSON.stringify([...remote, ...alsoRouted])}

[egress]
mode = "${this.mode}"
${this.mode === 'socket' ? 'nat = false' : ''}
allow = ${JSON.stringify(allow)}
deny = ${JSON.stringify(deny)}
`,
      { mode: 0o600 },
    );
  }

  mptunnel(site: SiteName, ...args: string[]) {
    const environment = [`MPTUNNEL_RUN_DIR=${this.folder(site)}`, `MPTUNNEL_STATE_DIR=${this.folder(site)}.state`, 'NODE_OPTIONS='];
    return this.gateway(site).run('env', [...environment, process.execPath, PROGRAM, ...args], { timeoutMs: 60_000 });
  }

  async close(): Promise<void> {
    for (const site of ['a', 'b'] as const) await this.mptunnel(site, 'down', 'mpt0').catch(() => undefined);
    await this.group.close();
    await this.lab.close();
  }

  private folder(site: SiteName): string {
    return join(this.lab.folder, `run-${site}`);
  }

  private async connectLans(): Promise<void> {
    const { client, server, web } = this.lab;
    const ip = (host: NamespaceHost, ...lines: string[]) => host.run('ip', ['-batch', '-'], { input: `${lines.join('\n')}\n` });
    await ip(client, `link add lan0 type veth peer name lan0 netns ${this.lanA.namespace}`);
    await ip(client, 'address add 10.1.0.1/24 dev lan0', 'address add fd01::1/64 dev lan0 nodad', 'link set lan0 up');
    await ip(
      this.lanA,
      'link set lo up',
      `address add ${HOST_A}/24 dev lan0`,
      `address add ${CLOSED_A}/24 dev lan0`,
      `address add ${HOST_A_V6}/64 dev lan0 nodad`,
      'link set lan0 up',
      'route add default via 10.1.0.1',
      'route add default via fd01::1',
    );
    await ip(server, 'address add 10.2.0.1/24 dev lan0', 'address add fd02::1/64 dev lan0 nodad');
    await ip(
      web,
      `address add ${HOST_B}/24 dev lan0`,
      `address add ${CLOSED_B}/24 dev lan0`,
      `address add ${HOST_B_V6}/64 dev lan0 nodad`,
      `route add 10.1.0.0/16 via 10.2.0.1 src ${HOST_B}`,
      `route add fd01::/64 via fd02::1 src ${HOST_B_V6}`,
    );
  }
}
