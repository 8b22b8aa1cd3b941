import fc from 'fast-check';
import t from 'tap';
import { AckSchedule } from '../../../src/tunnel/path/ack-schedule.js';
import { DeliveryEstimator } from '../../../src/tunnel/path/delivery-estimator.js';
import { RttEstimator } from '../../../src/tunnel/path/rtt-estimator.js';
import { SendStamps } from '../../../src/tunnel/path/send-stamps.js';
import { SlidingSum } from '../../../src/tunnel/path/sliding-sum.js';

t.test('SRTT and RTTVAR follow RFC 6298 (2.2) and (2.3)', async (t) => {
  const rtt = new RttEstimator();
  t.equal(rtt.srttMs, -1);
  t.equal(rtt.minRttMs, -1);
  rtt.handleSample(100, 0, 0);
  t.equal(rtt.srttMs, 100);
  t.equal(rtt.rttvarMs, 50);
  rtt.handleSample(140, 0, 10);
  t.equal(rtt.rttvarMs, 0.75 * 50 + 0.25 * 40);
  t.equal(rtt.srttMs, 0.875 * 100 + 0.125 * 140);
});

t.test('the acknowledgement delay is taken off, but never below the minimum', async (t) => {
  const rtt = new RttEstimator();
  rtt.handleSample(20, 0, 0);
  rtt.handleSample(45, 25, 10);
  t.equal(rtt.srttMs, 20);
  rtt.handleSample(30, 25, 20);
  t.equal(rtt.srttMs, 0.875 * 20 + 0.125 * 30);
});

t.test('the minimum round trip is of the last ten seconds', async (t) => {
  const rtt = new RttEstimator();
  rtt.handleSample(10, 0, 500);
  for (let nowMs = 1000; nowMs < 10_000; nowMs += 100) {
    rtt.handleSample(50, 0, nowMs);
    t.equal(rtt.minRttMs, 10);
  }
  rtt.handleSample(50, 0, 10_600);
  t.equal(rtt.minRttMs, 50);
  rtt.handleSample(70, 0, 100_000);
  t.equal(rtt.minRttMs, 70);
});

t.test('a sliding sum equals its naive twin', async () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 700 }), fc.integer({ min: 0, max: 1000 })), { maxLength: 80 }), (steps) => {
      const sum = new SlidingSum(1000, 10);
      const naive: { bucket: number; value: number }[] = [];
      let nowMs = 0;
      for (const [gapMs, value] of steps) {
        nowMs += gapMs;
        sum.add(value, 2 * value, nowMs);
        const bucket = Math.floor(nowMs / 100);
        naive.push({ bucket, value });
        const expected = naive.filter((entry) => entry.bucket > bucket - 10).reduce((total, entry) => total + entry.value, 0);
        if (sum.first !== expected || sum.second !== 2 * expected) return false;
      }
      return true;
    }),
  );
});

t.test('loss is what was sent and did not arrive, over the last seconds', async (t) => {
  const delivery = new DeliveryEstimator();
  let sent = 0;
  let received = 0;
  for (let nowMs = 0; nowMs < 4000; nowMs += 100) {
    sent += 100;
    received += 98;
    t.ok(delivery.handleAck(sent - 1, received, received * 1000, nowMs));
  }
  t.ok(Math.abs(delivery.lossRatio - 0.02) < 1e-9, `${delivery.lossRatio}`);
  for (let nowMs = 4000; nowMs < 12_000; nowMs += 100) {
    sent += 100;
    received += 100;
    delivery.handleAck(sent - 1, received, received * 1000, nowMs);
  }
  t.equal(delivery.lossRatio, 0, 'old losses are forgotten');
});

t.test('a lost probe of a size is no loss, one that arrived makes up for none', async (t) => {
  const delivery = new DeliveryEstimator();
  delivery.handleAck(99, 100, 100_000, 0);
  delivery.excuse(3);
  delivery.excuse(-1);
  // Of 100 there were three probes: one arrived.
  delivery.handleAck(199, 198, 198_000, 100);
  t.equal(delivery.lossRatio, 0);
  t.equal(delivery.lostDatagrams, 0);
  delivery.handleAck(299, 293, 293_000, 200);
  t.equal(delivery.lostDatagrams, 5);
});

t.test('delivery rate is the bytes acknowledged in the last second', async (t) => {
  const delivery = new DeliveryEstimator();
  t.equal(delivery.rateBytesPerSec, 0);
  for (let nowMs = 0; nowMs <= 5000; nowMs += 10) delivery.handleAck(nowMs, nowMs + 1, nowMs * 1250, nowMs);
  t.ok(Math.abs(delivery.rateBytesPerSec / 1_250_000 - 1) < 0.02, `${delivery.rateBytesPerSec}`);
  delivery.update(7000);
  t.equal(delivery.rateBytesPerSec, 0, 'it fades when nothing is acknowledged');
});

t.test('an overtaken acknowledgement counts nothing, and a new epoch starts from 0', async (t) => {
  const delivery = new DeliveryEstimator();
  delivery.handleAck(99, 100, 100_000, 0);
  t.notOk(delivery.handleAck(49, 50, 50_000, 1));
  t.equal(delivery.lossRatio, 0);
  delivery.startEpoch();
  t.ok(delivery.handleAck(9, 10, 10_000, 2));
  t.equal(delivery.lossRatio, 0);
});

t.test('stamps tell when the batch of a packet number left', async (t) => {
  const stamps = new SendStamps();
  t.equal(stamps.find(0), -1);
  stamps.push(9, 100);
  stamps.push(19, 200);
  t.equal(stamps.find(0), 100);
  t.equal(stamps.find(9), 100);
  t.equal(stamps.find(10), 200);
  t.equal(stamps.find(19), 200);
  t.equal(stamps.find(20), -1, 'not sent yet');
  for (let i = 2; i < 3000; i++) stamps.push(i * 10 + 9, 100 + i * 100);
  t.equal(stamps.find(5), -1, 'forgotten');
  t.equal(stamps.find(29_995), 100 + 2999 * 100);
  t.equal(stamps.find(25_000), 100 + 2500 * 100);
  stamps.startEpoch();
  t.equal(stamps.find(5), -1);
});

t.test('stamps of many small batches reach back over a long round trip, late by a moment at most', async (t) => {
  const stamps = new SendStamps();
  for (let i = 0; i < 50_000; i++) stamps.push(i, i / 10, i * 1000);
  for (const number of [49_999, 45_000, 40_000, 35_000]) {
    const lateMs = number / 10 - stamps.find(number);
    t.ok(lateMs >= 0 && lateMs < 2, `${number}: ${lateMs}`);
    const aheadBytes = stamps.sentBytes(number) - number * 1000;
    t.ok(aheadBytes >= 0 && aheadBytes < 20_000, `${number}: ${aheadBytes} bytes`);
  }
});

t.test('an acknowledgement is due 25 ms after the first datagram, or with the 32nd, and not more often than every 5 ms', async (t) => {
  const acks = new AckSchedule();
  t.equal(acks.dueMs(), Infinity);
  acks.handleReceived(0, 1, 100, false, 0);
  t.equal(acks.dueMs(), Infinity, 'control asks for none');
  acks.handleReceived(1, 1, 1000, true, 10);
  acks.handleReceived(2, 1, 1000, true, 20);
  t.equal(acks.dueMs(), 35);
  acks.handleReceived(32, 30, 30_000, true, 21);
  t.ok(acks.dueMs() <= 21);
  t.equal(acks.receivedDatagrams, 33);
  t.equal(acks.receivedBytes, 32_100);
  t.equal(acks.largest, 32);
  t.equal(acks.largestReceivedMs, 21);
  acks.handleAckSent(21);
  t.equal(acks.dueMs(), Infinity);
  acks.handleReceived(96, 64, 64_000, true, 22);
  t.equal(acks.dueMs(), 26, 'spaced from the last one');
  acks.handleReceived(50, 1, 1000, true, 23);
  t.equal(acks.largest, 96, 'reordering does not lower it');
  t.equal(acks.largestReceivedMs, 22);
});

t.test('what is assumed of a round trip holds until the first sample', async (t) => {
  const rtt = new RttEstimator();
  rtt.assume(700);
  t.equal(rtt.srttMs, 700);
  rtt.handleSample(640, 0, 0);
  t.equal(rtt.srttMs, 640);
  rtt.assume(900);
  t.equal(rtt.srttMs, 640);
});
