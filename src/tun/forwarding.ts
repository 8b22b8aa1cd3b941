/**
 * Makes the host a router, as a gateway (and a box with a LAN behind it) must be, and takes that back. The switches are the host's, not the tunnel's: what was on already stays on.
 * Two tunnels that both need them are no trouble: the one that is taken down last restores what the first had found (network-journal.ts).
 */

import { readdirSync } from 'node:fs';
import { queryIp } from './ip-command.js';
import type { IpFamily } from './ip-prefix.js';
import { type NetworkJournal, readSysctl, setSysctl } from './network-journal.js';

const IPV4_FORWARDING = '/proc/sys/net/ipv4/ip_forward';
const IPV4_CONF = '/proc/sys/net/ipv4/conf';
const IPV6_CONF = '/proc/sys/net/ipv6/conf';

export interface ForwardingOptions {
  readonly journal: NetworkJournal;
  readonly families: readonly IpFamily[];
  readonly warn: (message: string) => void;
}

/** What cannot be switched on is a warning that says what it costs: TCP between the peers does not need it. */
export async function enableForwarding({ journal, families, warn }: ForwardingOptions): Promise<void> {
  if (families.includes(4)) {
    keepThoseOn(journal, IPV4_FORWARDING, IPV4_CONF);
    switchOn(journal, IPV4_FORWARDING, '1', warn);
  }
  if (!families.includes(6) || readSysctl(`${IPV6_CONF}/all/forwarding`) === undefined) return;
  // A router takes no address or default route from router advertisements (RFC 4861, 6.2.7), and Linux drops those that it has learnt when it becomes one; 2 means "all the same".
  for (const device of await devicesWithAdvertisedRoutes()) switchOn(journal, `${IPV6_CONF}/${device}/accept_ra`, '2', warn);
  keepThoseOn(journal, `${IPV6_CONF}/all/forwarding`, IPV6_CONF);
  switchOn(journal, `${IPV6_CONF}/all/forwarding`, '1', warn);
}

/** The switch for all sets every interface's own; taking it back would switch off those that forwarded by themselves. */
function keepThoseOn(journal: NetworkJournal, all: string, folder: string): void {
  if (readSysctl(all) !== '0') return;
  const paths = interfacesOf(folder).map((name) => `${folder}/${name}/forwarding`);
  journal.add(paths.filter((path) => readSysctl(path) === '1').map((path) => ({ kind: 'sysctl', path, previous: '1', ours: '0' })));
}

function interfacesOf(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => name !== 'all');
  } catch {
    return [];
  }
}

function switchOn(journal: NetworkJournal, path: string, ours: string, warn: (message: string) => void): void {
  try {
    setSysctl(journal, path, ours);
  } catch (error) {
    const name = path.replace('/proc/sys/', '').replaceAll('/', '.');
    const { code } = error as NodeJS.ErrnoException;
    warn(`${name} cannot be set to ${ours} (${code}), so packets may not be forwarded: set it by hand: sysctl -w ${name}=${ours}`);
  }
}

/** Those whose default route came by an advertisement, and that would lose it. */
async function devicesWithAdvertisedRoutes(): Promise<string[]> {
  const routes = await queryIp<{ dev?: string; protocol?: string; nexthops?: { dev: string }[] }>(['-6', 'route', 'show', 'default']);
  const advertised = routes.filter(({ protocol }) => protocol === 'ra');
  const devices = advertised.flatMap(({ dev, nexthops = [] }) => [dev, ...nexthops.map((hop) => hop.dev)]);
  // 0: the administrator wants none.
  return [...new Set(devices)].filter((device): device is string => (readSysctl(`${IPV6_CONF}/${device}/accept_ra`) ?? '0') !== '0');
}
