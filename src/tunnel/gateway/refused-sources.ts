/**
 * Packets of peers whose source address is not in their allowed_ips are dropped: it is how peers are held apart. Most often it is a network behind a peer of which nobody
 * has told this side, so it is said, once a minute and peer.
 */

import { formatIp } from '../../tun/ip-prefix.js';

/** What a peer sent that was refused. */
export interface RefusedSource {
  /** Of the last packet that was told of. */
  address: string;
  packets: number;
}

const TELL_EVERY_MS = 60_000;

interface Refusals extends RefusedSource {
  toldAtMs: number;
}

export class RefusedSources {
  readonly #warn: (message: string) => void;
  readonly #byPeer = new Map<string, Refusals>();

  constructor(warn: (message: string) => void) {
    this.#warn = warn;
  }

  /** `source`: 4 or 16 bytes, borrowed until return. */
  refuse(peer: string, source: Uint8Array, nowMs: number): void {
    let refusals = this.#byPeer.get(peer);
    if (refusals === undefined) {
      refusals = { address: '', packets: 0, toldAtMs: Number.NEGATIVE_INFINITY };
      this.#byPeer.set(peer, refusals);
    }
    refusals.packets++;
    if (nowMs - refusals.toldAtMs < TELL_EVERY_MS) return;
    refusals.toldAtMs = nowMs;
    refusals.address = formatIp(source.slice());
    this.#warn(
      `peer ${peer} sends from ${refusals.address}, which is not in its allowed_ips: refused (${refusals.packets} so far). If that is a network behind it, add it there on this side, or let that side masquerade`,
    );
  }

  /** undefined: nothing was refused. */
  of(peer: string): RefusedSource | undefined {
    const refusals = this.#byPeer.get(peer);
    return refusals && { address: refusals.address, packets: refusals.packets };
  }

  forget(peer: string): void {
    this.#byPeer.delete(peer);
  }
}
