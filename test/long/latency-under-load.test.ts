/**
 * Two hours of virtual time under full load both ways: what is new is served as quickly in the last minute as in the first. A model of the path that
 * wears out (a base round trip that creeps up behind its own queue, a filter that forgets) shows in hours, not in seconds.
 */

import t from 'tap';
import type { ByteStreamHandler } from '../../src/mptcp-over-udp/byte-stream.js';
import type { MptcpConnection } from '../../src/mptcp-over-udp/mptcp/connection.js';
import { acceptBulk, connectBulk } from '../sim/bulk-peer.js';
import type { SimClock } from '../sim/sim-clock.js';
import { type SimPath, TwoHosts } from '../sim/two-hosts.js';

t.setTimeout(230_000);

const LOAD_MS = 2 * 3_600_000;
const PROBE_INTERVAL_MS = 15_000;
const GROUP = 20;
const SUM_BITS_PER_SEC = 6e6;
const PING_BYTES = 84;
const IDLE_PROBES = 5;

/** A client asks with a few bytes; the server answers what it reads, and closes when the client does. */
class Asker implements ByteStreamHandler {
  connection: MptcpConnection | undefined;
  answeredMs = -1;
  private readonly clock: SimClock;

  constructor(clock: SimClock) {
    this.clock = clock;
  }

  onEstablished(): void {
    this.connection?.write(new Uint8Array(64), 0, 64);
  }

  onData(_bytes: Uint8Array, _at: number, length: number): number {
    if (this.answeredMs < 0) this.answeredMs = this.clock.nowMs;
    return length;
  }

  onWritable(): void {}

  onEnd(): void {}

  onClosed(): void {}
}

class Echo implements ByteStreamHandler {
  private readonly connection: MptcpConnection;

  constructor(connection: MptcpConnection) {
    this.connection = connection;
  }

  onEstablished(): void {}

  onData(bytes: Uint8Array, at: number, length: number): number {
    return this.connection.write(bytes, at, length);
  }

  onWritable(): void {}

  onEnd(): void {
    this.connection.finish();
  }

  onClosed(): void {}
}

/** Round trips of packets beside the hosts' own, over the first path. */
function pinger(hosts: TwoHosts): () => number {
  const path = hosts.paths[0] as SimPath;
  const { up, down } = path;
  const toServer = up.receiver;
  const toClient = down.receiver;
  let cameBackMs = -1;
  up.receiver = (packet, length) => {
    if (packet.length === PING_BYTES && packet[0] === 0) down.send(packet, PING_BYTES);
    else toServer(packet, length);
  };
  down.receiver = (packet, length) => {
    if (packet.length === PING_BYTES && packet[0] === 0) cameBackMs = hosts.clock.nowMs;
    else toClient(packet, length);
  };
  return () => {
    const startMs = hosts.clock.nowMs;
    cameBackMs = -1;
    up.send(new Uint8Array(PING_BYTES), PING_BYTES);
    hosts.run(2_000);
    return cameBackMs < 0 ? Number.POSITIVE_INFINITY : cameBackMs - startMs;
  };
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] as number;
}

t.test('new connections and pings keep their time through two hours of a full download and upload', async (t) => {
  let bulkCount = 0;
  const hosts: TwoHosts = new TwoHosts({
    paths: [
      { rateBitsPerSec: 4e6, delayMs: 20, queuePackets: 1000 },
      { rateBitsPerSec: 2e6, delayMs: 40, queuePackets: 1000 },
    ],
    serverEvents: {
      onIncoming: (connection) => {
        // The second and third connection after the idle probes are the load: one sends, one takes.
        if (bulkCount > 0) {
          acceptBulk(connection, bulkCount-- === 2);
          return;
        }
        connection.setHandler(new Echo(connection));
        connection.accept();
      },
    },
  });
  const ping = pinger(hosts);
  const ask = (): number => {
    const asker = new Asker(hosts.clock);
    const startMs = hosts.clock.nowMs;
    asker.connection = hosts.connect(asker);
    hosts.run(PROBE_INTERVAL_MS - 2_000);
    asker.connection.finish();
    hosts.settle(hosts.client);
    return asker.answeredMs < 0 ? Number.POSITIVE_INFINITY : asker.answeredMs - startMs;
  };
  const idleMs = median(Array.from({ length: IDLE_PROBES }, ask));
  const idlePingMs = ping();
  bulkCount = 2;
  const download = connectBulk(hosts, false);
  connectBulk(hosts, true);
  hosts.run(5_000);
  const readBefore = download.readBytes;
  const startMs = hosts.clock.nowMs;
  const answers: number[] = [];
  const pings: number[] = [];
  while (hosts.clock.nowMs < startMs + LOAD_MS) {
    pings.push(ping());
    answers.push(ask());
  }
  const groups = Array.from({ length: Math.floor(answers.length / GROUP) }, (_, i) => answers.slice(i * GROUP, (i + 1) * GROUP));
  const medians = groups.map(median);
  t.comment(
    `idle ${idleMs.toFixed(0)} ms; under load ${Math.min(...medians).toFixed(0)}-${Math.max(...medians).toFixed(0)} ms, worst ${Math.max(...answers).toFixed(0)} ms`,
  );
  t.comment(`ping idle ${idlePingMs.toFixed(0)} ms; under load ${median(pings).toFixed(0)} ms, worst ${Math.max(...pings).toFixed(0)} ms`);
  t.ok(Math.max(...medians) <= 1.5 * idleMs + 50, 'the median of every five minutes');
  t.ok(Math.max(...answers) <= 4 * idleMs, 'the worst of all');
  t.ok(median(pings) <= idlePingMs + 50, 'pings');
  const loadMs = hosts.clock.nowMs - startMs;
  const share = ((download.readBytes - readBefore) * 8_000) / loadMs / SUM_BITS_PER_SEC;
  t.comment(`the download carries ${share.toFixed(2)} of the sum`);
  // Beside an upload that fills the way back: the queue of either is delay to both.
  t.ok(share > 0.6, 'meanwhile the download goes on');
  hosts.run(60_000);
  t.equal(hosts.client.connectionCount, 2, 'nothing is left of the short ones');
});
