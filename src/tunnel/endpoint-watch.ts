/**
 * Peers that are known by a name: when none of a peer's paths has led anywhere for a while, the name is asked again, and the paths go on to the next of its
 * addresses, in turn. A name that cannot be resolved then leaves the addresses as they were.
 */

import { isIP } from 'node:net';
import { parseEndpoint, type ResolvedEndpoint } from './carrier/endpoint.js';
import type { Peer } from './path/peer.js';
import { TunnelError } from './tunnel-api.js';

/** A path is down for so long before it counts as dead, and an address has so long to answer. */
export const ENDPOINT_PATIENCE_MS = 5000;

export interface EndpointWatchOptions {
  resolve: (endpoint: string) => Promise<ResolvedEndpoint>;
  /** Takes the peer's paths on to the next address; true when one of them leads elsewhere now. */
  moveOn: (peer: Peer, endpoint: ResolvedEndpoint) => boolean;
  patienceMs?: number;
  log: (message: string) => void;
}

export class EndpointWatch {
  readonly #options: EndpointWatchOptions;
  readonly #patienceMs: number;
  /** Since when a peer is away, or its paths lead where they lead. */
  readonly #sinceMs = new WeakMap<Peer, number>();

  constructor(options: EndpointWatchOptions) {
    this.#options = options;
    this.#patienceMs = options.patienceMs ?? ENDPOINT_PATIENCE_MS;
  }

  /** Call every few seconds while a path is down. `peers`: those whose endpoints were resolved before. */
  async look(peers: readonly Peer[], nowMs: number): Promise<void> {
    for (const peer of peers) {
      if (!isAway(peer)) this.#sinceMs.delete(peer);
      else if (!this.#sinceMs.has(peer)) this.#sinceMs.set(peer, nowMs);
      else if (nowMs - this.#sinceMs.get(peer)! >= this.#patienceMs) await this.#lookFor(peer, nowMs);
    }
  }

  async #lookFor(peer: Peer, nowMs: number): Promise<void> {
    this.#sinceMs.set(peer, nowMs);
    let endpoint: ResolvedEndpoint;
    try {
      endpoint = await this.#options.resolve(peer.config.endpoint!);
    } catch (error) {
      if (!(error instanceof TunnelError)) throw error;
      peer.lastError = error.message;
      return;
    }
    // It may have come back meanwhile.
    if (!isAway(peer) || !this.#options.moveOn(peer, endpoint)) return;
    this.#options.log(
      `${peer.name} does not answer: ${peer.config.endpoint} is tried at ${[...new Set(peer.paths.map((path) => path.remote))].join(', ')}`,
    );
  }
}

function isAway(peer: Peer): boolean {
  if (peer.config.endpoint === undefined || isIP(parseEndpoint(peer.config.endpoint).host) !== 0) return false;
  return peer.paths.length > 0 && peer.paths.every((path) => path.state === 'down' || path.state === 'probing');
}
