/** What peers say to each other beside paths: names that are to be resolved, and what others of this program have to say. */

import type { PeerLink } from './link.js';
import type { PeerMessage } from './session/slow-control.js';
import { NameServer } from './user/name-service.js';
import type { UserNetwork } from './user/user-network.js';

export interface PeerMessagesOptions {
  peers: () => readonly PeerLink[];
  /** False: no path is up. */
  send: (peer: PeerLink, message: PeerMessage) => boolean;
  /** May a peer know that address? */
  permits: (address: Uint8Array) => boolean;
  user: () => UserNetwork | undefined;
  isClosing: () => boolean;
}

export class PeerMessages {
  /** Of what is not about names. */
  handler: ((peer: PeerLink, message: PeerMessage) => void) | undefined;
  readonly #options: PeerMessagesOptions;
  readonly #names: NameServer;

  constructor(options: PeerMessagesOptions) {
    this.#options = options;
    this.#names = new NameServer({ permits: options.permits, send: options.send });
  }

  /** To the peer that is our way out: of those that we dial and that are up, the one with the widest routes. */
  sendToGateway(message: PeerMessage): boolean {
    const gateways = this.#options.peers().filter((peer) => peer.initiator && peer.state === 'up');
    const gateway = gateways.find(({ allowedIps }) => allowedIps.some((prefix) => prefix.endsWith('/0'))) ?? gateways[0];
    return gateway !== undefined && this.#options.send(gateway, message);
  }

  handle(peer: PeerLink, message: PeerMessage): void {
    // After the batch: what the message causes may remove its sender.
    setImmediate(() => {
      if (this.#options.isClosing()) return;
      if (message.kind === 'resolve') void this.#names.handleQuestion(peer, message);
      else if (message.kind === 'resolved') this.#options.user()?.handleResolved(message);
      else this.handler?.(peer, message);
    });
  }
}
