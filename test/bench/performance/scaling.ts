/** That cost does not grow with what is idle: connections, paths, peers. */

import { randomBytes } from 'node:crypto';
import { formatKey, generatePrivateKey } from '../../../src/crypto/keys.js';
import { publicKeyOf } from '../../../src/crypto/x25519.js';
import type { CarrierSetup } from './carrier.js';
import { directionRows, GIGABITS, gigabitsBothWays } from './iperf.js';
import { type Held, hold } from './load.js';
import { type Group, type Row, TWO_WIRES } from './row.js';

const IDLE_CONNECTIONS = [1, 100, 10_000];
const PATHS = [1, 2, 4, 8];
const IDLE_PEERS = [0, 100, 1000];
const MESSAGE_BYTES = 100;

function rowsOf(name: string, title: string): Row[] {
  return directionRows(name, (way) => `${title}, one stream ${way}`, GIGABITS);
}

const idleConnections: Group = {
  name: 'idle-connections',
  rows: IDLE_CONNECTIONS.flatMap((count) => rowsOf(`idle-connections-${count}`, `beside ${count} idle connections`)),
  carriers: ['ours'],
  setup: TWO_WIRES,
  measure: async (carrier, { seconds }) => {
    const figures: Record<string, number> = {};
    const held: Held[] = [];
    let open = 0;
    for (const count of IDLE_CONNECTIONS) {
      held.push(await hold(carrier, { count: count - open, bytes: MESSAGE_BYTES, intervalMs: 0 }));
      open = count;
      Object.assign(figures, await gigabitsBothWays(carrier, `idle-connections-${count}`, { seconds }));
    }
    for (const one of held) await one.close();
    return figures;
  },
};

function scalingGroup(name: string, title: string, setup: CarrierSetup): Group {
  return {
    name,
    rows: rowsOf(name, title),
    carriers: ['ours'],
    setup,
    measure: (carrier, { seconds }) => gigabitsBothWays(carrier, name, { seconds }),
  };
}

const paths = PATHS.map((count) =>
  scalingGroup(`paths-${count}`, `over ${count} path${count === 1 ? '' : 's'}`, {
    links: Array.from({ length: count }, () => ({})),
    wires: true,
  }),
);

/** Known to the gateway, with an allowed address each, and silent. */
function idlePeers(count: number): string {
  return Array.from({ length: count }, (_, i) => {
    const key = formatKey(publicKeyOf(generatePrivateKey(randomBytes)));
    return `[[peer]]\nname = "idle${i}"\npublic_key = "${key}"\nallowed_ips = ["10.78.${i >> 8}.${i & 255}/32"]\n`;
  }).join('');
}

const peers = IDLE_PEERS.map((count) =>
  scalingGroup(`idle-peers-${count}`, `the gateway knows ${count} more peers`, {
    ...TWO_WIRES,
    append: { server: idlePeers(count) },
  }),
);

export const SCALING_GROUPS: readonly Group[] = [idleConnections, ...paths, ...peers];
