/** Subflows between our host and the kernel: joins by either side, announced addresses, removal, priorities, limits. Needs root and a kernel with MPTCP. */

import t, { type Test } from 'tap';
import { SEEN_ADD_ADDR } from '../../src/mptcp-over-udp/wire/segment.js';
import {
  type Conversation,
  converse,
  createKernelRig,
  type KernelRig,
  type KernelRigOptions,
  kernelAddress,
  missingForInterop,
  ourAddress,
  parsePacket,
  reportFailure,
  until,
} from './kernel-rig.js';
import { conclude, type Verdict } from './kernel-verdict.js';

const missing = missingForInterop();
const SOME = 300_000;

interface Scenario extends KernelRigOptions, Verdict {
  role: 'client' | 'server';
  /** After the first exchange of data. */
  during: (t: Test, talk: Conversation, rig: KernelRig) => Promise<void>;
}

function scenario(name: string, options: Scenario): void {
  t.test(name, { skip: missing, timeout: 30_000 }, async (t) => {
    const rig = await createKernelRig({ links: 2, limits: 'subflows 8 add_addr_accepted 8', ...options });
    t.teardown(async () => {
      await reportFailure(t, rig, name);
      await rig.close();
    });
    const talk = await converse(rig, options.role);
    await talk.up(SOME);
    await talk.down(SOME);
    await options.during(t, talk, rig);
    await talk.up(SOME);
    await talk.down(SOME);
    await conclude(t, talk, options);
  });
}

function confirmed(talk: Conversation): number {
  return talk.socket.subflows.filter((subflow) => subflow.confirmed).length;
}

async function subflowsReach(talk: Conversation, count: number): Promise<void> {
  await until(`${count} subflows`, () => confirmed(talk) === count);
}

/** Long enough for a join that must not come, at round trips of a millisecond. */
async function quiet(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 300));
}

const NO_JOIN_FROM_SECOND = [{}, { subflow: false }];

// ---- we open the connection ----

for (const family of [4, 6] as const) {
  scenario(`a client of ours joins from its second address, IPv${family}`, {
    role: 'client',
    family,
    counters: { MPJoinSynRx: 1, MPJoinAckRx: 1, MPJoinRejected: 0, MPJoinAckHMacFailure: 0 },
    joins: 1,
    during: async (t, talk) => {
      await subflowsReach(talk, 2);
      t.match(
        talk.rig.events.filter((event) => event.name === 'sub_established'),
        [{ localAddress: ourAddress(1, family), remoteAddress: kernelAddress(0, family), addressId: 2 }],
      );
      t.equal((await talk.peer.command('read 0'))?.info?.subflows, 1);
    },
  });

  scenario(`data goes on when the initial subflow is reset, IPv${family}`, {
    role: 'client',
    family,
    counters: { MPJoinSynRx: 1, MPJoinAckRx: 1, MPRstRx: 1 },
    joins: 1,
    during: async (t, talk) => {
      await subflowsReach(talk, 2);
      talk.socket.removeSubflow({ localAddress: ourAddress(0, family) });
      await talk.up(SOME);
      await talk.down(SOME);
      t.equal(talk.socket.subflows.length, 1);
      const { up, down } = talk.carried(ourAddress(1, family), kernelAddress(0, family));
      t.ok(up >= SOME && down >= SOME, `the join carried ${up} up, ${down} down`);
    },
  });

  scenario(`the kernel announces an address: echoed, and joined from our initial address, IPv${family}`, {
    role: 'client',
    family,
    endpoints: [`${kernelAddress(1, family)} signal`],
    addresses: NO_JOIN_FROM_SECOND,
    counters: { AddAddrTx: 1, EchoAdd: 1, MPJoinSynRx: 1, MPJoinAckRx: 1 },
    joins: 1,
    addAddrs: 1,
    during: async (t, talk) => {
      await subflowsReach(talk, 2);
      t.match(
        talk.rig.events.filter((event) => event.name === 'announced'),
        [{ remoteAddress: kernelAddress(1, family), addressId: 1 }],
      );
      t.ok(talk.socket.subflows.some((subflow) => subflow.remoteAddress === kernelAddress(1, family)));
    },
  });
}

for (const family of [4, 6] as const) {
  scenario(`the kernel announces an address with a port of its own, IPv${family}`, {
    role: 'client',
    family,
    endpoints: [`${kernelAddress(1, family)} port 6001 signal`],
    addresses: NO_JOIN_FROM_SECOND,
    counters: {
      AddAddrTx: 1,
      EchoAdd: 1,
      MPJoinSynRx: 1,
      MPJoinPortSynRx: 1,
      MPJoinPortAckRx: 1,
      MPJoinAckRx: 1,
      MismatchPortSynRx: 0,
      PortAdd: 1,
    },
    joins: 1,
    addAddrs: 1,
    during: async (t, talk) => {
      await subflowsReach(talk, 2);
      t.ok(talk.socket.subflows.some((subflow) => subflow.remotePort === 6001));
    },
  });
}

scenario('with fullmesh addresses of ours, all pairs are joined', {
  role: 'client',
  endpoints: [`${kernelAddress(1)} signal`],
  addresses: [{ fullmesh: true }, { fullmesh: true }],
  counters: { MPJoinSynRx: 3, MPJoinAckRx: 3, EchoAdd: 1, AddAddrTx: 1 },
  joins: 3,
  addAddrs: 1,
  during: async (_t, talk) => subflowsReach(talk, 4),
});

scenario('the kernel wants no join to its initial address and announces none: there is none', {
  role: 'client',
  mptcp: { allow_join_initial_addr_port: 0 },
  counters: { MPJoinSynRx: 0 },
  joins: 0,
  during: async (t, talk) => {
    await quiet();
    t.equal(talk.socket.subflows.length, 1);
  },
});

scenario('the kernel wants no join to its initial address: ours go to the announced one', {
  role: 'client',
  mptcp: { allow_join_initial_addr_port: 0 },
  endpoints: [`${kernelAddress(1)} signal`],
  counters: { AddAddrTx: 1, EchoAdd: 1, MPJoinSynRx: 2, MPJoinAckRx: 2 },
  joins: 2,
  addAddrs: 1,
  during: async (t, talk) => {
    await subflowsReach(talk, 3);
    t.ok(talk.socket.subflows.every(({ role, remoteAddress }) => role !== 'join-client' || remoteAddress === kernelAddress(1)));
  },
});

scenario('the kernel refuses a join beyond its limit, and the connection goes on', {
  role: 'client',
  limits: 'subflows 0 add_addr_accepted 0',
  host: { limits: { subflows: 1 } },
  // Its SYN/ACK and our third ACK are right; then it says no.
  counters: { MPJoinSynRx: 1, MPJoinAckRx: 0, MPJoinRejected: 1 },
  joins: 1,
  during: async (t, talk) => {
    await quiet();
    t.equal(confirmed(talk), 1);
  },
});

scenario('our own limit of subflows holds', {
  role: 'client',
  host: { limits: { subflows: 0 } },
  counters: { MPJoinSynRx: 0 },
  joins: 0,
  during: async (t, talk) => {
    await quiet();
    t.equal(talk.socket.subflows.length, 1);
  },
});

scenario('our own limit of announced addresses holds; the echo goes out all the same', {
  role: 'client',
  endpoints: [`${kernelAddress(1)} signal`],
  addresses: NO_JOIN_FROM_SECOND,
  host: { limits: { acceptedAddresses: 0 } },
  counters: { AddAddrTx: 1, EchoAdd: 1, MPJoinSynRx: 0 },
  joins: 0,
  addAddrs: 1,
  during: async (t, talk) => {
    await quiet();
    t.equal(talk.socket.subflows.length, 1);
  },
});

scenario('an address added later is joined from at once', {
  role: 'client',
  addresses: NO_JOIN_FROM_SECOND,
  counters: { MPJoinSynRx: 1, MPJoinAckRx: 1, RmAddr: 1 },
  joins: 1,
  during: async (_t, talk, rig) => {
    rig.host.removeAddress(ourAddress(1));
    rig.host.addAddress({ address: '10.2.0.7', device: 1 });
    await subflowsReach(talk, 2);
  },
});

scenario('a subflow is added by hand, between a pair of addresses of our choice', {
  role: 'client',
  addresses: NO_JOIN_FROM_SECOND,
  counters: { MPJoinSynRx: 2, MPJoinAckRx: 2 },
  joins: 2,
  during: async (_t, talk) => {
    talk.socket.addSubflow({ localAddress: ourAddress(1), remoteAddress: kernelAddress(1) });
    talk.socket.addSubflow({ localAddress: ourAddress(0) });
    await subflowsReach(talk, 3);
  },
});

scenario('a subflow that we remove is reset, and not joined again', {
  role: 'client',
  counters: { MPJoinSynRx: 1, MPRstRx: 1, MPJoinAckRx: 1 },
  joins: 1,
  during: async (t, talk) => {
    await subflowsReach(talk, 2);
    talk.socket.removeSubflow({ localAddress: ourAddress(1) });
    await quiet();
    t.equal(talk.socket.subflows.length, 1);
    t.match(
      talk.rig.events.filter((event) => event.name === 'sub_closed'),
      [{ localAddress: ourAddress(1) }],
    );
  },
});

scenario('REMOVE_ADDR of ours: the kernel drops the subflow', {
  role: 'client',
  counters: { MPJoinAckRx: 1, RmAddr: 1, MPJoinSynRx: 1, MPRstRx: 1 },
  joins: 1,
  during: async (t, talk, rig) => {
    await subflowsReach(talk, 2);
    talk.socket.withdraw(ourAddress(1));
    await until('the kernel notes it', async () => (await rig.counters()).RmAddr === 1);
    t.equal(talk.socket.subflows.length, 1);
    t.equal((await talk.peer.command('read 0'))?.info?.subflows, 0);
  },
});

scenario('REMOVE_ADDR of the kernel for an address that it announced', {
  role: 'client',
  endpoints: [`${kernelAddress(1)} id 5 signal`],
  addresses: NO_JOIN_FROM_SECOND,
  counters: { AddAddrTx: 1, MPJoinAckRx: 1, RmAddrTx: 1, MPJoinSynRx: 1, EchoAdd: 1, RmSubflow: 1, MPRstRx: 1 },
  joins: 1,
  addAddrs: 1,
  during: async (t, talk, rig) => {
    await subflowsReach(talk, 2);
    await rig.run('ip mptcp endpoint delete id 5');
    await until('the event', () => rig.events.some((event) => event.name === 'removed' && event.addressId === 5));
    await subflowsReach(talk, 1);
    t.ok(rig.events.some((event) => event.name === 'sub_closed'));
  },
});

scenario('we join as a backup: the kernel sends nothing there while the other works', {
  role: 'client',
  addresses: [{}, { backup: true }],
  counters: { MPJoinSynRx: 1, MPJoinSynBackupRx: 1, MPJoinAckRx: 1 },
  joins: 1,
  during: async (t, talk) => {
    await subflowsReach(talk, 2);
    await talk.down(4 * SOME);
    t.equal(talk.carried(ourAddress(1), kernelAddress(0)).down, 0);
  },
});

scenario('MP_PRIO of ours: the kernel turns from that subflow, and comes back', {
  role: 'client',
  counters: { MPJoinAckRx: 1, MPPrioRx: 3, MPJoinSynRx: 1 },
  joins: 1,
  during: async (t, talk, rig) => {
    await subflowsReach(talk, 2);
    talk.socket.setBackup({ localAddress: ourAddress(1) }, true);
    await until('the kernel notes it', async () => (await rig.counters()).MPPrioRx === 1);
    const before = talk.carried(ourAddress(1), kernelAddress(0)).down;
    await talk.down(4 * SOME);
    t.equal(talk.carried(ourAddress(1), kernelAddress(0)).down, before, 'nothing on the backup');
    talk.socket.setBackup({ localAddress: ourAddress(1) }, false);
    talk.socket.setBackup({ localAddress: ourAddress(0) }, true);
    await until('the kernel notes both', async () => (await rig.counters()).MPPrioRx === 3);
    const initial = talk.carried(ourAddress(0), kernelAddress(0)).down;
    await talk.down(4 * SOME);
    t.equal(talk.carried(ourAddress(0), kernelAddress(0)).down, initial, 'all on the other');
  },
});

// ---- the kernel opens the connection ----

for (const family of [4, 6] as const) {
  scenario(`the kernel joins from its second address to ours, IPv${family}`, {
    role: 'server',
    family,
    endpoints: [`${kernelAddress(1, family)} dev tun1 subflow`],
    counters: { MPJoinSynTx: 1, MPJoinSynAckRx: 1, MPJoinSynAckHMacFailure: 0 },
    joins: 1,
    during: async (t, talk) => {
      await subflowsReach(talk, 2);
      t.match(
        talk.rig.events.filter((event) => event.name === 'sub_established'),
        [{ localAddress: ourAddress(0, family), remoteAddress: kernelAddress(1, family) }],
      );
    },
  });

  scenario(`we announce an address, the kernel echoes and joins it, IPv${family}`, {
    role: 'server',
    family,
    addresses: [{}, { signal: true }],
    counters: { AddAddr: 1, EchoAddTx: 1, MPJoinSynTx: 1, MPJoinSynAckRx: 1 },
    joins: 1,
    addAddrs: 1,
    during: async (t, talk) => {
      await subflowsReach(talk, 2);
      t.ok(talk.socket.subflows.some((subflow) => subflow.localAddress === ourAddress(1, family)));
    },
  });
}

for (const family of [4, 6] as const) {
  scenario(`we announce an address with a port, IPv${family}`, {
    role: 'server',
    family,
    addresses: [{}, { signal: true, port: 7001 }],
    counters: { AddAddr: 1, PortAdd: 1, EchoAddTx: 1, MPJoinSynTx: 1, MPJoinSynAckRx: 1, MPJoinPortSynAckRx: 1 },
    joins: 1,
    addAddrs: 1,
    during: async (t, talk) => {
      await subflowsReach(talk, 2);
      t.ok(talk.socket.subflows.some((subflow) => subflow.localPort === 7001));
    },
  });
}

scenario('fullmesh endpoints of the kernel join all that we have', {
  role: 'server',
  addresses: [{}, { signal: true }],
  endpoints: [`${kernelAddress(0)} dev tun0 subflow fullmesh`, `${kernelAddress(1)} dev tun1 subflow fullmesh`],
  counters: { AddAddr: 1, MPJoinSynTx: 3, MPJoinSynAckRx: 3, EchoAddTx: 1 },
  joins: 3,
  addAddrs: 1,
  during: async (_t, talk) => subflowsReach(talk, 4),
});

scenario('a kernel that accepts no announced address echoes and does not join', {
  role: 'server',
  limits: 'subflows 8 add_addr_accepted 0',
  addresses: [{}, { signal: true }],
  counters: { AddAddr: 1, EchoAddTx: 1, MPJoinSynTx: 0 },
  joins: 0,
  addAddrs: 1,
  during: async (t, talk, rig) => {
    await until('the echo', async () => (await rig.counters()).EchoAddTx === 1);
    await quiet();
    t.equal(talk.socket.subflows.length, 1);
  },
});

scenario('ADD_ADDR without an echo is repeated, a bounded number of times', {
  role: 'server',
  limits: 'subflows 8 add_addr_accepted 0',
  addresses: [{}, { signal: true }],
  outbound: ['tcp option mptcp subtype 3 drop'],
  host: { announceTimeoutMs: 100 },
  counters: { MPJoinSynTx: 0, AddAddr: 3, EchoAddTx: 3 },
  joins: 0,
  addAddrs: 3,
  during: async (t, _talk, rig) => {
    await until('three announcements', () => rig.check().addAddrs === 3);
    await quiet();
    t.equal(rig.check().addAddrs, 3);
  },
});

scenario('the kernel repeats an ADD_ADDR whose echo is lost', {
  role: 'client',
  mptcp: { add_addr_timeout: 1 },
  endpoints: [`${kernelAddress(1)} signal`],
  addresses: NO_JOIN_FROM_SECOND,
  middlebox: (direction, packet) => {
    const seen = direction === 'out' ? (parsePacket(packet)?.mptcp.seen ?? 0) : 0;
    return (seen & SEEN_ADD_ADDR) !== 0 ? undefined : packet;
  },
  host: { limits: { acceptedAddresses: 0 } },
  counters: { MPJoinSynRx: 0, AddAddrTx: [2, 3], EchoAdd: [0, 1] },
  joins: 0,
  addAddrs: [2, 3],
  during: async (t, _talk, rig) => {
    await until('the second announcement', () => rig.check().addAddrs === 2, 5_000);
    rig.middlebox.handle = undefined;
    t.equal(rig.events.filter((event) => event.name === 'announced').length >= 1, true);
  },
});

scenario('we want no join to our initial address: the kernel goes to the announced one', {
  role: 'server',
  host: { denyJoinInitial: true },
  addresses: [{}, { signal: true }],
  endpoints: [`${kernelAddress(1)} dev tun1 subflow`],
  counters: { AddAddr: 1, MPJoinSynTx: 1, MPJoinSynAckRx: 1, EchoAddTx: 1 },
  joins: 1,
  addAddrs: 1,
  during: async (t, talk) => {
    await subflowsReach(talk, 2);
    await quiet();
    t.ok(talk.socket.subflows.every(({ role, localAddress }) => role !== 'join-server' || localAddress === ourAddress(1)));
  },
});

scenario('REMOVE_ADDR of ours for an address that we announced', {
  role: 'server',
  addresses: [{}, { signal: true }],
  counters: { AddAddr: 1, MPJoinSynTx: 1, RmAddr: 1, MPJoinSynAckRx: 1, EchoAddTx: 1, MPRstRx: 1 },
  joins: 1,
  addAddrs: 1,
  during: async (t, talk, rig) => {
    await subflowsReach(talk, 2);
    talk.socket.withdraw(ourAddress(1));
    await until('the kernel notes it', async () => (await rig.counters()).RmAddr === 1);
    await subflowsReach(talk, 1);
    t.equal((await talk.peer.command('read 0'))?.info?.subflows, 0);
  },
});

scenario('the kernel deletes the endpoint that it joined from', {
  role: 'server',
  endpoints: [`${kernelAddress(1)} id 7 dev tun1 subflow`],
  counters: { MPJoinSynTx: 1, RmAddrTx: 1, MPJoinSynAckRx: 1, RmSubflow: 1, MPRstRx: 1 },
  joins: 1,
  during: async (_t, talk, rig) => {
    await subflowsReach(talk, 2);
    await rig.run('ip mptcp endpoint delete id 7');
    await until('the event', () => rig.events.some((event) => event.name === 'removed' && event.addressId === 7));
    await subflowsReach(talk, 1);
  },
});

scenario('the kernel joins as a backup: we send nothing there while the other works', {
  role: 'server',
  endpoints: [`${kernelAddress(1)} dev tun1 subflow backup`],
  counters: { MPJoinSynTx: 1, MPJoinSynAckRx: 1 },
  joins: 1,
  during: async (t, talk) => {
    await subflowsReach(talk, 2);
    t.match(
      talk.rig.events.filter((event) => event.name === 'sub_established'),
      [{ backup: true }],
    );
    await talk.up(4 * SOME);
    t.equal(talk.carried(ourAddress(0), kernelAddress(1)).up, 0);
  },
});

scenario('MP_PRIO of the kernel: we turn from that subflow', {
  role: 'server',
  endpoints: [`${kernelAddress(1)} id 9 dev tun1 subflow`],
  counters: { MPJoinSynTx: 1, MPPrioTx: 1, MPJoinSynAckRx: 1 },
  joins: 1,
  during: async (t, talk, rig) => {
    await subflowsReach(talk, 2);
    await rig.run('ip mptcp endpoint change id 9 backup');
    await until('the event', () => rig.events.some((event) => event.name === 'sub_priority' && event.backup === true));
    const before = talk.carried(ourAddress(0), kernelAddress(1)).up;
    await talk.up(4 * SOME);
    t.equal(talk.carried(ourAddress(0), kernelAddress(1)).up, before);
  },
});

scenario('a subflow that the kernel opened is made a backup by us', {
  role: 'server',
  endpoints: [`${kernelAddress(1)} dev tun1 subflow`],
  counters: { MPJoinSynTx: 1, MPPrioRx: 1, MPJoinSynAckRx: 1 },
  joins: 1,
  during: async (t, talk, rig) => {
    await subflowsReach(talk, 2);
    talk.socket.setBackup({ remoteAddress: kernelAddress(1) }, true);
    await until('the kernel notes it', async () => (await rig.counters()).MPPrioRx === 1);
    const before = talk.carried(ourAddress(0), kernelAddress(1)).down;
    await talk.down(4 * SOME);
    t.equal(talk.carried(ourAddress(0), kernelAddress(1)).down, before);
  },
});

scenario('we reset the initial subflow of a connection that the kernel opened', {
  role: 'server',
  endpoints: [`${kernelAddress(1)} dev tun1 subflow`],
  counters: { MPJoinSynTx: 1, MPRstRx: 1, MPJoinSynAckRx: 1 },
  joins: 1,
  during: async (t, talk) => {
    await subflowsReach(talk, 2);
    talk.socket.removeSubflow({ remoteAddress: kernelAddress(0) });
    await talk.up(SOME);
    await talk.down(SOME);
    t.equal(talk.socket.subflows.length, 1);
  },
});
