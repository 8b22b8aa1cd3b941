/** Path MTU discovery without ICMP (RFC 8899): links that drop what is too large without a word. */

import t, { type Test } from 'tap';
import { congestionControlNamed } from '../../../src/host/algorithms.js';
import type { CongestionControlFactory } from '../../../src/mptcp-over-udp/congestion/congestion-control.js';
import type { MptcpConnection } from '../../../src/mptcp-over-udp/mptcp/connection.js';
import { PatternPeer, patternByte, TwoHosts } from '../../sim/two-hosts.js';

const IP_TCP_BYTES = 40;
const RATE = 20_000_000;
const DELAY_MS = 10;

interface Transfer {
  hosts: TwoHosts;
  sender: PatternPeer;
  receiver: PatternPeer;
  connection: MptcpConnection;
  /** Packets above these lengths vanish, by path. */
  limits: number[];
}

function start(
  totalBytes: number,
  limits: number[],
  options: { mtuSearch?: boolean; congestion?: string; lossRatio?: number; seed?: number; finish?: boolean } = {},
): Transfer {
  const { mtuSearch = true, congestion = 'bbr', lossRatio = 0, seed = 1, finish = true } = options;
  let receiver: PatternPeer | undefined;
  const link = { rateBitsPerSec: RATE, delayMs: DELAY_MS, queuePackets: 100, lossRatio };
  const hosts: TwoHosts = new TwoHosts({
    seed,
    paths: limits.map(() => link),
    congestionControl: congestionControlNamed(congestion) as CongestionControlFactory,
    host: { mtuSearch },
    inspect: (_fromClient, pathId, packet) => packet.length <= (limits[pathId] as number),
    serverEvents: {
      onIncoming: (incoming) => {
        receiver = new PatternPeer(hosts.clock, 0).accept(incoming);
      },
    },
  });
  const sender = new PatternPeer(hosts.clock, totalBytes, finish);
  const connection = sender.connect(hosts, 0);
  hosts.run(100);
  return { hosts, sender, receiver: receiver as PatternPeer, connection, limits };
}

/** The handshake is over. */
function lose({ hosts }: Transfer, lossRatio: number): void {
  for (const { up, down } of hosts.paths) up.lossRatio = down.lossRatio = lossRatio;
}

function packetBytes({ connection }: Transfer, subflow = 0): number {
  return (connection.subflows[subflow]?.mssBytes ?? 0) + IP_TCP_BYTES;
}

function runUntil(transfer: Transfer, done: () => boolean, maxMs: number): number {
  const startMs = transfer.hosts.clock.nowMs;
  while (!done() && transfer.hosts.clock.nowMs - startMs < maxMs) transfer.hosts.run(10);
  return transfer.hosts.clock.nowMs - startMs;
}

function checkFound(t: Test, transfer: Transfer, limit: number, subflow = 0): void {
  const found = packetBytes(transfer, subflow);
  t.ok(found <= limit && found > limit - 32, `packets of ${found} bytes where ${limit} pass`);
}

for (const congestion of ['bbr', 'cubic']) {
  for (const limit of [1_420, 1_300, 1_240, 1_100, 900, 620]) {
    t.test(`from the start, ${limit} bytes pass: ${congestion}`, async (t) => {
      const transfer = start(8_000_000, [limit], { congestion });
      const { receiver } = transfer;
      let found = 0;
      const ms = runUntil(
        transfer,
        () => {
          found = packetBytes(transfer) || found;
          return receiver.readBytes >= 6_000_000;
        },
        60_000,
      );
      checkFound(t, transfer, limit);
      runUntil(transfer, () => receiver.ended, 60_000);
      t.equal(receiver.readBytes, 8_000_000);
      t.equal(receiver.corruptCount, 0);
      t.ok(ms < 15_000, `6 MB in ${ms} ms`);
    });
  }
}

t.test('in the middle of a transfer less begins to pass', async (t) => {
  const transfer = start(12_000_000, [1_500]);
  const { receiver, limits, hosts } = transfer;
  runUntil(transfer, () => receiver.readBytes > 2_000_000, 10_000);
  t.equal(packetBytes(transfer), 1_444);
  limits[0] = 1_330;
  runUntil(transfer, () => receiver.readBytes > 6_000_000, 30_000);
  checkFound(t, transfer, 1_330);
  limits[0] = 1_000;
  runUntil(transfer, () => receiver.readBytes > 10_000_000, 30_000);
  checkFound(t, transfer, 1_000);
  runUntil(transfer, () => receiver.ended, 30_000);
  t.equal(receiver.readBytes, 12_000_000);
  t.equal(receiver.corruptCount, 0);
  t.equal(hosts.client.counters['tcp-mtu-black-holes'], 3, 'to 1200, again to 1200, to 576');
});

t.test('without the search the transfer stands still', async (t) => {
  const transfer = start(2_000_000, [1_300], { mtuSearch: false });
  transfer.hosts.run(20_000);
  t.equal(transfer.receiver.readBytes, 0);
});

t.test('an outage is not taken for a black hole for long', async (t) => {
  for (const [outageMs, fallen] of [
    [2_000, 1_200],
    [8_000, 576],
  ] as const) {
    const transfer = start(30_000_000, [1_500]);
    const { receiver, limits } = transfer;
    runUntil(transfer, () => receiver.readBytes > 2_000_000, 10_000);
    limits[0] = 0;
    transfer.hosts.run(outageMs);
    t.equal(packetBytes(transfer), fallen, `after ${outageMs} ms`);
    limits[0] = 1_500;
    const before = receiver.readBytes;
    runUntil(transfer, () => packetBytes(transfer) === 1_444, 40_000);
    t.equal(packetBytes(transfer), 1_444);
    t.ok(receiver.readBytes - before < 1_000_000, `raised again after ${receiver.readBytes - before} bytes`);
  }
});

t.test('a path that carries more again is found out after ten minutes', async (t) => {
  const transfer = start(4_000_000_000, [1_300]);
  const { receiver, limits } = transfer;
  runUntil(transfer, () => receiver.readBytes > 4_000_000, 30_000);
  checkFound(t, transfer, 1_300);
  limits[0] = 1_500;
  transfer.hosts.run(100_000);
  checkFound(t, transfer, 1_300);
  // Slow, so that ten minutes are not too much data for a test.
  for (const path of transfer.hosts.paths) path.up.rateBitsPerSec = 500_000;
  transfer.hosts.run(520_000);
  t.equal(packetBytes(transfer), 1_444);
});

t.test('under random loss the size found is right', async (t) => {
  for (let seed = 1; seed <= 10; seed++) {
    const transfer = start(6_000_000, [1_300], { seed, lossRatio: 0.01 });
    const { receiver } = transfer;
    runUntil(transfer, () => receiver.readBytes > 5_000_000, 60_000);
    checkFound(t, transfer, 1_300);
  }
});

t.test('two paths: each has its own size, and the connection goes on meanwhile', async (t) => {
  const transfer = start(20_000_000, [1_500, 1_300]);
  const { receiver, connection } = transfer;
  runUntil(transfer, () => receiver.readBytes > 16_000_000, 60_000);
  t.equal(connection.subflows.length, 2);
  t.equal(packetBytes(transfer, 0), 1_444);
  checkFound(t, transfer, 1_300, 1);
  t.ok(receiver.longestGapMs < 1_000, `longest gap ${receiver.longestGapMs} ms`);
});

interface Messages {
  /** From when the large one was written until all up to it had arrived. */
  ms: number;
  corruptCount: number;
  falls: number;
}

/** One large message among small ones. */
function runMessages(
  everyMs: number,
  limit: number,
  options: { lossRatio?: number; seed?: number; congestion?: string; largeBytes?: number } = {},
): Messages {
  const { lossRatio = 0, largeBytes = 1_400, ...rest } = options;
  const transfer = start(0, [limit], { ...rest, finish: false });
  const { hosts, connection, receiver } = transfer;
  lose(transfer, lossRatio);
  let sentBytes = 0;
  const write = (length: number): void => {
    const message = Uint8Array.from({ length }, (_, i) => patternByte(sentBytes + i));
    sentBytes += connection.write(message, 0, length);
    hosts.settle(hosts.client);
    hosts.run(everyMs);
  };
  for (let i = 0; i < 20; i++) write(100);
  write(largeBytes);
  const upTo = sentBytes;
  const startMs = hosts.clock.nowMs;
  while (receiver.readBytes < upTo && hosts.clock.nowMs - startMs < 20_000) write(100);
  const ms = hosts.clock.nowMs - startMs;
  return { ms, corruptCount: receiver.corruptCount, falls: hosts.client.counters['tcp-mtu-black-holes'] ?? 0 };
}

// Whatever follows is acknowledged, so that no timeout comes, or no two of them in a row.
t.test('one large segment that vanishes among small ones that pass', async (t) => {
  for (const congestion of ['bbr', 'cubic']) {
    for (const everyMs of [5, 20, 100, 250]) {
      const { ms, corruptCount, falls } = runMessages(everyMs, 1_300, { congestion });
      t.ok(ms < 1_000, `every ${everyMs} ms, ${congestion}: after ${ms} ms`);
      t.equal(falls, 1, 'black holes');
      t.equal(corruptCount, 0);
    }
  }
  const { ms, falls } = runMessages(20, 900);
  t.ok(ms < 1_000, `900 bytes pass: after ${ms} ms`);
  t.equal(falls, 2, 'to 1200, then to 576');
  const small = runMessages(20, 700, { largeBytes: 860 });
  t.ok(small.ms < 1_000, `860 bytes where 700 pass: after ${small.ms} ms`);
  t.equal(small.falls, 1, 'to 576');
});

t.test('loss alone is no black hole', async (t) => {
  for (let seed = 1; seed <= 8; seed++) {
    const transfer = start(4_000_000, [1_500], { seed });
    lose(transfer, 0.05);
    runUntil(transfer, () => transfer.receiver.ended, 60_000);
    t.equal(transfer.receiver.readBytes, 4_000_000);
    t.equal(transfer.hosts.client.counters['tcp-mtu-black-holes'], undefined, `bulk, seed ${seed}`);
    t.equal(runMessages(20, 1_500, { seed, lossRatio: 0.05 }).falls, 0, `messages, seed ${seed}`);
  }
});
