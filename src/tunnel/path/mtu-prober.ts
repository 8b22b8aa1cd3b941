/** Sends what path-mtu.ts asks for: padded PATH_PROBEs, which every peer answers, of whatever version. */

import { emitPadding, emitPathProbe } from '../session/frames.js';
import type { Epoch } from './epoch.js';
import type { LinkContext } from './link-context.js';
import type { Path } from './path.js';
import { MOST_PROBED_BYTES } from './path-mtu.js';
import { SEAL_OVERHEAD_BYTES } from './path-size.js';

export class MtuProber {
  readonly #context: LinkContext;
  readonly #padded = new Uint8Array(MOST_PROBED_BYTES);

  constructor(context: LinkContext) {
    this.#context = context;
  }

  /** What is due by now. Whether the path is alive a lost probe says nothing of. */
  pursue(path: Path, nowMs: number): void {
    const { mtu } = path.size;
    const epoch = path.peer.sendEpoch;
    if (!path.probesMtu || epoch === undefined) {
      mtu.restart();
      return;
    }
    if (mtu.handleTimeout(path, nowMs)) this.#noteChanged(path, nowMs);
    const bytes = mtu.pollProbe(path, nowMs);
    if (bytes === 0) return;
    // What others have staged on the socket goes before: a refusal shall be of this path's probe alone.
    this.#context.flush();
    if (!this.#send(path, epoch, 0, nowMs)) {
      mtu.postpone(nowMs);
      return;
    }
    for (const usualBytes of mtu.takeUsual()) this.#sendPadded(path, epoch, usualBytes, false, nowMs);
    this.#sendPadded(path, epoch, bytes, true, nowMs);
    this.#context.flush();
    mtu.noteLeft();
  }

  /** Probe `sequence` was answered. */
  handleReply(path: Path, sequence: number, nowMs: number): void {
    const { mtu } = path.size;
    const bytes = mtu.redeem(sequence);
    if (bytes === 0) return;
    path.delivery.excuse(-1);
    if (mtu.handleAnswer(bytes, nowMs)) this.#noteChanged(path, nowMs);
    else this.#context.arm(path.nextTimeoutMs(nowMs));
  }

  #sendPadded(path: Path, epoch: Epoch, bytes: number, isAwaited: boolean, nowMs: number): void {
    path.size.mtu.noteSent(path.probes.nextId, bytes, isAwaited, nowMs);
    path.delivery.excuse(1);
    this.#send(path, epoch, bytes, nowMs);
  }

  /** `bytes`: of the whole packet, 0: as small as it gets. */
  #send(path: Path, epoch: Epoch, bytes: number, nowMs: number): boolean {
    const probeBytes = emitPathProbe(this.#padded, 0, path.probes.issue(nowMs), Math.floor(nowMs));
    const length = Math.max(probeBytes, bytes - path.outerHeaderBytes - SEAL_OVERHEAD_BYTES);
    if (length > probeBytes) emitPadding(this.#padded, probeBytes, length - probeBytes);
    return path.sendControl(epoch, this.#padded, length, false);
  }

  #noteChanged(path: Path, nowMs: number): void {
    path.noteSize();
    this.#context.pathChanged(path, nowMs);
  }
}
