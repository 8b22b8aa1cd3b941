/** One epoch of a session in use: its sealer, one sender per path, and what arrived under it on each path. */

import { MAX_PATHS, type NativeAddon, type SealerHandle, type SenderHandle } from '../../tun/native.js';
import { AckSchedule } from './ack-schedule.js';
import type { Path } from './path.js';
import type { Peer } from './peer.js';

export class Epoch {
  readonly peer: Peer;
  readonly localIndex: number;
  /** In the order in which epochs are made. */
  readonly serial: number;
  readonly #native: NativeAddon;
  readonly #sealer: SealerHandle;
  readonly #senders: (SenderHandle | undefined)[] = new Array(MAX_PATHS).fill(undefined);
  readonly #acks: (AckSchedule | undefined)[] = new Array(MAX_PATHS).fill(undefined);
  /** We may send under it. */
  confirmed = false;
  retired = false;
  /** Both sides compress the headers of stream segments. */
  readonly compressed: boolean;
  /** The peer obeys what it is told of limits and costs. */
  obeysPolicy = true;
  /** Datagrams sent that the session has not been told of. */
  unreportedDatagrams = 0;
  reportDue = false;
  /** Something was opened under it in this batch. */
  touched = false;

  constructor(native: NativeAddon, peer: Peer, sealer: SealerHandle, localIndex: number, compressed: boolean, serial = 0) {
    this.#native = native;
    this.peer = peer;
    this.#sealer = sealer;
    this.localIndex = localIndex;
    this.compressed = compressed;
    this.serial = serial;
  }

  /** Made on first use; undefined while the path has no socket. */
  senderFor(path: Path): SenderHandle | undefined {
    const existing = this.#senders[path.id];
    if (existing !== undefined) return existing;
    const handle = path.carrier?.handle;
    if (handle === undefined || this.retired) return undefined;
    const sender = this.#native.createSender(handle, this.#sealer, path.id, path.target);
    this.#senders[path.id] = sender;
    return sender;
  }

  /** The path's socket or remote address is another one now: a sender that exists follows, its packet numbers go on. */
  retarget(path: Path): void {
    const sender = this.#senders[path.id];
    const handle = path.carrier?.handle;
    if (sender === undefined || handle === undefined) return;
    this.#native.senderSetTarget(sender, handle, path.target);
  }

  existingSender(path: Path): SenderHandle | undefined {
    return this.retired ? undefined : this.#senders[path.id];
  }

  acksFor(pathId: number): AckSchedule {
    return (this.#acks[pathId] ??= new AckSchedule());
  }

  retire(): void {
    if (this.retired) return;
    this.retired = true;
    this.#native.destroySealer(this.#sealer);
  }
}
