/** One peer of the link layer: its paths, the epoch that we send under, and whether it is there. */

import { formatKey } from '../../crypto/keys.js';
import { MAX_PATHS } from '../../tun/native.js';
import { isDialled, type PeerConfig } from '../config.js';
import type { PeerLink, PeerState, PeerTraffic } from '../link.js';
import type { Epoch } from './epoch.js';
import type { Path } from './path.js';

const BUSY_NOTE_MS = 200;

export class Peer implements PeerLink {
  readonly peerId: number;
  readonly config: PeerConfig;
  readonly name: string;
  readonly publicKey: string;
  readonly allowedIps: readonly string[];
  /** We know its endpoint, or a relay of it: we start handshakes and choose the paths. */
  readonly initiator: boolean;
  readonly enrolling: boolean;
  readonly #byId: (Path | undefined)[] = new Array(MAX_PATHS).fill(undefined);
  #paths: Path[] = [];
  /** Of paths that are no more. */
  #gone: PeerTraffic = { rxBytes: 0, txBytes: 0, rxPackets: 0, txPackets: 0 };
  #state: PeerState;
  lastError = '';
  sendEpoch: Epoch | undefined;
  /** The routes that the session was told, as text. */
  routesText = '';
  #busyNotedMs = -Infinity;
  /** (Server) the newest list of paths that the client told, and of which epoch it is. */
  pathsSerial = -1;
  pathsEpoch: Epoch | undefined;
  /** (Server) by id: the newest epoch when the client removed that path. What still comes on it in that epoch or an older one, brings nothing back. */
  readonly #removedInEpoch: number[] = new Array(MAX_PATHS).fill(-1);

  constructor(peerId: number, config: PeerConfig) {
    this.peerId = peerId;
    this.config = config;
    this.name = config.name;
    this.publicKey = formatKey(config.publicKey);
    this.allowedIps = config.allowedIps;
    this.initiator = isDialled(config);
    this.enrolling = config.enrolling === true;
    this.#state = this.initiator ? 'connecting' : 'down';
  }

  get state(): PeerState {
    return this.#state;
  }

  get paths(): readonly Path[] {
    return this.#paths;
  }

  path(id: number): Path | undefined {
    return this.#byId[id];
  }

  get traffic(): PeerTraffic {
    let sum = this.#gone;
    for (const path of this.#paths) sum = sumOf(sum, path);
    return sum;
  }

  addPath(path: Path): void {
    if (this.#byId[path.id] !== path) this.#gone = sumOf(this.#gone, this.#byId[path.id]);
    this.#byId[path.id] = path;
    this.#paths = this.#byId.filter((one): one is Path => one !== undefined);
  }

  removePath(id: number): void {
    this.#gone = sumOf(this.#gone, this.#byId[id]);
    this.#byId[id] = undefined;
    this.#paths = this.#paths.filter((path) => path.id !== id);
  }

  clearPaths(): void {
    for (const path of this.#paths) this.#gone = sumOf(this.#gone, path);
    this.#byId.fill(undefined);
    this.#paths = [];
  }

  noteRemoved(id: number, newestEpochSerial: number): void {
    this.#removedInEpoch[id] = newestEpochSerial;
  }

  wasRemovedIn(id: number, epoch: Epoch): boolean {
    return epoch.serial <= this.#removedInEpoch[id]!;
  }

  /** Any path on which packets may still arrive. */
  get reachable(): boolean {
    for (const path of this.#paths) if (path.state === 'up' || path.state === 'suspect') return true;
    return false;
  }

  /** True when the state changed. */
  updateState(): boolean {
    const before = this.#state;
    if (this.sendEpoch !== undefined && this.reachable) {
      this.#state = 'up';
      this.lastError = '';
    } else if (this.sendEpoch === undefined && this.initiator) {
      this.#state = 'connecting';
    } else if (before === 'up') {
      this.#state = 'down';
      if (this.lastError === '') this.lastError = `${this.name} answers on no path`;
    }
    return this.#state !== before;
  }

  /** Data is carried: every path shall notice silence quickly. */
  noteBusy(nowMs: number): boolean {
    if (nowMs - this.#busyNotedMs < BUSY_NOTE_MS) return false;
    this.#busyNotedMs = nowMs;
    for (const path of this.#paths) path.machine.noteBusy(nowMs);
    return true;
  }
}

function sumOf(sum: PeerTraffic, path: Path | undefined): PeerTraffic {
  if (path === undefined) return sum;
  return {
    rxBytes: sum.rxBytes + path.rxBytes,
    txBytes: sum.txBytes + path.txBytes,
    rxPackets: sum.rxPackets + path.rxDatagrams,
    txPackets: sum.txPackets + path.txDatagrams,
  };
}
