/** Whatever clocks, queues and losses a path shows, every congestion control's window and rate stay numbers that something can be sent by. */

import fc from 'fast-check';
import t from 'tap';
import type { PathMemory } from '../../../src/mptcp-over-udp/congestion/congestion-control.js';
import { CONGESTION_CONTROLS, type CongestionControlName } from '../../../src/mptcp-over-udp/congestion/congestion-controls.js';
import { createAckSample, DeliveryRate, type RateRecord } from '../../../src/mptcp-over-udp/congestion/delivery-rate.js';

type Step =
  | { do: 'send'; segments: number }
  | { do: 'ack'; segments: number; lost: number; isRepeated: boolean }
  | { do: 'wait'; ms: number }
  | { do: 'return-queue'; ms: number }
  | { do: 'timeout' }
  | { do: 'spurious' }
  | { do: 'idle' }
  | { do: 'handshake'; ms: number }
  | { do: 'mss'; bytes: number };

/** Nothing at all, parts of the clock's resolution, and hours. */
const milliseconds = fc.oneof(
  fc.constant(0),
  fc.double({ min: 1e-6, max: 0.01, noNaN: true }),
  fc.double({ min: 0.01, max: 400, noNaN: true }),
  fc.integer({ min: 1, max: 4e6 }),
);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('send' as const), segments: fc.integer({ min: 1, max: 50 }) }) },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('ack' as const),
      segments: fc.integer({ min: 0, max: 60 }),
      lost: fc.integer({ min: 0, max: 20 }),
      isRepeated: fc.boolean(),
    }),
  },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: milliseconds }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('return-queue' as const), ms: milliseconds }) },
  fc.record({ do: fc.constantFrom('timeout' as const, 'spurious' as const, 'idle' as const) }),
  fc.record({ do: fc.constant('handshake' as const), ms: milliseconds }),
  fc.record({ do: fc.constant('mss' as const), bytes: fc.integer({ min: 500, max: 9000 }) }),
);

interface Start {
  minRttMs: number;
  bandwidthBytesPerSec: number;
  hasMemory: boolean;
  initialRttMs: number;
}

const start: fc.Arbitrary<Start> = fc.record({
  minRttMs: fc.oneof(fc.constant(-1), fc.constant(0), milliseconds),
  bandwidthBytesPerSec: fc.oneof(fc.constant(0), fc.constant(-1), fc.integer({ min: 1, max: 1e10 })),
  hasMemory: fc.boolean(),
  initialRttMs: fc.oneof(fc.constant(-1), milliseconds),
});

/** The first fault, undefined when there is none. */
function faultOf(name: CongestionControlName, begin: Start, steps: readonly Step[]): string | undefined {
  const memory: PathMemory & { returnQueueMs: number } = {
    minRttMs: begin.minRttMs,
    bandwidthBytesPerSec: begin.bandwidthBytesPerSec,
    returnQueueMs: 0,
  };
  let nowMs = 1000;
  let mssBytes = 1400;
  let minRttMs = -1;
  const flow = CONGESTION_CONTROLS[name]({
    mssBytes,
    initialWindowBytes: 14_000,
    nowMs,
    ...(begin.hasMemory ? { memory } : {}),
    ...(begin.initialRttMs > 0 ? { initialRttMs: begin.initialRttMs } : {}),
  });
  const rate = new DeliveryRate();
  const sample = createAckSample();
  const inFlight: RateRecord[] = [];
  const inFlightBytes = (): number => inFlight.reduce((sum, { payloadBytes }) => sum + payloadBytes, 0);
  for (const [i, now] of steps.entries()) {
    switch (now.do) {
      case 'send':
        for (let k = 0; k < now.segments; k++) {
          const record = { payloadBytes: mssBytes } as RateRecord;
          rate.onSent(record, nowMs, inFlightBytes());
          flow.onSent(nowMs, mssBytes, inFlightBytes());
          inFlight.push(record);
        }
        break;
      case 'ack': {
        const priorInflightBytes = inFlightBytes();
        const lost = inFlight.splice(0, Math.min(now.lost, inFlight.length));
        const delivered = inFlight.splice(0, Math.min(now.segments, inFlight.length));
        for (const { payloadBytes } of lost) rate.onLost(payloadBytes);
        for (const record of delivered) rate.onDelivered(record, nowMs);
        const rttMs = delivered.length === 0 || now.isRepeated ? -1 : nowMs - delivered.at(-1)!.sentMs;
        if (rttMs > 0) minRttMs = minRttMs < 0 ? rttMs : Math.min(minRttMs, rttMs);
        Object.assign(sample, {
          nowMs,
          priorInflightBytes,
          inflightBytes: inFlightBytes(),
          rttMs,
          srttMs: rttMs,
          minRttMs,
          cwndLimited: true,
        });
        sample.deliveredBytes = delivered.reduce((sum, { payloadBytes }) => sum + payloadBytes, 0);
        sample.lostBytes = lost.reduce((sum, { payloadBytes }) => sum + payloadBytes, 0);
        rate.fillSample(sample, nowMs, minRttMs);
        if (lost.length > 0) flow.onRecoveryStart(nowMs, priorInflightBytes);
        flow.onAck(sample);
        if (lost.length > 0) flow.onRecoveryEnd(nowMs);
        break;
      }
      case 'wait':
        nowMs += now.ms;
        break;
      case 'return-queue':
        memory.returnQueueMs = now.ms;
        break;
      case 'timeout':
        for (const { payloadBytes } of inFlight.splice(0)) rate.onLost(payloadBytes);
        flow.onRetransmissionTimeout(nowMs, 0);
        break;
      case 'spurious':
        flow.onSpuriousLoss(nowMs);
        break;
      case 'idle':
        if (inFlight.length === 0) flow.onIdleRestart(nowMs, 1000);
        break;
      case 'handshake':
        if (now.ms > 0) flow.onHandshake(now.ms, 40_000);
        break;
      case 'mss':
        mssBytes = now.bytes;
        flow.setMss(mssBytes);
    }
    const { cwndBytes, pacingRateBytesPerSec } = flow;
    if (!(cwndBytes >= 500 && cwndBytes < Number.POSITIVE_INFINITY)) return `after step ${i}, ${now.do}: window ${cwndBytes}`;
    if (!(pacingRateBytesPerSec > 0)) return `after step ${i}, ${now.do}: rate ${pacingRateBytesPerSec}`;
    if (flow.burstBytes !== undefined && !(flow.burstBytes >= 0)) return `after step ${i}, ${now.do}: burst ${flow.burstBytes}`;
    for (const value of [memory.minRttMs, memory.bandwidthBytesPerSec])
      if (Number.isNaN(value)) return `after step ${i}: ${JSON.stringify(memory)}`;
  }
  return undefined;
}

for (const name of Object.keys(CONGESTION_CONTROLS) as CongestionControlName[]) {
  t.test(`${name}: window and rate are numbers, whatever the path shows`, (t) => {
    fc.assert(
      fc.property(start, fc.array(step, { maxLength: 150, size: 'max' }), (begin, steps) => {
        const fault = faultOf(name, begin, steps);
        if (fault !== undefined) throw new Error(fault);
      }),
      { numRuns: 300 },
    );
    t.pass();
    t.end();
  });
}
