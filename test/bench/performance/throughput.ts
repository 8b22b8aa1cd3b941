/** How fast: one TCP stream, sixteen, TCP carried packet by packet, UDP; and what a gigabyte costs. */

import { WEB_ADDRESS } from '../../../src/lab/topology.js';
import type { Carrier } from './carrier.js';
import { DIRECTIONS, directionRows, GIGABITS, gigabitsBothWays, tcpBitsPerSec, udpPacketsPerSec, warmUp } from './iperf.js';
import { busySecondsOf, busySecondsOfMachine } from './processes.js';
import { CARRIERS, type Figures, type Group, type MeasureOptions, type Row, TWO_WIRES } from './row.js';

const GIGA = 1e9;
const MANY_STREAMS = 16;
const UDP_PAYLOAD_BYTES = 1200;

const streamOne: Group = {
  name: 'stream-one',
  rows: directionRows('stream-one', (way) => `stream plane, one TCP stream, ${way}`, { ...GIGABITS, bar: 3, aim: 5 }),
  carriers: CARRIERS,
  setup: TWO_WIRES,
  measure: (carrier, { seconds }) => gigabitsBothWays(carrier, 'stream-one', { seconds }),
};

const streamWeb: Group = {
  name: 'stream-web',
  rows: directionRows('stream-web', (way) => `one TCP stream with a host behind the gateway, ${way}`, GIGABITS),
  carriers: ['ours', 'raw'],
  setup: TWO_WIRES,
  measure: (carrier, { seconds }) => gigabitsBothWays({ ...carrier, gateway: WEB_ADDRESS }, 'stream-web', { seconds }),
};

const streamSixteen: Group = {
  name: 'stream-16',
  rows: directionRows('stream-16', (way) => `stream plane, ${MANY_STREAMS} streams, ${way}`, { ...GIGABITS, bar: 3, aim: 6 }),
  carriers: CARRIERS,
  setup: TWO_WIRES,
  measure: (carrier, { seconds }) => gigabitsBothWays(carrier, 'stream-16', { seconds, streams: MANY_STREAMS }),
};

const datagramTcp: Group = {
  name: 'datagram-tcp',
  rows: directionRows('datagram-tcp', (way) => `datagram plane: TCP with \`steer = "datagram"\`, one stream, ${way}`, {
    ...GIGABITS,
    bar: 4,
    aim: 7,
  }),
  carriers: CARRIERS,
  setup: { ...TWO_WIRES, stream: 'steer = "datagram"' },
  measure: (carrier, { seconds }) => gigabitsBothWays(carrier, 'datagram-tcp', { seconds }),
};

function udpGroup(name: string, title: string, offeredPerSec: number | undefined): Group {
  const row: Row = { name, title, unit: 'kpps', bar: 0.6, aim: 0.9, boundsAre: 'ratio to raw', better: 'more', digits: 1 };
  return {
    name,
    rows: [row],
    carriers: CARRIERS,
    setup: TWO_WIRES,
    measure: async (carrier, { seconds }) => ({
      [name]: (await udpPacketsPerSec(carrier, UDP_PAYLOAD_BYTES, seconds, offeredPerSec)) / 1000,
    }),
  };
}

const udp = udpGroup(
  'udp-1200',
  `UDP datagrams of ${UDP_PAYLOAD_BYTES} bytes delivered of as many as the sender can make, share of raw`,
  undefined,
);

/** What raw delivered where the bar was set: there the sender was the limit, and left time to the others. */
const OFFERED_PER_SECOND = 205_000;
const udpOffered = udpGroup(
  'udp-1200-of-205k',
  `UDP datagrams of ${UDP_PAYLOAD_BYTES} bytes delivered of ${OFFERED_PER_SECOND / 1000} kpps offered, share of raw`,
  OFFERED_PER_SECOND,
);

/** Of a daemon that has been at work; everything is counted from the first byte on, the handshake and the slow start too. */
async function cpuPerGigabyte(carrier: Carrier, { seconds }: MeasureOptions): Promise<Figures> {
  const figures: Record<string, number> = {};
  for (const direction of DIRECTIONS) {
    await warmUp(carrier, direction);
    const daemonsSeconds = sinceNow(() => carrier.daemons.reduce((sum, pid) => sum + busySecondsOf(pid), 0));
    const machineSeconds = sinceNow(busySecondsOfMachine);
    const gigabytes = ((await tcpBitsPerSec(carrier, direction, { seconds, warmUpSeconds: 0 })) * seconds) / 8 / GIGA;
    if (carrier.name !== 'raw') figures[`cpu-per-gb-${direction}`] = daemonsSeconds() / gigabytes;
    figures[`cpu-per-gb-machine-${direction}`] = machineSeconds() / gigabytes;
  }
  return figures;
}

/** By how much a counter has grown since this call. */
function sinceNow(read: () => number): () => number {
  const before = read();
  return () => read() - before;
}

const cpuPerGb: Group = {
  name: 'cpu-per-gb',
  rows: ['', '-machine'].flatMap((part) =>
    directionRows(
      `cpu-per-gb${part}`,
      (way) => `CPU a GB, one stream ${way}, ${part === '' ? 'both daemons' : 'the whole machine with iperf3'}`,
      { unit: 's', ...(part === '' ? { bar: 6, aim: 4 } : {}), better: 'less', digits: 2 },
    ),
  ),
  carriers: CARRIERS,
  setup: TWO_WIRES,
  measure: cpuPerGigabyte,
};

export const THROUGHPUT_GROUPS: readonly Group[] = [streamOne, streamWeb, streamSixteen, datagramTcp, udp, udpOffered, cpuPerGb];
