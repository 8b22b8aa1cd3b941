/**
 * The process that emulates the links of a lab: `node emulator.js`, run in a namespace of its own. Each link is two TUN devices, which the
 * parent moves into the hosts' namespaces (the file descriptor stays attached), and a LinkQueue for each direction.
 *
 * One JSON object a line on standard input, `{id, op, ...}`; one reply a line on standard output, `{id, ...}` or `{id, error}`. It ends
 * when its standard input does, so that it never outlives the lab.
 */

import { createInterface } from 'node:readline';
import {
  type FineTimer,
  loadNative,
  type NativeAddon,
  TUN_DESCRIPTOR_INTS,
  TUN_LENGTH,
  TUN_OFFSET,
  type TunHandle,
} from '../tun/native.js';
import type { LinkCounters, LinkShape } from './lab-api.js';
import { type Deliver, LinkQueue, SLOT_BYTES } from './link-queue.js';

export type EmulatorRequest =
  | { op: 'open'; link: string; first: string; second: string; shape: LinkShape; seed: number }
  | { op: 'shape'; link: string; shape: Partial<LinkShape> }
  | { op: 'blackhole'; link: string; on: boolean }
  | { op: 'counters'; link: string };

export interface EmulatorReply {
  id: number;
  error?: string;
  counters?: LinkCounters;
}

const BATCH_PACKETS = 64;
/** Batches read from one device before others have their turn. */
const ROUNDS = 4;
/** Wake-ups are at least this far apart: at high rates one wake-up moves several packets. */
const WAKE_GRANULARITY_MS = 0.1;

/** What enters at `source` leaves at `target`. */
interface Direction {
  source: TunHandle;
  queue: LinkQueue;
  /** Made once: no closure on the hot path. */
  deliver: Deliver;
}

class Emulator {
  private readonly native: NativeAddon = loadNative();
  private readonly descriptors = new Int32Array(BATCH_PACKETS * TUN_DESCRIPTOR_INTS);
  private readonly links = new Map<string, { up: Direction; down: Direction }>();
  private readonly directions: Direction[] = [];
  private readonly timer: FineTimer = this.native.createFineTimer(() => this.deliver());
  private armedForMs = Number.POSITIVE_INFINITY;

  handle(request: EmulatorRequest): { counters?: LinkCounters } {
    if (request.op === 'open') {
      this.open(request);
      return {};
    }
    const link = this.links.get(request.link);
    if (link === undefined) throw new Error(`no link ${request.link}`);
    if (request.op === 'counters') return { counters: countersOf(link.up.queue, link.down.queue) };
    for (const { queue } of [link.up, link.down]) {
      if (request.op === 'shape') queue.setShape(request.shape, performance.now());
      else queue.setBlackhole(request.on);
    }
    this.armedForMs = Number.POSITIVE_INFINITY;
    this.deliver();
    return {};
  }

  private open(request: EmulatorRequest & { op: 'open' }): void {
    const first = this.native.tunOpen({ name: request.first, offloads: false });
    const second = this.native.tunOpen({ name: request.second, offloads: false });
    const up = this.makeDirection(first, second, request.shape, request.seed * 2);
    const down = this.makeDirection(second, first, request.shape, request.seed * 2 + 1);
    for (const direction of [up, down]) {
      const watcher = this.native.watchReadable(direction.source, () => {
        // A device that failed (its namespace is gone) would be readable for ever.
        if (!this.take(direction)) watcher.close();
      });
    }
    this.links.set(request.link, { up, down });
    this.directions.push(up, down);
  }

  private makeDirection(source: TunHandle, target: TunHandle, shape: LinkShape, seed: number): Direction {
    const queue = new LinkQueue({ shape, seed, stageSlots: BATCH_PACKETS });
    const deliver: Deliver = (arena, offset, length) => {
      if (this.native.tunWritePacket(target, arena, offset, length, 0, 0, 0, 0) < 0) queue.undeliver(length);
    };
    return { source, queue, deliver };
  }

  /** Reads what has arrived at one end. False when the device is gone. */
  private take(direction: Direction): boolean {
    const { queue } = direction;
    for (let round = 0; round < ROUNDS; round++) {
      const count = this.native.tunRead(direction.source, queue.arena, SLOT_BYTES, BATCH_PACKETS, this.descriptors);
      if (count < 0) return false;
      const nowMs = performance.now();
      for (let i = 0; i < count; i++) {
        const base = i * TUN_DESCRIPTOR_INTS;
        queue.accept(this.descriptors[base + TUN_OFFSET]! / SLOT_BYTES, this.descriptors[base + TUN_LENGTH]!, nowMs);
      }
      if (count < BATCH_PACKETS) break;
    }
    this.deliver();
    return true;
  }

  /** Delivers what is due everywhere, then arms the timer for what is due next. */
  private deliver(): void {
    const nowMs = performance.now();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const { queue, deliver } of this.directions) {
      queue.deliverDue(nowMs, deliver);
      nextMs = Math.min(nextMs, queue.nextDueMs());
    }
    this.arm(nextMs, nowMs);
  }

  private arm(nextMs: number, nowMs: number): void {
    if (nextMs === Number.POSITIVE_INFINITY) return;
    const wakeMs = Math.max(nextMs, nowMs + WAKE_GRANULARITY_MS);
    // An earlier alarm is still to come and will re-arm.
    if (this.armedForMs > nowMs && this.armedForMs <= wakeMs) return;
    this.armedForMs = wakeMs;
    this.timer.arm(Math.ceil((wakeMs - nowMs) * 1000));
  }
}

function countersOf(up: LinkQueue, down: LinkQueue): LinkCounters {
  return {
    upBytes: up.deliveredBytes,
    upPackets: up.deliveredPackets,
    downBytes: down.deliveredBytes,
    downPackets: down.deliveredPackets,
    lostPackets: up.lostPackets + down.lostPackets,
    droppedPackets: up.droppedPackets + down.droppedPackets,
    queuedPackets: up.queuedPackets + down.queuedPackets,
  };
}

function main(): void {
  const emulator = new Emulator();
  const input = createInterface({ input: process.stdin });
  input.on('line', (line) => {
    const { id, ...request } = JSON.parse(line) as EmulatorRequest & { id: number };
    let reply: EmulatorReply;
    try {
      reply = { id, ...emulator.handle(request) };
    } catch (error) {
      reply = { id, error: error instanceof Error ? error.message : String(error) };
    }
    process.stdout.write(`${JSON.stringify(reply)}\n`);
  });
  input.on('close', () => process.exit(0));
}

main();
