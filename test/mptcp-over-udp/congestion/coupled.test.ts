/** The formulae of the coupled algorithms, against figures worked out by hand, and what counts as a subflow. */

import t, { type Test } from 'tap';
import { createBalia } from '../../../src/mptcp-over-udp/congestion/balia.js';
import type { CoupledMember } from '../../../src/mptcp-over-udp/congestion/coupled-group.js';
import { CoupledGroup } from '../../../src/mptcp-over-udp/congestion/coupled-group.js';
import { createLia } from '../../../src/mptcp-over-udp/congestion/lia.js';
import { createOlia } from '../../../src/mptcp-over-udp/congestion/olia.js';
import { createWvegas } from '../../../src/mptcp-over-udp/congestion/wvegas.js';
import { coupledSubflows, MSS, WindowDriver } from './window-driver.js';

/** What one acknowledged segment adds to a subflow's window. */
function increase(driver: WindowDriver): number {
  const before = driver.cwnd;
  driver.ack(MSS);
  return driver.cwnd - before;
}

function near(t: Test, found: number, wanted: number, message: string): void {
  t.ok(Math.abs(found - wanted) < 0.01 * Math.max(1, Math.abs(wanted)), `${message}: ${found}, wanted ${wanted}`);
}

t.test('LIA: the smaller of alpha/w_total and 1/w_i (RFC 6356, 3)', async (t) => {
  // alpha = 60 * max(20/2500, 40/10000) / (0.4 + 0.4)^2 = 0.75; per segment 0.75/60 of a segment on either.
  const [first, second] = coupledSubflows(createLia, [
    { windowSegments: 20, rttMs: 50 },
    { windowSegments: 40, rttMs: 100 },
  ]) as [WindowDriver, WindowDriver];
  near(t, increase(first), 12.5, 'fast');
  near(t, increase(second), 12.5, 'slow');
  // alpha = 110 * 10/100 / (1 + 1)^2 = 2.75; alpha/110 = 1/40 is more than a TCP's 1/100.
  const [, capped] = coupledSubflows(createLia, [
    { windowSegments: 10, rttMs: 10 },
    { windowSegments: 100, rttMs: 100 },
  ]) as [WindowDriver, WindowDriver];
  near(t, increase(capped), 10, 'never more than a TCP');
});

t.test('OLIA: window moves from the largest to the presumably best path', async (t) => {
  // (20/2500)/0.64 + (1/2)/20 and (40/10000)/0.64 - (1/2)/40, of a segment.
  const [best, largest] = coupledSubflows(createOlia, [
    { windowSegments: 20, rttMs: 50 },
    { windowSegments: 40, rttMs: 100 },
  ]) as [WindowDriver, WindowDriver];
  near(t, increase(best), 37.5, 'best, not largest');
  near(t, increase(largest), -6.25, 'largest, not best');
  // The largest is the best: nothing to move.
  const [both, other] = coupledSubflows(createOlia, [
    { windowSegments: 40, rttMs: 50 },
    { windowSegments: 40, rttMs: 100 },
  ]) as [WindowDriver, WindowDriver];
  near(t, increase(both), (1000 * 40) / 2500 / 1.44, 'largest and best');
  t.ok(increase(other) < 5);
});

t.test('OLIA: the loss interval is the greater of the last two, and tells which path is good', async (t) => {
  const [clean, lossy] = coupledSubflows(createOlia, [
    { windowSegments: 20, rttMs: 50, lossIntervalBytes: 900_000 },
    { windowSegments: 40, rttMs: 50, lossIntervalBytes: 40_000 },
  ]) as [WindowDriver, WindowDriver];
  t.equal((clean.cc.coupled as CoupledMember).lossIntervalBytes, 900_000);
  t.ok(increase(lossy) < 0.2 * 1000 * (40 / 2500) + 20 && increase(lossy) < increase(clean), 'towards the clean one');
  lossy.ack(2_000_000, { cwndLimited: false });
  t.equal((lossy.cc.coupled as CoupledMember).lossIntervalBytes, 2_002_000, 'since the last loss');
});

t.test('OLIA: a loss may leave one segment (draft-khalili, 4)', async (t) => {
  const driver = new WindowDriver(createOlia, { windowSegments: 2 });
  driver.loss();
  t.equal(driver.cwnd, MSS);
});

t.test('BALIA: increase and decrease by the ratio of the fastest rate to the own', async (t) => {
  // x = 0.8 and 0.2; alpha = 1 and 4; 0.2/(100 * 1) * 5/2 * 8/5 = 0.008; 0.8/(50 * 1) = 0.016.
  const [fast, slow] = coupledSubflows(createBalia, [
    { windowSegments: 40, rttMs: 50 },
    { windowSegments: 20, rttMs: 100 },
  ]) as [WindowDriver, WindowDriver];
  near(t, increase(slow), 8, 'slow');
  near(t, increase(fast), 16, 'fast');
  const [slowBefore, fastBefore] = [slow.cwnd, fast.cwnd];
  slow.loss();
  near(t, slow.cwnd, slowBefore * 0.25, 'w - w/2 * min(4, 1.5)');
  fast.loss();
  near(t, fast.cwnd, fastBefore / 2, 'alpha 1: halved');
});

t.test('alone, LIA, OLIA and BALIA are Reno', async (t) => {
  for (const factory of [createLia, createOlia, createBalia]) {
    const [alone] = coupledSubflows(factory, [{ windowSegments: 20, rttMs: 80 }]) as [WindowDriver];
    near(t, increase(alone), 50, alone.cc.name);
    const before = alone.cwnd;
    alone.loss();
    t.equal(alone.cwnd, before / 2);
    const ungrouped = new WindowDriver(factory, { windowSegments: 40, rttMs: 80 });
    ungrouped.ack(1, { cwndLimited: false });
    ungrouped.loss();
    near(t, increase(ungrouped), 50, 'without a group');
  }
});

t.test('a subflow that is unusable, silent, without a round trip, closed, or an idle backup does not count', async (t) => {
  const shapes = [
    { windowSegments: 20, rttMs: 50 },
    { windowSegments: 20, rttMs: 50 },
  ];
  const make = () => coupledSubflows(createLia, shapes) as [WindowDriver, WindowDriver];
  const [first, second] = make();
  near(t, increase(first), 12.5, 'both count');
  second.usable = false;
  near(t, increase(first), 50, 'unusable');
  second.usable = true;
  second.heldBack = true;
  near(t, increase(first), 50, 'backup');
  first.heldBack = true;
  near(t, increase(first), 12.5, 'backups among themselves');
  const [alive, silent] = make();
  silent.cc.onRetransmissionTimeout(0, silent.cwnd);
  near(t, increase(alive), 50, 'silent after a timeout');
  silent.ack(MSS);
  t.ok(increase(alive) < 49, 'heard again');
  const subflows = make();
  const group = new CoupledGroup(subflows);
  t.equal(group.refresh(subflows[0].cc.coupled as CoupledMember).length, 2);
  subflows.pop();
  t.equal(group.refresh(subflows[0].cc.coupled as CoupledMember).length, 1, 'closed');
  subflows.push(new WindowDriver(createLia));
  t.equal(group.refresh(subflows[0].cc.coupled as CoupledMember).length, 1, 'no round trip yet');
});

t.test('wVegas: holds its window between alpha packets in the queue, shared by rate', async (t) => {
  // A link that gives 0.2 segments a millisecond on 50 ms: the window beyond ten segments queues.
  const drivers = coupledSubflows(createWvegas, [
    { windowSegments: 10, rttMs: 50 },
    { windowSegments: 30, rttMs: 50 },
  ]) as [WindowDriver, WindowDriver];
  const rates = [0.2, 0.6];
  for (let round = 0; round < 100; round++) {
    for (const [i, driver] of drivers.entries()) {
      driver.rttMs = Math.max(50, driver.cwnd / MSS / (rates[i] as number));
      driver.round();
    }
  }
  const queued = drivers.map((driver, i) => driver.cwnd / MSS - 50 * (rates[i] as number));
  t.comment(queued.join(' '));
  // 10 * 1/4 and 10 * 3/4 packets, give or take the step of one.
  t.ok(Math.abs((queued[0] as number) - 2.5) <= 1.6, `slow: ${queued[0]}`);
  t.ok(Math.abs((queued[1] as number) - 7.5) <= 1.6, `fast: ${queued[1]}`);
});

t.test('wVegas: leaves slow start when more than a packet queues, at the window that fills the pipe', async (t) => {
  const driver = new WindowDriver(createWvegas, { rttMs: 50 });
  driver.round();
  driver.rttMs = 60;
  driver.round();
  const before = driver.cwnd;
  driver.ack(MSS);
  t.equal(driver.cc.ssthreshBytes, driver.cwnd);
  // Conservative slow start has added a quarter of what was acknowledged by then.
  near(t, driver.cwnd, ((before + MSS / 4) * 50) / 60, 'less the queue');
});

t.test('wVegas: a queue of twice its least makes the window step back, and a loss halves it', async (t) => {
  const [driver] = coupledSubflows(createWvegas, [{ windowSegments: 40, rttMs: 50 }]) as [WindowDriver];
  driver.round();
  driver.rttMs = 70;
  driver.round();
  driver.round();
  const before = driver.cwnd;
  driver.rttMs = 100;
  driver.round();
  driver.round();
  t.ok(driver.cwnd <= before * (50 / 200) + 2 * MSS, `${before} to ${driver.cwnd}`);
  const left = driver.cwnd;
  driver.loss();
  t.equal(driver.cwnd, Math.max(left / 2, 2 * MSS));
});
