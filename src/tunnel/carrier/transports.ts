/** The transports of this process: their providers, loaded where they are configured, and what they listen for. */

import { TunnelError } from '../tunnel-api.js';
import type { QuicHost } from './quic/quic-host.js';
import type {
  DialOptions,
  ListenOptions,
  Transport,
  TransportEvents,
  TransportKind,
  TransportListener,
  TransportProvider,
} from './transport.js';

export type LoadTransport = (kind: TransportKind) => Promise<TransportProvider>;

/** What it loads shares one QUIC: its worker, and ports. The result rejects with TunnelError `carrier-missing`. */
export function createTransportLoader(): LoadTransport {
  let quic: Promise<QuicHost> | undefined;
  return async (kind) => {
    const { loadQuic, loadQuicHost } = await import('./quic/quic.js');
    quic ??= loadQuicHost();
    return kind === 'quic' ? loadQuic(quic) : (await import('./webtransport/webtransport.js')).loadWebTransport(quic);
  };
}

export class Transports {
  readonly #load: LoadTransport;
  readonly #providers = new Map<TransportKind, TransportProvider>();
  readonly #listeners = new Map<TransportKind, TransportListener>();

  constructor(load: LoadTransport = createTransportLoader()) {
    this.#load = load;
  }

  has(kind: TransportKind): boolean {
    return this.#providers.has(kind);
  }

  /** Rejects with TunnelError `carrier-missing`. */
  async require(kind: TransportKind): Promise<void> {
    if (!this.#providers.has(kind)) this.#providers.set(kind, await this.#load(kind));
  }

  dial(kind: TransportKind, options: DialOptions, events: TransportEvents): Transport {
    const provider = this.#providers.get(kind);
    if (provider === undefined) throw new TunnelError('carrier-missing', `the carrier ${kind} is not loaded`);
    return provider.dial(options, events);
  }

  /** Rejects with TunnelError `carrier-missing`, `listen`. */
  async listen(kind: TransportKind, options: ListenOptions): Promise<void> {
    await this.require(kind);
    this.#listeners.set(kind, await this.#providers.get(kind)!.listen(options));
  }

  /** "quicRefusedStrangers" */
  counters(): Record<string, number> {
    const all: Record<string, number> = {};
    for (const [kind, { counters }] of this.#listeners) {
      for (const [name, count] of Object.entries(counters)) all[`${kind}${name.charAt(0).toUpperCase()}${name.slice(1)}`] = count;
    }
    return all;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#listeners.values()].map((listener) => listener.close()));
    await Promise.all([...this.#providers.values()].map((provider) => provider.close()));
    this.#listeners.clear();
    this.#providers.clear();
  }
}
