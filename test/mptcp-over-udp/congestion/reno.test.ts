/** The NewReno frame that Reno and the coupled algorithms share. */

import t from 'tap';
import { createReno } from '../../../src/mptcp-over-udp/congestion/reno.js';
import { MSS, WindowDriver } from './window-driver.js';

function avoiding(segments: number): WindowDriver {
  const driver = new WindowDriver(createReno, { windowSegments: 2 * segments });
  driver.loss();
  return driver;
}

t.test('slow start doubles the window each round trip, however few acknowledgements come (RFC 3465)', async (t) => {
  const driver = new WindowDriver(createReno);
  driver.round();
  t.equal(driver.cwnd, 20 * MSS);
  driver.ack(20 * MSS);
  t.equal(driver.cwnd, 40 * MSS);
});

t.test('congestion avoidance adds one segment each round trip (RFC 5681, 3.1)', async (t) => {
  const driver = avoiding(20);
  t.equal(driver.cwnd, 20 * MSS);
  for (let i = 1; i <= 10; i++) driver.round();
  t.ok(Math.abs(driver.cwnd - 30 * MSS) < MSS / 2, `${driver.cwnd}`);
});

t.test('slow start ends at ssthresh', async (t) => {
  const driver = avoiding(20);
  driver.cc.onRetransmissionTimeout(0, driver.cwnd);
  t.equal(driver.cc.ssthreshBytes, 10 * MSS);
  for (let i = 0; i < 5; i++) driver.round();
  t.ok(driver.cwnd >= 10 * MSS && driver.cwnd < 12 * MSS, `${driver.cwnd}`);
});

t.test('a loss halves the window once, and it does not grow until recovery ends (RFC 6582)', async (t) => {
  const driver = avoiding(20);
  driver.cc.onRecoveryStart(0, driver.cwnd);
  t.equal(driver.cwnd, 10 * MSS);
  driver.round();
  t.equal(driver.cwnd, 10 * MSS);
  driver.cc.onRecoveryEnd(0);
  driver.round();
  t.ok(driver.cwnd > 10.9 * MSS);
});

t.test('ssthresh is at least two segments', async (t) => {
  const driver = avoiding(2);
  driver.loss();
  t.equal(driver.cc.ssthreshBytes, 2 * MSS);
});

t.test('a timeout goes to one segment, and a repeated one holds ssthresh (RFC 5681, 4)', async (t) => {
  const driver = avoiding(40);
  driver.cc.onRetransmissionTimeout(0, driver.cwnd);
  driver.cc.onRetransmissionTimeout(1_000, MSS);
  t.equal(driver.cwnd, MSS);
  t.equal(driver.cc.ssthreshBytes, 20 * MSS);
  driver.ack(MSS);
  driver.cc.onRetransmissionTimeout(9_000, MSS);
  t.equal(driver.cc.ssthreshBytes, 2 * MSS);
});

t.test('a window that the sender does not fill does not grow (RFC 7661)', async (t) => {
  const driver = avoiding(20);
  driver.round({ cwndLimited: false, inflightBytes: 2 * MSS });
  t.equal(driver.cwnd, 20 * MSS);
  driver.ack(MSS);
  const grown = driver.cwnd;
  driver.ack(MSS, { cwndLimited: false });
  t.ok(driver.cwnd > grown, 'full within the last round trip is enough');
});

t.test('a loss with an unfilled window is measured by what was in flight (RFC 5681, 4)', async (t) => {
  const driver = avoiding(40);
  driver.round({ cwndLimited: false });
  driver.cc.onRecoveryStart(0, 30 * MSS);
  t.equal(driver.cwnd, 15 * MSS);
});

t.test('ECN reduces once per window of data (RFC 3168, 6.1.2)', async (t) => {
  const driver = avoiding(20);
  driver.round({ ecnEcho: true });
  t.ok(driver.cwnd >= 10 * MSS && driver.cwnd < 12 * MSS, `${driver.cwnd}`);
});

t.test('a spurious loss is undone', async (t) => {
  const driver = avoiding(20);
  driver.cc.onRecoveryStart(0, driver.cwnd);
  driver.cc.onSpuriousLoss(0);
  t.equal(driver.cwnd, 20 * MSS);
  t.equal(driver.cc.ssthreshBytes, 20 * MSS);
  driver.cc.onSpuriousLoss(0);
  t.equal(driver.cwnd, 20 * MSS, 'once');
});

t.test('idle time decays the window to the restart window, and ssthresh remembers (RFC 2861)', async (t) => {
  const driver = new WindowDriver(createReno);
  driver.ack(70 * MSS);
  driver.loss();
  driver.cc.onIdleRestart(0, 150);
  t.equal(driver.cwnd, 40 * MSS, 'less than two round trips are no idle time');
  driver.cc.onIdleRestart(0, 250);
  t.equal(driver.cwnd, 20 * MSS);
  driver.cc.onIdleRestart(0, 60_000);
  t.equal(driver.cwnd, 10 * MSS);
  t.equal(driver.cc.ssthreshBytes, 40 * MSS);
});

t.test('a rising round trip ends the initial slow start before a loss does (RFC 9406)', async (t) => {
  const driver = new WindowDriver(createReno);
  driver.round();
  driver.round();
  driver.rttMs = 130;
  for (let i = 0; i < 8; i++) driver.round();
  t.not(driver.cc.ssthreshBytes, Number.POSITIVE_INFINITY);
});
