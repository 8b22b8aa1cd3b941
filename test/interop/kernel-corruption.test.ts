/** HMACs bent between our host and the kernel, and payload with checksums on: what is wrong is not used, and the connection goes on. Needs root and a kernel with MPTCP. */

import { createHash } from 'node:crypto';
import { confirmed, converse } from './conversation.js';
import { ourAddress } from './kernel-rig.js';
import { conclude, HANDSHAKE, joinedByUs, judge } from './kernel-verdict.js';
import { bending, CHANGED_AT, corruptOnce, optionAt } from './middlebox.js';
import { randomPayload, until } from './payload.js';
import { JOINED, SOME, scenario } from './rig-scenario.js';

/** Linux 6.18 may stall in a long write when it falls back by MP_FAIL, with all that it has sent acknowledged: this fits its send buffer. */
const FITS = 40_000;

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
      const counters = { ...joinedByUs(joins), MPPrioRx: 1, ...failed };
      await conclude(t, talk, { checksum: true, joins, subflowsTotal: direction === 'out' ? 3 : 1, counters });
    },
  );
}
