/** What each peer has carried in all, also before the tunnel was started, and before the peer was removed and came again: who it is, its public key says. */

import type { PeerLink } from '../link.js';
import type { PeerTrafficStatus } from '../status.js';
import type { TotalsRecord, TotalsRecords } from './totals-file.js';

export const TOTALS_TICK_MS = 5000;
/** A crash forgets what was carried since the last writing: no more than this, or so little. */
const SAVE_EVERY_MS = 60_000;
const SAVE_BYTES = 100e3;
const SAVE_LITTLE_EVERY_MS = 600_000;
/** What is kept of those that are no peers any more. */
const FORGET_AFTER_MS = 100 * 86_400_000;

export interface PeerTotalsOptions {
  peers: () => readonly PeerLink[];
  /** By this peer, since it is there. undefined: it is not counted. */
  carried: (peer: PeerLink) => PeerTrafficStatus | undefined;
  file: {
    read(): TotalsRecords;
    /** False: not now. */
    save(records: TotalsRecords): boolean;
    close(records: TotalsRecords): Promise<void>;
  };
  wallMs?: () => number;
  nowMs?: () => number;
}

export class PeerTotals {
  readonly #options: PeerTotalsOptions;
  readonly #wallMs: () => number;
  readonly #nowMs: () => number;
  /** By public key: carried before the peer was there this time. */
  readonly #before: Map<string, TotalsRecord>;
  #savedMs: number;
  #savedBytes: number;
  #isNews = false;

  constructor(options: PeerTotalsOptions) {
    this.#options = options;
    this.#wallMs = options.wallMs ?? Date.now;
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#before = new Map(Object.entries(options.file.read()));
    this.#savedMs = this.#nowMs();
    this.#savedBytes = this.#allBytes();
  }

  /** undefined: it is not counted. */
  of(peer: PeerLink): PeerTrafficStatus | undefined {
    const carried = this.#options.carried(peer);
    const before = this.#before.get(peer.publicKey);
    return carried === undefined || before === undefined ? carried : sumOf(before, carried);
  }

  /** While what it has carried is still known. */
  handlePeerRemoved(peer: PeerLink): void {
    const total = this.#recordOf(peer);
    if (total === undefined) return;
    this.#before.set(peer.publicKey, total);
    this.#isNews = true;
  }

  /** Every five seconds. */
  tick(): void {
    const nowMs = this.#nowMs();
    const sinceMs = nowMs - this.#savedMs;
    const bytes = this.#allBytes();
    const newBytes = bytes - this.#savedBytes;
    const isDue = this.#isNews || (sinceMs >= SAVE_EVERY_MS && newBytes >= SAVE_BYTES) || (sinceMs >= SAVE_LITTLE_EVERY_MS && newBytes > 0);
    if (!isDue || !this.#options.file.save(this.#allRecords())) return;
    this.#isNews = false;
    this.#savedMs = nowMs;
    this.#savedBytes = bytes;
  }

  /** Keeps it as it is now. */
  async close(): Promise<void> {
    await this.#options.file.close(this.#allRecords());
  }

  #recordOf(peer: PeerLink): TotalsRecord | undefined {
    const total = peer.enrolling ? undefined : this.of(peer);
    return total && { ...total, knownMs: this.#wallMs() };
  }

  /** Of all peers together, those that are gone too: it only grows. */
  #allBytes(): number {
    let bytes = 0;
    for (const { rxBytes, txBytes } of this.#before.values()) bytes += rxBytes + txBytes;
    for (const peer of this.#options.peers()) {
      const carried = peer.enrolling ? undefined : this.#options.carried(peer);
      if (carried !== undefined) bytes += carried.rxBytes + carried.txBytes;
    }
    return bytes;
  }

  #allRecords(): TotalsRecords {
    const oldestMs = this.#wallMs() - FORGET_AFTER_MS;
    const records = new Map([...this.#before].filter(([, { knownMs }]) => knownMs >= oldestMs));
    for (const peer of this.#options.peers()) {
      const record = this.#recordOf(peer);
      if (record !== undefined) records.set(peer.publicKey, record);
    }
    return Object.fromEntries(records);
  }
}

function sumOf(before: PeerTrafficStatus, carried: PeerTrafficStatus): PeerTrafficStatus {
  return {
    rxBytes: before.rxBytes + carried.rxBytes,
    txBytes: before.txBytes + carried.txBytes,
    rxPackets: before.rxPackets + carried.rxPackets,
    txPackets: before.txPackets + carried.txPackets,
    rxConnections: before.rxConnections + carried.rxConnections,
    txConnections: before.txConnections + carried.txConnections,
  };
}
