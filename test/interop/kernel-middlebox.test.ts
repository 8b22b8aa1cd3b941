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
    counters: { MPCapableSYNTX: 1, MPCapableSYNACKRX: 1 },
  },
];

for (const { name, role, inbound = [], outbound = [], counters } of STRIPPINGS) {
  for (const first of ['we', 'the kernel'] as const) {
    scenario(`options stripped from ${name}, ${first} send first: plain TCP, nothing lost`, { inbound, outbound }, async (t, rig) => {
      const talk = await converse(rig, role);
      if (first === 'we') await talk.up(SOME);
      await talk.down(SOME);
      if (first !== 'we') await talk.up(SOME);
      t.equal(await talk.finish(), '');
      t.ok(talk.socket.fallback, 'we fell back');
      const now = await rig.counters();
      for (const [counter, value] of Object.entries(counters)) t.equal(now[counter] ?? 0, value, counter);
      const { connections } = rig.check();
      t.equal(connections === 0 || connections === 1, true);
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
    t.equal(await talk.finish(), '');
    t.equal((await rig.counters()).MPJoinSynRx ?? 0, 0);
    t.strictSame(rig.check().faults, []);
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
    t.equal(await talk.finish(), '');
    t.equal((await rig.counters()).MPJoinSynAckRx ?? 0, 0);
    t.strictSame(rig.check().faults, []);
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
    t.equal(talk.socket.subflows.filter((subflow) => subflow.confirmed).length, 1);
    t.notOk(talk.socket.fallback);
    t.equal(await talk.finish(), '');
  },
);

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

const JOIN_HMACS = [
  {
    name: "the kernel's SYN/ACK, wrong HMAC: we refuse it",
    role: 'client',
    direction: 'in',
    length: 16,
    kernel: {},
    ours: 'mptcp-join-bad-syn-ack',
  },
  {
    name: 'our third ACK, wrong HMAC: the kernel refuses it',
    role: 'client',
    direction: 'out',
    length: 24,
    kernel: 'MPJoinAckHMacFailure',
    ours: undefined,
  },
  {
    name: 'our SYN/ACK, wrong HMAC: the kernel refuses it',
    role: 'server',
    direction: 'out',
    length: 16,
    kernel: 'MPJoinSynAckHMacFailure',
    ours: undefined,
  },
  {
    name: "the kernel's third ACK, wrong HMAC: we refuse it",
    role: 'server',
    direction: 'in',
    length: 24,
    kernel: {},
    ours: 'mptcp-join-bad-ack',
  },
] as const;

for (const { name, role, direction, length, kernel, ours } of JOIN_HMACS) {
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
    t.equal(talk.socket.subflows.filter((subflow) => subflow.confirmed).length, 1);
    t.equal(await talk.finish(), '');
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
    t.equal((await rig.counters()).MPJoinSynTx ?? 0, 0);
    t.equal(await talk.finish(), '');
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
    t.equal((await rig.counters()).EchoAdd ?? 0, 0);
    t.equal(await talk.finish(), '');
  },
);

// ---- checksums ----

for (const [name, host, mptcp] of [
  ['we ask for checksums', { checksum: true }, {}],
  ['the kernel asks for checksums', {}, { checksum_enabled: 1 }],
  ['both ask for checksums', { checksum: true }, { checksum_enabled: 1 }],
] as const) {
  for (const role of ['client', 'server'] as const) {
    scenario(
      `${name}, ${role} of ours: in use on all subflows, each right`,
      { links: 2, limits: 'subflows 8', host, mptcp },
      async (t, rig) => {
        const talk = await converse(rig, role);
        await talk.up(3_000_000);
        if (role === 'client') await until('the join', () => talk.socket.subflows.filter((subflow) => subflow.confirmed).length === 2);
        await talk.down(3_000_000);
        const info = (await talk.peer.command('read 0'))?.info;
        t.equal(info?.csum_enabled, 1);
        t.equal(await talk.finish(), '');
        const counters = await rig.counters();
        t.equal(counters.DataCsumErr ?? 0, 0);
        t.equal(counters.MPFailTx ?? 0, 0);
        const report = rig.check();
        t.strictSame(report.faults, []);
        t.ok(report.checksums > 50, `${report.checksums} checksums`);
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
      t.match(await rig.counters(), { DataCsumErr: 1, MPFailTx: 1, InfiniteMapRx: 1 });
      t.ok(talk.socket.fallback);
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
      const counters = await rig.counters();
      t.match(counters, { InfiniteMapTx: 1 });
      t.ok((counters.MPFailRx ?? 0) >= 1);
      t.ok(talk.socket.fallback);
    },
  );
}

for (const direction of ['out', 'in'] as const) {
  scenario(
    `payload changed on one of two subflows, ${direction === 'out' ? 'from us' : 'from the kernel'}: that one is reset, the data comes by the other`,
    { links: 2, limits: 'subflows 8', mptcp: { checksum_enabled: 1 } },
    async (t, rig) => {
      const talk = await converse(rig, 'client');
      await talk.up(1000);
      await until('the join', () => talk.socket.subflows.filter((subflow) => subflow.confirmed).length === 2);
      rig.middlebox.handle = corruptOnce(direction, 3, 1);
      const turn = (): Promise<void> => (direction === 'out' ? talk.up(2_000_000) : talk.down(2_000_000));
      talk.socket.setBackup({ localAddress: ourAddress(0) }, true);
      // Until some of it has gone over the second subflow.
      for (let i = 0; i < 10 && !rig.events.some((event) => event.name === 'sub_closed'); i++) await turn();
      t.match(rig.events.filter((event) => event.name === 'sub_closed').slice(0, 1), [{ localAddress: ourAddress(1) }]);
      await talk.up(SOME);
      await talk.down(SOME);
      t.equal(await talk.finish(), '');
      t.notOk(talk.socket.fallback);
      const counters = await rig.counters();
      t.ok((direction === 'out' ? counters.DataCsumErr : counters.MPFailRx) === 1, JSON.stringify(counters));
    },
  );
}

// ---- loss, order, duplicates ----

/** Seeded; the same for both directions. */
function lossy(seed: number, options: { loss?: number; duplicate?: number }): HandlePacket {
  const prng = createPrng(seed);
  return (_way, packet) => (prng.uniform() < (options.loss ?? 0) ? undefined : packet);
}

for (const role of ['client', 'server'] as const) {
  for (const links of [1, 2] as const) {
    const endpoints = role === 'server' && links === 2 ? ['10.2.0.1 dev tun1 subflow'] : [];
    scenario(
      `2 % loss on ${links} link(s), ${role} of ours: all arrives`,
      { links, limits: 'subflows 8', endpoints, middlebox: lossy(7 + links, { loss: 0.02 }) },
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
        t.strictSame(
          rig.check().faults.filter((fault) => !fault.includes('without a gap')),
          [],
        );
      },
    );
  }
}

// ---- a path goes silent ----

for (const role of ['client', 'server'] as const) {
  for (const link of [0, 1] as const) {
    const endpoints = role === 'server' ? ['10.2.0.1 dev tun1 subflow'] : [];
    scenario(
      `link ${link} goes silent in a transfer and comes back, ${role} of ours`,
      { links: 2, limits: 'subflows 8', endpoints },
      async (t, rig) => {
        const talk: Conversation = await converse(rig, role);
        await talk.up(SOME);
        await until('the join', () => talk.socket.subflows.filter((subflow) => subflow.confirmed).length === 2);
        await rig.setRules([`iifname "tun${link}" drop`], []);
        rig.middlebox.handle = (way, packet, onLink) => (way === 'in' && onLink === link ? undefined : packet);
        await talk.up(2_000_000);
        await talk.down(2_000_000);
        await rig.setRules([], []);
        rig.middlebox.handle = undefined;
        await talk.up(SOME);
        await talk.down(SOME);
        t.equal(await talk.finish(), '');
        t.strictSame(
          rig.check().faults.filter((fault) => !fault.includes('without a gap')),
          [],
        );
      },
    );
  }
}
