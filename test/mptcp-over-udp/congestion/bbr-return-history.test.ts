import t from 'tap';
import { createBbr } from '../../../src/mptcp-over-udp/congestion/bbr.js';
import { BbrPathModel } from '../../../src/mptcp-over-udp/congestion/bbr-path-model.js';
import { ReturnHistory } from '../../../src/mptcp-over-udp/congestion/bbr-return-history.js';
import { createAckSample } from '../../../src/mptcp-over-udp/congestion/delivery-rate.js';

t.test('what waited on the way back is known for a time that has passed, and the oldest beyond that', (t) => {
  const history = new ReturnHistory();
  t.equal(history.before(1000), 0, 'nothing was noted');
  for (let ms = 0; ms < 4000; ms++) history.note(ms, ms / 10);
  t.ok(Math.abs(history.before(3500) - 350) < 0.5, `${history.before(3500)}`);
  t.ok(history.before(3500) <= 350, 'never younger than asked for');
  t.ok(history.before(9000) > 399, 'the newest');
  const oldest = history.before(-1);
  t.ok(oldest > 200 && oldest < 300, `${oldest}: some 1.5 s are kept`);
  t.end();
});

t.test('acknowledgements that a shrinking queue on the way back brings close together do not pass for bandwidth', (t) => {
  const memory = { bandwidthBytesPerSec: 0, minRttMs: -1, returnQueueMs: 60 };
  const model = new BbrPathModel(0, 1000, memory);
  model.growing = false;
  const sample = createAckSample();
  // 100 segments at 1 per ms were sent and arrived so; the queue behind which their ACKs wait goes from 60 ms to 10.
  for (let i = 1; i <= 20; i++) {
    const elapsedMs = 100 - (50 * i) / 20;
    memory.returnQueueMs = 60 - (50 * i) / 20;
    Object.assign(sample, { nowMs: 100 + i * 2.5, deliveredBytes: 5000, totalDeliveredBytes: 100_000 + 5000 * i, rttMs: 100 });
    Object.assign(sample, {
      sampleDeliveredBytes: 100_000,
      sampleIntervalMs: elapsedMs,
      sampleAckElapsedMs: elapsedMs,
      priorDeliveredBytes: 5000 * i,
    });
    model.onAck(sample, 0);
  }
  t.ok(model.maxBandwidthBytesPerSec < 1.06e6, `${(model.maxBandwidthBytesPerSec / 1e6).toFixed(2)} of 1 MB/s`);
  t.end();
});

for (const minRttMs of [-1, 20]) {
  t.test(`a way back said to be longer than the whole round trip leaves a base and a window; base ${minRttMs}`, (t) => {
    const memory = { bandwidthBytesPerSec: 0, minRttMs, returnQueueMs: 500 };
    const flow = createBbr({ mssBytes: 1000, initialWindowBytes: 10_000, nowMs: 0, memory });
    const sample = createAckSample();
    for (let i = 1; i <= 200; i++) {
      const rttMs = i % 3 === 0 ? -1 : 0.3 + (i % 7);
      Object.assign(sample, {
        nowMs: i / 4,
        deliveredBytes: 1000,
        totalDeliveredBytes: 1000 * i,
        priorDeliveredBytes: 1000 * (i - 1),
        rttMs,
      });
      Object.assign(sample, { sampleDeliveredBytes: 1000, sampleIntervalMs: i % 5 === 0 ? -1 : 1, sampleAckElapsedMs: 1 });
      flow.onAck(sample);
      if (!(flow.cwndBytes >= 1000 && flow.cwndBytes < 1e9 && flow.pacingRateBytesPerSec > 0)) {
        t.fail(`after ${i} acknowledgements: window ${flow.cwndBytes}, rate ${flow.pacingRateBytesPerSec}`);
        break;
      }
    }
    t.ok(flow.cwndBytes < 1e6, `${flow.cwndBytes} for 1 to 4 MB/s and 7 ms`);
    t.end();
  });
}
