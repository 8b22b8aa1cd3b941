import t from 'tap';
import { createAckSample, DeliveryRate, type RateRecord } from '../../../src/mptcp-over-udp/congestion/delivery-rate.js';

function record(payloadBytes = 1000): RateRecord {
  return {
    sentMs: 0,
    deliveredAtSend: 0,
    deliveredTimeAtSendMs: 0,
    firstSentAtSendMs: 0,
    appLimitedAtSend: false,
    lostAtSendBytes: 0,
    payloadBytes,
  };
}

t.test('a steady flow is measured at its rate', async (t) => {
  const rate = new DeliveryRate();
  const sample = createAckSample();
  const records: RateRecord[] = [];
  // A segment each millisecond, delivered 20 ms later: 1000 bytes a millisecond.
  for (let now = 0; now < 100; now++) {
    const acked = records[now - 20];
    if (acked !== undefined) {
      rate.onDelivered(acked, now);
      rate.fillSample(sample, now, 20);
    }
    const sent = record();
    rate.onSent(sent, now, Math.min(now, 20) * 1000);
    records.push(sent);
  }
  t.equal(sample.sampleIntervalMs, 20);
  t.equal(sample.sampleDeliveredBytes, 20_000);
  t.equal(sample.totalDeliveredBytes, 80_000);
  t.equal(sample.priorDeliveredBytes, 60_000);
  t.equal(sample.sampleAppLimited, false);
});

t.test('ACK compression does not pass for bandwidth: the send interval bounds the rate', async (t) => {
  const rate = new DeliveryRate();
  const sample = createAckSample();
  const first = record();
  rate.onSent(first, 0, 0);
  rate.onDelivered(first, 20);
  rate.fillSample(sample, 20, 20);
  const records = Array.from({ length: 10 }, () => record());
  records.forEach((sent, index) => {
    rate.onSent(sent, 20 + index * 10, index === 0 ? 0 : index * 1000);
  });
  // All ten are acknowledged within a millisecond.
  for (const sent of records) rate.onDelivered(sent, 131);
  rate.fillSample(sample, 131, 20);
  t.ok((sample.sampleDeliveredBytes / sample.sampleIntervalMs) * 1000 <= 111_000);
  t.ok(sample.sampleIntervalMs >= 90);
});

t.test('an interval below the minimum RTT gives no sample, and an ACK without delivery none either', async (t) => {
  const rate = new DeliveryRate();
  const sample = createAckSample();
  const sent = record();
  rate.onSent(sent, 0, 0);
  rate.onDelivered(sent, 5);
  rate.fillSample(sample, 5, 20);
  t.equal(sample.sampleIntervalMs, -1);
  t.equal(sample.priorDeliveredBytes, 0);
  rate.fillSample(sample, 6, 20);
  t.equal(sample.sampleIntervalMs, -1);
  t.equal(sample.priorDeliveredBytes, -1);
  t.equal(sample.totalDeliveredBytes, 1000);
});

t.test('samples are marked application-limited until the bubble has passed', async (t) => {
  const rate = new DeliveryRate();
  const sample = createAckSample();
  const [a, b, c] = [record(), record(), record()];
  rate.onSent(a, 0, 0);
  rate.markAppLimited(1000);
  rate.onSent(b, 10, 1000);
  t.equal(a.appLimitedAtSend, false);
  t.equal(b.appLimitedAtSend, true);
  rate.onDelivered(a, 20);
  rate.fillSample(sample, 20, 20);
  t.equal(sample.sampleAppLimited, false);
  rate.onDelivered(b, 30);
  rate.fillSample(sample, 30, 20);
  t.equal(sample.sampleAppLimited, true);
  rate.onSent(c, 30, 0);
  t.equal(c.appLimitedAtSend, false);
});

t.test('idle time is in no sample, and lost bytes are counted since the sending', async (t) => {
  const rate = new DeliveryRate();
  const sample = createAckSample();
  const [a, b] = [record(), record()];
  rate.onSent(a, 0, 0);
  rate.onDelivered(a, 20);
  rate.fillSample(sample, 20, 20);
  rate.onLost(500);
  rate.onSent(b, 10_000, 0);
  rate.onLost(700);
  rate.onDelivered(b, 10_020);
  rate.fillSample(sample, 10_020, 20);
  t.equal(sample.sampleIntervalMs, 20);
  t.equal(sample.sampleDeliveredBytes, 1000);
  t.equal(sample.sampleLostBytes, 700);
});
