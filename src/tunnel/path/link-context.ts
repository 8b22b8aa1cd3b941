/** What the parts of the link layer share: the addon, who is there, what waits to be flushed, one timer, and the counters. */

import type { NativeAddon } from '../../tun/native.js';
import type { Carrier } from '../carrier/carrier.js';
import { LINK_LOST_CODES } from '../carrier/errno-names.js';
import type { LinkObserver, PacketTap } from '../link.js';
import type { TunnelLog } from '../tunnel-api.js';
import type { Epoch } from './epoch.js';
import type { Path } from './path.js';
import type { Peer } from './peer.js';

export function createLinkCounters() {
  return {
    /** Dropped before sealing: no keys, no socket, or an address that is not proven yet. */
    txDroppedPackets: 0,
    /** Datagrams that the kernel refused. */
    txRefusedDatagrams: 0,
    /** Packets of the datagram plane beyond what may wait for a path's limit. */
    txLimitDrops: 0,
    receiveErrors: 0,
    /** Datagrams of no session type that we know, handed to the handshake. */
    rxRawDatagrams: 0,
    /** Opened, but of an epoch that has just ended, of a path that the peer does not have, or over the wrong socket. */
    rxUnknownEpoch: 0,
    rxUnknownPath: 0,
    rxWrongSocket: 0,
    /** Control datagrams with a malformed frame. */
    rxBadFrames: 0,
    /** Slow control messages of a kind that this layer has no use for. */
    rxSlowIgnored: 0,
    /** Path responses or probe replies that answer nothing of ours. */
    rxStaleAnswers: 0,
    /** New remote addresses challenged, and proven. */
    roamingChallenges: 0,
    roamingMoves: 0,
    amplificationDrops: 0,
    /** Paths that left their relay for a direct way, and that went back. */
    directMoves: 0,
    relayedMoves: 0,
    /** Bases of compressed headers, sent (repetitions too) and received; how often the peer did not know one. */
    txBases: 0,
    rxBases: 0,
    rxBaseUnknown: 0,
    mtuReductions: 0,
  };
}

export type LinkCounters = ReturnType<typeof createLinkCounters>;

const CONTROL_BYTES = 1280;
const MIN_TIMER_MS = 1;
/** A timer that is so late says that the event loop was held up. */
const LATE_MS = 20;
const NO_EPOCHS: readonly Epoch[] = [];

function ignore(): void {}

const NO_OBSERVER: LinkObserver = {
  onStreamPacket: ignore,
  onDatagramPacket: ignore,
  onPathChange: ignore,
  onPathRemoved: ignore,
  onPeerChange: ignore,
  onBatchEnd: ignore,
};

export class LinkContext {
  readonly native: NativeAddon;
  readonly log: TunnelLog;
  readonly counters: LinkCounters = createLinkCounters();
  /** All of them, for what concerns each; the newest last. */
  readonly peers: Peer[] = [];
  readonly #peersById = new Map<number, Peer>();
  /** By our receiver index. */
  readonly epochs = new Map<number, Epoch>();
  /** Scratch for outgoing control frames: used and done with within one call. */
  readonly control = new Uint8Array(CONTROL_BYTES);
  observer: LinkObserver = NO_OBSERVER;
  tap: PacketTap | undefined;
  /** The server's socket: many paths share it, so its errors say nothing about one of them. */
  listener: Carrier | undefined;
  closed = false;
  /** (Client) raised whenever a path is added or removed. */
  pathsSerial = 0;
  /** Of the epoch that was made last. */
  newestEpochSerial = 0;
  /** After a flush: the session hears what was sent. */
  onFlushed: (nowMs: number) => void = ignore;
  /** The timer ran out. Set once by the owner. */
  onTimer: (nowMs: number) => void = ignore;
  /** Paths or peers changed state: the owner looks after handshakes. */
  onPeerPathsChanged: (peer: Peer, nowMs: number) => void = ignore;
  /** The kernel refuses what goes out on `path`, which is down now. */
  onSendRefused: (path: Path) => void = ignore;
  /** Those with a limit. */
  #limitedPaths: Path[] = [];
  #dirtyPaths: Path[] = [];
  #dirtyCarriers: Carrier[] = [];
  #dirtyEpochs: Epoch[] = [];
  #timer: NodeJS.Timeout | undefined;
  #armedMs = Infinity;

  constructor(native: NativeAddon, log: TunnelLog) {
    this.native = native;
    this.log = log;
  }

  addPeer(peer: Peer): void {
    this.peers.push(peer);
    this.#peersById.set(peer.peerId, peer);
  }

  removePeer(peer: Peer): void {
    const at = this.peers.indexOf(peer);
    if (at >= 0) this.peers.splice(at, 1);
    this.#peersById.delete(peer.peerId);
  }

  peer(peerId: number): Peer | undefined {
    return this.#peersById.get(peerId);
  }

  markDirty(path: Path, carrier: Carrier): void {
    if (!path.dirty) {
      path.dirty = true;
      this.#dirtyPaths.push(path);
    }
    if (!carrier.dirty) {
      carrier.dirty = true;
      this.#dirtyCarriers.push(carrier);
    }
  }

  markEpoch(epoch: Epoch): void {
    if (epoch.reportDue) return;
    epoch.reportDue = true;
    this.#dirtyEpochs.push(epoch);
  }

  /** Epochs that sent since the last call. */
  takeDirtyEpochs(): readonly Epoch[] {
    if (this.#dirtyEpochs.length === 0) return NO_EPOCHS;
    const epochs = this.#dirtyEpochs;
    this.#dirtyEpochs = [];
    return epochs;
  }

  /** The path got a limit, or lost it. */
  noteLimited(path: Path): void {
    this.#limitedPaths = this.#limitedPaths.filter((one) => one !== path);
    if (path.limit !== undefined) this.#limitedPaths.push(path);
  }

  /** Packets that wait for their path's limit leave as it allows. Staged. */
  drainHeld(nowMs: number): void {
    for (let i = 0; i < this.#limitedPaths.length; i++) this.#limitedPaths[i]!.drainHeld(nowMs);
  }

  /** Infinity while none waits. */
  heldDueMs(nowMs: number): number {
    let at = Infinity;
    for (let i = 0; i < this.#limitedPaths.length; i++) at = Math.min(at, this.#limitedPaths[i]!.heldDueMs(nowMs));
    return at;
  }

  flush(): void {
    const carriers = this.#dirtyCarriers;
    if (carriers.length === 0) return;
    // Callbacks may send and flush again: they fill fresh lists.
    const paths = this.#dirtyPaths;
    this.#dirtyCarriers = [];
    this.#dirtyPaths = [];
    const nowMs = performance.now();
    for (const path of paths) path.noteFlushed(nowMs);
    for (const carrier of carriers) {
      carrier.dirty = false;
      const refused = carrier.flush();
      if (refused > 0) this.handleRefused(carrier, refused, paths, nowMs);
    }
    this.onFlushed(nowMs);
  }

  /** The kernel refused datagrams of `carrier`. */
  handleRefused(carrier: Carrier, refused: number, paths: readonly Path[], nowMs: number): void {
    this.counters.txRefusedDatagrams += refused;
    carrier.refusedDatagrams += refused;
    this.handleSendError(carrier, carrier.takeError(), paths, nowMs);
  }

  handleSendError(carrier: Carrier, code: string, paths: readonly Path[], nowMs: number): void {
    carrier.lastErrorCode = code;
    if (code === 'EMSGSIZE') {
      for (const path of paths) if (path.carrier === carrier && path.handleTooLong(nowMs)) this.pathChanged(path, nowMs);
      return;
    }
    if (carrier === this.listener || !LINK_LOST_CODES.has(code)) return;
    for (const peer of this.peers) {
      for (const path of peer.paths) {
        if (path.carrier !== carrier || !path.machine.handleSendRefused(nowMs, `the kernel refuses to send: ${code}`)) continue;
        this.onSendRefused(path);
        this.pathChanged(path, nowMs);
      }
    }
  }

  /** State, name or address of `path` changed. */
  pathChanged(path: Path, nowMs: number): void {
    this.arm(path.nextTimeoutMs(nowMs));
    this.observer.onPathChange(path.peer, path, nowMs);
    if (path.peer.updateState()) this.observer.onPeerChange(path.peer, nowMs);
    this.onPeerPathsChanged(path.peer, nowMs);
  }

  /** For good. The planes hear of it first, and may send a last word. */
  removePath(path: Path, nowMs: number): void {
    const { peer } = path;
    this.observer.onPathRemoved(peer, path, nowMs);
    this.flush();
    peer.removePath(path.id);
    path.drop(nowMs);
    if (peer.updateState()) this.observer.onPeerChange(peer, nowMs);
    this.onPeerPathsChanged(peer, nowMs);
  }

  /** The timer shall run out at `deadlineMs` or before. */
  arm(deadlineMs: number): void {
    if (deadlineMs >= this.#armedMs || this.closed) return;
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#armedMs = deadlineMs;
    const delayMs = Math.max(MIN_TIMER_MS, Math.ceil(deadlineMs - performance.now()));
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#armedMs = Infinity;
      const nowMs = performance.now();
      if (nowMs - deadlineMs < LATE_MS) this.onTimer(nowMs);
      // The loop was held up: what arrived meanwhile must be read before silence is judged.
      else setImmediate(() => this.onTimer(performance.now()));
    }, delayMs);
  }

  disarm(): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#armedMs = Infinity;
  }
}
