/** Turns the link layer's "something about this changed" into events that say what changed from what. */

import type { EventHub } from './event-hub.js';
import type { PathLink, PathState, PeerLink, PeerState } from './link.js';

interface KnownPath {
  state: PathState;
  local: string;
  remote: string;
  innerMtuBytes: number;
  /** In this state since. */
  sinceMs: number;
}

/** Why our streams leave a path alone, and for how long yet. */
export type BenchOf = (peer: PeerLink, path: PathLink) => { reason: string; remainingMs: number } | undefined;

export class LinkEvents {
  readonly #hub: EventHub;
  readonly #benchOf: BenchOf;
  readonly #paths = new WeakMap<PathLink, KnownPath>();
  readonly #peers = new WeakMap<PeerLink, { state: PeerState; reason: string }>();
  readonly #benches = new Map<PathLink, NodeJS.Timeout>();

  constructor(hub: EventHub, benchOf: BenchOf) {
    this.#hub = hub;
    this.#benchOf = benchOf;
  }

  handlePathChange(peer: PeerLink, path: PathLink): void {
    const before = this.#paths.get(path);
    const { state, local, remote, innerMtuBytes } = path;
    const sinceMs = before?.state === state ? before.sinceMs : performance.now();
    this.#paths.set(path, { state, local, remote, innerMtuBytes, sinceMs });
    const names = { peer: peer.name, path: path.name };
    if (before?.state !== state) {
      const from = before === undefined ? {} : { from: before.state };
      this.#hub.emit({ type: 'path', ...names, state, ...from, reason: path.stateReason, local, remote });
    }
    if (before === undefined) return;
    // An address that comes or goes with the link is told by the state.
    const localMoved = before.local !== local && before.local !== '' && local !== '';
    if (localMoved || before.remote !== remote)
      this.#hub.emit({ type: 'path-moved', ...names, local, remote, fromLocal: before.local, fromRemote: before.remote });
    if (before.innerMtuBytes !== innerMtuBytes)
      this.#hub.emit({ type: 'path-mtu', ...names, innerMtuBytes, fromBytes: before.innerMtuBytes });
  }

  /** How long the path has been in its state; -1 when it was never told of. */
  inStateMs(path: PathLink, nowMs: number): number {
    const known = this.#paths.get(path);
    return known === undefined ? -1 : Math.round(Math.max(0, nowMs - known.sinceMs));
  }

  handlePeerChange(peer: PeerLink): void {
    const before = this.#peers.get(peer);
    const { state, lastError: reason } = peer;
    if (before?.state === state && before.reason === reason) return;
    this.#peers.set(peer, { state, reason });
    this.#hub.emit({ type: 'peer', peer: peer.name, state, from: before?.state ?? (peer.initiator ? 'connecting' : 'down'), reason });
  }

  handlePathRemoved(peer: PeerLink, path: PathLink): void {
    clearTimeout(this.#benches.get(path));
    this.#benches.delete(path);
    this.#paths.delete(path);
    this.#hub.emit({ type: 'path-removed', peer: peer.name, path: path.name });
  }

  handleBenched(peer: PeerLink, path: PathLink, reason: string): void {
    const forMs = this.#benchOf(peer, path)?.remainingMs ?? 0;
    this.#hub.emit({ type: 'path-benched', peer: peer.name, path: path.name, reason, forMs: Math.round(forMs) });
    this.#awaitBenchEnd(peer, path, forMs);
  }

  /** Forgets the benches: nobody waits for their ends any longer. */
  close(): void {
    for (const timer of this.#benches.values()) clearTimeout(timer);
    this.#benches.clear();
  }

  #awaitBenchEnd(peer: PeerLink, path: PathLink, remainingMs: number): void {
    clearTimeout(this.#benches.get(path));
    const look = (): void => {
      const bench = this.#benchOf(peer, path);
      // It may have been benched again meanwhile.
      if (bench !== undefined) {
        this.#awaitBenchEnd(peer, path, bench.remainingMs);
        return;
      }
      this.#benches.delete(path);
      this.#hub.emit({ type: 'path-bench-ended', peer: peer.name, path: path.name });
    };
    const timer = setTimeout(look, Math.ceil(remainingMs) + 1);
    timer.unref();
    this.#benches.set(path, timer);
  }
}
