/** A tunnel without a TUN: a client's own network inside it, or a gateway that sends peers' datagrams by sockets. */

import { parsePrefix } from '../../tun/ip-prefix.js';
import type { TunnelConfig } from '../config.js';
import { createOwnAddressTest } from '../planes/own-addresses.js';
import type { StreamPlane } from '../planes/stream-plane.js';
import type { PeerMessage } from '../session/slow-control.js';
import { UdpEgress } from './udp-egress.js';
import { UserDevice } from './user-device.js';
import { UserNetwork } from './user-network.js';

export class UserSpace {
  readonly device = new UserDevice();
  network: UserNetwork | undefined;
  readonly #config: TunnelConfig;
  readonly #wake: () => void;
  #udpEgress: UdpEgress | undefined;

  constructor(config: TunnelConfig, wake: () => void) {
    this.#config = config;
    this.#wake = wake;
  }

  get counters(): Readonly<Record<string, number>> {
    return { ...this.network?.counters, ...this.#udpEgress?.counters };
  }

  /** Who dials a peer has a network inside the tunnel; who is dialled is a gateway. */
  start(streams: StreamPlane, sendToGateway: (message: PeerMessage) => boolean): void {
    const { peers, interface: own, egress } = this.#config;
    const addresses = own.addresses.map((text) => parsePrefix(text)!.bytes);
    if (peers.some(({ endpoint }) => endpoint !== undefined)) {
      this.network = new UserNetwork({
        device: this.device,
        own: addresses,
        dial: (tuple, handler) => streams.dial(tuple, handler, performance.now()),
        sendToGateway,
        wake: this.#wake,
        random: Math.random,
      });
    } else if (egress !== undefined) {
      this.#udpEgress = new UdpEgress(this.device, createOwnAddressTest(own.addresses));
    }
  }

  close(): void {
    this.network?.close();
    this.#udpEgress?.close();
  }
}
