/**
 * Paths by themselves: every interface with a default route becomes one, named after it, as soon as it can be used. One that loses carrier or address
 * stays and is down; one that vanishes goes after a while, in which a modem that only starts anew finds its path again.
 */

import type { LinkFacts } from '../tun/link-watch.js';
import type { AutoPathsConfig, PathConfig } from './config.js';

/** After an interface has vanished. */
const GONE_AFTER_MS = 5_000;
/** After a usable interface has lost its default route: a renewed lease takes it away for a moment. */
const UNROUTED_AFTER_MS = 30_000;
/** Interfaces that lead into other tunnels, as iproute2 names their kinds. */
export const TUNNEL_KINDS: ReadonlySet<string> = new Set([
  ...[
    'tun',
    'wireguard',
    'ipip',
    'gre',
    'gretap',
    'erspan',
    'sit',
    'vti',
    'vti6',
    'ip6tnl',
    'ip6gre',
    'ip6gretap',
    'xfrm',
    'vxlan',
    'geneve',
  ],
  'dummy',
]);

export interface AutoPathsOptions {
  config: AutoPathsConfig;
  /** Of [[path]]: their interfaces are taken. */
  explicit: readonly PathConfig[];
  /** The tunnel's own. */
  device: string;
  add: (path: PathConfig) => Promise<unknown>;
  /** One that is there becomes a backup, or no longer is one. */
  setBackup: (name: string, backup: boolean) => void;
  remove: (name: string) => void;
  warn: (message: string) => void;
}

interface AutoPath {
  backup: boolean;
  /** While its interface is missing, or has no default route. */
  goneTimer: NodeJS.Timeout | undefined;
  /** When that timer is due; Infinity without one. */
  goneAtMs: number;
}

export class AutoPaths {
  readonly #options: AutoPathsOptions;
  #config: AutoPathsConfig;
  #explicit: ReadonlySet<string>;
  /** By interface, which is the name too. */
  readonly #paths = new Map<string, AutoPath>();
  /** Removed by hand: not again before the interface was away. */
  readonly #dismissed = new Set<string>();
  #links: readonly LinkFacts[] = [];
  #closed = false;

  constructor(options: AutoPathsOptions) {
    this.#options = options;
    this.#config = options.config;
    this.#explicit = interfacesOf(options.explicit);
  }

  /** All interfaces that there are now. */
  update(links: readonly LinkFacts[]): void {
    if (this.#closed) return;
    this.#links = links;
    const byName = new Map(links.map((link) => [link.name, link]));
    for (const name of this.#dismissed) if (!byName.has(name)) this.#dismissed.delete(name);
    for (const link of links) if (link.usable && link.hasDefaultRoute && this.#wants(link)) this.#keep(link.name);
    for (const [name, path] of this.#paths) {
      const link = byName.get(name);
      if (link === undefined) this.#removeAfter(name, path, GONE_AFTER_MS);
      else if (!this.#wants(link)) this.#removeNow(name);
      else if (link.usable && !link.hasDefaultRoute) this.#removeAfter(name, path, UNROUTED_AFTER_MS);
      else this.#keep(name);
    }
  }

  /** Another configuration. */
  reconfigure(config: AutoPathsConfig, explicit: readonly PathConfig[]): void {
    this.#config = config;
    this.#explicit = interfacesOf(explicit);
    this.#dismissed.clear();
    this.update(this.#links);
    for (const [name, path] of this.#paths) {
      const backup = this.#isBackup(name);
      if (path.backup === backup) continue;
      path.backup = backup;
      this.#try(name, () => this.#options.setBackup(name, backup));
    }
  }

  /** Is the path of that name one of these? */
  has(name: string): boolean {
    return this.#paths.has(name);
  }

  /** A path was removed by hand. */
  noteRemoved(name: string): void {
    const path = this.#paths.get(name);
    if (path === undefined) return;
    clearTimeout(path.goneTimer);
    this.#paths.delete(name);
    this.#dismissed.add(name);
  }

  /** Paths are no longer made by themselves: those that were, go. */
  end(): void {
    for (const name of [...this.#paths.keys()]) this.#removeNow(name);
    this.close();
  }

  close(): void {
    this.#closed = true;
    for (const { goneTimer } of this.#paths.values()) clearTimeout(goneTimer);
  }

  #wants({ name, kind, isLoopback }: LinkFacts): boolean {
    const { include, exclude } = this.#config;
    if (isLoopback || name === this.#options.device || this.#explicit.has(name) || this.#dismissed.has(name)) return false;
    if (exclude.some((pattern) => matchesPattern(pattern, name))) return false;
    if (this.#config.metered === 'exclude' && this.#isMetered(name)) return false;
    return include === undefined ? !TUNNEL_KINDS.has(kind) : include.some((pattern) => matchesPattern(pattern, name));
  }

  #isMetered(name: string): boolean {
    return this.#config.meteredInterfaces?.some((pattern) => matchesPattern(pattern, name)) === true;
  }

  #isBackup(name: string): boolean {
    return this.#config.metered === 'backup' && this.#isMetered(name);
  }

  #keep(name: string): void {
    const known = this.#paths.get(name);
    if (known !== undefined) {
      clearTimeout(known.goneTimer);
      known.goneTimer = undefined;
      known.goneAtMs = Number.POSITIVE_INFINITY;
      return;
    }
    const backup = this.#isBackup(name);
    this.#paths.set(name, { backup, goneTimer: undefined, goneAtMs: Number.POSITIVE_INFINITY });
    this.#options.add({ name, interface: name, address: undefined, ...(backup ? { backup } : {}) }).catch((error: Error) => {
      // The next change of any interface tries again.
      this.#paths.delete(name);
      this.#options.warn(`interface ${name} does not become a path: ${error.message}`);
    });
  }

  /** An interface loses its route a moment before it vanishes: the sooner of two reasons counts. */
  #removeAfter(name: string, path: AutoPath, ms: number): void {
    const goneAtMs = performance.now() + ms;
    if (path.goneAtMs <= goneAtMs) return;
    clearTimeout(path.goneTimer);
    path.goneAtMs = goneAtMs;
    path.goneTimer = setTimeout(() => this.#removeNow(name), ms);
  }

  #removeNow(name: string): void {
    clearTimeout(this.#paths.get(name)?.goneTimer);
    if (!this.#paths.delete(name) || this.#closed) return;
    this.#try(name, () => this.#options.remove(name));
  }

  #try(name: string, change: () => void): void {
    try {
      change();
    } catch (error) {
      this.#options.warn(`path ${name}: ${(error as Error).message}`);
    }
  }
}

function interfacesOf(paths: readonly PathConfig[]): ReadonlySet<string> {
  return new Set(paths.flatMap((path) => (path.interface === undefined ? [] : [path.interface])));
}

/** "*" stands for any characters. */
export function matchesPattern(pattern: string, name: string): boolean {
  const parts = pattern.split('*').map((part) => part.replaceAll(/[.+^${}()|[\]\\?]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`).test(name);
}
