import fc from 'fast-check';
import t from 'tap';
import { HeldPackets, type PacketOutlet } from '../../../src/tunnel/path/held-packets.js';
import { PathShaper } from '../../../src/tunnel/path/path-shaper.js';
import { RateLimit } from '../../../src/tunnel/path/rate-limit.js';

const MEGABIT = 125_000;
const PACKET = new Uint8Array(1250);

/** Sends whatever the limit lets go, `stepMs` apart; returns the bytes by time. */
function greedy(limit: RateLimit, untilMs: number, stepMs: (nowMs: number) => number): { atMs: number; bytes: number }[] {
  const sent: { atMs: number; bytes: number }[] = [];
  let bytes = 0;
  for (let nowMs = 0; nowMs < untilMs; nowMs += stepMs(nowMs)) {
    for (let room = limit.streamRoomBytes(nowMs); room > 0; room = limit.streamRoomBytes(nowMs)) {
      limit.chargeStream(room);
      bytes += room;
    }
    sent.push({ atMs: nowMs, bytes });
  }
  return sent;
}

t.test('never more than the rate and a short burst, over any interval, and all of it where it is asked often enough', async (t) => {
  for (const megabits of [1, 10, 1000]) {
    const rate = megabits * MEGABIT;
    const sent = greedy(new RateLimit(rate), 10_000, () => 0.5);
    const burstBytes = 2 * Math.max(3000, rate / 1000) + (3 * rate) / 1000;
    let worst = 0;
    for (let i = 0; i < sent.length; i += 7)
      for (let j = i + 1; j < sent.length; j += 97)
        worst = Math.max(worst, sent[j]!.bytes - sent[i]!.bytes - (rate * (sent[j]!.atMs - sent[i]!.atMs)) / 1000);
    t.ok(worst <= burstBytes, `${megabits} Mbit/s: ${worst} bytes beyond`);
    t.ok(sent.at(-1)!.bytes > 0.995 * 10 * rate, `${megabits} Mbit/s: ${sent.at(-1)!.bytes} bytes`);
  }
});

t.test('a timer that is late by a moment costs no rate, one that is late by more brings no burst', async (t) => {
  const rate = 10 * MEGABIT;
  const late = greedy(new RateLimit(rate), 10_000, (nowMs) => (nowMs % 3 < 1 ? 2.5 : 1));
  t.ok(late.at(-1)!.bytes > 0.98 * 10 * rate, `${late.at(-1)!.bytes} bytes`);
  const limit = new RateLimit(rate);
  greedy(limit, 1000, () => 1);
  let burst = 0;
  for (let room = limit.streamRoomBytes(60_000); room > 0; room = limit.streamRoomBytes(60_000)) {
    limit.chargeStream(room);
    burst += room;
  }
  t.ok(burst <= 2 * 3000 + (3 * rate) / 1000, `${burst} bytes after a minute of silence`);
});

t.test('a changed rate holds at once, and what is owed takes as long as before', async (t) => {
  const limit = new RateLimit(MEGABIT);
  limit.isFree(0);
  limit.charge(12_500);
  t.equal(limit.freeAtMs(0), 100);
  limit.setRate(10 * MEGABIT);
  t.equal(limit.freeAtMs(0), 100);
  limit.charge(12_500);
  t.equal(limit.freeAtMs(0), 110);
});

t.test('acknowledgements are charged and never held back; what they owe is bounded', async (t) => {
  const limit = new RateLimit(MEGABIT);
  limit.isFree(0);
  for (let i = 0; i < 1000; i++) limit.charge(1500);
  t.equal(limit.freeAtMs(0), 200);
});

class Outlet implements PacketOutlet {
  readonly sent: { bytes: number; mark: number; atMs: number }[] = [];
  nowMs = 0;
  readonly #limit: RateLimit | undefined;

  constructor(limit?: RateLimit) {
    this.#limit = limit;
  }

  emitPacket(packet: Uint8Array, offset: number, length: number, gsoType: number): boolean {
    this.sent.push({ bytes: length, mark: packet[offset]!, atMs: this.nowMs });
    this.#limit?.chargeDatagram(length);
    return gsoType >= 0;
  }
}

t.test('where streams and datagrams both wait, each has half; alone each has all', async (t) => {
  const limit = new RateLimit(10 * MEGABIT);
  const shaper = new PathShaper(limit);
  const outlet = new Outlet(limit);
  let streamBytes = 0;
  const run = (fromMs: number, toMs: number, streams: boolean, datagrams: boolean): [number, number] => {
    const [before, sentBefore] = [streamBytes, outlet.sent.length];
    for (let nowMs = fromMs; nowMs < toMs; nowMs += 0.2) {
      outlet.nowMs = nowMs;
      if (datagrams) shaper.hold(PACKET, 0, PACKET.length, 0, 0, 0, 0, nowMs);
      // As the tunnel does: streams first.
      const room = streams ? limit.streamRoomBytes(nowMs) : 0;
      if (room > 0) {
        limit.chargeStream(room);
        streamBytes += room;
      }
      shaper.drain(outlet, nowMs);
    }
    return [streamBytes - before, (outlet.sent.length - sentBefore) * PACKET.length];
  };
  const [s1, d1] = run(0, 2000, true, true);
  t.ok(Math.abs(s1 - d1) < 0.05 * (s1 + d1), `${s1} and ${d1}`);
  t.ok(s1 + d1 > 0.98 * 20 * MEGABIT && s1 + d1 < 1.01 * 20 * MEGABIT, `${s1 + d1} together`);
  const [, d2] = run(2000, 4000, false, true);
  t.ok(d2 > 0.97 * 20 * MEGABIT, `${d2} alone`);
  const [s3, d3] = run(4100, 6100, true, true);
  t.ok(Math.abs(s3 - d3) < 0.05 * (s3 + d3), `whoever waited before owes nothing: ${s3} and ${d3}`);
});

t.test('packets wait 50 ms at most, beyond that they are dropped; in order, and all once the limit is gone', async (t) => {
  const limit = new RateLimit(10 * MEGABIT);
  const shaper = new PathShaper(limit);
  const outlet = new Outlet(limit);
  t.notOk(shaper.isClosed(0));
  limit.charge(PACKET.length);
  t.ok(shaper.isClosed(0), 'the bucket is not empty');
  let taken = 0;
  for (let i = 0; i < 200; i++) {
    if (shaper.hold(Uint8Array.of(taken, ...PACKET.subarray(1)), 0, PACKET.length, 0, 0, 0, 0, 0)) taken++;
  }
  t.ok(taken >= 49 && taken <= 51, `${taken} packets of a millisecond each`);
  t.equal(shaper.heldMs, taken);
  for (let nowMs = 0; nowMs <= 20; nowMs += 0.5) {
    outlet.nowMs = nowMs;
    shaper.drain(outlet, nowMs);
  }
  t.ok(outlet.sent.length >= 19 && outlet.sent.length <= 23, `${outlet.sent.length} after 20 ms`);
  t.ok(shaper.nextTimeoutMs(20) > 20 && shaper.nextTimeoutMs(20) < 22);
  shaper.flush(outlet);
  t.same(
    outlet.sent.map(({ mark }) => mark),
    Array.from({ length: taken }, (_, i) => i),
  );
  t.equal(shaper.nextTimeoutMs(21), Number.POSITIVE_INFINITY);
});

t.test('though acknowledgements take the whole rate, a datagram gets through now and then', async (t) => {
  const limit = new RateLimit(MEGABIT);
  const shaper = new PathShaper(limit);
  const outlet = new Outlet();
  for (let nowMs = 0; nowMs < 1000; nowMs++) {
    limit.isFree(nowMs);
    limit.charge(500);
    if (nowMs % 10 === 0) shaper.hold(PACKET, 0, 100, 0, 0, 0, 0, nowMs);
    shaper.drain(outlet, nowMs);
  }
  t.ok(outlet.sent.length >= 8 && outlet.sent.length <= 12, `${outlet.sent.length} in a second`);
});

t.test('the queue holds what a list would hold', async () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.integer({ min: 1, max: 3000 }), fc.constant(0)), { maxLength: 300 }), (steps) => {
      const held = new HeldPackets(8192);
      const naive: { mark: number; bytes: number }[] = [];
      const outlet = new Outlet();
      let mark = 0;
      for (const bytes of steps) {
        if (bytes === 0) {
          held.shift(outlet);
          const first = naive.shift();
          const got = outlet.sent.pop();
          if (got?.mark !== first?.mark || got?.bytes !== first?.bytes) return false;
        } else {
          const packet = new Uint8Array(bytes).fill(++mark & 0xff);
          const fits = naive.reduce((sum, one) => sum + one.bytes, 0) + bytes <= 8192 - 3000;
          const pushed = held.push(packet, 0, bytes, 0, 0, 0, 0, 0);
          // What lies at the end of the buffer may be too short for it.
          if (fits && bytes <= 2500 && naive.length === 0 && !pushed) return false;
          if (pushed) naive.push({ mark: mark & 0xff, bytes });
        }
        if (held.count !== naive.length || held.bytes !== naive.reduce((sum, one) => sum + one.bytes, 0)) return false;
      }
      return true;
    }),
  );
});
