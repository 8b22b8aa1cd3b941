/** What a stream of 100 Mbit/s costs, and how much of a 100 Mbit/s path is payload. */

import type { Carrier, CarrierSetup } from './carrier.js';
import { bothWays, DIRECTIONS, directionRows, tcpBitsPerSec, warmUp } from './iperf.js';
import { busySecondsOf } from './processes.js';
import { CARRIERS, type Group, type Row, SIDES, TWO_WIRES } from './row.js';

const HUNDRED_MEGABIT = 100e6;
/** So many times as long as other transfers: a congestion control's rarer probes shall weigh as they do in a long one. */
const GOODPUT_LENGTH = 5;
const LEAST_SHARE = 0.85;
const DELAY_MS = 10;
const QUEUE_PACKETS = 500;
/** Ethernet's header: a full frame of plain TCP carries 1448 bytes in 1514. */
const FRAME_HEADER_BYTES = 14;
/** Room for the headers of the tunnel. */
const CPU_LINK = { rateBitsPerSec: 60e6, delayMs: DELAY_MS, queuePackets: QUEUE_PACKETS };

function cpuGroup(name: string, title: string, bounds: Pick<Row, 'bar' | 'aim'>, setup: CarrierSetup): Group {
  return {
    name,
    rows: DIRECTIONS.flatMap((direction) =>
      SIDES.map((side) => ({
        name: `${name}-${direction}-${side}`,
        title: `${title}, one stream ${direction}, ${side}`,
        unit: '% of a core',
        ...bounds,
        better: 'less',
        digits: 1,
      })),
    ),
    carriers: ['ours', 'wireguard-go', 'openvpn'],
    setup,
    measure: async (carrier, { seconds }) => {
      const figures: Record<string, number> = {};
      for (const direction of DIRECTIONS) {
        await warmUp(carrier, direction);
        const transfer = { seconds: 2 * seconds, warmUpSeconds: 0, bitsPerSec: HUNDRED_MEGABIT };
        const shares = await cpuShares(carrier, transfer.seconds, () => tcpBitsPerSec(carrier, direction, transfer));
        for (const [i, side] of SIDES.entries()) figures[`${name}-${direction}-${side}`] = shares[i]! * 100;
      }
      return figures;
    },
  };
}

const cpuAtHundred = cpuGroup('cpu-100', 'CPU at 100 Mbit/s', { bar: 8, aim: 4 }, TWO_WIRES);

/** On such links packets come one by one, and so does the work: there are no bursts that save it. */
const cpuOnSlowLinks = cpuGroup(
  'cpu-slow-links',
  'CPU at 100 Mbit/s over links of 2 x 60 Mbit/s',
  {},
  {
    links: [CPU_LINK, CPU_LINK],
    onlyLink: { ...CPU_LINK, rateBitsPerSec: 2 * CPU_LINK.rateBitsPerSec },
    wires: false,
  },
);

/** Of one core, by daemon, at 100 Mbit/s of what the application got. */
async function cpuShares(carrier: Carrier, seconds: number, carry: () => Promise<number>): Promise<number[]> {
  const before = carrier.daemons.map(busySecondsOf);
  const rate = await carry();
  if (rate < LEAST_SHARE * HUNDRED_MEGABIT) throw new Error(`only ${(rate / 1e6).toFixed(1)} of 100 Mbit/s came through`);
  return carrier.daemons.map((pid, i) => (busySecondsOf(pid) - before[i]!) / seconds / (rate / HUNDRED_MEGABIT));
}

const goodput: Group = {
  name: 'goodput-100',
  rows: directionRows('goodput-100', (way) => `goodput on a 100 Mbit/s path, share of the link rate at layer 2, one stream ${way}`, {
    unit: 'share',
    bar: 0.945,
    aim: 0.955,
    better: 'more',
    digits: 4,
  }),
  carriers: CARRIERS,
  setup: {
    links: [{ rateBitsPerSec: HUNDRED_MEGABIT, delayMs: DELAY_MS, queuePackets: QUEUE_PACKETS, frameHeaderBytes: FRAME_HEADER_BYTES }],
    wires: false,
  },
  measure: (carrier, { seconds }) =>
    bothWays('goodput-100', async (direction) => {
      // CUBIC fills the link; for ours it is that of the hosts beside the tunnel, whose own congestion control is its default.
      const rate = await tcpBitsPerSec(carrier, direction, { seconds: GOODPUT_LENGTH * seconds, congestionControl: 'cubic' });
      return rate / HUNDRED_MEGABIT;
    }),
};

export const COST_GROUPS: readonly Group[] = [cpuAtHundred, cpuOnSlowLinks, goodput];
