/**
 * Our host against the Linux kernel's MPTCP: a network namespace with one or two TUNs, the kernel at one end, a host of ours in this process at the
 * other. What crosses the TUNs is tapped, so that the checker can judge it; nftables inside the namespace plays the middlebox. Needs root.
 */

import { type ChildProcess, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createWriteStream, existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { PcapngWriter } from '../../src/control/pcapng.js';
import type { PacketDevice, ReceivePacket } from '../../src/host/packet-device.js';
import { createHost, type Host, type HostEvent, type HostOptions, type MptcpSocket, openTunDevice } from '../../src/index.js';
import { HostGroup, type NamespaceHost } from '../../src/lab/namespaces.js';
import { cutSegments } from '../../src/mptcp-over-udp/wire/cut-segments.js';
import { parseSegment } from '../../src/mptcp-over-udp/wire/parse-segment.js';
import { createTcpSegment, type TcpSegment } from '../../src/mptcp-over-udp/wire/segment.js';
import { parseIp } from '../../src/tun/ip-prefix.js';
import { type CheckReport, checkMptcp } from './mptcp-checker.js';

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

/** Of MPTCP_INFO; the fields of bytes are payload. */
export interface PeerInfo {
  /** Beyond the initial one; `subflows_total` counts that too. */
  subflows: number;
  subflows_total: number;
  add_addr_signal: number;
  add_addr_accepted: number;
  fallback: boolean;
  token: number;
  csum_enabled: number;
  bytes_sent: number;
  bytes_received: number;
  bytes_acked: number;
  [name: string]: number | boolean;
}

export interface PeerEvent {
  event: string;
  read: number;
  written: number;
  read_sha256: string;
  write_sha256: string;
  error: string | null;
  info: PeerInfo | null;
}

/** The program at the kernel's end. */
export class KernelPeer {
  readonly done: Promise<PeerEvent>;
  private readonly child: ChildProcess;
  private readonly events: PeerEvent[] = [];
  private readonly waiters: (() => void)[] = [];
  private failure: Error | undefined;

  constructor(child: ChildProcess) {
    this.child = child;
    let errors = '';
    child.stderr?.on('data', (chunk) => {
      errors += String(chunk);
    });
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      this.events.push(JSON.parse(line) as PeerEvent);
      for (const waiter of this.waiters.splice(0)) waiter();
    });
    child.on('close', (code) => {
      if (code !== 0) this.failure = new Error(`kernel-peer.py ended with ${code}: ${errors}`);
      for (const waiter of this.waiters.splice(0)) waiter();
    });
    this.done = this.event('done');
    this.done.catch(() => undefined);
  }

  /** The next event of that name, past ones included, each once. */
  async event(name: string): Promise<PeerEvent> {
    for (;;) {
      const at = this.events.findIndex((event) => event.event === name);
      if (at >= 0) return this.events.splice(at, 1)[0] as PeerEvent;
      if (this.failure !== undefined) throw this.failure;
      await new Promise<void>((resolve) => this.waiters.push(resolve));
    }
  }

  /** To a peer of service "hold"; resolves when it is done. */
  async command(command: string): Promise<PeerEvent | undefined> {
    this.child.stdin?.write(`${command}\n`);
    const [word = ''] = command.split(' ');
    return word === 'close' || word === 'abort' ? undefined : await this.event(word);
  }
}

/** What becomes of a packet: itself, another one, several, or nothing. */
export type Passed = Uint8Array | readonly Uint8Array[] | undefined;

/** Sees every packet as its sender made it, cut as on the wire. */
type OnWire = (direction: 'in' | 'out', packet: Uint8Array) => Passed;

function forward(passed: Passed, send: (packet: Uint8Array) => void): void {
  if (passed instanceof Uint8Array) send(passed);
  else for (const packet of passed ?? []) send(packet);
}

class TappedDevice implements PacketDevice {
  private readonly device: PacketDevice;
  private readonly onWire: OnWire;

  constructor(device: PacketDevice, onWire: OnWire) {
    this.device = device;
    this.onWire = onWire;
  }

  send(packet: Uint8Array): void {
    forward(this.onWire('out', packet.slice()), (passed) => this.device.send(passed));
  }

  sendSegments(header: Uint8Array, headerBytes: number, payload: Uint8Array, at: number, bytes: number, segmentBytes: number): void {
    let whole = true;
    const cut: Uint8Array[] = [];
    cutSegments(header, headerBytes, payload, at, bytes, segmentBytes, (packet, length) => {
      const sent = packet.slice(0, length);
      const result = this.onWire('out', sent);
      whole &&= result === sent;
      forward(result, (passed) => cut.push(passed));
    });
    if (whole) this.device.sendSegments?.(header, headerBytes, payload, at, bytes, segmentBytes);
    else for (const packet of cut) this.device.send(packet);
  }

  onPacket(receive: ReceivePacket): void {
    this.device.onPacket((packet, offset = 0, length = packet.length, segmentBytes = 0) => {
      const sent = packet.slice(offset, offset + length);
      const result = this.onWire('in', sent);
      if (result === sent) receive(packet, offset, length, segmentBytes);
      else forward(result, receive);
    });
  }

  onBatchEnd(handle: () => void): void {
    this.device.onBatchEnd?.(handle);
  }

  close(): void {
    this.device.close?.();
  }
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
  async counters(): Promise<Record<string, number>> {
    const counters: Record<string, number> = {};
    for (const line of (await this.run('nstat -asz')).split('\n')) {
      const [name = '', value = '0'] = line.trim().split(/\s+/);
      if (name.startsWith('MPTcpExt') && value !== '0') counters[name.slice(8)] = Number(value);
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

/** What a socket of ours received. */
export interface Received {
  bytes: number;
  sha256: string;
  ended: boolean;
}

/** Reads to the end of what the peer sends. Rejects when the connection is lost. */
export function receiveAll(socket: MptcpSocket): Promise<Received> {
  const hash = createHash('sha256');
  let bytes = 0;
  return new Promise((resolve, reject) => {
    socket.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      hash.update(chunk);
    });
    socket.on('end', () => resolve({ bytes, sha256: hash.digest('hex'), ended: true }));
    socket.on('error', reject);
  });
}

/** Bytes that depend on the seed; returns them whole, with their hash. */
export function randomPayload(seed: number, bytes: number): { data: Buffer; sha256: string } {
  const data = Buffer.alloc(bytes);
  let state = (seed * 0x9e37_79b1) >>> 0 || 1;
  for (let i = 0; i + 4 <= bytes; i += 4) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    data.writeInt32LE(state | 0, i);
  }
  return { data, sha256: createHash('sha256').update(data).digest('hex') };
}

const parsed = createTcpSegment();

/** Reads a packet for a middlebox; the result is good until the next call. */
export function parsePacket(packet: Uint8Array): TcpSegment | undefined {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  return parseSegment(packet, view, 0, packet.length, false, parsed) === '' ? parsed : undefined;
}

/** Waits for a condition that the kernel or the engine brings about; the event loop goes on meanwhile. */
export async function until(what: string, condition: () => boolean | Promise<boolean>, timeoutMs = 10_000): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadlineMs) throw new Error(`waited ${timeoutMs} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Of a case that failed: counters, events, and the capture in the folder MPTUNNEL_CAPTURES, where that is set. */
export async function reportFailure(t: Test, rig: KernelRig, name: string): Promise<void> {
  if (t.passing()) return;
  t.comment(JSON.stringify({ kernel: await rig.counters(), ours: rig.host.counters }));
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

/** A connection under way with a kernel peer of service "hold": data goes when the test says so, both ways, and all of it is compared at the end. */
export class Conversation {
  readonly rig: KernelRig;
  readonly socket: MptcpSocket;
  readonly peer: KernelPeer;
  private readonly sent = createHash('sha256');
  private readonly received = createHash('sha256');
  private sentBytes = 0;
  private receivedBytes = 0;
  private expectedBytes = 0;
  private failure: Error | undefined;
  private ended = false;
  private lastInfo: PeerInfo | null = null;

  constructor(rig: KernelRig, socket: MptcpSocket, peer: KernelPeer) {
    this.rig = rig;
    this.socket = socket;
    this.peer = peer;
    socket.on('data', (chunk: Buffer) => {
      this.received.update(chunk);
      this.receivedBytes += chunk.length;
    });
    socket.on('end', () => {
      this.ended = true;
    });
    socket.on('error', (error: Error) => {
      this.failure = error;
    });
  }

  /** We send, the kernel's program has read it all when this resolves. */
  async up(bytes: number): Promise<void> {
    const { data } = randomPayload(this.sentBytes + 1, bytes);
    this.sent.update(data);
    this.sentBytes += bytes;
    this.socket.write(data);
    await this.peer.command(`read ${bytes}`);
  }

  /** The kernel sends, we have read it all when this resolves. */
  async down(bytes: number): Promise<void> {
    this.expectedBytes += bytes;
    await Promise.all([
      this.peer.command(`send ${bytes}`),
      until(
        `${this.expectedBytes} bytes from the kernel`,
        () => this.failure !== undefined || this.receivedBytes >= this.expectedBytes,
        20_000,
      ),
    ]);
  }

  /** The kernel's MPTCP_INFO, as `settle` read it. */
  get info(): PeerInfo | null {
    return this.lastInfo;
  }

  /** Reads MPTCP_INFO when both ends agree on subflows and bytes; '' then, else what they do not agree on. */
  async settle(subflowsTotal?: number): Promise<string> {
    const deadlineMs = performance.now() + 3000;
    for (;;) {
      const info = (await this.peer.command('read 0'))?.info ?? null;
      this.lastInfo = info;
      const faults = info === null ? [] : this.disagreements(info, subflowsTotal);
      if (faults.length === 0 || performance.now() > deadlineMs) return faults.join('; ');
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Of what our socket was given to send, and of what it received. */
  get sha256(): { sent: string; received: string } {
    return { sent: this.sent.copy().digest('hex'), received: this.received.copy().digest('hex') };
  }

  private disagreements(info: PeerInfo, subflowsTotal = this.socket.subflows.filter(({ confirmed }) => confirmed).length): string[] {
    const { sentBytes, receivedBytes } = this;
    const expected = {
      subflows_total: subflowsTotal,
      bytes_received: sentBytes,
      bytes_sent: receivedBytes,
      bytes_acked: receivedBytes,
    };
    return Object.entries(expected)
      .filter(([name, value]) => info[name] !== value)
      .map(([name, value]) => `MPTCP_INFO: ${name} is ${info[name]}, not ${value}`);
  }

  /** Half-closes from both sides; '' when every byte was right, else what was not. */
  async finish(subflowsTotal?: number): Promise<string> {
    const unsettled = await this.settle(subflowsTotal);
    this.socket.end();
    await this.peer.command('read-all');
    await this.peer.command('shutdown');
    await until('the end of the stream', () => this.failure !== undefined || this.ended);
    await this.peer.command('close');
    const [done, reason] = await Promise.all([this.peer.done, this.socket.whenClosed]);
    return [
      unsettled,
      this.failure === undefined ? '' : `error: ${this.failure.message}`,
      reason === 'finished' ? '' : `closed: ${reason}`,
      done.error === null ? '' : `the kernel's program: ${done.error}`,
      done.read === this.sentBytes && done.read_sha256 === this.sent.digest('hex')
        ? ''
        : `${done.read} of ${this.sentBytes} bytes up, or not those`,
      done.written === this.receivedBytes && done.write_sha256 === this.received.digest('hex')
        ? ''
        : `${this.receivedBytes} of ${done.written} bytes down, or not those`,
    ]
      .filter((fault) => fault !== '')
      .join('; ');
  }

  /**
   * Payload bytes that went first by one subflow, by the capture: what we sent and what the kernel sent. Not what was sent there again: where this
   * process had to wait for the CPU, the kernel's timers run out, and what it then repeats may go by a backup too.
   */
  carried(localAddress: string, remoteAddress: string): { up: number; down: number } {
    const sums = { up: 0, down: 0 };
    for (const subflow of this.rig.check().subflows) {
      const [from = '', to = ''] = subflow.flow.split(' > ');
      // The checker's "up" is from who opened the connection.
      const weOpened = this.socket.connection.role === 'client';
      const ends = [from, to].map((end) => end.slice(0, end.lastIndexOf(':')).replace(/^\[|\]$/g, ''));
      const ours = ends.indexOf(hexAddress(localAddress));
      if (ours < 0 || ends[1 - ours] !== hexAddress(remoteAddress)) continue;
      sums.up += weOpened ? subflow.upFreshBytes : subflow.downFreshBytes;
      sums.down += weOpened ? subflow.downFreshBytes : subflow.upFreshBytes;
    }
    return sums;
  }
}

/** As the checker writes addresses. */
function hexAddress(address: string): string {
  const bytes = parseIp(address) as Uint8Array;
  return bytes.length === 4 ? address : Buffer.from(bytes).toString('hex');
}

/** We connect to the kernel, or it to us. */
export async function converse(
  rig: KernelRig,
  role: 'client' | 'server',
  options: { connect?: Readonly<Record<string, unknown>> } = {},
): Promise<Conversation> {
  const accepted = role === 'server' ? rig.accept() : undefined;
  const peer = await rig.peer('mptcp', role === 'client' ? 'listen' : 'connect', 'hold');
  const socket = accepted === undefined ? rig.connect(options.connect) : await accepted;
  return new Conversation(rig, socket, peer);
}
