import t from 'tap';
import { LEAST_MTU_BYTES, PathMtu } from '../../../src/tunnel/path/path-mtu.js';

const RTT_MS = 40;
const STEP_MS = 10;
/** To this near a size is found. */
const NEAR_BYTES = 8;

/** A path that carries packets up to a size, and answers small ones unless it is silent; and a sender of data on it, which is acknowledged where it fits. */
class Way {
  nowMs = 1000;
  carriesBytes: number;
  silent = false;
  /** Chance takes what leaves in this time. */
  lossyUntilMs = 0;
  bytesPerSec = 0;
  dataBytes = 0;
  ackedBytes = 0;
  lossRatio = 0;
  lostDatagrams = 0;
  provenSentMs = -Infinity;
  rttMs = RTT_MS;
  changes = 0;
  readonly mtu: PathMtu;
  /** The awaited ones. */
  probes: number[] = [];
  sentCount = 0;
  #silentMs = 0;
  #sequence = 0;
  #underWay: { sequence: number; arrivesMs: number }[] = [];

  constructor(ceilingBytes: number, carriesBytes: number) {
    this.mtu = new PathMtu(ceilingBytes);
    this.carriesBytes = carriesBytes;
  }

  get inflightBytes(): number {
    return this.dataBytes - this.ackedBytes;
  }

  run(ms: number): void {
    for (const untilMs = this.nowMs + ms; this.nowMs < untilMs; this.nowMs += STEP_MS) this.#step();
  }

  /** Does what is in use get through? */
  get isRight(): boolean {
    return this.mtu.bytes <= this.carriesBytes && this.mtu.bytes > this.carriesBytes - NEAR_BYTES - 1;
  }

  #step(): void {
    const { mtu, nowMs } = this;
    if (this.silent) this.#silentMs = nowMs;
    else if (nowMs - RTT_MS > this.#silentMs) this.provenSentMs = nowMs - RTT_MS;
    this.dataBytes += (this.bytesPerSec * STEP_MS) / 1000;
    if (mtu.bytes <= this.carriesBytes) this.ackedBytes = this.dataBytes;
    while (this.#underWay.length > 0 && this.#underWay[0]!.arrivesMs <= nowMs) {
      const bytes = mtu.redeem(this.#underWay.shift()!.sequence);
      if (bytes > 0 && mtu.handleAnswer(bytes, nowMs)) this.changes++;
    }
    if (mtu.handleTimeout(this, nowMs)) this.changes++;
    const bytes = mtu.pollProbe(this, nowMs);
    if (bytes === 0) return;
    for (const usualBytes of mtu.takeUsual()) this.#send(usualBytes, false);
    this.#send(bytes, true);
    mtu.noteLeft();
    this.probes.push(bytes);
  }

  #send(bytes: number, isAwaited: boolean): void {
    const sequence = this.#sequence++;
    this.sentCount++;
    this.mtu.noteSent(sequence, bytes, isAwaited, this.nowMs);
    if (!this.silent && bytes <= this.carriesBytes && this.nowMs >= this.lossyUntilMs)
      this.#underWay.push({ sequence, arrivesMs: this.nowMs + RTT_MS });
  }
}

t.test('what the interfaces take is confirmed by one probe, and again every half minute while much is sent', (t) => {
  const way = new Way(1500, 1500);
  way.run(200_000);
  t.same(way.probes, [1500]);
  way.bytesPerSec = 100_000;
  way.run(90_000);
  t.ok(way.probes.length >= 3 && way.probes.length <= 5, `${way.probes.length} probes`);
  t.ok(way.probes.every((bytes) => bytes === 1500));
  t.equal(way.mtu.bytes, 1500);
  t.notOk(way.mtu.isReduced);
  t.end();
});

t.test('a black hole that was there before is found within seconds, to eight bytes', (t) => {
  for (let carries = LEAST_MTU_BYTES; carries < 1500; carries++) {
    const way = new Way(1500, carries);
    way.run(1500);
    t.ok(way.mtu.bytes <= carries, `${carries}: what is sent after the third loss gets through, ${way.mtu.bytes}`);
    way.run(8000);
    if (!way.isRight || way.sentCount > 40) t.fail(`${carries}: ${way.mtu.bytes} after ${way.sentCount} probes`);
    t.ok(way.mtu.isReduced);
    const { sentCount } = way;
    way.run(300_000);
    if (way.sentCount > sentCount) t.fail(`${carries}: settled, and still probed`);
  }
  t.end();
});

t.test('the usual sizes need no search: they are in use with the third loss', (t) => {
  for (const carries of [1492, 1480, 1420, 1400]) {
    const way = new Way(1500, carries);
    way.run(1500);
    t.equal(way.mtu.bytes, carries);
    t.equal(way.changes, 1);
  }
  t.end();
});

t.test('a black hole in the middle is found by the data that it takes, within three and a half seconds', (t) => {
  const way = new Way(1500, 1500);
  way.bytesPerSec = 10_000;
  way.run(60_000);
  way.carriesBytes = 1400;
  way.run(3500);
  t.equal(way.mtu.bytes, 1400);
  t.end();
});

t.test('so it is where small packets are acknowledged behind the large ones', (t) => {
  const way = new Way(1500, 1500);
  way.bytesPerSec = 10_000;
  Object.defineProperty(way, 'inflightBytes', { value: 0 });
  way.run(40_000);
  way.carriesBytes = 1400;
  for (let i = 0; i < 20; i++) {
    way.lostDatagrams++;
    way.run(200);
  }
  t.equal(way.mtu.bytes, 1400);
  t.end();
});

t.test('one that becomes narrower twice is found twice', (t) => {
  const way = new Way(1500, 1450);
  way.bytesPerSec = 100_000;
  for (const carries of [1450, 1390, 1300]) {
    way.carriesBytes = carries;
    way.run(15_000);
    t.ok(way.isRight, `${carries}: ${way.mtu.bytes}`);
  }
  t.end();
});

t.test('without a sign of loss what is in use is still confirmed while much is sent', (t) => {
  const way = new Way(1500, 1500);
  way.run(1000);
  way.carriesBytes = 1400;
  way.bytesPerSec = 20_000;
  // Others acknowledge enough.
  Object.defineProperty(way, 'inflightBytes', { value: 0 });
  way.run(45_000);
  t.equal(way.mtu.bytes, 1400);
  t.end();
});

t.test('a path that has grown is used after ten minutes; one that has not is asked for little, and an idle one for nothing', (t) => {
  const way = new Way(1500, 1400);
  way.run(10_000);
  way.bytesPerSec = 100_000;
  way.probes = [];
  way.run(640_000);
  const larger = way.probes.filter((bytes) => bytes > 1400);
  t.same(larger, [1500, 1500, larger[2], larger[3]], 'all of it, then a little more');
  t.equal(way.mtu.bytes, 1400);
  way.carriesBytes = 1500;
  way.run(640_000);
  t.equal(way.mtu.bytes, 1500);
  const idle = new Way(1500, 1400);
  idle.run(10_000);
  idle.probes = [];
  idle.run(3_600_000);
  t.same(idle.probes, []);
  t.end();
});

t.test('silence says nothing of the size, nor does a lost probe or two, nor a path that loses much', (t) => {
  const way = new Way(1500, 1500);
  way.silent = true;
  way.run(60_000);
  t.equal(way.mtu.bytes, 1500);
  way.silent = false;
  way.lossyUntilMs = way.nowMs + 700;
  way.run(5000);
  t.equal(way.mtu.bytes, 1500);
  t.equal(way.changes, 0);
  way.bytesPerSec = 10_000;
  way.lossRatio = 0.2;
  way.probes = [];
  way.run(300_000);
  t.equal(way.changes, 0);
  t.ok(way.probes.length < 16, `asked less and less often: ${way.probes.length}`);
  t.end();
});

t.test('three probes that chance took are mended by the search', (t) => {
  const way = new Way(1500, 1500);
  way.lossyUntilMs = way.nowMs + 1100;
  way.run(10_000);
  t.ok(way.isRight, `${way.mtu.bytes}`);
  t.end();
});

t.test('a late answer counts', (t) => {
  const way = new Way(1500, 1500);
  way.silent = true;
  way.run(200);
  const sequence = 0;
  way.silent = false;
  way.lossyUntilMs = way.nowMs + 1100;
  way.run(1500);
  t.ok(way.mtu.isReduced);
  t.ok(way.mtu.handleAnswer(way.mtu.redeem(sequence), way.nowMs));
  t.equal(way.mtu.bytes, 1500);
  t.equal(way.mtu.redeem(sequence), 0, 'once');
  t.end();
});

t.test('what the kernel refuses is searched at once, without a word of the path', (t) => {
  const way = new Way(1500, 1450);
  const { mtu } = way;
  t.notOk(mtu.handleRefused(way.nowMs), 'that was no probe');
  mtu.noteSent(99, mtu.pollProbe(way, way.nowMs), true, way.nowMs);
  t.ok(mtu.handleRefused(way.nowMs));
  t.equal(mtu.bytes, LEAST_MTU_BYTES);
  way.run(6000);
  t.ok(way.isRight, `${mtu.bytes}`);
  t.end();
});

t.test('a way that is another one: what was found stays until more is known to be carried; less is found as well', (t) => {
  const way = new Way(1500, 1400);
  way.run(10_000);
  way.carriesBytes = 1500;
  way.mtu.restart();
  t.equal(way.mtu.bytes, 1400);
  way.run(200);
  t.equal(way.mtu.bytes, 1500);
  way.carriesBytes = 1400;
  way.mtu.restart();
  way.run(10_000);
  way.carriesBytes = 1320;
  way.mtu.restart();
  way.run(10_000);
  t.equal(way.mtu.bytes, 1320);
  t.end();
});

t.test('an interface that takes another size: less holds at once, more too unless less was found', (t) => {
  const way = new Way(1500, 1500);
  way.run(1000);
  way.mtu.setCeiling(1300);
  t.equal(way.mtu.bytes, 1300);
  t.notOk(way.mtu.isReduced);
  way.mtu.setCeiling(1500);
  t.equal(way.mtu.bytes, 1500);
  way.carriesBytes = 1400;
  way.run(10_000);
  way.mtu.setCeiling(1450);
  t.equal(way.mtu.bytes, 1400);
  way.mtu.setCeiling(9000);
  t.equal(way.mtu.bytes, 1400);
  way.carriesBytes = 9000;
  way.run(2000);
  t.equal(way.mtu.bytes, 9000);
  t.end();
});

t.test('a loopback and the smallest size are believed', (t) => {
  for (const bytes of [65_535, LEAST_MTU_BYTES, 576]) {
    const way = new Way(bytes, 500);
    way.bytesPerSec = 100_000;
    way.run(100_000);
    t.same(way.probes, []);
    t.equal(way.mtu.bytes, bytes);
    t.equal(way.mtu.nextTimeoutMs(RTT_MS), Number.POSITIVE_INFINITY);
  }
  t.end();
});

t.test('it never asks to be called in the past while it has nothing to do', (t) => {
  for (const carries of [1500, 1400]) {
    const way = new Way(1500, carries);
    for (let i = 0; i < 3000; i++) {
      way.run(STEP_MS);
      if (way.mtu.nextTimeoutMs(RTT_MS) < way.nowMs - STEP_MS) t.fail(`at ${way.nowMs}`);
    }
  }
  t.end();
});
