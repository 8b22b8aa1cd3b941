/** ADD_ADDR between our host and the kernel: echoed, joined, with ports, repeated when the echo is lost, limits, and initial addresses that want no join. Needs root and a kernel with MPTCP. */

import { SEEN_ADD_ADDR } from '../../src/mptcp-over-udp/wire/segment.js';
import { NO_JOIN_FROM_SECOND, quiet, scenario, subflowsReach } from './join-scenario.js';
import { kernelAddress, ourAddress } from './kernel-rig.js';
import { announcedByKernel, announcedByUs, joinedByKernel, joinedByUs } from './kernel-verdict.js';
import { until } from './payload.js';
import { parsePacket } from './tapped-device.js';

for (const family of [4, 6] as const) {
  scenario(`the kernel announces an address: echoed, and joined from our initial address, IPv${family}`, {
    role: 'client',
    family,
    endpoints: [`${kernelAddress(1, family)} signal`],
    addresses: NO_JOIN_FROM_SECOND,
    counters: { ...announcedByKernel(), ...joinedByUs() },
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

  scenario(`the kernel announces an address with a port of its own, IPv${family}`, {
    role: 'client',
    family,
    endpoints: [`${kernelAddress(1, family)} port 6001 signal`],
    addresses: NO_JOIN_FROM_SECOND,
    counters: { ...announcedByKernel(), ...joinedByUs(), MPJoinPortSynRx: 1, MPJoinPortAckRx: 1, PortAdd: 1 },
    joins: 1,
    addAddrs: 1,
    during: async (t, talk) => {
      await subflowsReach(talk, 2);
      t.ok(talk.socket.subflows.some((subflow) => subflow.remotePort === 6001));
    },
  });
}

scenario('the kernel wants no join to its initial address and announces none: there is none', {
  role: 'client',
  mptcp: { allow_join_initial_addr_port: 0 },
  during: async (t, talk) => {
    await quiet();
    t.equal(talk.socket.subflows.length, 1);
  },
});

scenario('the kernel wants no join to its initial address: ours go to the announced one', {
  role: 'client',
  mptcp: { allow_join_initial_addr_port: 0 },
  endpoints: [`${kernelAddress(1)} signal`],
  counters: { ...announcedByKernel(), ...joinedByUs(2) },
  joins: 2,
  addAddrs: 1,
  during: async (t, talk) => {
    await subflowsReach(talk, 3);
    t.ok(talk.socket.subflows.every(({ role, remoteAddress }) => role !== 'join-client' || remoteAddress === kernelAddress(1)));
  },
});

scenario('our own limit of announced addresses holds; the echo goes out all the same', {
  role: 'client',
  endpoints: [`${kernelAddress(1)} signal`],
  addresses: NO_JOIN_FROM_SECOND,
  host: { limits: { acceptedAddresses: 0 } },
  counters: { ...announcedByKernel() },
  addAddrs: 1,
  during: async (t, talk) => {
    await quiet();
    t.equal(talk.socket.subflows.length, 1);
  },
});

for (const family of [4, 6] as const) {
  scenario(`we announce an address, the kernel echoes and joins it, IPv${family}`, {
    role: 'server',
    family,
    addresses: [{}, { signal: true }],
    counters: { ...announcedByUs(), ...joinedByKernel() },
    joins: 1,
    addAddrs: 1,
    during: async (t, talk) => {
      await subflowsReach(talk, 2);
      t.ok(talk.socket.subflows.some((subflow) => subflow.localAddress === ourAddress(1, family)));
    },
  });

  scenario(`we announce an address with a port, IPv${family}`, {
    role: 'server',
    family,
    addresses: [{}, { signal: true, port: 7001 }],
    counters: { ...announcedByUs(), ...joinedByKernel(), PortAdd: 1, MPJoinPortSynAckRx: 1 },
    joins: 1,
    addAddrs: 1,
    during: async (t, talk) => {
      await subflowsReach(talk, 2);
      t.ok(talk.socket.subflows.some((subflow) => subflow.localPort === 7001));
    },
  });
}

scenario('a kernel that accepts no announced address echoes and does not join', {
  role: 'server',
  limits: 'subflows 8 add_addr_accepted 0',
  addresses: [{}, { signal: true }],
  counters: { ...announcedByUs() },
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
  counters: { ...announcedByUs(3) },
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
  counters: { AddAddrTx: [2, 3], EchoAdd: [0, 1] },
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
  counters: { ...announcedByUs(), ...joinedByKernel() },
  joins: 1,
  addAddrs: 1,
  during: async (t, talk) => {
    await subflowsReach(talk, 2);
    await quiet();
    t.ok(talk.socket.subflows.every(({ role, localAddress }) => role !== 'join-server' || localAddress === ourAddress(1)));
  },
});
