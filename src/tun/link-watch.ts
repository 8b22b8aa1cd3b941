/**
 * Watches the host's interfaces. `ip monitor` only says that something changed (its JSON is not to be had everywhere); what there is now is then read
 * anew, so nothing is lost when events are missed or the monitor dies.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { queryIp } from './ip-command.js';

export interface LinkWatch {
  close(): void;
}

/** What decides whether an interface can be a way out of this host. */
export interface LinkFacts {
  readonly name: string;
  /** Up, with carrier, and with an address beyond link scope. */
  readonly usable: boolean;
  /** The main table has a default route over it, of IPv4 or IPv6. */
  readonly hasDefaultRoute: boolean;
  /** As iproute2 names it: "veth", "wireguard", "tun"; "" for hardware. */
  readonly kind: string;
  readonly isLoopback: boolean;
}

interface LinkRecord {
  readonly ifname: string;
  readonly linkinfo?: { readonly info_kind?: string };
  readonly flags: readonly string[];
  readonly operstate: string;
  readonly addr_info?: readonly { local?: string; scope?: string; tentative?: boolean; dadfailed?: boolean }[];
}

interface RouteRecord {
  readonly dev?: string;
  readonly gateway?: string;
  readonly nexthops?: readonly { readonly dev?: string; readonly gateway?: string }[];
}

/** Between the death of a monitor and the next; each new one begins with a reading, so this is also the slowest poll. */
const RESTART_MS = 1000;
const SETTLE_MS = 300;
/** With carrier, but not let in yet (802.1X, link tests). */
const WAITING_STATES: ReadonlySet<string> = new Set(['DORMANT', 'TESTING', 'NOTPRESENT']);
const MONITOR: readonly string[] = ['ip', 'monitor', 'link', 'address', 'route', 'rule'];
/** util-linux; without it a monitor whose watcher was killed stays until the next event. */
const MONITOR_THAT_DIES_WITH_US: readonly string[] = ['setpriv', '--pdeathsig', 'KILL', ...MONITOR];

/**
 * Calls `onChange(name, up)` when an interface becomes usable or ceases to be, and with up = true when a usable one's addresses or default routes
 * change. Up: it is up, has carrier, and has an address beyond link scope. At the start it is called for those that are not usable. An interface that vanishes is
 * reported down once. `onLinks` has all interfaces, at the start and after every change of what it is told of them; it is called after `onChange`. `onEvent` is called
 * last, for whatever happened to interfaces, addresses, routes and rules, once for those that come together.
 */
export function createLinkWatch(
  onChange: (name: string, up: boolean) => void,
  onLinks: (links: readonly LinkFacts[]) => void = () => {},
  onEvent: () => void = () => {},
): LinkWatch {
  const watch = new IpMonitorWatch(onChange, onLinks, onEvent);
  watch.start();
  return watch;
}

class IpMonitorWatch implements LinkWatch {
  readonly #onChange: (name: string, up: boolean) => void;
  readonly #onLinks: (links: readonly LinkFacts[]) => void;
  readonly #onEvent: () => void;
  #toldLinks = '';
  /** Interface -> its usable addresses and default routes; "" when it is not usable. */
  #known = new Map<string, string>();
  #started = false;
  #command = MONITOR_THAT_DIES_WITH_US;
  #monitor: ChildProcess | undefined;
  #restartTimer: NodeJS.Timeout | undefined;
  #settleTimer: NodeJS.Timeout | undefined;
  #reading = false;
  #readAgain = false;
  #closed = false;

  constructor(onChange: (name: string, up: boolean) => void, onLinks: (links: readonly LinkFacts[]) => void, onEvent: () => void) {
    this.#onChange = onChange;
    this.#onLinks = onLinks;
    this.#onEvent = onEvent;
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
      const reading = await readLinks().catch(() => undefined);
      if (reading !== undefined && reading.links.length > 0 && !this.#closed) this.#compare(reading.links, routesByDevice(reading.routes));
      if (!this.#closed) this.#onEvent();
    } while (this.#readAgain && !this.#closed);
    this.#reading = false;
  }

  #compare(links: readonly LinkRecord[], routes: ReadonlyMap<string, string>): void {
    const now = new Map(
      links.map((link) => [link.ifname, usableAddresses(link) && usableAddresses(link) + (routes.get(link.ifname) ?? '')]),
    );
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
    this.#tellLinks(links, routes);
  }

  #tellLinks(links: readonly LinkRecord[], routes: ReadonlyMap<string, string>): void {
    const facts = links.map(
      (link): LinkFacts => ({
        name: link.ifname,
        usable: usableAddresses(link) !== '',
        hasDefaultRoute: routes.has(link.ifname),
        kind: link.linkinfo?.info_kind ?? '',
        isLoopback: link.flags.includes('LOOPBACK'),
      }),
    );
    const text = JSON.stringify(facts);
    if (text === this.#toldLinks || this.#closed) return;
    this.#toldLinks = text;
    this.#onLinks(facts);
  }
}

async function readLinks(): Promise<{ links: LinkRecord[]; routes: RouteRecord[] }> {
  const [links, routes4, routes6] = await Promise.all([
    queryIp<LinkRecord>(['-d', 'addr', 'show']),
    queryIp<RouteRecord>(['-4', 'route', 'show', 'default']),
    queryIp<RouteRecord>(['-6', 'route', 'show', 'default']),
  ]);
  return { links, routes: [...routes4, ...routes6] };
}

/** Interface -> the gateways of its default routes, in the order of their metrics. */
function routesByDevice(routes: readonly RouteRecord[]): Map<string, string> {
  const byDevice = new Map<string, string>();
  for (const route of routes) {
    for (const { dev, gateway } of route.nexthops ?? [route]) {
      if (dev !== undefined) byDevice.set(dev, `${byDevice.get(dev) ?? ''} via ${gateway ?? 'link'}`);
    }
  }
  return byDevice;
}

/** Sorted and joined; "" when nothing can be sent from this interface. */
function usableAddresses(link: LinkRecord): string {
  // The kernel tells of a carrier by LOWER_UP at once, by operstate up to a second later.
  const isUp = link.flags.includes('UP') && link.flags.includes('LOWER_UP') && !WAITING_STATES.has(link.operstate);
  if (!isUp) return '';
  const usable = (link.addr_info ?? []).filter(
    (info) => info.local !== undefined && info.scope !== 'link' && info.tentative !== true && info.dadfailed !== true,
  );
  return usable
    .map((info) => info.local)
    .sort()
    .join(' ');
}
