/** How a connection that a peer opens is dialled here: as [egress] says, but for those that a gateway brings from outside, whose callers shall be seen. */

import { parsePrefix } from '../../tun/ip-prefix.js';
import type { EgressConfig, TunnelConfig } from '../config.js';
import type { PeerLink } from '../link.js';
import { AllowedIps } from './allowed-ips.js';

const INSIDE = {};

export type EgressMode = EgressConfig['mode'];

/** Addresses of 4 or 16 bytes. */
export type EgressChoice = (peer: PeerLink, source: Uint8Array, destination: Uint8Array) => EgressMode;

/**
 * A socket would show the application our own address as the caller's. Where the caller is no host of the tunnel's networks, it came by a [[forward]] of the gateway: then our own TCP speaks for it over the
 * TUN. Answers to such addresses lead into the tunnel, or the gateway could not have used them (allowed_ips, accept_forwards).
 */
export function createEgressChoice({ egress, interface: { addresses } }: TunnelConfig): EgressChoice {
  const mode = egress?.mode ?? 'socket';
  const [own, networks] = [new AllowedIps<typeof INSIDE>(), new AllowedIps<typeof INSIDE>()];
  for (const address of addresses) {
    own.add(address.split('/')[0]!, INSIDE);
    if (parsePrefix(address) !== undefined) networks.add(address, INSIDE);
  }
  const holds = (table: AllowedIps<typeof INSIDE>, address: Uint8Array): boolean =>
    table.lookup(address, 0, address.length === 4 ? 4 : 16) !== undefined;
  return (peer, source, destination) =>
    mode === 'tun' || (peer.initiator && holds(own, destination) && !holds(networks, source)) ? 'tun' : 'socket';
}
