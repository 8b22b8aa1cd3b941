/**
 * Watches the host's interfaces. `ip monitor` only says that something changed (its JSON is not to be had everywhere); what there is now is then read
 * anew, so nothing is lost when events are missed or the monitor dies.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { queryIp } from './ip-command.js';

export interface LinkWatch {
  close(): void;
}

interface LinkRecord {
  readonly ifname: string;
  readonly flags: readonly string[];
  readonly operstate: string;
  readonly addr_info?: readonly { local?: string; scope?: string; tentative?: boolean; dadfailed?: boolean }[];
}

/** Between the death of a monitor and the next; each new one begins with a reading, so this is also the slowest poll. */
const RESTART_MS = 1000;
const SETTLE_MS = 300;
const MONITOR: readonly string[] = ['ip', 'monitor', 'link', 'address'];
/** util-linux; without it a monitor whose watcher was killed stays until the next event. */
const MONITOR_THAT_DIES_WITH_US: readonly string[] = ['setpriv', '--pdeathsig', 'KILL', ...MONITOR];

/**
 * Calls `onChange(name, up)` when an interface becomes usable or ceases to be, and with up = true when a usable one's addresses change. Up: it is
 * up, has carrier, and has an address beyond link scope. At the start it is called for those that are not usable. An interface that vanishes is
 * reported down once.
 */
export function createLinkWatch(onChange: (name: string, up: boolean) => void): LinkWatch {
  const watch = new IpMonitorWatch(onChange);
  watch.start();
  return watch;
}

class IpMonitorWatch implements LinkWatch {
  readonly #onChange: (name: string, up: boolean) => void;
  /** Interface -> its usable addresses; "" when it is not usable. */
  #known = new Map<string, string>();
  #started = false;
  #command = MONITOR_THAT_DIES_WITH_US;
  #monitor: ChildProcess | undefined;
  #restartTimer: NodeJS.Timeout | undefined;
  #settleTimer: NodeJS.Timeout | undefined;
  #reading = false;
  #readAgain = false;
  #closed = false;

  constructor(onChange: (name: string, up: boolean) => void) {
    this.#onChange = onChange;
  }

  start(): void {
    const [program, ...args] = this.#command;
    const monitor = spawn(program!, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    this.#monitor = monitor;
    monitor.stdout.on('data', () => this.#read());
    monitor.on('error', () => {
      this.#command = MONITOR;
      this.#restartLater();
    });
    monitor.on('exit', () => this.#restartLater());
    // Once now, and once when it has surely subscribed: a change in between would have no event.
    monitor.on('spawn', () => {
      this.#read();
      this.#settleTimer = setTimeout(() => this.#read(), SETTLE_MS);
    });
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#restartTimer);
    clearTimeout(this.#settleTimer);
    this.#monitor?.kill();
  }

  #restartLater(): void {
    if (this.#closed) return;
    clearTimeout(this.#settleTimer);
    clearTimeout(this.#restartTimer);
    this.#restartTimer = setTimeout(() => {
      this.start();
      this.#read();
    }, RESTART_MS);
  }

  /** One reading at a time; events that arrive meanwhile ask for one more. */
  async #read(): Promise<void> {
    if (this.#reading) {
      this.#readAgain = true;
      return;
    }
    this.#reading = true;
    do {
      this.#readAgain = false;
      const links = await queryIp<LinkRecord>(['addr', 'show']).catch(() => undefined);
      if (links !== undefined && links.length > 0 && !this.#closed) this.#compare(links);
    } while (this.#readAgain && !this.#closed);
    this.#reading = false;
  }

  #compare(links: readonly LinkRecord[]): void {
    const now = new Map(links.map((link) => [link.ifname, usableAddresses(link)]));
    for (const name of this.#known.keys()) if (!now.has(name)) now.set(name, '');
    const before = this.#known;
    this.#known = new Map(links.map((link) => [link.ifname, now.get(link.ifname)!]));
    const first = !this.#started;
    this.#started = true;
    for (const [name, addresses] of now) {
      const was = before.get(name);
      const isNews = first ? addresses === '' : (was ?? '') !== addresses;
      if (isNews) this.#onChange(name, addresses !== '');
    }
  }
}

/** Sorted and joined; "" when nothing can be sent from this interface. */
function usableAddresses(link: LinkRecord): string {
  const isUp = link.flags.includes('UP') && link.flags.includes('LOWER_UP') && (link.operstate === 'UP' || link.operstate === 'UNKNOWN');
  if (!isUp) return '';
  const usable = (link.addr_info ?? []).filter(
    (info) => info.local !== undefined && info.scope !== 'link' && info.tentative !== true && info.dadfailed !== true,
  );
  return usable
    .map((info) => info.local)
    .sort()
    .join(' ');
}
