/** Loss, packets twice and overtaken, and links that go silent, between our host and the kernel. Needs root and a kernel with MPTCP. */

import { type Conversation, confirmed, converse } from './conversation.js';
import { conclude, judge } from './kernel-verdict.js';
import { duplicating, lossy, reordering } from './middlebox.js';
import { randomPayload, receiveAll, until } from './payload.js';
import { JOINED, SOME, scenario } from './rig-scenario.js';

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

// ---- a path drops what is too large, without a word (RFC 8899) ----

const MAX_PACKET_BYTES = 1_300;

for (const role of ['client', 'server'] as const) {
  scenario(`packets of ours above ${MAX_PACKET_BYTES} bytes vanish, ${role} of ours: the size that passes is found`, {}, async (t, rig) => {
    rig.middlebox.handle = (way, packet) => (way === 'out' && packet.length > MAX_PACKET_BYTES ? undefined : packet);
    const talk: Conversation = await converse(rig, role);
    await talk.up(SOME);
    await talk.up(4_000_000);
    await talk.down(SOME);
    const packetBytes = (talk.socket.connection.subflows[0]?.mssBytes ?? 0) + 40;
    t.ok(packetBytes <= MAX_PACKET_BYTES && packetBytes > MAX_PACKET_BYTES - 32, `packets of ${packetBytes} bytes`);
    t.equal(rig.host.counters['tcp-mtu-black-holes'], 1);
    await conclude(t, talk);
  });
}
