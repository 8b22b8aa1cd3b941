/** What a gateway does to its host beyond the tunnel's own routes: forwarding, translation of addresses, ports that lead to peers. It follows peers as they come and go. */

import type { IpFamily } from '../../tun/ip-prefix.js';
import type { NftTable } from '../../tun/nft-table.js';
import type { EgressConfig, ForwardConfig, TunnelConfig } from '../config.js';
import { type ForwardPeer, forwardFault, GATEWAY_PURPOSE, gatewayTable } from './gateway-table.js';

/** Of HostNetwork. */
export interface GatewayHost {
  readonly tables: { apply(table: NftTable): Promise<void>; remove(family: 'inet', purpose: string): Promise<void> };
  enableForwarding(families: readonly IpFamily[]): Promise<void>;
  /** Chains of firewalls that drop what is forwarded. */
  findForwardBlockers(): Promise<readonly string[]>;
}

export interface GatewayNetworkOptions {
  readonly device: string;
  readonly host: GatewayHost;
  /** IP versions that the tunnel has addresses of. */
  readonly families: readonly IpFamily[];
  /** Those that there are now. */
  readonly peers: () => readonly ForwardPeer[];
  readonly warn: (message: string) => void;
}

export interface GatewaySettings {
  readonly nat: boolean | undefined;
  /** `mode = "tun"` */
  readonly isSite?: boolean;
  readonly allow: readonly string[];
  readonly forwards: readonly ForwardConfig[];
}

export function gatewaySettings({
  egress,
  forwards,
}: {
  egress: EgressConfig | undefined;
  forwards?: readonly ForwardConfig[];
}): GatewaySettings {
  // Our own TCP speaks over the TUN to hosts that only the kernel's forwarding reaches.
  const nat = egress?.nat ?? (egress?.mode === 'tun' ? false : undefined);
  return { nat, isSite: egress?.mode === 'tun', allow: egress?.allow ?? [], forwards: forwards ?? [] };
}

export class GatewayNetwork {
  readonly #options: GatewayNetworkOptions;
  #settings: GatewaySettings = { nat: undefined, allow: [], forwards: [] };
  /** In force. */
  #body: string | undefined;
  #isForwarding = false;
  #updatePending = false;
  #closed = false;
  readonly #faults = new Map<ForwardConfig, string>();
  /** One change after another, each from what is wanted by then. */
  #queue: Promise<void> = Promise.resolve();

  constructor(options: GatewayNetworkOptions) {
    this.#options = options;
  }

  /** Throws HostNetworkError; then what was in force is so still. */
  setSettings(settings: GatewaySettings): Promise<void> {
    this.#settings = settings;
    this.#faults.clear();
    return this.#bring();
  }

  /** Soon: a reload changes a thousand of them in one go. What goes wrong is a warning, and what was in force is so still. */
  peersChanged(): void {
    if (this.#updatePending || this.#settings.forwards.length === 0) return;
    this.#updatePending = true;
    setImmediate(() => {
      this.#updatePending = false;
      if (!this.#closed) this.#bring().catch((error: Error) => this.#options.warn(`[[forward]] is as before: ${error.message}`));
    });
  }

  /** Resolves when nothing is under way any more: what is undone after that stays undone. */
  close(): Promise<void> {
    this.#closed = true;
    return this.#queue;
  }

  #bring(): Promise<void> {
    const done = this.#queue.then(() => this.#bringNow());
    this.#queue = done.catch(() => {});
    return done;
  }

  async #bringNow(): Promise<void> {
    if (this.#closed) return;
    const { device, host, families, warn } = this.#options;
    const { nat, isSite = false, allow, forwards } = this.#settings;
    const peers = forwards.length === 0 ? [] : this.#options.peers();
    this.#tellFaults(peers);
    if (!this.#isForwarding && (nat !== undefined || forwards.length > 0)) {
      await host.enableForwarding(families);
      this.#isForwarding = true;
      for (const chain of await host.findForwardBlockers())
        warn(`a firewall drops what this host forwards (${chain}): let ${device} through there, in and out (docs/gateway.md)`);
    }
    const body = gatewayTable({ device, nat: nat === true, isSite, allow, forwards, peers });
    if (body === this.#body) return;
    if (body === undefined) await host.tables.remove('inet', GATEWAY_PURPOSE);
    else
      await host.tables.apply({ family: 'inet', purpose: GATEWAY_PURPOSE, body, neededBy: nat === true ? '[egress] nat' : '[[forward]]' });
    this.#body = body;
  }

  /** Each once, until it is another. */
  #tellFaults(peers: readonly ForwardPeer[]): void {
    for (const forward of this.#settings.forwards) {
      const fault = forwardFault(forward, peers);
      if (fault === undefined) this.#faults.delete(forward);
      else if (this.#faults.get(forward) !== fault) {
        this.#faults.set(forward, fault);
        this.#options.warn(`[[forward]] of ${describeForward(forward)} leads nowhere: ${fault}`);
      }
    }
  }
}

export function describeForward({ protocol, ports: [first, last] }: ForwardConfig): string {
  return `${protocol} port ${first === last ? first : `${first}-${last}`}`;
}

/** IP versions of the tunnel's own addresses, and of a site's networks. */
export function familiesOf({ interface: { addresses }, egress }: Pick<TunnelConfig, 'interface' | 'egress'>): IpFamily[] {
  const used = [...addresses, ...(egress?.mode === 'tun' ? egress.allow : [])];
  return ([4, 6] as const).filter((family) => used.some((address) => address.includes(':') === (family === 6)));
}
