import t from 'tap';
import type { AckSample, CongestionControl } from '../../../src/mptcp-over-udp/congestion/congestion-control.js';
import { createCubic } from '../../../src/mptcp-over-udp/congestion/cubic.js';
import { createAckSample } from '../../../src/mptcp-over-udp/congestion/delivery-rate.js';
import { runSingleLink } from '../../sim/single-link.js';

const MSS = 1000;

/** Drives an instance round by round: every round delivers one window in segments. */
class Driver {
  readonly cc: CongestionControl;
  readonly sample: AckSample = createAckSample();
  nowMs = 0;
  rttMs = 100;
  delivered = 0;

  constructor(initialWindowBytes = 10 * MSS) {
    this.cc = createCubic({ mssBytes: MSS, initialWindowBytes, nowMs: 0 });
  }

  round(cwndLimited = true, ecnEcho = false): void {
    const prior = this.delivered;
    const segments = Math.max(1, Math.floor(this.cc.cwndBytes / MSS));
    for (let i = 0; i < segments; i++) {
      this.nowMs += this.rttMs / segments;
      this.delivered += MSS;
      Object.assign(this.sample, {
        nowMs: this.nowMs,
        deliveredBytes: MSS,
        rttMs: this.rttMs,
        srttMs: this.rttMs,
        minRttMs: this.rttMs,
        totalDeliveredBytes: this.delivered,
        priorDeliveredBytes: prior,
        cwndLimited,
        ecnEcho,
      });
      this.cc.onAck(this.sample);
    }
  }

  loss(): void {
    this.cc.onRecoveryStart(this.nowMs, this.cc.cwndBytes);
    this.cc.onRecoveryEnd(this.nowMs);
  }
}

t.test('slow start doubles the window each round trip, from the initial window', async (t) => {
  const driver = new Driver();
  driver.round();
  t.equal(driver.cc.cwndBytes, 20 * MSS);
  driver.round();
  t.equal(driver.cc.cwndBytes, 40 * MSS);
  t.equal(driver.cc.ssthreshBytes, Number.POSITIVE_INFINITY);
});

t.test('HyStart++: a rise of the RTT leads through conservative slow start to congestion avoidance', async (t) => {
  const driver = new Driver();
  driver.round();
  driver.round();
  driver.rttMs = 120;
  driver.round();
  const before = driver.cc.cwndBytes;
  driver.round();
  t.ok(driver.cc.cwndBytes <= before * 1.27, 'a quarter of the growth');
  for (let i = 0; i < 6; i++) driver.round();
  t.ok(Number.isFinite(driver.cc.ssthreshBytes));
});

t.test('HyStart++: a rise that goes away resumes slow start', async (t) => {
  const driver = new Driver();
  driver.round();
  driver.round();
  driver.rttMs = 120;
  driver.round();
  driver.rttMs = 100;
  driver.round();
  const before = driver.cc.cwndBytes;
  driver.round();
  t.equal(driver.cc.cwndBytes, 2 * before);
});

t.test('a loss multiplies the window by 0.7, and the cubic curve returns to W_max after K seconds', async (t) => {
  const driver = new Driver(100 * MSS);
  driver.loss();
  t.equal(driver.cc.cwndBytes, 70 * MSS);
  t.equal(driver.cc.ssthreshBytes, 70 * MSS);
  // RFC 9438, 4.2: K = cbrt(W_max * (1 - beta) / C) = cbrt(30 / 0.4) = 4.2 s; the Reno-friendly estimate is slower at this RTT.
  const startMs = driver.nowMs;
  const windows: number[] = [];
  while (driver.nowMs < startMs + 4300) {
    driver.round();
    windows.push(driver.cc.cwndBytes / MSS);
  }
  const end = windows.at(-1)!;
  t.ok(Math.abs(end - 100) < 2.5, `${end}`);
  const half = windows[Math.floor(windows.length / 2)]!;
  // Concave: at half of K only an eighth of the way is left.
  t.ok(half > 70 + 0.75 * 30 && half < 100, `${half}`);
  while (driver.nowMs < startMs + 8400) driver.round();
  t.ok(driver.cc.cwndBytes / MSS > 120, 'convex beyond W_max');
});

t.test('Reno-friendly region: with a short RTT the window grows by about 0.53 segments a round trip', async (t) => {
  const driver = new Driver(20 * MSS);
  driver.rttMs = 10;
  driver.loss();
  const before = driver.cc.cwndBytes;
  for (let i = 0; i < 10; i++) driver.round();
  const grown = (driver.cc.cwndBytes - before) / MSS;
  t.ok(grown > 4 && grown < 6.5, `${grown} segments in 10 round trips`);
});

t.test('fast convergence: a second loss below W_max lowers W_max further', async (t) => {
  const driver = new Driver(100 * MSS);
  // A round trip long enough for the cubic function to be above the Reno-friendly estimate.
  driver.rttMs = 300;
  driver.loss();
  driver.loss();
  // From 49: W_max is 70 * 1.7 / 2 = 59.5, so the plateau lies there, not at 70.
  const startMs = driver.nowMs;
  while (driver.nowMs < startMs + 3000) driver.round();
  t.ok(Math.abs(driver.cc.cwndBytes / MSS - 59.5) < 2, `${driver.cc.cwndBytes / MSS}`);
});

t.test('a timeout leaves one segment and ssthresh at 0.7; then slow start up to it', async (t) => {
  const driver = new Driver(100 * MSS);
  driver.cc.onRetransmissionTimeout(driver.nowMs, 100 * MSS);
  t.equal(driver.cc.cwndBytes, MSS);
  t.equal(driver.cc.ssthreshBytes, 70 * MSS);
  for (let i = 0; i < 7; i++) driver.round();
  t.ok(driver.cc.cwndBytes >= 70 * MSS && driver.cc.cwndBytes < 75 * MSS, `${driver.cc.cwndBytes}`);
});

t.test('a spurious loss is undone, once', async (t) => {
  const driver = new Driver(100 * MSS);
  driver.loss();
  driver.cc.onSpuriousLoss(driver.nowMs);
  t.equal(driver.cc.cwndBytes, 100 * MSS);
  t.equal(driver.cc.ssthreshBytes, Number.POSITIVE_INFINITY);
  driver.cc.onRetransmissionTimeout(driver.nowMs, 100 * MSS);
  driver.cc.onSpuriousLoss(driver.nowMs);
  t.equal(driver.cc.cwndBytes, 100 * MSS);
  driver.loss();
  driver.cc.onSpuriousLoss(driver.nowMs);
  driver.loss();
  const reduced = driver.cc.cwndBytes;
  driver.cc.onSpuriousLoss(driver.nowMs);
  driver.cc.onSpuriousLoss(driver.nowMs);
  t.ok(driver.cc.cwndBytes > reduced && driver.cc.cwndBytes <= 100 * MSS);
});

t.test('the window does not grow while it is not what limits the sender', async (t) => {
  const driver = new Driver(100 * MSS);
  driver.round(false);
  t.equal(driver.cc.cwndBytes, 100 * MSS);
  driver.loss();
  driver.round();
  const before = driver.cc.cwndBytes;
  for (let i = 0; i < 100; i++) driver.round(false);
  t.equal(driver.cc.cwndBytes, before);
  driver.round();
  t.ok(driver.cc.cwndBytes < before + 6 * MSS, 'the curve stood still meanwhile');
});

t.test('idle time decays the window towards the initial window and keeps ssthresh', async (t) => {
  const driver = new Driver(10 * MSS);
  for (let i = 0; i < 4; i++) driver.round();
  const before = driver.cc.cwndBytes;
  driver.cc.onIdleRestart(driver.nowMs + 50, 50);
  t.equal(driver.cc.cwndBytes, before);
  driver.cc.onIdleRestart(driver.nowMs + 250, 250);
  t.equal(driver.cc.cwndBytes, before / 2);
  driver.cc.onIdleRestart(driver.nowMs + 60_000, 60_000);
  t.equal(driver.cc.cwndBytes, 10 * MSS);
});

t.test('congestion experienced reduces once per round trip, by less than a loss', async (t) => {
  const driver = new Driver(100 * MSS);
  driver.round(true, true);
  t.ok(Math.abs(driver.cc.cwndBytes / MSS - 85) < 2, `${driver.cc.cwndBytes}`);
});

t.test('a queue of one bandwidth-delay product is filled without a timeout', async (t) => {
  const result = runSingleLink(
    { rateMbitPerSec: 20, delayMs: 20, queuePackets: 72, queueCountsInFlight: false },
    { congestion: createCubic, durationMs: 20_000 },
  );
  t.ok(result.share > 0.95, `${result.share}`);
  t.equal(result.timeoutCount, 0);
});
