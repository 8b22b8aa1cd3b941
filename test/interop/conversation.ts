/** A connection between our host and the kernel, step by step: bytes both ways with their hashes, what both ends say of it, an orderly end. */

import { createHash } from 'node:crypto';
import type { MptcpSocket } from '../../src/index.js';
import { parseIp } from '../../src/tun/ip-prefix.js';
import type { KernelPeer, PeerInfo } from './kernel-peer.js';
import type { KernelRig } from './kernel-rig.js';
import { randomPayload, until } from './payload.js';

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

/** Subflows of it that may carry data. */
export function confirmed(talk: Conversation): number {
  return talk.socket.subflows.filter((subflow) => subflow.confirmed).length;
}
