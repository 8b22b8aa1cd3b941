/** How connections with the kernel end: DATA_FIN, half-close, FASTCLOSE, resets, silence. Needs root and a kernel with MPTCP. */

import { confirmed, converse } from './conversation.js';
import { ourAddress } from './kernel-rig.js';
import { conclude, joinedByUs, judge, judgeCounters } from './kernel-verdict.js';
import { randomPayload, receiveAll, until } from './payload.js';
import { JOINED, SOME, scenario } from './rig-scenario.js';

/** Two links, and a join by who opens the connection. */
const TWO_LINKS = {
  client: { links: 2, limits: 'subflows 4' },
  server: { links: 2, limits: 'subflows 4', endpoints: ['10.2.0.1 dev tun1 subflow'] },
} as const;

for (const role of ['client', 'server'] as const) {
  scenario(`our ${role} ends first, the kernel sends on: half-close`, {}, async (t, rig) => {
    const accepted = role === 'server' ? rig.accept() : undefined;
    const peer = await rig.peer('mptcp', role === 'client' ? 'listen' : 'connect', 'half', '--size', 2_000_000);
    const socket = accepted === undefined ? rig.connect() : await accepted;
    const received = receiveAll(socket);
    const { data, sha256 } = randomPayload(1, SOME);
    socket.end(data);
    const [got, done, reason] = await Promise.all([received, peer.done, socket.whenClosed]);
    t.match(done, { error: null, read: SOME, read_sha256: sha256 });
    t.match(got, { bytes: 2_000_000, sha256: done.write_sha256 });
    t.equal(reason, 'finished');
    await judge(t, rig, socket, done.info, { info: { bytes_received: SOME, bytes_sent: 2_000_000, subflows: 0 } });
  });

  scenario(`the kernel ends first, our ${role} sends on: half-close`, {}, async (t, rig) => {
    const accepted = role === 'server' ? rig.accept() : undefined;
    const peer = await rig.peer('mptcp', role === 'client' ? 'listen' : 'connect', 'chargen', '--size', SOME);
    const socket = accepted === undefined ? rig.connect() : await accepted;
    const got = await receiveAll(socket);
    t.equal(got.bytes, SOME);
    const { data, sha256 } = randomPayload(2, 2_000_000);
    socket.end(data);
    const done = await peer.done;
    t.match(done, { error: null, read: 2_000_000, read_sha256: sha256, write_sha256: got.sha256 });
    t.equal(await socket.whenClosed, 'finished');
    await judge(t, rig, socket, done.info, { info: { bytes_received: 2_000_000, bytes_sent: SOME, subflows: 0 } });
  });

  scenario(`both ends close at once, ${role} of ours`, TWO_LINKS[role], async (t, rig) => {
    const talk = await converse(rig, role);
    await talk.up(1000);
    await talk.down(1000);
    await until('the join', () => confirmed(talk) === 2);
    t.equal(await talk.settle(), '');
    talk.socket.end();
    await talk.peer.command('close');
    t.match(await talk.peer.done, {
      error: null,
      read: 1000,
      written: 1000,
      read_sha256: talk.sha256.sent,
      write_sha256: talk.sha256.received,
    });
    t.equal(await talk.socket.whenClosed, 'finished');
    await judge(t, rig, talk.socket, talk.info, JOINED[role]);
    await until('the kernel has done with it', async () => (await rig.counters()).MPCurrEstab === undefined);
  });

  scenario(`FASTCLOSE of ours resets the kernel's end of all subflows, ${role}`, TWO_LINKS[role], async (t, rig) => {
    const talk = await converse(rig, role);
    await talk.up(SOME);
    await talk.down(SOME);
    await until('the join', () => confirmed(talk) === 2);
    t.equal(await talk.settle(), '');
    const end = talk.peer.command('read-all');
    end.catch(() => undefined);
    talk.socket.resetAndDestroy();
    const done = await talk.peer.done;
    t.equal(done.error, 'Connection reset by peer');
    t.equal(await talk.socket.whenClosed, 'aborted');
    t.match(done, { read_sha256: talk.sha256.sent, write_sha256: talk.sha256.received });
    // The first to arrive ends it; the kernel resets the other subflow, or that has its FASTCLOSE by then.
    const { counters, joins } = JOINED[role];
    const resets = { MPFastcloseRx: [1, joins + 1], MPRstRx: [1, joins + 1], MPRstTx: [0, joins] } as const;
    await judge(t, rig, talk.socket, talk.info, { joins, closed: 0, counters: { ...counters, ...resets } });
    t.equal((await rig.counters()).MPCurrEstab ?? 0, 0);
  });

  const byAck = { ...TWO_LINKS[role], host: { abortForm: 'ack' } } as const;
  scenario(`FASTCLOSE of ours on an ACK: the kernel answers with RST, ${role}`, byAck, async (t, rig) => {
    const talk = await converse(rig, role);
    await talk.up(SOME);
    await talk.down(SOME);
    await until('the join', () => confirmed(talk) === 2);
    t.equal(await talk.settle(), '');
    const end = talk.peer.command('read-all');
    end.catch(() => undefined);
    talk.socket.resetAndDestroy();
    const { connection } = talk.socket;
    t.ok(connection.fastClose.waiting, 'FASTCLOSE_WAIT');
    const done = await talk.peer.done;
    t.equal(done.error, 'Connection reset by peer');
    t.equal(await talk.socket.whenClosed, 'aborted');
    await until('the RST of the kernel', () => connection.closed);
    t.equal(rig.host.counters['mptcp-fastclose-repeats'], undefined, 'the first was enough');
    t.match(done, { read_sha256: talk.sha256.sent, write_sha256: talk.sha256.received });
    const { counters, joins } = JOINED[role];
    await judge(t, rig, talk.socket, talk.info, {
      joins,
      closed: 0,
      counters: { ...counters, MPFastcloseRx: 1, MPRstRx: [0, 1], MPRstTx: [1, joins + 1] },
    });
    t.equal((await rig.counters()).MPCurrEstab ?? 0, 0);
  });

  scenario(`FASTCLOSE of the kernel closes our ${role} with ECONNRESET`, TWO_LINKS[role], async (t, rig) => {
    const talk = await converse(rig, role);
    await talk.up(SOME);
    await talk.down(SOME);
    await until('the join', () => confirmed(talk) === 2);
    t.equal(await talk.settle(), '');
    const error = new Promise<NodeJS.ErrnoException>((resolve) => talk.socket.once('error', resolve));
    await talk.peer.command('abort');
    t.equal((await error).code, 'ECONNRESET');
    t.equal(await talk.socket.whenClosed, 'reset');
    t.match(await talk.peer.done, { read_sha256: talk.sha256.sent, write_sha256: talk.sha256.received });
    const { counters, joins } = JOINED[role];
    await judge(t, rig, talk.socket, talk.info, {
      joins,
      closed: 0,
      counters: { ...counters, MPFastcloseTx: joins + 1, MPRstTx: joins + 1 },
    });
    t.match(rig.events.at(-1), { name: 'closed', reason: 'reset' });
  });

  scenario(`the kernel closes with our ${role}'s data unread: FASTCLOSE or RST, and an error`, {}, async (t, rig) => {
    const talk = await converse(rig, role);
    await talk.down(1000);
    const error = new Promise<NodeJS.ErrnoException>((resolve) => talk.socket.once('error', resolve));
    talk.socket.write(randomPayload(3, 100_000).data);
    await until('it has arrived', () => talk.socket.statistics().bytesAcked === 100_000);
    const info = (await talk.peer.command('read 0'))?.info ?? null;
    await talk.peer.command('close');
    talk.socket.write(randomPayload(4, 1000).data);
    t.equal((await error).code, 'ECONNRESET');
    t.not(await talk.socket.whenClosed, 'finished');
    t.match(await talk.peer.done, { read: 0, write_sha256: talk.sha256.received });
    await judge(t, rig, talk.socket, info, {
      closed: 0,
      counters: { MPFastcloseTx: 1, MPRstTx: 1 },
      info: { subflows: 0, bytes_sent: 1000, bytes_acked: 1000 },
    });
  });

  scenario(`a reader of the kernel's that pauses closes its window, and our ${role} loses nothing`, {}, async (t, rig) => {
    const talk = await converse(rig, role);
    const { data } = randomPayload(5, 24 << 20);
    let flushed = false;
    talk.socket.write(data, () => {
      flushed = true;
    });
    await until('the window is closed', () => {
      const { sendWindowBytes, bytesUnacked, bytesAcked } = talk.socket.statistics();
      return bytesAcked > 0 && bytesUnacked === 0 && sendWindowBytes < 1400;
    });
    t.notOk(flushed);
    // Longer than a zero-window probe takes.
    await new Promise((resolve) => setTimeout(resolve, 800));
    const read = await talk.peer.command(`read ${data.length}`);
    t.equal(read?.read, data.length);
    const info = (await talk.peer.command('read 0'))?.info ?? null;
    talk.socket.end();
    await talk.peer.command('close');
    t.match(await talk.peer.done, { error: null, read_sha256: randomPayload(5, 24 << 20).sha256 });
    t.equal(await talk.socket.whenClosed, 'finished');
    await judge(t, rig, talk.socket, info, { info: { subflows: 0, bytes_received: 24 << 20 } });
  });

  scenario(`a reader of our ${role}'s that pauses closes our window, and the kernel loses nothing`, {}, async (t, rig) => {
    const talk = await converse(rig, role);
    talk.socket.pause();
    const sending = talk.down(24 << 20);
    let before = -1;
    await until('the window is closed', async () => {
      const { bytesReceived } = talk.socket.statistics();
      const stopped = bytesReceived > 0 && bytesReceived === before;
      before = bytesReceived;
      await new Promise((resolve) => setTimeout(resolve, 300));
      return stopped;
    });
    talk.socket.resume();
    await sending;
    await talk.down(1000);
    await conclude(t, talk);
    t.equal(talk.socket.bytesRead, (24 << 20) + 1000);
  });
}

scenario('a port of the kernel that nobody listens on: ECONNREFUSED', {}, async (t, rig) => {
  const socket = rig.connect();
  const error = await new Promise<NodeJS.ErrnoException>((resolve) => socket.once('error', resolve));
  t.equal(error.code, 'ECONNREFUSED');
  t.equal(await socket.whenClosed, 'refused');
  await judgeCounters(t, rig, {});
  t.match(rig.check(), { connections: 0, faults: [] });
});

scenario('a port of ours that nobody listens on: the kernel is refused', {}, async (t, rig) => {
  const peer = await rig.peer('mptcp', 'connect', 'hold');
  t.equal((await peer.done).error, 'Connection refused');
  await judgeCounters(t, rig, { MPCapableSYNTX: 1 });
  t.match(rig.check(), { connections: 0, faults: [] });
});

scenario(
  'nobody answers our SYNs: they go on without MP_CAPABLE at last, and time out or are aborted',
  { inbound: ['drop'] },
  async (t, rig) => {
    const socket = rig.connect();
    const errors: Error[] = [];
    socket.on('error', (error) => errors.push(error));
    await until('a third SYN', () => rig.packets.length >= 3, 10_000);
    socket.resetAndDestroy();
    t.equal(await socket.whenClosed, 'aborted');
    await judgeCounters(t, rig, {});
    t.match(rig.check(), { connections: 0, faults: [] });
  },
);

scenario(
  'a RST from the middle, in the window, ends one subflow; the connection goes on and joins again',
  { links: 2, limits: 'subflows 8' },
  async (t, rig) => {
    const talk = await converse(rig, 'client');
    await talk.up(SOME);
    await until('the join', () => confirmed(talk) === 2);
    // To both ends, as a firewall does.
    await rig.setRules(['ip saddr 10.2.0.2 tcp flags ack reject with tcp reset'], []);
    // As long as it takes until the scheduler uses the second subflow.
    for (let i = 0; i < 20 && !rig.events.some((event) => event.name === 'sub_closed'); i++) await talk.up(4 * SOME);
    t.match(
      rig.events.filter((event) => event.name === 'sub_closed'),
      [{ localAddress: ourAddress(1) }],
    );
    await talk.down(SOME);
    await rig.setRules([], []);
    await until('the join', () => confirmed(talk) === 2);
    await conclude(t, talk, { joins: 2, counters: { ...joinedByUs(2), MPRstRx: [0, 1] } });
  },
);

scenario(
  'a RST from the middle on the only subflow: the connection lives on by a join',
  { links: 2, limits: 'subflows 8', addresses: [{}, { subflow: false }] },
  async (t, rig) => {
    const talk = await converse(rig, 'client');
    await talk.up(SOME);
    await talk.down(SOME);
    t.equal(await talk.settle(), '');
    await rig.setRules(
      ['ip saddr 10.1.0.2 tcp flags ack reject with tcp reset'],
      ['ip daddr 10.1.0.2 tcp flags ack reject with tcp reset'],
    );
    talk.socket.write(randomPayload(9, 1000).data);
    await until('the subflow is gone', () => talk.socket.subflows.length === 0, 5000);
    await rig.setRules([], []);
    t.notOk(talk.socket.destroyed, 'RFC 8684 (3.6): a RST ends a subflow, not the connection');
    await judge(t, rig, talk.socket, talk.info, { closed: 0 });
    talk.socket.resetAndDestroy();
  },
);

scenario('many connections one after the other leave nothing behind', {}, async (t, rig) => {
  for (let i = 0; i < 15; i++) {
    const peer = await rig.peer('mptcp', 'listen', 'echo');
    const socket = rig.connect();
    const received = receiveAll(socket);
    const { data, sha256 } = randomPayload(i + 1, 10_000 + i);
    socket.end(data);
    t.equal((await received).sha256, sha256);
    const bytes = data.length;
    t.match(await peer.done, { read_sha256: sha256, info: { fallback: false, bytes_received: bytes, bytes_sent: bytes } });
    await socket.whenClosed;
  }
  t.equal(rig.host.connections.length, 0);
  await judgeCounters(t, rig, { MPCapableSYNRX: 15, MPCapableACKRX: 15 });
  t.match(rig.check(), { connections: 15, closed: 15, joins: 0, faults: [] });
});
