/** Many connections: how many a second, what an idle one holds, what ten thousand slow ones hold. */

import { setTimeout as sleep } from 'node:timers/promises';
import type { Carrier } from './carrier.js';
import { churn, hold } from './load.js';
import { residentBytesOf } from './processes.js';
import { CARRIERS, type Figures, type Group, type Row, SIDES, TWO_WIRES } from './row.js';

const AT_ONCE = 100;
const WARM_UP_SECONDS = 2;
const MESSAGE_BYTES = 100;
/** The difference of the two is free of what the first connections bring with them: code, pools, the collector's room. */
const FEW_IDLE = 2000;
const MANY_IDLE = 10_000;
/** Collectors need a while to give back what opening cost. */
const SETTLE_MS = 10_000;
const SLOW_COUNT = 10_000;
const SLOW_MESSAGE_BYTES = 1000;
const SLOW_INTERVAL_MS = 5000;
const SLOW_INTERVALS = 3;
const SEQUENCE_COUNT = 100_000;
const SEQUENCE_PART_SECONDS = 5;
const SLOW_SAMPLE_MS = 500;

function sideRows(name: string, title: string, rest: Omit<Row, 'name' | 'title' | 'better'>): Row[] {
  return SIDES.map((side) => ({ name: `${name}-${side}`, title: `${title}, ${side}`, ...rest, better: 'less' }));
}

function bySide(name: string, values: readonly number[]): Figures {
  return Object.fromEntries(SIDES.map((side, i) => [`${name}-${side}`, values[i]!]));
}

const resident = (carrier: Carrier): number[] => carrier.daemons.map(residentBytesOf);

const connectionsASecond: Group = {
  name: 'connections',
  rows: [
    {
      name: 'connections',
      title: 'new connections: open, request, response, close',
      unit: 'per s',
      bar: 2000,
      aim: 6000,
      better: 'more',
      digits: 0,
    },
  ],
  carriers: CARRIERS,
  setup: TWO_WIRES,
  measure: async (carrier, { seconds }) => {
    await churn(carrier, AT_ONCE, WARM_UP_SECONDS);
    const result = await churn(carrier, AT_ONCE, seconds);
    if (result.failed > 0) throw new Error(`${result.failed} of ${result.served + result.failed} connections failed`);
    return { connections: result.served / result.seconds };
  },
};

const idleConnection: Group = {
  name: 'idle-connection',
  rows: sideRows('idle-connection', 'an idle connection, resident memory', { unit: 'KiB', bar: 16, aim: 6, digits: 1 }),
  carriers: ['ours'],
  setup: TWO_WIRES,
  fresh: true,
  measure: async (carrier) => {
    await hold(carrier, { count: FEW_IDLE, bytes: MESSAGE_BYTES, intervalMs: 0 });
    await sleep(SETTLE_MS);
    const few = resident(carrier);
    await hold(carrier, { count: MANY_IDLE - FEW_IDLE, bytes: MESSAGE_BYTES, intervalMs: 0 });
    await sleep(SETTLE_MS);
    const growth = resident(carrier).map((bytes, i) => (bytes - few[i]!) / (MANY_IDLE - FEW_IDLE) / 1024);
    return bySide('idle-connection', growth);
  },
};

const slowConnections: Group = {
  name: 'slow-connections',
  rows: sideRows(
    'slow-connections',
    `${SLOW_COUNT.toLocaleString('en')} connections, ${SLOW_MESSAGE_BYTES} bytes echoed on each every ${SLOW_INTERVAL_MS / 1000} s, largest resident memory`,
    { unit: 'MiB', bar: 1024, aim: 300, digits: 0 },
  ),
  carriers: ['ours'],
  setup: TWO_WIRES,
  fresh: true,
  measure: async (carrier) => {
    const held = await hold(carrier, { count: SLOW_COUNT, bytes: SLOW_MESSAGE_BYTES, intervalMs: SLOW_INTERVAL_MS });
    const largest = SIDES.map(() => 0);
    const endMs = performance.now() + SLOW_INTERVALS * SLOW_INTERVAL_MS;
    while (performance.now() < endMs) {
      for (const [i, bytes] of resident(carrier).entries()) largest[i] = Math.max(largest[i]!, bytes / 2 ** 20);
      await sleep(SLOW_SAMPLE_MS);
    }
    const echoed = await held.close();
    // The first message of each, and those of the intervals but for what is under way.
    const expected = SLOW_COUNT * (1 + SLOW_INTERVALS * 0.95);
    if (echoed < expected) throw new Error(`${echoed} messages came back, fewer than ${expected}`);
    return bySide('slow-connections', largest);
  },
};

const idleTunnel: Group = {
  name: 'idle-tunnel',
  rows: sideRows('idle-tunnel', 'an idle tunnel, resident memory', { unit: 'MiB', bar: 90, aim: 60, digits: 0 }),
  carriers: ['ours', 'wireguard-go', 'openvpn'],
  setup: TWO_WIRES,
  fresh: true,
  measure: async (carrier) => {
    await sleep(SETTLE_MS);
    return bySide(
      'idle-tunnel',
      resident(carrier).map((bytes) => bytes / 2 ** 20),
    );
  },
};

/** After the first part the code is compiled and the pools are filled. */
const manyInSequence: Group = {
  name: 'leak',
  rows: sideRows('leak', `growth of resident memory over ${SEQUENCE_COUNT.toLocaleString('en')} connections`, { unit: 'MiB', digits: 0 }),
  carriers: ['ours'],
  setup: TWO_WIRES,
  fresh: true,
  measure: async (carrier) => {
    await churn(carrier, AT_ONCE, SEQUENCE_PART_SECONDS);
    await sleep(SETTLE_MS);
    const before = resident(carrier);
    for (let served = 0; served < SEQUENCE_COUNT; ) {
      const part = await churn(carrier, AT_ONCE, SEQUENCE_PART_SECONDS);
      if (part.failed > 0 || part.served === 0) throw new Error(`${part.failed} connections failed, ${part.served} were served`);
      served += part.served;
    }
    await sleep(SETTLE_MS);
    return bySide(
      'leak',
      resident(carrier).map((bytes, i) => (bytes - before[i]!) / 2 ** 20),
    );
  },
};

export const CONNECTION_GROUPS: readonly Group[] = [connectionsASecond, manyInSequence, idleConnection, slowConnections, idleTunnel];
