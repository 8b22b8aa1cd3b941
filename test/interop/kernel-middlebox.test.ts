/**
 * Our host and the kernel with something in between: nftables that strips options or drops joins, and a middlebox of ours for what it cannot do:
 * payload changed, HMACs bent, loss, reordering, duplication. Needs root and a kernel with MPTCP.
 */

import { createHash } from 'node:crypto';
import t, { type Test } from 'tap';
import type * as seg from '../../src/mptcp-over-udp/wire/segment.js';
import { patchTcpChecksum } from '../../src/mptcp-over-udp/wire/tcp-header.js';
import { createPrng } from '../sim/prng.js';
import {
  type Conversation,
  converse,
  createKernelRig,
  type HandlePacket,
  type KernelRig,
  type KernelRigOptions,
  missingForInterop,
  ourAddress,
  parsePacket,
  randomPayload,
  receiveAll,
  reportFailure,
  until,
} from './kernel-rig.js';
import { conclude, judge } from './kernel-verdict.js';

const missing = missingForInterop();
const SOME = 300_000;
/** Linux 6.18 may stall in a long write when it falls back by MP_FAIL, with all that it has sent acknowledged: this fits its send buffer. */
const FITS = 40_000;
/** In the payload of a segment. */
const CHANGED_AT = 3;

function scenario(name: string, options: KernelRigOptions, run: (t: Test, rig: KernelRig) => Promise<void>): void {
  t.test(name, { skip: missing, timeout: 40_000 }, async (t) => {
    const rig = await createKernelRig(options);
    t.teardown(async () => {
      await reportFailure(t, rig, name);
      await rig.close();
    });
    await run(t, rig);
  });
}

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

function confirmed(talk: Conversation): number {
  return talk.socket.subflows.filter((subflow) => subflow.confirmed).length;
}

/** Changes the byte at the offset that `find` gives, once per packet, and puts the TCP checksum right. */
function bending(direction: 'in' | 'out', find: (segment: seg.TcpSegment, packet: Uint8Array) => number): HandlePacket {
  return (way, packet) => {
    const segment = way === direction ? parsePacket(packet) : undefined;
    const at = segment === undefined ? -1 : find(segment, packet);
    if (segment === undefined || at < 0) return packet;
    const bent = packet.slice();
    bent[at] = (bent[at] as number) ^ 0x55;
    const tcpAt = segment.ipVersion === 4 ? 20 : 40;
    patchTcpChecksum(bent, 0, tcpAt, bent.length - tcpAt);
    return bent;
  };
}

/** Where an MPTCP option of this subtype and length starts, -1: not there. */
function optionAt(packet: Uint8Array, subtype: number, length: number): number {
  for (let at = 40; at + length <= packet.length && at < 80; at++) {
    if (packet[at] === 30 && packet[at + 1] === length && (packet[at + 2] as number) >> 4 === subtype) return at;
  }
  return -1;
}

const HANDSHAKE = {
  client: { MPCapableSYNRX: 1, MPCapableACKRX: 1 },
  server: { MPCapableSYNTX: 1, MPCapableSYNACKRX: 1 },
} as const;
/** After an infinite mapping there are no DATA_FINs. */
const MP_FAILED = { fallback: true, info: null, checksum: true, connections: 1, closed: 0 } as const;

const JOIN_HMACS = [
  {
    name: "the kernel's SYN/ACK, wrong HMAC: we refuse it",
    role: 'client',
    direction: 'in',
    length: 16,
    kernel: {},
    ours: 'mptcp-join-bad-syn-ack',
    verdict: { counters: { MPJoinSynRx: 1 } },
  },
  {
    name: 'our third ACK, wrong HMAC: the kernel refuses it',
    role: 'client',
    direction: 'out',
    length: 24,
    kernel: 'MPJoinAckHMacFailure',
    ours: undefined,
    verdict: { joins: 1, counters: { MPJoinSynRx: 1, MPJoinAckHMacFailure: 1 } },
  },
  {
    name: 'our SYN/ACK, wrong HMAC: the kernel refuses it',
    role: 'server',
    direction: 'out',
    length: 16,
    kernel: 'MPJoinSynAckHMacFailure',
    ours: undefined,
    verdict: { counters: { MPJoinSynTx: 1, MPJoinSynAckHMacFailure: 1, MPRstTx: 1 } },
  },
  {
    name: "the kernel's third ACK, wrong HMAC: we refuse it",
    role: 'server',
    direction: 'in',
    length: 24,
    kernel: {},
    ours: 'mptcp-join-bad-ack',
    verdict: { joins: 1, counters: { MPJoinSynTx: 1, MPJoinSynAckRx: 1, MPRstTx: 1 } },
  },
] as const;

for (const { name, role, direction, length, kernel, ours, verdict } of JOIN_HMACS) {
  const endpoints = role === 'server' ? ['10.2.0.1 dev tun1 subflow'] : [];
  scenario(`${name}; the connection goes on`, { links: 2, limits: 'subflows 8', endpoints }, async (t, rig) => {
    rig.middlebox.handle = bending(direction, (_segment, packet) => {
      const at = optionAt(packet, 1, length);
      return at < 0 ? -1 : at + 5;
    });
    const talk = await converse(rig, role);
    await talk.up(SOME);
    if (ours !== undefined) await until(ours, () => (rig.host.counters[ours] ?? 0) >= 1);
    if (typeof kernel === 'string') await until(kernel, async () => ((await rig.counters())[kernel] ?? 0) >= 1);
    await talk.down(SOME);
    t.equal(confirmed(talk), 1);
    await conclude(t, talk, verdict);
  });
}

scenario(
  'an ADD_ADDR of ours with a wrong HMAC is not used by the kernel',
  { links: 2, limits: 'subflows 8 add_addr_accepted 8', addresses: [{}, { signal: true }], host: { announceTimeoutMs: 100 } },
  async (t, rig) => {
    rig.middlebox.handle = bending('out', (_segment, packet) => {
      const at = optionAt(packet, 3, 16);
      return at < 0 ? -1 : at + 9;
    });
    const talk = await converse(rig, 'server');
    await talk.up(SOME);
    await until('three announcements', () => rig.check().addAddrs >= 3);
    await conclude(t, talk, { addAddrs: 3 });
  },
);

scenario(
  "an ADD_ADDR of the kernel's with a wrong HMAC is not used by us",
  { links: 2, limits: 'subflows 8', endpoints: ['10.2.0.1 signal'], addresses: [{}, { subflow: false }] },
  async (t, rig) => {
    rig.middlebox.handle = bending('in', (_segment, packet) => {
      const at = optionAt(packet, 3, 16);
      return at < 0 ? -1 : at + 9;
    });
    const talk = await converse(rig, 'client');
    await talk.up(SOME);
    await talk.down(SOME);
    t.equal(rig.events.filter((event) => event.name === 'announced').length, 0);
    await conclude(t, talk, { addAddrs: 1, counters: { AddAddrTx: 1 } });
  },
);

/** By us as the client, by the kernel as that. */
const JOINED = {
  client: { joins: 1, counters: { MPJoinSynRx: 1, MPJoinAckRx: 1 } },
  server: { joins: 1, counters: { MPJoinSynTx: 1, MPJoinSynAckRx: 1 } },
} as const;

// ---- checksums ----

for (const [name, host, mptcp] of [
  ['we ask for checksums', { checksum: true }, {}],
  ['the kernel asks for checksums', {}, { checksum_enabled: 1 }],
  ['both ask for checksums', { checksum: true }, { checksum_enabled: 1 }],
] as const) {
  for (const role of ['client', 'server'] as const) {
    scenario(
      `${name}, ${role} of ours: in use on all subflows, each right`,
      { links: 2, limits: 'subflows 8', host, mptcp, endpoints: role === 'server' ? ['10.2.0.1 dev tun1 subflow'] : [] },
      async (t, rig) => {
        const talk = await converse(rig, role);
        await talk.up(3_000_000);
        await until('the join', () => confirmed(talk) === 2);
        await talk.down(3_000_000);
        await conclude(t, talk, { checksum: true, ...JOINED[role] });
        const { checksums } = rig.check();
        t.ok(checksums > 50, `${checksums} checksums`);
      },
    );
  }
}

/** One payload byte of the n-th data segment on a link; `onBent` gets the changed payload. */
function corruptOnce(direction: 'in' | 'out', nth: number, onLink?: number, onBent?: (payload: Buffer) => void): HandlePacket {
  let count = 0;
  const bend = bending(direction, (segment) => segment.payloadOffset + CHANGED_AT);
  return (way, packet, link) => {
    if (way !== direction || (onLink !== undefined && link !== onLink)) return packet;
    if ((parsePacket(packet)?.payloadBytes ?? 0) < 100 || ++count !== nth) return packet;
    const bent = bend(way, packet, link) as Uint8Array;
    onBent?.(Buffer.from(bent.subarray(parsePacket(bent)?.payloadOffset)));
    return bent;
  };
}

/** The same but for the one byte that the middlebox changed: what left from what arrived, or the other way round. SHA-256. */
function sha256Unbent(stream: Buffer, payload: Buffer): string {
  const at = stream.indexOf(payload);
  if (at < 0) return 'the segment is not there';
  const other = Buffer.from(stream);
  other[at + CHANGED_AT] = (other[at + CHANGED_AT] as number) ^ 0x55;
  return createHash('sha256').update(other).digest('hex');
}

for (const role of ['client', 'server'] as const) {
  scenario(
    `our payload is changed on the only subflow, ${role} of ours: MP_FAIL, infinite mapping, one byte differs`,
    { mptcp: { checksum_enabled: 1 } },
    async (t, rig) => {
      const talk = await converse(rig, role);
      await talk.up(1000);
      await talk.down(1000);
      const sent = Buffer.concat([randomPayload(1, 1000).data, randomPayload(1001, SOME).data, randomPayload(1001 + SOME, SOME).data]);
      let original: Buffer = Buffer.alloc(0);
      rig.middlebox.handle = corruptOnce('out', 5, undefined, (payload) => {
        payload[CHANGED_AT] = (payload[CHANGED_AT] as number) ^ 0x55;
        original = payload;
      });
      await talk.up(SOME);
      await talk.down(SOME);
      await talk.up(SOME);
      t.equal(await talk.finish(), `${sent.length} of ${sent.length} bytes up, or not those`);
      t.equal((await talk.peer.done).read_sha256, sha256Unbent(sent, original), 'one byte differs');
      await judge(t, rig, talk.socket, talk.info, {
        ...MP_FAILED,
        counters: { ...HANDSHAKE[role], DataCsumErr: 1, MPFailTx: 1, InfiniteMapRx: 1, DssFallback: 1 },
      });
    },
  );

  scenario(
    `the kernel's payload is changed on the only subflow, ${role} of ours: MP_FAIL, infinite mapping, one byte differs`,
    { mptcp: { checksum_enabled: 1 } },
    async (t, rig) => {
      const talk = await converse(rig, role);
      const received: Buffer[] = [];
      talk.socket.on('data', (chunk: Buffer) => received.push(chunk));
      await talk.up(1000);
      await talk.down(1000);
      let bent: Buffer = Buffer.alloc(0);
      rig.middlebox.handle = corruptOnce('in', 5, undefined, (payload) => {
        bent = payload;
      });
      await talk.down(FITS);
      await talk.up(SOME);
      // New data: the kernel falls back with it.
      await talk.down(20_000);
      await talk.up(SOME);
      const bytes = 21_000 + FITS;
      t.equal(await talk.finish(), `${bytes} of ${bytes} bytes down, or not those`);
      t.equal((await talk.peer.done).write_sha256, sha256Unbent(Buffer.concat(received), bent), 'one byte differs');
      await judge(t, rig, talk.socket, talk.info, {
        ...MP_FAILED,
        counters: { ...HANDSHAKE[role], InfiniteMapTx: 1, MPFailRx: [1, 9], MPFailTx: 1 },
      });
    },
  );
}

for (const direction of ['out', 'in'] as const) {
  // From us: the kernel resets the subflow, keeps it in its count with what it could not use, and we join again. From the kernel: we reset it for good.
  const joins = direction === 'out' ? 2 : 1;
  const failed = direction === 'out' ? { DataCsumErr: 1, MPFailTx: 1, MPRstTx: 1 } : { MPFailRx: 1, MPRstRx: 1 };
  scenario(
    `payload changed on one of two subflows, ${direction === 'out' ? 'from us' : 'from the kernel'}: that one is reset, the data comes by the other`,
    { links: 2, limits: 'subflows 8', mptcp: { checksum_enabled: 1 } },
    async (t, rig) => {
      const talk = await converse(rig, 'client');
      await talk.up(1000);
      await until('the join', () => confirmed(talk) === 2);
      rig.middlebox.handle = corruptOnce(direction, 3, 1);
      const turn = (): Promise<void> => (direction === 'out' ? talk.up(2_000_000) : talk.down(2_000_000));
      talk.socket.setBackup({ localAddress: ourAddress(0) }, true);
      // Until some of it has gone over the second subflow.
      for (let i = 0; i < 10 && !rig.events.some((event) => event.name === 'sub_closed'); i++) await turn();
      t.match(rig.events.filter((event) => event.name === 'sub_closed').slice(0, 1), [{ localAddress: ourAddress(1) }]);
      await talk.up(SOME);
      await talk.down(SOME);
      await until('the join', () => confirmed(talk) === joins);
      const counters = { MPJoinSynRx: joins, MPJoinAckRx: joins, MPPrioRx: 1, ...failed };
      await conclude(t, talk, { checksum: true, joins, subflowsTotal: direction === 'out' ? 3 : 1, counters });
    },
  );
}

// ---- loss, order, duplicates ----

/** Seeded; the same for both directions. */
function lossy(seed: number, ratio: number): HandlePacket {
  const prng = createPrng(seed);
  return (_way, packet) => (prng.uniform() < ratio ? undefined : packet);
}

/** Some of the packets twice. */
function duplicating(seed: number, ratio: number): HandlePacket {
  const prng = createPrng(seed);
  return (_way, packet) => (prng.uniform() < ratio ? [packet, packet.slice()] : packet);
}

/** Some of the packets with payload are overtaken by the one or two behind them, each way and link for itself. */
function reordering(seed: number, ratio: number): HandlePacket {
  const prng = createPrng(seed);
  const held = new Map<string, { packet: Uint8Array; left: number }>();
  return (way, packet, link) => {
    const key = `${way} ${link}`;
    const behind = held.get(key);
    if (behind !== undefined) {
      behind.left--;
      if (behind.left > 0) return packet;
      held.delete(key);
      return [packet, behind.packet];
    }
    if ((parsePacket(packet)?.payloadBytes ?? 0) < 1000 || prng.uniform() >= ratio) return packet;
    held.set(key, { packet, left: 1 + Math.round(prng.uniform()) });
    return undefined;
  };
}

const TROUBLES = [
  ['2 % loss', (seed: number) => lossy(seed, 0.02)],
  ['every tenth packet twice', (seed: number) => duplicating(seed, 0.1)],
  ['every tenth segment overtaken', (seed: number) => reordering(seed, 0.1)],
] as const;

/** The handshake may not have come through before the data had, and its segments may be seen more than once. */
const MAY_JOIN = {
  client: { joins: [0, 1], counters: { MPJoinSynRx: [0, 5], MPJoinAckRx: [0, 1] } },
  server: { joins: [0, 1], counters: { MPJoinSynTx: [0, 1], MPJoinSynAckRx: [0, 1] } },
} as const;

for (const [trouble, middleboxOf] of TROUBLES) {
  for (const role of ['client', 'server'] as const) {
    for (const links of [1, 2] as const) {
      const endpoints = role === 'server' && links === 2 ? ['10.2.0.1 dev tun1 subflow'] : [];
      const joined = links === 2 ? MAY_JOIN[role] : {};
      scenario(
        `${trouble} on ${links} link(s), ${role} of ours: all arrives`,
        { links, limits: 'subflows 8', endpoints, middlebox: middleboxOf(7 + links) },
        async (t, rig) => {
          const accepted = role === 'server' ? rig.accept() : undefined;
          const peer = await rig.peer('mptcp', role === 'client' ? 'listen' : 'connect', 'duplex', '--size', 2_000_000);
          const socket = accepted === undefined ? rig.connect() : await accepted;
          const received = receiveAll(socket);
          const { data, sha256 } = randomPayload(6, 2_000_000);
          socket.end(data);
          const [got, done, reason] = await Promise.all([received, peer.done, socket.whenClosed]);
          t.match(done, { error: null, read: 2_000_000, read_sha256: sha256 });
          t.match(got, { bytes: 2_000_000, sha256: done.write_sha256 });
          t.equal(reason, 'finished');
          await judge(t, rig, socket, done.info, { ...joined, info: { bytes_received: 2_000_000, bytes_sent: 2_000_000 } });
        },
      );
    }
  }
}

// ---- a path goes silent ----

for (const role of ['client', 'server'] as const) {
  for (const link of [0, 1] as const) {
    const endpoints = role === 'server' ? ['10.2.0.1 dev tun1 subflow'] : [];
    const joined = JOINED[role];
    scenario(
      `link ${link} goes silent in a transfer and comes back, ${role} of ours`,
      { links: 2, limits: 'subflows 8', endpoints },
      async (t, rig) => {
        const talk: Conversation = await converse(rig, role);
        await talk.up(SOME);
        await until('the join', () => confirmed(talk) === 2);
        await rig.setRules([`iifname "tun${link}" drop`], []);
        rig.middlebox.handle = (way, packet, onLink) => (way === 'in' && onLink === link ? undefined : packet);
        await talk.up(2_000_000);
        await talk.down(2_000_000);
        await rig.setRules([], []);
        rig.middlebox.handle = undefined;
        await talk.up(SOME);
        await talk.down(SOME);
        await conclude(t, talk, joined);
      },
    );
  }
}
