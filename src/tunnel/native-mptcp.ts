/**
 * `native_mptcp`: an address of the TUN for each path, registered with the kernel's path manager, so that MPTCP of this host's own spreads over the paths by itself: a
 * connection begins from the device's own address, and the kernel adds a subflow from each of the others.
 *
 * The device's own address stands for the first path that is no backup, those of `native_mptcp_addresses` for the others as they come up. A path keeps its address while
 * it exists: subflows of one that is down are carried over another (subflow-tracker.ts), and the kernel hears of nothing. With the path the address goes.
 */

import type { InterfaceConfig } from './config.js';

/** What is asked of the host's network; `PathAddresses` does it. */
export interface KernelAddresses {
  allowSubflows(count: number): Promise<void>;
  add(address: string, backup: boolean): Promise<void>;
  remove(address: string): Promise<void>;
  setBackup(address: string, backup: boolean): Promise<void>;
}

export interface NativeMptcpOptions {
  /** The device's own first address of each IP version, without prefix length. */
  own: readonly string[];
  /** Without prefix length. */
  extra: readonly string[];
  kernel: KernelAddresses;
  /** Address -> name of the path that its subflows belong on, whenever that changes. */
  onAssigned: (pathNames: ReadonlyMap<string, string>) => void;
  warn: (message: string) => void;
}

type Family = 4 | 6;

interface AssignedPath {
  backup: boolean;
  readonly addresses: readonly string[];
}

export class NativeMptcp {
  readonly #options: NativeMptcpOptions;
  readonly #paths = new Map<string, AssignedPath>();
  /** One after another: each change finds what the one before has left. */
  #work: Promise<void>;
  #closed = false;

  constructor(options: NativeMptcpOptions) {
    this.#options = options;
    const count = Math.max(...([4, 6] as const).map((family) => options.extra.filter((address) => familyOf(address) === family).length));
    this.#work = options.kernel.allowSubflows(count).catch((error: Error) => options.warn(`native_mptcp: ${error.message}`));
  }

  /** The path is up; what is known already is compared. */
  notePath(name: string, backup: boolean): void {
    const known = this.#paths.get(name);
    if (known === undefined) this.#assign(name, backup);
    else if (known.backup !== backup) {
      known.backup = backup;
      for (const address of this.#extraOf(known)) this.#later((kernel) => kernel.setBackup(address, backup));
    }
  }

  /** A path that was not up yet has none. */
  noteBackup(name: string, backup: boolean): void {
    if (this.#paths.has(name)) this.notePath(name, backup);
  }

  /** The path is gone for good. */
  noteRemoved(name: string): void {
    const path = this.#paths.get(name);
    if (path === undefined) return;
    this.#paths.delete(name);
    for (const address of this.#extraOf(path)) this.#later((kernel) => kernel.remove(address));
    this.#tell();
  }

  /** Nothing more is changed; resolves when what was begun is done. */
  close(): Promise<void> {
    this.#closed = true;
    return this.#work;
  }

  #assign(name: string, backup: boolean): void {
    const { own, extra, warn } = this.#options;
    const taken = new Set([...this.#paths.values()].flatMap(({ addresses }) => addresses));
    const addresses = ([4, 6] as const).flatMap((family) => {
      // What an application sends first shall not go over a path that is to be spared.
      const candidates = [...(backup ? [] : own), ...extra].filter((address) => familyOf(address) === family);
      const free = candidates.find((address) => !taken.has(address));
      return free === undefined ? [] : [free];
    });
    if (addresses.length === 0)
      warn(`native_mptcp: path ${name} gets no subflows: add an address to native_mptcp_addresses here, and to allowed_ips at the peer`);
    this.#paths.set(name, { backup, addresses });
    for (const address of this.#extraOf({ addresses })) this.#later((kernel) => kernel.add(address, backup));
    this.#tell();
  }

  #extraOf({ addresses }: Pick<AssignedPath, 'addresses'>): string[] {
    return addresses.filter((address) => this.#options.extra.includes(address));
  }

  #later(change: (kernel: KernelAddresses) => Promise<void>): void {
    this.#work = this.#work.then(async () => {
      if (this.#closed) return;
      try {
        await change(this.#options.kernel);
      } catch (error) {
        this.#options.warn(`native_mptcp: ${(error as Error).message}`);
      }
    });
  }

  #tell(): void {
    const names = new Map<string, string>();
    for (const [name, { addresses }] of this.#paths) for (const address of addresses) names.set(address, name);
    this.#options.onAssigned(names);
  }
}

/** "10.77.0.2/24" of each IP version the first, without the length. */
export function ownAddresses(config: InterfaceConfig): string[] {
  const plain = config.addresses.map((address) => address.split('/')[0]!);
  return ([4, 6] as const).flatMap((family) => plain.filter((address) => familyOf(address) === family).slice(0, 1));
}

function familyOf(address: string): Family {
  return address.includes(':') ? 6 : 4;
}
