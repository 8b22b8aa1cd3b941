/** The two planes of a tunnel, made for its configuration. */

import { randomBytes } from 'node:crypto';
import type { TunnelConfig } from './config.js';
import { createEntropy } from './entropy.js';
import { createEgressChoice } from './gateway/egress-choice.js';
import type { InnerDevice } from './inner-device.js';
import type { PathLink, PeerLink } from './link.js';
import { DatagramPlane } from './planes/datagram-plane.js';
import { createOwnAddressTest } from './planes/own-addresses.js';
import { StreamPlane } from './planes/stream-plane.js';
import type { RulesInForce } from './rules-in-force.js';
import type { TunnelPeers } from './tunnel-peers.js';

export interface TunnelPlanesOptions {
  config: TunnelConfig;
  port: InnerDevice;
  rules: RulesInForce;
  peers: TunnelPeers;
  /** May peers reach that destination? */
  permitsDestination: (destination: Uint8Array) => boolean;
  onPathBenched: (peer: PeerLink, path: PathLink, reason: string) => void;
  wake: () => void;
}

export function createPlanes(options: TunnelPlanesOptions): { streams: StreamPlane; datagrams: DatagramPlane } {
  const { config, port, rules, permitsDestination, onPathBenched, wake } = options;
  const { routes, limits, refuseSource } = options.peers;
  const datagrams = new DatagramPlane({
    routes,
    ownAddresses: config.interface.addresses,
    writeTun: port.writePacket,
    hashSeed: randomBytes(4).readUInt32BE(),
    permitsDestination,
    restrictsDialled: config.egress !== undefined,
    onSourceRefused: refuseSource,
    knowledge: rules,
    gatesOf: (peer) => limits.gatesOf(peer),
    ...(config.rules === undefined ? {} : { rules: config.rules }),
  });
  datagrams.dns.listener = rules.hasDomains ? rules : undefined;
  const streams = new StreamPlane({
    config: config.stream,
    rules: datagrams.rules,
    egressFor: createEgressChoice(config),
    isOwnAddress: createOwnAddressTest(config.interface.addresses),
    tunMtuBytes: config.interface.mtuBytes,
    randomBytes: createEntropy(),
    tunSink: port,
    writeTun: port.writePacket,
    peerFor: (destination) => routes.lookup(destination, 0, destination.length === 4 ? 4 : 16),
    permitsSource: (peer, source) => routes.isAllowedSource(peer, source, 0, source.length === 4 ? 4 : 16),
    permitsDestination,
    onSourceRefused: refuseSource,
    gatesOf: (peer) => limits.gatesOf(peer),
    dns: datagrams.dns,
    onPathBenched,
    wake,
  });
  return { streams, datagrams };
}
