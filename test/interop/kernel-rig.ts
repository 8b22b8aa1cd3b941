/**
 * Our host against the Linux kernel's MPTCP: a network namespace with one or two TUNs, the kernel at one end, a host of ours in this process at the
 * other. What crosses the TUNs is tapped, so that the checker can judge it; nftables inside the namespace plays the middlebox. Needs root.
 */

import { execFileSync } from 'node:child_process';
import { createWriteStream, existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { PcapngWriter } from '../../src/control/pcapng.js';
import { createHost, type Host, type HostEvent, type HostOptions, type MptcpSocket, openTunDevice } from '../../src/index.js';
import { HostGroup, type NamespaceHost } from '../../src/lab/namespaces.js';
import { KernelPeer } from './kernel-peer.js';
import { type CheckReport, checkMptcp } from './mptcp-checker.js';
import { type Passed, TappedDevice } from './tapped-device.js';

const PEER_PROGRAM = fileURLToPath(new URL('../../../test/interop/kernel-peer.py', import.meta.url));
export const PORT = 5000;

export type Family = 4 | 6;

/** Addresses of link i: the kernel's, and ours. */
export function kernelAddress(link: number, family: Family = 4): string {
  return family === 4 ? `10.${link + 1}.0.1` : `fd00:${link + 1}::1`;
}

export function ourAddress(link: number, family: Family = 4): string {
  return family === 4 ? `10.${link + 1}.0.2` : `fd00:${link + 1}::2`;
}

export interface KernelRigOptions {
  /** Default 1. */
  links?: 1 | 2;
  family?: Family;
  /** net.mptcp.*, e.g. { checksum_enabled: 1 }. */
  mptcp?: Readonly<Record<string, number>>;
  /** net.ipv4.tcp_fastopen, which holds for IPv6 too: 1 for clients, 2 for servers. */
  fastOpen?: 3;
  /** Arguments of `ip mptcp endpoint add` and `ip mptcp limits set`. */
  endpoints?: readonly string[];
  limits?: string;
  /** Rules of nftables for what comes from us to the kernel, and for what the kernel sends. */
  inbound?: readonly string[];
  outbound?: readonly string[];
  middlebox?: HandlePacket;
  /** Beyond devices: see HostOptions. */
  host?: Partial<HostOptions>;
  /** Flags of our addresses, by link. */
  addresses?: readonly Readonly<Record<string, unknown>>[];
}

interface TappedPacket {
  link: number;
  direction: 'in' | 'out';
  timeMs: number;
  bytes: Uint8Array;
}

export type HandlePacket = (direction: 'in' | 'out', packet: Uint8Array, link: number) => Passed;

export interface Middlebox {
  handle: HandlePacket | undefined;
}

export class KernelRig {
  readonly host: Host;
  readonly family: Family;
  readonly events: HostEvent[] = [];
  readonly packets: TappedPacket[] = [];
  private readonly kernel: NamespaceHost;
  private readonly group: HostGroup;

  /** Stands between the tap and the device, for what nftables cannot do; may be changed at any time. */
  readonly middlebox: Middlebox;

  constructor(host: Host, family: Family, kernel: NamespaceHost, group: HostGroup, packets: TappedPacket[], middlebox: Middlebox) {
    this.middlebox = middlebox;
    this.host = host;
    this.family = family;
    this.kernel = kernel;
    this.group = group;
    this.packets = packets;
    host.on('event', (event: HostEvent) => this.events.push(event));
  }

  /** Runs a command in the kernel's namespace. */
  async run(command: string): Promise<string> {
    return (await this.kernel.run('sh', ['-c', command])).stdout;
  }

  /** Starts kernel-peer.py; a listening one is listening when this resolves. */
  async peer(protocol: 'mptcp' | 'tcp', role: 'listen' | 'connect', service: string, ...more: (string | number)[]): Promise<KernelPeer> {
    const address = role === 'listen' ? kernelAddress(0, this.family) : ourAddress(0, this.family);
    const args = [PEER_PROGRAM, protocol, role, address, PORT, service, ...more].map(String);
    const peer = new KernelPeer(this.kernel.spawnPiped('python3', args));
    if (role === 'listen') await peer.event('listening');
    return peer;
  }

  connect(options: Readonly<Record<string, unknown>> = {}): MptcpSocket {
    return this.host.connect({ host: kernelAddress(0, this.family), port: PORT, ...options });
  }

  /** The next connection that the kernel opens to us. */
  accept(options: Readonly<Record<string, unknown>> = {}): Promise<MptcpSocket> {
    return new Promise((resolve) => {
      const listener = this.host.listen(
        PORT,
        (socket) => {
          listener.refuse();
          resolve(socket);
        },
        options,
      );
    });
  }

  /** The kernel's MPTcpExt counters that are not zero, without the prefix. */
  counters(): Promise<Record<string, number>> {
    return this.countersNamed('MPTcpExt');
  }

  /** Those that begin so, without that. */
  async countersNamed(prefix: string): Promise<Record<string, number>> {
    const counters: Record<string, number> = {};
    for (const line of (await this.run('nstat -asz')).split('\n')) {
      const [name = '', value = '0'] = line.trim().split(/\s+/);
      if (name.startsWith(prefix) && value !== '0') counters[name.slice(prefix.length)] = Number(value);
    }
    return counters;
  }

  /** Rules from now on, in place of those before. */
  async setRules(inbound: readonly string[], outbound: readonly string[]): Promise<void> {
    await this.run(`nft flush ruleset; ${nftCommands(inbound, outbound)}`);
  }

  check(): CheckReport {
    return checkMptcp(this.packets.map((packet) => packet.bytes));
  }

  /** For people: the trace of a case that failed. */
  async writeCapture(file: string): Promise<void> {
    const out = createWriteStream(file);
    const writer = new PcapngWriter((block) => out.write(block));
    const interfaces = [0, 1].map((link) => writer.addInterface(`link${link}`));
    for (const { link, direction, timeMs, bytes } of this.packets) {
      writer.writePacket(interfaces[link] as number, Math.floor(timeMs * 1000), direction, bytes, 0, bytes.length);
    }
    await new Promise<void>((resolve) => out.end(resolve));
  }

  async close(): Promise<void> {
    await this.host.close();
    await this.group.close();
  }
}

export async function createKernelRig(options: KernelRigOptions = {}): Promise<KernelRig> {
  const { links = 1, family = 4 } = options;
  const group = new HostGroup();
  try {
    const kernel = await group.addHost('kernel');
    const packets: TappedPacket[] = [];
    const middlebox: Middlebox = { handle: options.middlebox };
    const devices = Array.from({ length: links }, (_, link) => {
      const tun = openTunDevice({ name: 'mptk%d', offloads: false });
      execFileSync('ip', ['link', 'set', tun.name, 'netns', kernel.namespace, 'name', `tun${link}`]);
      const device = new TappedDevice(tun, (direction, bytes) => {
        packets.push({ link, direction, bytes, timeMs: wallClockMs() });
        return middlebox.handle === undefined ? bytes : middlebox.handle(direction, bytes, link);
      });
      return { device, addresses: [{ address: ourAddress(link, family), ...options.addresses?.[link] }] };
    });
    await kernel.run('sh', ['-e'], { input: setUpScript(options, links, family) });
    return new KernelRig(createHost({ devices, ...options.host }), family, kernel, group, packets, middlebox);
  } catch (error) {
    await group.close();
    throw error;
  }
}

function wallClockMs(): number {
  return performance.timeOrigin + performance.now();
}

function setUpScript(options: KernelRigOptions, links: number, family: Family): string {
  const lines = ['ip link set lo up', 'sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0'];
  for (let link = 0; link < links; link++) {
    const bits = family === 4 ? 24 : 64;
    lines.push(`ip link set tun${link} addrgenmode none`, `ip addr add ${kernelAddress(link, family)}/${bits} dev tun${link}`);
    lines.push(`ip link set tun${link} up`);
  }
  // IPv4 takes what is bound to a device as on-link there; IPv6 must be told.
  for (let link = 0; family === 6 && link < links; link++) {
    for (let other = 0; other < links; other++) {
      if (other !== link) lines.push(`ip -6 route add fd00:${other + 1}::/64 dev tun${link} metric 2048`);
    }
  }
  for (const [name, value] of Object.entries(options.mptcp ?? {})) lines.push(`sysctl -qw net.mptcp.${name}=${value}`);
  if (options.fastOpen !== undefined) lines.push(`sysctl -qw net.ipv4.tcp_fastopen=${options.fastOpen}`);
  if (options.limits !== undefined) lines.push(`ip mptcp limits set ${options.limits}`);
  for (const endpoint of options.endpoints ?? []) lines.push(`ip mptcp endpoint add ${endpoint}`);
  if (options.inbound !== undefined || options.outbound !== undefined) {
    lines.push(nftCommands(options.inbound ?? [], options.outbound ?? []));
  }
  return lines.join('\n');
}

function nftCommands(inbound: readonly string[], outbound: readonly string[]): string {
  const commands = [
    'add table inet box',
    'add chain inet box inbound { type filter hook prerouting priority -300; }',
    'add chain inet box outbound { type filter hook output priority -300; }',
    ...inbound.map((rule) => `add rule inet box inbound ${rule}`),
    ...outbound.map((rule) => `add rule inet box outbound ${rule}`),
  ];
  return `nft -f - <<'RULES'\n${commands.join('\n')}\nRULES`;
}

/** Of a case that failed: counters, events, and the capture in the folder MPTUNNEL_CAPTURES, where that is set. */
export async function reportFailure(t: Test, rig: KernelRig, name: string): Promise<void> {
  if (t.passing()) return;
  t.comment(JSON.stringify({ kernel: await rig.counters(), ours: rig.host.counters }));
  // Memory and subflows of what is still open: a case that hangs shows here which end has stopped.
  t.comment(await rig.run('ss -nHMmi; ss -nHtmi'));
  for (const { name: event, localAddress, remoteAddress, reason = '' } of rig.events) {
    t.comment(`${event} ${localAddress} ${remoteAddress} ${reason}`);
  }
  const folder = process.env.MPTUNNEL_CAPTURES;
  if (folder !== undefined) await rig.writeCapture(`${folder}/${name.replaceAll(/\W+/g, '-')}.pcapng`);
}

/** '' when the kernel here can do it, else what it lacks: the reason to skip. */
export function missingForInterop(): string {
  if (process.getuid?.() !== 0) return 'needs root';
  if (!existsSync('/proc/sys/net/mptcp/enabled')) return 'this kernel has no MPTCP';
  return '';
}
