/**
 * A flow like QUIC's through the datagram plane, on a virtual clock: it has a congestion control of its own, takes three later arrivals for a loss,
 * and knows nothing of the paths. Simulated for eight seconds, judged by the last five.
 */

import t from 'tap';
import { CONGESTION_CONTROLS } from '../../../src/mptcp-over-udp/congestion/congestion-controls.js';
import type { FlowMode } from '../../../src/tunnel/config.js';
import { FlowModel, type FlowPacket } from '../../sim/flow-model.js';
import type { SimLink } from '../../sim/sim-link.js';
import { createTwoPlanes, type PathShape, type PlaneSide } from '../../sim/two-planes.js';

const link = (mbitPerSec: number, delayMs: number, jitterMs = 0, lossRatio = 0, queuePackets = 1000): PathShape => ({
  rateBitsPerSec: mbitPerSec * 1e6,
  delayMs,
  jitterMs,
  lossRatio,
  queuePackets,
  queueCountsInFlight: true,
});
const MSS_BYTES = 1200;
/** IP, UDP and QUIC around the payload; the seal and its UDP/IP around that. */
const INNER_BYTES = 44;
const WIRE_BYTES = MSS_BYTES + INNER_BYTES + 4 + 56;
const CLIENT_PORT = 40_000;
const SERVER_PORT = 443;

interface Result {
  /** Of the wire, by what arrived. */
  bitsPerSec: number;
  lostBytes: number;
  late: number;
}

function runQuic(paths: readonly PathShape[], mode: FlowMode, congestionControl: 'cubic' | 'bbr', direction: 'up' | 'down'): Result {
  const world = createTwoPlanes({ paths, clientRules: [{ mode, protocols: [17] }] });
  world.run(3000);
  const { client, server, clock } = world;
  const underWay = new Map<number, FlowPacket>();
  let next = 0;
  const pipe = (side: PlaneSide, extraBytes: number): SimLink<FlowPacket> => {
    const [sourcePort, port] = side === client ? [CLIENT_PORT, SERVER_PORT] : [SERVER_PORT, CLIENT_PORT];
    const send = (packet: FlowPacket, bytes: number): boolean => {
      underWay.set(next, packet);
      side.send(next++, { sourcePort, port, bytes: bytes + extraBytes });
      return true;
    };
    return { send } as unknown as SimLink<FlowPacket>;
  };
  const [from, to] = direction === 'up' ? [client, server] : [server, client];
  // The client speaks first.
  client.send(2 ** 31, { sourcePort: CLIENT_PORT, port: SERVER_PORT });
  world.run(3200);
  const take = (number: number): FlowPacket => {
    const packet = underWay.get(number)!;
    underWay.delete(number);
    return packet;
  };
  to.onArrival = ({ number }) => FlowModel.handleData(take(number));
  from.onArrival = ({ number }) => FlowModel.handleAck(take(number));
  const flow = new FlowModel({
    clock,
    forward: pipe(from, INNER_BYTES),
    backward: pipe(to, 0),
    congestion: CONGESTION_CONTROLS[congestionControl],
    mssBytes: MSS_BYTES,
  });
  flow.start();
  const startMs = clock.nowMs;
  world.run(startMs + 3000);
  const before = flow.receivedBytes;
  world.run(startMs + 8000);
  const bitsPerSec = ((flow.receivedBytes - before) * 8 * WIRE_BYTES) / MSS_BYTES / 5;
  return { bitsPerSec, lostBytes: flow.lostBytes, late: to.plane.counters.resequencedLate };
}

const PROFILES: Record<string, { paths: readonly PathShape[]; bestBitsPerSec: number; atLeast: number }> = {
  '50/10 + 30/30': { paths: [link(50, 10, 0, 0, 300), link(30, 30, 0, 0, 250)], bestBitsPerSec: 50e6, atLeast: 1.2 },
  '50/20 + 50/20': { paths: [link(50, 20), link(50, 20)], bestBitsPerSec: 50e6, atLeast: 1.5 },
  '50/20 + 50/70': { paths: [link(50, 20), link(50, 70)], bestBitsPerSec: 50e6, atLeast: 1.4 },
  '40/35 + 20/320': { paths: [link(40, 35), link(20, 320, 20, 0.005)], bestBitsPerSec: 40e6, atLeast: 0.95 },
};

t.test(
  'aggregate: one CUBIC flow is faster than the better link, either way, and never slower than it where the paths are too far apart',
  async (t) => {
    for (const [name, { paths, bestBitsPerSec, atLeast }] of Object.entries(PROFILES)) {
      // One of them both ways: the way down is the mirrored one.
      for (const direction of name === '50/10 + 30/30' ? (['up', 'down'] as const) : (['down'] as const)) {
        const { bitsPerSec, lostBytes, late } = runQuic(paths, 'aggregate', 'cubic', direction);
        const share = bitsPerSec / bestBitsPerSec;
        t.comment(
          `${name} ${direction}: ${(bitsPerSec / 1e6).toFixed(1)} Mbit/s, ${share.toFixed(2)} of the better link, ${lostBytes} bytes lost, ${late} late`,
        );
        t.ok(share >= atLeast, `${name} ${direction}: ${share.toFixed(2)}`);
      }
    }
  },
);

t.test(
  'aggregate: a small lossy path beside a large one pulls a flow down only as far as its congestion control takes random loss for congestion',
  async (t) => {
    const paths = [link(60, 8), link(6, 40, 8, 0.005)];
    for (const [congestionControl, atLeast] of [
      ['cubic', 0.7],
      ['bbr', 0.95],
    ] as const) {
      const alone = runQuic(paths, 'min-delay', congestionControl, 'up');
      const both = runQuic(paths, 'aggregate', congestionControl, 'up');
      t.comment(
        `${congestionControl}: ${(alone.bitsPerSec / 1e6).toFixed(1)} alone, ${(both.bitsPerSec / 1e6).toFixed(1)} Mbit/s with both`,
      );
      t.ok(both.bitsPerSec > atLeast * alone.bitsPerSec, congestionControl);
    }
  },
);

t.test('aggregate: one BBR flow, which sizes its window by the faster path, is not slower than on the better link', async (t) => {
  for (const name of ['50/10 + 30/30', '50/20 + 50/70']) {
    const { paths, bestBitsPerSec } = PROFILES[name]!;
    const { bitsPerSec } = runQuic(paths, 'aggregate', 'bbr', 'down');
    t.comment(`${name}: ${(bitsPerSec / bestBitsPerSec).toFixed(2)} of the better link`);
    t.ok(bitsPerSec > 0.93 * bestBitsPerSec);
  }
});

t.test('min-delay: a flow has the better link to itself, whatever it does to the queue there', async (t) => {
  const { bitsPerSec } = runQuic(PROFILES['50/10 + 30/30']!.paths, 'min-delay', 'cubic', 'down');
  t.ok(bitsPerSec > 0.95 * 50e6);
});
