/** One row of the scheduler table: two paths, one scheduler, what a bulk download and short messages got. Seeded, on the virtual clock: exact. */

import type { ByteStreamHandler } from '../../../src/mptcp-over-udp/byte-stream.js';
import { createReno } from '../../../src/mptcp-over-udp/congestion/reno.js';
import type { MptcpConnection } from '../../../src/mptcp-over-udp/mptcp/connection.js';
import type { HostPath } from '../../../src/mptcp-over-udp/mptcp/host-paths.js';
import { SCHEDULERS, type SchedulerName } from '../../../src/mptcp-over-udp/scheduler/schedulers.js';
import type { SimLinkOptions } from '../../sim/sim-link.js';
import { TUNNEL_OVERHEAD_BYTES, TwoHosts } from '../../sim/two-hosts.js';

export interface Scenario {
  name: string;
  /** Mbit/s, one-way ms, loss in percent, packets of queue. */
  paths: readonly (readonly [number, number, number, number])[];
  /** By path, for the priority scheduler; absent: in order, the first is the cheap one. */
  priorities?: readonly number[];
  /** The receive window stays at 512 kB. */
  fixedWindow?: boolean;
}

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'equal',
    paths: [
      [10, 10, 0, 50],
      [10, 10, 0, 50],
    ],
  },
  {
    name: 'unequal rates',
    paths: [
      [20, 10, 0, 50],
      [4, 10, 0, 50],
    ],
  },
  {
    name: 'unequal delays',
    paths: [
      [10, 5, 0, 50],
      [10, 50, 0, 100],
    ],
  },
  {
    name: 'fast and near, slow and far',
    paths: [
      [20, 5, 0, 50],
      [4, 80, 0, 100],
    ],
  },
  {
    name: 'fast and far, slow and near',
    paths: [
      [20, 60, 0, 200],
      [4, 5, 0, 50],
    ],
  },
  {
    name: '1 % loss on one',
    paths: [
      [10, 10, 0, 50],
      [10, 10, 1, 50],
    ],
  },
  {
    name: '1 % loss on both',
    paths: [
      [10, 10, 1, 50],
      [10, 30, 1, 50],
    ],
  },
  {
    name: 'shallow queues',
    paths: [
      [10, 10, 0, 8],
      [10, 40, 0, 8],
    ],
  },
  {
    name: 'window of 512 kB',
    fixedWindow: true,
    paths: [
      [40, 5, 0, 100],
      [20, 150, 0, 400],
    ],
  },
  {
    name: 'deep queues',
    paths: [
      [10, 10, 0, 400],
      [5, 20, 0, 400],
    ],
  },
];

export interface Row {
  /** Percent of the payload that both paths can carry. */
  goodputPercent: number;
  reinjections: number;
  duplicates: number;
  /** From the write of a message of 20 kB, every 100 ms, to its last byte read. */
  messageMeanMs: number;
  messageWorstMs: number;
}

const WARM_UP_MS = 1_000;
const BULK_MS = 4_000;
const MESSAGE_COUNT = 40;
const MESSAGE_INTERVAL_MS = 100;
const MESSAGE_BYTES = 20_000;
/** Payload in a full packet on the wire: 1500 less tunnel, IP and TCP headers and the DSS option. */
const PAYLOAD_RATIO = (1_500 - TUNNEL_OVERHEAD_BYTES - 40 - 24) / 1_500;

/** A server that writes when told, or without end. */
class Writer implements ByteStreamHandler {
  connection: MptcpConnection | undefined;
  private readonly endless: boolean;
  private readonly block = new Uint8Array(MESSAGE_BYTES);
  private owedBytes = 0;

  constructor(endless: boolean) {
    this.endless = endless;
  }

  write(bytes: number): void {
    this.owedBytes += bytes;
    this.onWritable();
  }

  onWritable(): void {
    const { connection, block } = this;
    while (connection !== undefined && (this.endless || this.owedBytes > 0)) {
      const want = this.endless ? block.length : Math.min(block.length, this.owedBytes);
      const n = connection.write(block, 0, want);
      this.owedBytes -= n;
      if (n < want) return;
    }
  }

  onEstablished(): void {
    this.onWritable();
  }
  onData(_bytes: Uint8Array, _at: number, length: number): number {
    return length;
  }
  onEnd(): void {}
  onClosed(): void {}
}

class Reader extends Writer {
  readBytes = 0;
  onRead: (() => void) | undefined;

  override onData(_bytes: Uint8Array, _at: number, length: number): number {
    this.readBytes += length;
    this.onRead?.();
    return length;
  }
}

export interface Download {
  hosts: TwoHosts;
  reader: Reader;
  writer: Writer;
}

export function startDownload(scheduler: SchedulerName, scenario: Scenario, endless: boolean): Download {
  const writer = new Writer(endless);
  const hosts: TwoHosts = new TwoHosts({
    seed: 7,
    paths: linksOf(scenario),
    ...(scenario.fixedWindow === true ? { receiveMemoryBytes: 0, host: { receiveWindowBytes: 512 << 10 } } : {}),
    congestionControl: createReno,
    scheduler: SCHEDULERS[scheduler](),
    serverEvents: {
      onIncoming: (connection) => {
        writer.connection = connection;
        connection.setHandler(writer);
        connection.accept();
      },
    },
  });
  for (let id = 0; id < scenario.paths.length; id++)
    hosts.server.paths.set({ ...(hosts.server.paths.get(id) as HostPath), priority: scenario.priorities?.[id] ?? id });
  const reader = new Reader(false);
  hosts.connect(reader);
  hosts.run(WARM_UP_MS / 2);
  // Joins follow the first data.
  if (!endless) writer.write(MESSAGE_BYTES);
  hosts.settle(hosts.server);
  hosts.run(WARM_UP_MS / 2);
  return { hosts, reader, writer };
}

function linksOf(scenario: Scenario): SimLinkOptions[] {
  return scenario.paths.map(([megabits, delayMs, lossPercent, queuePackets]) => ({
    rateBitsPerSec: megabits * 1e6,
    delayMs,
    lossRatio: lossPercent / 100,
    queuePackets,
  }));
}

/** When each message was complete, from its writing. */
export function messageLatencies(download: Download): number[] {
  const { hosts, reader, writer } = download;
  const written: number[] = [];
  const latencies: number[] = [];
  const startBytes = reader.readBytes;
  reader.onRead = () => {
    while (latencies.length < written.length && reader.readBytes - startBytes >= (latencies.length + 1) * MESSAGE_BYTES)
      latencies.push(hosts.clock.nowMs - (written[latencies.length] as number));
  };
  for (let i = 0; i < MESSAGE_COUNT; i++) {
    written.push(hosts.clock.nowMs);
    writer.write(MESSAGE_BYTES);
    hosts.settle(hosts.server);
    hosts.run(MESSAGE_INTERVAL_MS);
  }
  hosts.run(5_000);
  return latencies;
}

export function measure(scheduler: SchedulerName, scenario: Scenario): Row {
  const bulk = startDownload(scheduler, scenario, true);
  const before = bulk.reader.readBytes;
  bulk.hosts.run(BULK_MS);
  const bits = (bulk.reader.readBytes - before) * 8;
  const capacity = scenario.paths.reduce((sum, [megabits]) => sum + megabits * 1e6, 0) * PAYLOAD_RATIO * (BULK_MS / 1_000);
  const latencies = messageLatencies(startDownload(scheduler, scenario, false));
  if (latencies.length !== MESSAGE_COUNT) throw new Error(`${scenario.name}, ${scheduler}: ${latencies.length} messages arrived`);
  return {
    goodputPercent: Math.round((100 * bits) / capacity),
    reinjections: bulk.hosts.server.counters['mptcp-reinjections'] ?? 0,
    duplicates: bulk.hosts.server.counters['mptcp-duplicates'] ?? 0,
    messageMeanMs: Math.round(latencies.reduce((sum, ms) => sum + ms, 0) / latencies.length),
    messageWorstMs: Math.round(Math.max(...latencies)),
  };
}

const COLUMNS = ['goodput %', 'reinjections', 'duplicates', 'message mean ms', 'worst ms'] as const;

/** The whole table as text, one line for each scenario and scheduler. */
export function formatTable(rows: ReadonlyMap<Scenario, ReadonlyMap<SchedulerName, Row>>): string {
  let out = '';
  for (const [scenario, byScheduler] of rows) {
    const paths = scenario.paths.map(([rate, delay, loss, queue]) => `${rate} Mbit/s ${delay} ms ${loss} % queue ${queue}`);
    out += `${scenario.name}: ${paths.join(' + ')}${scenario.fixedWindow === true ? ', window fixed' : ''}\n${''.padEnd(14)}${COLUMNS.map((name) => name.padStart(17)).join('')}\n`;
    for (const [scheduler, row] of byScheduler) {
      const cells = [row.goodputPercent, row.reinjections, row.duplicates, row.messageMeanMs, row.messageWorstMs];
      out += `${`  ${scheduler}`.padEnd(14)}${cells.map((value) => String(value).padStart(17)).join('')}\n`;
    }
    out += '\n';
  }
  return out;
}
