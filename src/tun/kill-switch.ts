/**
 * The kill switch: what belongs into the tunnel leaves by it or not at all, from `up` until `down`, whatever becomes of the daemon in between. So it is not in the network
 * journal, which the next `up` undoes before it begins, but has a file of its own; a new one replaces an old one in one transaction, without a gap.
 *
 * It judges what leaves, of this host and of those that it forwards for. Other tables judge as well: it lets nothing through that a firewall forbids.
 */

import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { parsePrefix } from './ip-prefix.js';
import { runNft } from './nft-command.js';
import { nftTableName, removeTableScript, replaceTableScript } from './nft-table.js';

export interface KillSwitch {
  readonly device: string;
  /** SO_MARK of the tunnel's outer packets. */
  readonly mark: number;
  /** Prefixes that leave only by the tunnel; undefined: all there is. */
  readonly covered: readonly string[] | undefined;
  /** Prefixes that may be reached beside the tunnel all the same. */
  readonly allow: readonly string[];
  /** Interfaces behind which there are hosts that use the tunnel through this one. */
  readonly lanInterfaces: readonly string[];
}

const FAMILY = 'inet';
const NEEDED_BY = 'kill_switch';
/** Before the usual filters, so that these see only what leaves. */
const PRIORITY = 'filter - 10';
/** Without them no link can have an address: RFC 4861, RFC 2710, RFC 3810. */
const LINK_ICMPV6 = [
  'nd-router-solicit',
  'nd-router-advert',
  'nd-neighbor-solicit',
  'nd-neighbor-advert',
  'mld-listener-report',
  'mld-listener-done',
  'mld2-listener-report',
];

/** What of the allowed IPs the kill switch holds: a default route of one IP version is meant to keep the other from leaking, too. */
export function killSwitchCover(allowedIps: readonly string[]): readonly string[] | undefined {
  const halves = new Map<4 | 6, number>();
  for (const text of new Set(allowedIps)) {
    const prefix = parsePrefix(text);
    if (prefix === undefined) throw new TypeError(`not an IP prefix: ${text}`);
    if (prefix.length === 0) return undefined;
    // "0.0.0.0/1, 128.0.0.0/1" is a default route by another name.
    if (prefix.length === 1) halves.set(prefix.family, (halves.get(prefix.family) ?? 0) + 1);
  }
  return [...halves.values()].some((count) => count > 1) ? undefined : allowedIps;
}

/** The chains of its table. ARP and DHCP's raw sockets are below nftables' `inet`; a lease is renewed by ordinary ones. */
export function killSwitchBody({ device, mark, covered, allow, lanInterfaces }: KillSwitch): string {
  const devices = ['lo', device, ...lanInterfaces].map((name) => JSON.stringify(name)).join(', ');
  const to = (prefix: string, verdict: string): string => `    ${prefix.includes(':') ? 'ip6' : 'ip'} daddr ${prefix} ${verdict}`;
  return [
    '  counter refused { }',
    '  chain refuse {',
    '    counter name "refused" reject with icmpx admin-prohibited',
    '  }',
    '  chain judge {',
    `    oifname { ${devices} } accept`,
    `    meta mark ${mark} accept`,
    ...allow.map((prefix) => to(prefix, 'accept')),
    ...(covered === undefined ? ['    goto refuse'] : covered.map((prefix) => to(prefix, 'goto refuse'))),
    '  }',
    '  chain output {',
    `    type filter hook output priority ${PRIORITY}; policy accept;`,
    '    udp sport 68 udp dport 67 accept',
    '    udp sport 546 udp dport 547 accept',
    `    icmpv6 type { ${LINK_ICMPV6.join(', ')} } accept`,
    '    goto judge',
    '  }',
    '  chain forward {',
    `    type filter hook forward priority ${PRIORITY}; policy accept;`,
    '    goto judge',
    '  }',
  ].join('\n');
}

/** In force from now on, in place of an older one of the same device. `file` remembers it. Throws HostNetworkError, and the older one stays. */
export async function engageKillSwitch(file: string, killSwitch: KillSwitch): Promise<void> {
  const table = nftTableName(killSwitch.device, 'kill-switch');
  const isNew = !existsSync(file);
  if (isNew) writeFileSync(file, JSON.stringify({ table }), { mode: 0o600 });
  try {
    await runNft(replaceTableScript(FAMILY, table, killSwitchBody(killSwitch)), NEEDED_BY);
  } catch (error) {
    if (isNew) rmSync(file, { force: true });
    throw error;
  }
}

/** Traffic may leave again. Idempotent. Returns why it may not. */
export async function releaseKillSwitch(file: string): Promise<string[]> {
  let table: string;
  try {
    table = (JSON.parse(readFileSync(file, 'utf8')) as { table: string }).table;
  } catch {
    return [];
  }
  try {
    await runNft(removeTableScript(FAMILY, table), NEEDED_BY);
  } catch (error) {
    return [(error as Error).message];
  }
  rmSync(file, { force: true });
  return [];
}
