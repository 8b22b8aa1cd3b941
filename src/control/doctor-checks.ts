/** What `mptunnel doctor` says of what it found. Pure: facts in, findings out. */

import type { ConnectionView } from '../tunnel/connections.js';
import type { PathStatus, TunnelStatus } from '../tunnel/status.js';
import { formatBitRate, formatMs, formatPercent, plural } from './text-figures.js';

/** unknown: it could not be checked here, and why. */
export type Verdict = 'ok' | 'warn' | 'fail' | 'unknown';

export interface Finding {
  check: string;
  verdict: Verdict;
  found: string;
  /** What to do; absent where nothing is to be done. */
  advice?: string;
}

export interface HostFacts {
  kernelRelease: string;
  nodeVersion: string;
  tunDevice: 'usable' | 'missing' | 'forbidden';
  /** root, or CAP_NET_ADMIN. */
  mayConfigureNetwork: boolean;
  wallClockMs: number;
  /** When the program was built: the clock cannot be before it. */
  builtAtMs: number;
  clockSynchronized: boolean | undefined;
  addon: { aead: string; engine: string; sealNs: number } | { error: string };
}

/** UDP segmentation offload is of 4.18, receive offload of 5.0; before 6.11 a device without checksums refuses the first, which is handled. */
const KERNEL_MINIMUM = [5, 0] as const;
/** Slower than this, sealing alone takes a core at some 4 Gbit/s. */
const SLOW_SEAL_NS = 2500;

export function checkHost(facts: HostFacts): Finding[] {
  return [kernel(facts), tunDevice(facts), permissions(facts), clock(facts), addon(facts)];
}

function kernel({ kernelRelease, nodeVersion }: HostFacts): Finding {
  const found = `Linux ${kernelRelease}, Node.js ${nodeVersion}`;
  const [major = 0, minor = 0] = kernelRelease.split(/[.-]/).map(Number);
  const isOld = major < KERNEL_MINIMUM[0] || (major === KERNEL_MINIMUM[0] && minor < KERNEL_MINIMUM[1]);
  if (!isOld) return { check: 'kernel', verdict: 'ok', found };
  return {
    check: 'kernel',
    verdict: 'warn',
    found,
    advice: 'before Linux 5.0 datagrams are sent one by one, which takes several times the CPU',
  };
}

function tunDevice({ tunDevice: state }: HostFacts): Finding {
  const check = '/dev/net/tun';
  if (state === 'usable') return { check, verdict: 'ok', found: 'can be opened' };
  if (state === 'forbidden') return { check, verdict: 'fail', found: 'permission denied', advice: 'run as root' };
  return {
    check,
    verdict: 'fail',
    found: 'is not there',
    advice: 'modprobe tun; in a container: pass the device in (--device /dev/net/tun)',
  };
}

function permissions({ mayConfigureNetwork }: HostFacts): Finding {
  if (mayConfigureNetwork) return { check: 'permissions', verdict: 'ok', found: 'may configure the network' };
  return { check: 'permissions', verdict: 'fail', found: 'neither root nor CAP_NET_ADMIN', advice: 'run as root' };
}

/** The handshake carries the time, and a peer takes none that is not newer than the last (as WireGuard does). */
function clock({ wallClockMs, builtAtMs, clockSynchronized }: HostFacts): Finding {
  const now = new Date(wallClockMs).toISOString();
  const advice = 'set it (timedatectl set-ntp true): a peer refuses handshakes that are older than the last one it saw';
  if (wallClockMs < builtAtMs) return { check: 'clock', verdict: 'fail', found: `${now} is before this program was built`, advice };
  if (clockSynchronized === false) return { check: 'clock', verdict: 'warn', found: `${now}, not synchronized`, advice };
  const how = clockSynchronized === true ? 'synchronized' : 'plausible; whether it is synchronized is not known';
  return { check: 'clock', verdict: 'ok', found: `${now}, ${how}` };
}

function addon({ addon: found }: HostFacts): Finding {
  if ('error' in found) return { check: 'addon', verdict: 'fail', found: found.error, advice: 'build it with `npm run setup`' };
  const text = `${found.aead} by ${found.engine}, ${Math.round(found.sealNs)} ns a packet`;
  if (found.sealNs <= SLOW_SEAL_NS) return { check: 'addon', verdict: 'ok', found: text };
  return {
    check: 'addon',
    verdict: 'warn',
    found: text,
    advice: 'encryption will bound the speed: install intel-ipsec-mb (apt install libipsec-mb1)',
  };
}

const HIGH_LOSS = 0.02;
/** Of a path beside the fastest. */
const SLOW_RTT_FACTOR = 5;
const SLOW_RTT_MIN_MS = 200;

/** One path alone, as the running tunnel knows it. */
export function checkPath(peerName: string, path: PathStatus, fastestRttMs: number): Finding[] {
  const check = `path ${peerName}/${path.name}`;
  if (path.state !== 'up') {
    const since = path.stateReason === '' ? path.state : `${path.state}: ${path.stateReason}`;
    return [{ check, verdict: 'fail', found: since, advice: 'check the link, and that UDP to the endpoint gets through there' }];
  }
  const found = `up, RTT ${formatMs(path.rttMs)} (least ${formatMs(path.minRttMs)}), loss ${formatPercent(path.lossRatio)}`;
  return [quality(check, found, path, fastestRttMs), checkNat(check, path)];
}

function quality(check: string, found: string, path: PathStatus, fastestRttMs: number): Finding {
  if (path.benched !== undefined)
    return {
      check,
      verdict: 'warn',
      found: `${found}; benched: ${path.benched.reason}`,
      advice: 'streams leave it alone for a while: it would slow them',
    };
  if (path.lossRatio > HIGH_LOSS)
    return { check, verdict: 'warn', found, advice: 'it loses much: the link, its radio, or a queue that is too short' };
  if (path.rttMs > SLOW_RTT_MIN_MS && path.rttMs > SLOW_RTT_FACTOR * fastestRttMs)
    return { check, verdict: 'warn', found, advice: 'it is far slower than the fastest: consider backup = true' };
  return { check, verdict: 'ok', found };
}

/** Our address on the path beside the one that the server saw. More than this cannot be told with one server: not how another destination would be mapped. */
export function checkNat(check: string, { local, seenAs }: PathStatus): Finding {
  const natCheck = `${check}, NAT`;
  if (seenAs === undefined || seenAs === '')
    return { check: natCheck, verdict: 'unknown', found: 'the peer has not said which address it sees (it is the client, or older)' };
  if (seenAs === local) return { check: natCheck, verdict: 'ok', found: `none: the peer sees ${seenAs}` };
  const [ours, theirs] = [splitEndpoint(local), splitEndpoint(seenAs)];
  const ports = ours.port === theirs.port ? 'the port is kept' : `port ${ours.port} became ${theirs.port}`;
  return { check: natCheck, verdict: 'ok', found: `${ours.address} is seen as ${theirs.address}, ${ports}` };
}

/** Found by pings of growing size; `usedBytes` is what the tunnel takes for the size of outer packets. */
export function checkMtu(
  check: string,
  measured: { largestBytes: number; smallestLostBytes: number } | undefined,
  interfaceMtuBytes: number,
): Finding {
  const mtuCheck = `${check}, MTU`;
  if (measured === undefined)
    return {
      check: mtuCheck,
      verdict: 'unknown',
      found: 'the endpoint does not answer pings (or ping is not installed); packet sizes were not tried',
    };
  const { largestBytes } = measured;
  if (largestBytes >= interfaceMtuBytes) return { check: mtuCheck, verdict: 'ok', found: `packets of ${largestBytes} bytes get through` };
  return {
    check: mtuCheck,
    verdict: 'warn',
    found: `packets of ${largestBytes} bytes get through, ${measured.smallestLostBytes} do not, and the interface says ${interfaceMtuBytes}`,
    advice: `ip link set mtu ${largestBytes} on the interface`,
  };
}

/** Two looks at a running tunnel. */
export interface LoadFacts {
  status: TunnelStatus;
  connections: readonly ConnectionView[];
  /** Of one core, 0 .. 1. */
  daemonCpuShare: number;
  /** Datagrams that the kernel dropped because our sockets' receive buffers were full, between the looks. */
  receiveBufferDrops: number;
}

const BUSY_CPU_SHARE = 0.85;
/** Below this there is no load to judge. */
const IDLE_BYTES_PER_SEC = 50_000;
/** A window with less room than this holds a sender up that has more to send. */
const CLOSED_WINDOW_BYTES = 16 << 10;

/** What bounds the speed now: CPU, buffer, peer, path, in this order. */
export function checkLoad({ status, connections, daemonCpuShare, receiveBufferDrops }: LoadFacts): Finding {
  const check = 'bottleneck';
  const paths = status.peers.flatMap((peer) => peer.paths).filter(({ state }) => state === 'up');
  const rate = paths.reduce((sum, path) => sum + path.rxBytesPerSec + path.txBytesPerSec, 0);
  const load = `${formatBitRate(rate)} over ${plural(paths.length, 'path')}, ${Math.round(daemonCpuShare * 100)} % of a core`;
  if (daemonCpuShare >= BUSY_CPU_SHARE)
    return {
      check,
      verdict: 'warn',
      found: `CPU: ${load}`,
      advice: 'the daemon fills its core: a faster CPU, intel-ipsec-mb, or a lighter congestion control',
    };
  if (receiveBufferDrops > 0)
    return {
      check,
      verdict: 'warn',
      found: `buffer: the kernel dropped ${receiveBufferDrops} datagrams before we read them; ${load}`,
      advice: 'raise net.core.rmem_max',
    };
  if (rate < IDLE_BYTES_PER_SEC)
    return {
      check,
      verdict: 'unknown',
      found: `nothing is carried now (${load})`,
      advice: 'run this again during a transfer: then it can name what bounds it',
    };
  const heldUp = connections.filter((one) => one.queuedBytes > 0 && one.peerWindowBytes < CLOSED_WINDOW_BYTES);
  if (heldUp.length > 0)
    return {
      check,
      verdict: 'warn',
      found: `peer: ${plural(heldUp.length, 'connection')} held up by the reader; ${load}`,
      advice: 'whoever reads at the other end is slower than the tunnel',
    };
  const bad = paths.find((path) => path.lossRatio > HIGH_LOSS || path.benched !== undefined);
  if (bad !== undefined)
    return {
      check,
      verdict: 'warn',
      found: `path: ${bad.name} ${bad.benched === undefined ? `loses ${formatPercent(bad.lossRatio)}` : 'is benched'}; ${load}`,
    };
  return { check, verdict: 'ok', found: `path: neither CPU, buffers nor the peer hold it up, so the links do, or the sender; ${load}` };
}

function splitEndpoint(text: string): { address: string; port: string } {
  const at = text.lastIndexOf(':');
  return { address: text.slice(0, at), port: text.slice(at + 1) };
}

/** Ends in a newline: the verdicts, and under them what to do. */
export function formatFindings(findings: readonly Finding[], wrap: (text: string) => string[]): string {
  const width = Math.max(0, ...findings.map(({ check }) => check.length));
  const lines = findings.flatMap(({ check, verdict, found, advice }) => [
    ...wrap(`${MARKS[verdict]} ${check.padEnd(width)}  ${found}`),
    ...(advice === undefined ? [] : wrap(`       -> ${advice}`)),
  ]);
  const count = (verdict: Verdict): number => findings.filter((finding) => finding.verdict === verdict).length;
  lines.push('', `${count('fail')} failed, ${count('warn')} to look at, ${count('ok')} in order, ${count('unknown')} not known`);
  return `${lines.join('\n')}\n`;
}

const MARKS: Readonly<Record<Verdict, string>> = { ok: 'OK    ', warn: 'WARN  ', fail: 'FAIL  ', unknown: '?     ' };
