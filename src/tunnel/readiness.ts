/** Waits until every peer that this side calls has been reached. */

import type { PeerLink } from './link.js';
import { TunnelError } from './tunnel-api.js';

export interface ReadinessOptions {
  /** Those that there are now. */
  peers: () => readonly PeerLink[];
  /** As it is written in the configuration; undefined when the peer has none. */
  endpointOf: (peer: PeerLink) => string | undefined;
}

export class Readiness {
  readonly #options: ReadinessOptions;
  readonly #waiters = new Set<() => void>();

  constructor(options: ReadinessOptions) {
    this.#options = options;
  }

  /** Rejects with TunnelError `not-ready`, which names a peer that was not reached, and why. */
  async wait(timeoutMs: number): Promise<void> {
    if (this.#missing() === undefined) return;
    await new Promise<void>((resolve, reject) => {
      const finish = (error?: Error): void => {
        clearTimeout(timeout);
        this.#waiters.delete(check);
        if (error === undefined) resolve();
        else reject(error);
      };
      const check = (): void => {
        if (this.#missing() === undefined) finish();
      };
      const timeout = setTimeout(() => finish(this.#error(this.#missing(), timeoutMs)), timeoutMs);
      this.#waiters.add(check);
    });
  }

  /** A peer has changed its state. */
  handlePeerChange(): void {
    for (const check of [...this.#waiters]) check();
  }

  #missing(): PeerLink | undefined {
    return this.#options.peers().find((peer) => peer.initiator && peer.state !== 'up');
  }

  #error(peer: PeerLink | undefined, timeoutMs: number): TunnelError {
    const why = peer?.lastError || 'no answer: check the endpoint, firewalls, and both public keys';
    const endpoint = peer && this.#options.endpointOf(peer);
    const who = `${peer?.name ?? 'peer'}${endpoint === undefined ? '' : ` (${endpoint})`}`;
    return new TunnelError('not-ready', `${who} was not reached within ${Math.round(timeoutMs / 1000)} s: ${why}`);
  }
}
