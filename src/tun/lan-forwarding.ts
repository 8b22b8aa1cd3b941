/**
 * Hosts behind this one use the tunnel: their packets are forwarded into it and back. Forwarding is switched on for the interfaces concerned, not for all, so that nobody
 * on an uplink can send through this host; of IPv6 the kernel knows only all or none.
 */

import { enableForwarding } from './forwarding.js';
import { parsePrefix } from './ip-prefix.js';
import { type NetworkJournal, readSysctl, setSysctl } from './network-journal.js';
import type { NftTable, NftTables } from './nft-table.js';

export interface LanOptions {
  /** Where those hosts are; they may come later. */
  readonly interfaces: readonly string[];
  /** Into the tunnel goes this host's own tunnel address in place of theirs. */
  readonly masquerade: boolean;
}

export interface LanTunnel {
  readonly device: string;
  readonly mtuBytes: number;
  /** "10.77.0.2/24" */
  readonly addresses: readonly string[];
}

/** IP and TCP headers without options. */
const MSS_OVERHEAD_BYTES = { ip: 40, ip6: 60 } as const;

/**
 * TCP that is terminated here learns its segment size from our own SYN-ACK; what is carried packet by packet would learn of the smaller MTU by ICMP, which many firewalls
 * drop. Only ever lowered.
 */
export function lanTable({ device, mtuBytes, addresses }: LanTunnel, { masquerade }: LanOptions): NftTable {
  const name = JSON.stringify(device);
  const clamp = (direction: string): string[] =>
    (['ip', 'ip6'] as const).map(
      (family) =>
        `    ${direction} ${name} meta nfproto ${family === 'ip' ? 'ipv4' : 'ipv6'} tcp flags & (syn | rst) == syn tcp option maxseg size set ${mtuBytes - MSS_OVERHEAD_BYTES[family]}`,
    );
  const lines = [
    '  chain forward {',
    '    type filter hook forward priority mangle; policy accept;',
    ...clamp('oifname'),
    ...clamp('iifname'),
    '  }',
  ];
  if (masquerade) {
    const own = addresses.map((address) => address.split('/')[0]!);
    const families = [4, 6].filter((family) => own.some((address) => parsePrefix(address)?.family === family));
    lines.push(
      '  chain postrouting {',
      '    type nat hook postrouting priority srcnat; policy accept;',
      ...own.map((address) => `    oifname ${name} ${address.includes(':') ? 'ip6' : 'ip'} saddr ${address} accept`),
      ...families.map((family) => `    oifname ${name} meta nfproto ipv${family} masquerade`),
      '  }',
    );
  }
  return { family: 'inet', purpose: 'lan', body: lines.join('\n'), neededBy: '[lan]' };
}

/**
 * What a LAN host sends past the tunnel is answered over an uplink, from which nothing was forwarded so far. Nothing but such answers is from now on, where the host did not
 * forward from there already.
 */
export async function forwardLanReplies(
  uplinks: readonly string[],
  { journal, tables, warn }: { journal: NetworkJournal; tables: NftTables; warn: (message: string) => void },
  guarded: Set<string>,
): Promise<void> {
  const closed = uplinks.filter((name) => readSysctl(forwardingPath(name)) === '0');
  if (closed.length === 0) return;
  for (const name of closed) guarded.add(name);
  // First, lest there be a moment in which all may pass.
  await tables.apply(repliesTable([...guarded]));
  for (const name of closed) switchOn(name, journal, warn, `what hosts behind this one send past the tunnel by ${name} is not answered`);
}

function repliesTable(uplinks: readonly string[]): NftTable {
  const names = `{ ${uplinks.map((name) => JSON.stringify(name)).join(', ')} }`;
  const lines = [
    '  chain forward {',
    '    type filter hook forward priority filter - 5; policy accept;',
    `    iifname ${names} meta nfproto ipv4 ct direction reply accept`,
    `    iifname ${names} meta nfproto ipv4 drop`,
    '  }',
  ];
  return { family: 'inet', purpose: 'lan-replies', body: lines.join('\n'), neededBy: '[lan] beside a [[rule]] with bypass' };
}

function forwardingPath(device: string): string {
  return `/proc/sys/net/ipv4/conf/${device}/forwarding`;
}

function switchOn(device: string, journal: NetworkJournal, warn: (message: string) => void, consequence: string): void {
  const path = forwardingPath(device);
  try {
    setSysctl(journal, path, '1');
  } catch (error) {
    warn(`${path} cannot be set to 1 (${(error as NodeJS.ErrnoException).code}): ${consequence}`);
  }
}

/** Call again when interfaces have come: what is as it should be then is left alone. */
export async function forwardLan(
  { device, addresses }: LanTunnel,
  { interfaces }: LanOptions,
  journal: NetworkJournal,
  warn: (message: string) => void,
  isAgain = false,
): Promise<void> {
  for (const name of [device, ...interfaces]) {
    if (isAgain && readSysctl(forwardingPath(name)) === '1') continue;
    switchOn(name, journal, warn, `hosts behind ${name} do not reach the tunnel`);
  }
  const carriesIpv6 = addresses.some((address) => parsePrefix(address)?.family === 6);
  if (carriesIpv6 && !(isAgain && readSysctl('/proc/sys/net/ipv6/conf/all/forwarding') === '1'))
    await enableForwarding({ journal, families: [6], warn });
}
