/** nftables between our host and the kernel: MPTCP options stripped from some segments or all, joins dropped. Needs root and a kernel with MPTCP. */

import { confirmed, converse } from './conversation.js';
import { conclude } from './kernel-verdict.js';
import { until } from './payload.js';
import { SOME, scenario } from './rig-scenario.js';

// ---- options stripped ----

const SYN = 'tcp flags & (syn | ack) == syn reset tcp option mptcp';
const SYN_ACK = 'tcp flags & (syn | ack) == (syn | ack) reset tcp option mptcp';
const OTHERS = 'tcp flags & syn == 0 reset tcp option mptcp';

interface Stripping {
  name: string;
  role: 'client' | 'server';
  inbound?: readonly string[];
  outbound?: readonly string[];
  counters: Readonly<Record<string, number>>;
}

const STRIPPINGS: readonly Stripping[] = [
  { name: 'our SYN', role: 'client', inbound: [SYN], counters: { MPCapableSYNRX: 0 } },
  { name: "the kernel's SYN/ACK", role: 'client', outbound: [SYN_ACK], counters: { MPCapableSYNRX: 1, MPCapableFallbackACK: 1 } },
  {
    name: 'all after the SYNs, both ways, our client',
    role: 'client',
    inbound: [OTHERS],
    outbound: [OTHERS],
    counters: { MPCapableSYNRX: 1, MPCapableFallbackACK: 1 },
  },
  {
    name: 'all after the SYNs, from us, our client',
    role: 'client',
    inbound: [OTHERS],
    counters: { MPCapableSYNRX: 1, MPCapableFallbackACK: 1 },
  },
  { name: "the kernel's SYN", role: 'server', outbound: [SYN], counters: { MPCapableSYNTX: 1, MPCapableFallbackSYNACK: 1 } },
  { name: 'our SYN/ACK', role: 'server', inbound: [SYN_ACK], counters: { MPCapableSYNTX: 1, MPCapableFallbackSYNACK: 1 } },
  {
    name: 'all after the SYNs, both ways, our server',
    role: 'server',
    inbound: [OTHERS],
    outbound: [OTHERS],
    counters: { MPCapableSYNTX: 1, MPCapableSYNACKRX: 1, MPCapableDataFallback: 1 },
  },
];

for (const { name, role, inbound = [], outbound = [], counters } of STRIPPINGS) {
  // Where only the kernel's side lacks the options of our third ACK, the checker saw a handshake, and then data that has no mapping any more.
  const halfway = role === 'client' && inbound[0] === OTHERS;
  const fellBack = {
    fallback: true,
    info: null,
    connections: halfway ? 1 : 0,
    ...(halfway ? { faults: /bytes never got a mapping$/ } : {}),
  };
  for (const first of ['we', 'the kernel'] as const) {
    scenario(`options stripped from ${name}, ${first} send first: plain TCP, nothing lost`, { inbound, outbound }, async (t, rig) => {
      const talk = await converse(rig, role);
      if (first === 'we') await talk.up(SOME);
      await talk.down(SOME);
      if (first !== 'we') await talk.up(SOME);
      await conclude(t, talk, { ...fellBack, counters });
    });
  }
}

// ---- joins ----

scenario(
  'joins of ours are dropped: the connection goes on and ends without them',
  { links: 2, limits: 'subflows 8', inbound: ['tcp option mptcp subtype 1 drop'] },
  async (t, rig) => {
    const talk = await converse(rig, 'client');
    await talk.up(SOME);
    await talk.down(SOME);
    await conclude(t, talk);
  },
);

scenario(
  "the kernel's joins are dropped",
  { links: 2, limits: 'subflows 8', endpoints: ['10.2.0.1 dev tun1 subflow'], inbound: ['tcp option mptcp subtype 1 drop'] },
  async (t, rig) => {
    const talk = await converse(rig, 'server');
    await talk.up(SOME);
    await talk.down(SOME);
    await until('a join', () => talk.socket.subflows.length === 2);
    // Its join waits for our SYN/ACK, and counts.
    await conclude(t, talk, { subflowsTotal: 2, counters: { MPJoinSynTx: 1 } });
  },
);

scenario(
  'a join whose option is stripped never becomes plain TCP',
  { links: 2, limits: 'subflows 8', inbound: ['iifname "tun1" reset tcp option mptcp'] },
  async (t, rig) => {
    const talk = await converse(rig, 'client');
    await talk.up(SOME);
    await until('the refusal', () => (rig.host.counters['mptcp-join-bad-syn-ack'] ?? 0) >= 1);
    await talk.down(SOME);
    t.equal(confirmed(talk), 1);
    await conclude(t, talk, { faults: /SYN\/ACK to an MP_JOIN without MP_JOIN$/ });
  },
);
