/** One peer of the link layer: its paths, the epoch that we send under, and whether it is there. */

import { formatKey } from '../../crypto/keys.js';
import { MAX_PATHS } from '../../tun/native.js';
import type { PeerConfig } from '../config.js';
import type { PeerLink, PeerState } from '../link.js';
import type { Epoch } from './epoch.js';
import type { Path } from './path.js';

const BUSY_NOTE_MS = 200;

export class Peer implements PeerLink {
  readonly peerId: number;
  readonly config: PeerConfig;
  readonly name: string;
  readonly publicKey: string;
  readonly allowedIps: readonly string[];
  /** We know its endpoint: we start handshakes and choose the paths. */
  readonly initiator: boolean;
  readonly #byId: (Path | undefined)[] = new Array(MAX_PATHS).fill(undefined);
  #paths: Path[] = [];
  #state: PeerState;
  lastError = '';
  sendEpoch: Epoch | undefined;
  /** The routes that the session was told, as text. */
  routesText = '';
  #busyNotedMs = -Infinity;

  constructor(peerId: number, config: PeerConfig) {
    this.peerId = peerId;
    this.config = config;
    this.name = config.name;
    this.publicKey = formatKey(config.publicKey);
    this.allowedIps = config.allowedIps;
    this.initiator = config.endpoint !== undefined;
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

  addPath(path: Path): void {
    this.#byId[path.id] = path;
    this.#paths = this.#byId.filter((one): one is Path => one !== undefined);
  }

  clearPaths(): void {
    this.#byId.fill(undefined);
    this.#paths = [];
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
