/** Finds out what `mptunnel doctor` judges: of the host, of uplinks without a tunnel, of a daemon's load. Asks only, changes nothing. */

import { execFile } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync, statSync } from 'node:fs';
import { release } from 'node:os';
import { fileURLToPath } from 'node:url';
import { loadNative } from '../tun/native.js';
import type { HostFacts } from './doctor-checks.js';

const CAP_NET_ADMIN_BIT = 12n;
const COMMAND_TIMEOUT_MS = 5000;
/** Of systemd-timesyncd; other clients leave no mark that is easy to read. */
const SYNCHRONIZED_MARK = '/run/systemd/timesync/synchronized';
/** USER_HZ, of every Linux that Node.js runs on. */
const TICKS_PER_SECOND = 100;
/** What links have: Ethernet, PPPoE, tunnels, LTE, the least of IPv6. */
const MTU_CANDIDATES = [1500, 1492, 1480, 1472, 1460, 1440, 1428, 1400, 1358, 1320, 1280] as const;
const IP_AND_ICMP_BYTES = { 4: 28, 6: 48 } as const;

export function hostFacts(): HostFacts {
  return {
    kernelRelease: release(),
    nodeVersion: process.versions.node,
    tunDevice: tunDevice(),
    mayConfigureNetwork: hasNetAdmin(),
    wallClockMs: Date.now(),
    builtAtMs: statSync(fileURLToPath(import.meta.url)).mtimeMs,
    clockSynchronized: existsSync(SYNCHRONIZED_MARK) ? true : undefined,
    addon: addon(),
  };
}

function tunDevice(): HostFacts['tunDevice'] {
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK);
    return 'usable';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'missing' : 'forbidden';
  }
}

function hasNetAdmin(): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> CAP_NET_ADMIN_BIT) & 1n) === 1n;
}

function addon(): HostFacts['addon'] {
  try {
    const { aes256gcmNs, aes256gcmEngine, chacha20Poly1305Ns, chacha20Poly1305Engine } = loadNative().measureAead();
    return aes256gcmNs <= chacha20Poly1305Ns
      ? { aead: 'aes-256-gcm', engine: aes256gcmEngine, sealNs: aes256gcmNs }
      : { aead: 'chacha20-poly1305', engine: chacha20Poly1305Engine, sealNs: chacha20Poly1305Ns };
  } catch (error) {
    return { error: (error as Error).message };
  }
}

/** The largest packet that comes back from `address` over the interface unbroken; undefined when nothing does. */
export async function measureMtu(
  address: string,
  family: 4 | 6,
  interfaceName: string | undefined,
  limitBytes: number,
): Promise<{ largestBytes: number; smallestLostBytes: number } | undefined> {
  const sizes = [...new Set([limitBytes, ...MTU_CANDIDATES])].filter((size) => size <= limitBytes).sort((a, b) => b - a);
  const answered = await Promise.all(sizes.map((size) => ping(address, family, interfaceName, size - IP_AND_ICMP_BYTES[family])));
  const index = answered.indexOf(true);
  if (index < 0) return undefined;
  return { largestBytes: sizes[index]!, smallestLostBytes: index === 0 ? 0 : sizes[index - 1]! };
}

/** Three tries: loss shall not look like size. */
function ping(address: string, family: 4 | 6, interfaceName: string | undefined, payloadBytes: number): Promise<boolean> {
  const bind = interfaceName === undefined ? [] : ['-I', interfaceName];
  const size = ['-s', String(Math.max(0, payloadBytes)), '-M', 'do'];
  return succeeds('ping', [`-${family}`, '-n', '-q', '-c', '3', '-i', '0.3', '-W', '2', ...size, ...bind, address]);
}

/** Which way the kernel would take to `address` over that interface: undefined when there is none. */
export async function hasRoute(address: string, interfaceName: string | undefined): Promise<boolean> {
  return succeeds('ip', ['route', 'get', address, ...(interfaceName === undefined ? [] : ['oif', interfaceName])]);
}

function succeeds(command: string, args: readonly string[]): Promise<boolean> {
  return new Promise((resolve) => {
    execFile(command, [...args], { timeout: COMMAND_TIMEOUT_MS, env: { ...process.env, NODE_OPTIONS: '' } }, (error) =>
      resolve(error === null),
    );
  });
}

/** Seconds of CPU that the process has had; 0 when it is gone. */
export function cpuSeconds(pid: number): number {
  try {
    // The name, in brackets, may hold anything.
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').at(-1)!.split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  } catch {
    return 0;
  }
}

/** Datagrams dropped at sockets on these local ports, because nobody had read what was before them. */
export function receiveDrops(ports: ReadonlySet<number>): number {
  let drops = 0;
  for (const table of ['/proc/self/net/udp', '/proc/self/net/udp6']) {
    try {
      drops += countDrops(readFileSync(table, 'latin1'), ports);
    } catch {
      // A kernel without IPv6.
    }
  }
  return drops;
}

/** Of /proc/net/udp: the local address is the second column, drops the last. */
export function countDrops(table: string, ports: ReadonlySet<number>): number {
  let drops = 0;
  for (const line of table.split('\n').slice(1)) {
    const fields = line.trim().split(/\s+/);
    const port = Number.parseInt(fields[1]?.split(':')[1] ?? '', 16);
    if (ports.has(port)) drops += Number(fields.at(-1));
  }
  return drops;
}
