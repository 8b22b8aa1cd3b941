/** The program at the kernel's end (kernel-peer.py): its events by line, commands to it, and what it reads of MPTCP_INFO. */

import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';

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
