/**
 * What the kernel knows of a network interface, asked of `ip -j`: /sys would show the namespace that it was mounted in, not ours.
 */

import { execFile } from 'node:child_process';

export interface InterfaceInfo {
  index: number;
  name: string;
  mtuBytes: number;
  /** Administratively up and with a carrier. */
  usable: boolean;
  /** Without prefix lengths; global ones first. */
  addresses: string[];
}

const TIMEOUT_MS = 2000;

interface IpAddressJson {
  ifindex?: number;
  ifname?: string;
  mtu?: number;
  flags?: string[];
  addr_info?: { local?: string; scope?: string }[];
}

/** All interfaces; an empty list when `ip` cannot be asked. */
export function readInterfaces(): Promise<InterfaceInfo[]> {
  return new Promise((resolve) => {
    execFile('ip', ['-j', 'addr', 'show'], { timeout: TIMEOUT_MS, env: { ...process.env, NODE_OPTIONS: '' } }, (error, stdout) => {
      resolve(error === null ? parseInterfaces(stdout) : []);
    });
  });
}

/** Output of `ip -j addr show`; what does not fit is left out. */
export function parseInterfaces(json: string): InterfaceInfo[] {
  let list: unknown;
  try {
    list = JSON.parse(json);
  } catch {
    return [];
  }
  if (!Array.isArray(list)) return [];
  const interfaces: InterfaceInfo[] = [];
  for (const entry of list as IpAddressJson[]) {
    if (typeof entry?.ifname !== 'string' || typeof entry.ifindex !== 'number') continue;
    const flags = entry.flags ?? [];
    const infos = (entry.addr_info ?? []).filter((info) => typeof info.local === 'string');
    infos.sort((a, b) => Number(b.scope === 'global') - Number(a.scope === 'global'));
    interfaces.push({
      index: entry.ifindex,
      name: entry.ifname,
      mtuBytes: entry.mtu ?? 1500,
      // NO-CARRIER stands for a second after the carrier has come, LOWER_UP comes with it.
      usable: flags.includes('UP') && (flags.includes('LOWER_UP') || !flags.includes('NO-CARRIER')),
      addresses: infos.map((info) => info.local!),
    });
  }
  return interfaces;
}
