/** Limits of peers on a virtual clock: streams that never run dry, and datagrams that come at their own pace. */

import t from 'tap';
import type { TurnTaker } from '../../../src/mptcp-over-udp/path-limit.js';
import { PeerLimits } from '../../../src/tunnel/gateway/peer-limits.js';
import type { PeerLink } from '../../../src/tunnel/link.js';
import { SpliceHalf } from '../../../src/tunnel/planes/splice.js';

const MBIT = 125_000;
const CLIENT = { name: 'laptop', initiator: false } as PeerLink;
const OTHER = { name: 'phone', initiator: false } as PeerLink;
const GATEWAY = { name: 'vps', initiator: true } as PeerLink;
const PACKET = new Uint8Array(64_000);

class Rig {
  nowMs = 0;
  /** Bytes of packets that went on after they had waited. */
  released = 0;
  readonly limits = new PeerLimits(
    () => ({
      emitPacket: (_packet, _offset, length) => {
        this.released += length;
        return true;
      },
    }),
    () => this.nowMs,
  );

  /** A splice whose source has always something, and whose other side takes all; `bytes` is what has passed. */
  endlessStream(peer: PeerLink, direction: 'in' | 'out') {
    const stream = { bytes: 0, largestBytes: 0, isBlocked: false, half: undefined as unknown as SpliceHalf };
    const to = {
      write: (_bytes: Uint8Array, _at: number, length: number) => {
        if (stream.isBlocked) return 0;
        stream.bytes += length;
        stream.largestBytes = Math.max(stream.largestBytes, length);
        return length;
      },
      finish: () => {},
      abort: () => {},
      resumeReading: () => {},
    };
    const from = { ...to, resumeReading: () => void stream.half.onData(PACKET, 0, PACKET.length) };
    stream.half = new SpliceHalf(
      to,
      () => {},
      () => {},
    ).gateBy(this.limits.gatesOf(peer), direction, from);
    from.resumeReading();
    return stream;
  }

  /** As the tunnel does it: the next timeout, or `stepMs` if that is sooner. */
  run(untilMs: number, each?: () => void, stepMs = 1): void {
    while (this.nowMs < untilMs) {
      each?.();
      this.limits.poll(this.nowMs);
      this.nowMs = Math.min(untilMs, this.nowMs + stepMs, Math.max(this.nowMs + 0.01, this.limits.nextTimeoutMs(this.nowMs)));
    }
  }

  send(peer: PeerLink, direction: 'in' | 'out', bytes: number): boolean {
    return this.limits.gatesOf(peer)[direction]!.admitPacket(PACKET, 0, bytes, 0, 0, 0, 0, this.nowMs);
  }
}

const megabits = (bytes: number, ms: number): number => bytes / MBIT / (ms / 1000);

t.test('"up" is from the side that dials, whichever of the two we are', async (t) => {
  const { limits } = new Rig();
  for (const peer of [CLIENT, GATEWAY]) limits.setLimits(peer, { limitUpBytesPerSec: 1000, limitDownBytesPerSec: 2000 });
  t.match(limits.gatesOf(CLIENT), { in: { bytesPerSec: 1000 }, out: { bytesPerSec: 2000 } });
  t.match(limits.gatesOf(GATEWAY), { in: { bytesPerSec: 2000 }, out: { bytesPerSec: 1000 } });
  for (const peer of [CLIENT, GATEWAY]) t.same(limits.of(peer), { limitUpBytesPerSec: 1000, limitDownBytesPerSec: 2000 });
  limits.setLimits(CLIENT, {});
  t.same(limits.of(CLIENT), {});
  t.same(limits.of(OTHER), {});
});

t.test('streams of a limited peer share its rate evenly, in small pieces; those of another have no limit', async (t) => {
  const rig = new Rig();
  rig.limits.setLimits(CLIENT, { limitDownBytesPerSec: 5 * MBIT });
  const streams = [1, 2, 3].map(() => rig.endlessStream(CLIENT, 'out'));
  const free = rig.endlessStream(OTHER, 'out');
  rig.run(10_000);
  const rates = streams.map(({ bytes }) => megabits(bytes, 10_000));
  const total = rates.reduce((a, b) => a + b);
  t.ok(total > 4.9 && total <= 5.05, `${total} Mbit/s in all`);
  for (const rate of rates) t.ok(Math.abs(rate - total / 3) < 0.05, `${rate} Mbit/s each`);
  t.ok(Math.max(...streams.map(({ largestBytes }) => largestBytes)) <= 3000, 'no turn holds the others up for long');
  t.equal(free.bytes, PACKET.length, 'all that it had, at once');
});

t.test('the two directions have limits of their own', async (t) => {
  const rig = new Rig();
  rig.limits.setLimits(CLIENT, { limitUpBytesPerSec: 2 * MBIT, limitDownBytesPerSec: 8 * MBIT });
  const [up, down] = [rig.endlessStream(CLIENT, 'in'), rig.endlessStream(CLIENT, 'out')];
  rig.run(5000);
  t.ok(Math.abs(megabits(up.bytes, 5000) - 2) < 0.1, `up ${megabits(up.bytes, 5000)}`);
  t.ok(Math.abs(megabits(down.bytes, 5000) - 8) < 0.2, `down ${megabits(down.bytes, 5000)}`);
});

t.test('datagrams beyond the limit wait a little, then are dropped and counted; what is offered below it passes untouched', async (t) => {
  const rig = new Rig();
  rig.limits.setLimits(CLIENT, { limitDownBytesPerSec: 5 * MBIT });
  let passed = 0;
  let offered = 0;
  // 20 Mbit/s in packets of 1250 bytes.
  rig.run(5000, () => {
    while (offered < rig.nowMs * 2) {
      offered++;
      if (rig.send(CLIENT, 'out', 1250)) passed += 1250;
    }
  });
  const rate = megabits(passed + rig.released, 5000);
  t.ok(rate > 4.8 && rate < 5.1, `${rate} Mbit/s`);
  t.ok(rig.limits.droppedPackets > 0.7 * offered, `${rig.limits.droppedPackets} of ${offered} dropped`);

  const calm = new Rig();
  calm.limits.setLimits(CLIENT, { limitDownBytesPerSec: 5 * MBIT });
  let sent = 0;
  calm.run(5000, () => {
    for (; sent < calm.nowMs / 4; sent++) t.ok(calm.send(CLIENT, 'out', 1250), 'at once');
  });
  t.equal(calm.limits.droppedPackets, 0);
});

t.test('a flood of datagrams leaves streams their half, and streams leave datagrams theirs', async (t) => {
  const rig = new Rig();
  rig.limits.setLimits(CLIENT, { limitDownBytesPerSec: 8 * MBIT });
  const stream = rig.endlessStream(CLIENT, 'out');
  let offered = 0;
  let passed = 0;
  rig.run(5000, () => {
    for (; offered < rig.nowMs * 4; offered++) if (rig.send(CLIENT, 'out', 1250)) passed += 1250;
  });
  const [streams, datagrams] = [megabits(stream.bytes, 5000), megabits(passed + rig.released, 5000)];
  t.ok(streams > 3 && datagrams > 3 && streams + datagrams < 8.3, `streams ${streams}, datagrams ${datagrams} Mbit/s`);
});

t.test('a limit is changed, and lifted, while data waits: nothing of it is lost or stays behind', async (t) => {
  const rig = new Rig();
  rig.limits.setLimits(CLIENT, { limitDownBytesPerSec: MBIT });
  const stream = rig.endlessStream(CLIENT, 'out');
  rig.run(1000);
  const slow = stream.bytes;
  rig.limits.setLimits(CLIENT, { limitDownBytesPerSec: 10 * MBIT });
  rig.run(2000);
  t.ok(megabits(stream.bytes - slow, 1000) > 9, `${megabits(stream.bytes - slow, 1000)} Mbit/s after the change`);
  let held = 0;
  for (let i = 0; i < 20; i++) if (!rig.send(CLIENT, 'out', 1250)) held += 1250;
  t.ok(held > 0);
  const before = stream.bytes;
  rig.limits.setLimits(CLIENT, {});
  t.equal(rig.released, held, 'packets that waited went on');
  t.equal(stream.bytes, before + PACKET.length, 'the stream goes on without a gate, all that it has');
  t.equal(rig.limits.nextTimeoutMs(rig.nowMs), Number.POSITIVE_INFINITY);
});

t.test('a stream whose other side is full gives its turn to the next, and nobody is called for nothing', async (t) => {
  const rig = new Rig();
  rig.limits.setLimits(CLIENT, { limitDownBytesPerSec: 5 * MBIT });
  const [blocked, open] = [rig.endlessStream(CLIENT, 'out'), rig.endlessStream(CLIENT, 'out')];
  rig.run(100);
  blocked.isBlocked = true;
  const before = open.bytes;
  rig.run(2100);
  const rate = megabits(open.bytes - before, 2000);
  t.ok(rate > 4.9 && rate < 5.1, `${rate} Mbit/s for the one that can`);
});

t.test('a peer that goes takes along what waits for it; its drops stay counted', async (t) => {
  const rig = new Rig();
  rig.limits.setLimits(CLIENT, { limitDownBytesPerSec: MBIT });
  for (let i = 0; i < 100; i++) rig.send(CLIENT, 'out', 1250);
  const dropped = rig.limits.droppedPackets;
  t.ok(dropped > 0);
  rig.limits.forget(CLIENT);
  t.equal(rig.limits.nextTimeoutMs(rig.nowMs), Number.POSITIVE_INFINITY);
  rig.run(1000);
  t.equal(rig.released, 0);
  t.equal(rig.limits.droppedPackets, dropped);
});

t.test('without a limit nobody is asked to take turns', async (t) => {
  const rig = new Rig();
  const taker: TurnTaker = rig.endlessStream(CLIENT, 'out').half;
  t.notOk(taker.waitsForTurn);
  t.equal(rig.limits.nextTimeoutMs(0), Number.POSITIVE_INFINITY);
});
