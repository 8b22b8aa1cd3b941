import t from 'tap';
import { TrainDispersion } from '../../../src/mptcp-over-udp/congestion/bbr-train.js';
import { createAckSample } from '../../../src/mptcp-over-udp/congestion/delivery-rate.js';
import { bulkServer, connectBulk } from '../../sim/bulk-peer.js';
import { TwoHosts } from '../../sim/two-hosts.js';

const MSS = 1_400;

function feed(trains: TrainDispersion, sentMs: number, firstAckMs: number, ackCount: number, spacingMs: number): void {
  for (let i = 0; i < ackCount; i++) {
    const sample = { ...createAckSample(), newestSentMs: sentMs, nowMs: firstAckMs + i * spacingMs, deliveredBytes: 2 * MSS };
    trains.onAck(sample, MSS);
  }
}

t.test('the capacity is the median rate at which trains of packets are acknowledged, once there are four', async (t) => {
  const trains = new TrainDispersion();
  const spacingsMs = [1, 1, 4, 1, 0.5];
  for (const [i, spacingMs] of spacingsMs.entries()) {
    t.equal(trains.capacityBytesPerSec, 0, `after ${i} beginnings`);
    feed(trains, i * 50, 600 + i * 50, 16, spacingMs);
  }
  feed(trains, 1_000, 2_000, 1, 1);
  t.ok(Math.abs(trains.capacityBytesPerSec - 2 * MSS * 1_000) < 1, `${trains.capacityBytesPerSec}`);
});

t.test('trains that are too short say nothing', async (t) => {
  const trains = new TrainDispersion();
  for (let i = 0; i < 10; i++) feed(trains, i * 50, 600 + i * 50, 4, 1);
  t.equal(trains.capacityBytesPerSec, 0);
});

/** Bytes that one download on a path brought, and what the path's queue dropped, by the end of so much time. */
function download(rateBitsPerSec: number, delayMs: number, ms: number): { bytes: number; retransmittedBytes: number } {
  const server = bulkServer();
  const hosts = new TwoHosts({
    paths: [{ rateBitsPerSec, delayMs, queuePackets: 1_000, queueCountsInFlight: true }],
    serverEvents: server,
  });
  const client = connectBulk(hosts, false);
  hosts.run(ms);
  return { bytes: client.readBytes, retransmittedBytes: server.peers[0]!.connection!.subflows[0]!.recovery.retransmittedBytes };
}

t.test('a path of 640 ms is filled in some four round trips, and not overrun by a window of its own', async (t) => {
  const { bytes, retransmittedBytes } = download(30e6, 320, 6_000);
  // A link of 30 Mbit/s brings 3.6 MB a second; two round trips pass before the first byte.
  t.ok(bytes > 9e6, `${bytes} bytes in six seconds`);
  t.ok(retransmittedBytes < 1e6, `${retransmittedBytes} bytes sent again`);
});
