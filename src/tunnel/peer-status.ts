/** What a tunnel's status says of a peer and its paths: the link layer's state, beside what meters, events and streams know of it. */

import type { BudgetKeeper } from './budget/budget-keeper.js';
import type { PeerLimits } from './gateway/peer-limits.js';
import type { RefusedSources } from './gateway/refused-sources.js';
import type { PathLink, PeerLink } from './link.js';
import type { LinkEvents } from './link-events.js';
import type { PathRateMeter } from './path-rates.js';
import type { StreamPlane } from './planes/stream-plane.js';
import type { PathStatus, PeerStatus, PeerTrafficStatus } from './status.js';
import type { PeerTotals } from './totals/peer-totals.js';

export interface StatusSources {
  readonly rates: PathRateMeter;
  readonly linkEvents: LinkEvents;
  /** undefined before the tunnel is up, and when it closes. */
  readonly streams: StreamPlane | undefined;
  readonly budgets: BudgetKeeper | undefined;
  readonly totals: PeerTotals | undefined;
  readonly refusedSources: RefusedSources;
  readonly limits: PeerLimits | undefined;
}

const NO_CONNECTIONS = { rxConnections: 0, txConnections: 0 };

export function peerStatus(peer: PeerLink, sources: StatusSources, nowMs: number): PeerStatus {
  const traffic = sources.totals?.of(peer) ?? carriedBy(peer, sources.streams);
  const refusedSource = sources.refusedSources.of(peer.name);
  return {
    name: peer.name,
    publicKey: peer.publicKey,
    state: peer.state,
    lastError: peer.lastError,
    paths: peer.paths.map((path) => pathStatus(peer, path, sources, nowMs)),
    connections: sources.streams?.connectionCount(peer) ?? 0,
    ...(refusedSource && { refusedSource }),
    ...(traffic && { traffic }),
    ...sources.limits?.of(peer),
  };
}

/** Since it is there; undefined: it is not counted. */
export function carriedBy(peer: PeerLink, streams: StreamPlane | undefined): PeerTrafficStatus | undefined {
  return peer.traffic && { ...peer.traffic, ...(streams?.connectionTotals(peer) ?? NO_CONNECTIONS) };
}

function pathStatus(peer: PeerLink, path: PathLink, { rates, linkEvents, streams, budgets }: StatusSources, nowMs: number): PathStatus {
  const { id, name, local, remote, state, stateReason, rttMs, minRttMs, lossRatio, deliveryRateBytesPerSec, rxBytes, txBytes } = path;
  const { cost, limit, peerLimitBytesPerSec: limitDownBytesPerSec = 0 } = path;
  const budget = peer.initiator ? budgets?.status(name) : undefined;
  const benched = streams?.bench(peer, id, nowMs);
  return {
    ...{ id, name, local, remote, state, stateReason, rttMs, minRttMs, lossRatio, deliveryRateBytesPerSec, rxBytes, txBytes },
    ...rates.rates(path, nowMs),
    ...(path.via ? { via: path.via, relayed: path.isRelayed === true } : {}),
    ...(path.viaProblem ? { viaProblem: path.viaProblem } : {}),
    ...(path.seenAs ? { seenAs: path.seenAs } : {}),
    ...(path.carrierKind === 'quic' || path.carrierKind === 'webtransport' ? { carrier: path.carrierKind } : {}),
    ...(path.carrierProtocol ? { carrierProtocol: path.carrierProtocol } : {}),
    ...(path.carrierProblem ? { carrierProblem: path.carrierProblem } : {}),
    inStateMs: linkEvents.inStateMs(path, nowMs),
    innerMtuBytes: path.innerMtuBytes,
    ...(path.reducedMtuBytes ? { reducedMtuBytes: path.reducedMtuBytes } : {}),
    priority: path.priority,
    backup: path.backup,
    ...(cost === 0 ? {} : { cost }),
    ...(limit === undefined ? {} : { limitUpBytesPerSec: limit.bytesPerSec }),
    ...(limitDownBytesPerSec === 0 ? {} : { limitDownBytesPerSec }),
    ...(limitDownBytesPerSec === 0 || path.peerObeysPolicy !== false ? {} : { limitDownIgnored: true as const }),
    ...(budget && { budget }),
    ...(benched === undefined ? {} : { benched }),
  };
}
