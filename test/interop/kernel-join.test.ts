/** Joins between our host and the kernel, by either side: second addresses, full meshes, by hand, limits. Needs root and a kernel with MPTCP. */

import { confirmed } from './conversation.js';
import { NO_JOIN_FROM_SECOND, quiet, scenario, subflowsReach } from './join-scenario.js';
import { kernelAddress, ourAddress } from './kernel-rig.js';
import { announcedByKernel, announcedByUs, joinedByKernel, joinedByUs } from './kernel-verdict.js';

for (const family of [4, 6] as const) {
  scenario(`a client of ours joins from its second address, IPv${family}`, {
    role: 'client',
    family,
    counters: { ...joinedByUs() },
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
}

scenario('with fullmesh addresses of ours, all pairs are joined', {
  role: 'client',
  endpoints: [`${kernelAddress(1)} signal`],
  addresses: [{ fullmesh: true }, { fullmesh: true }],
  counters: { ...announcedByKernel(), ...joinedByUs(3) },
  joins: 3,
  addAddrs: 1,
  during: async (_t, talk) => subflowsReach(talk, 4),
});

scenario('the kernel refuses a join beyond its limit, and the connection goes on', {
  role: 'client',
  limits: 'subflows 0 add_addr_accepted 0',
  host: { limits: { subflows: 1 } },
  // Its SYN/ACK and our third ACK are right; then it says no.
  counters: { MPJoinSynRx: 1, MPJoinRejected: 1 },
  joins: 1,
  during: async (t, talk) => {
    await quiet();
    t.equal(confirmed(talk), 1);
  },
});

scenario('our own limit of subflows holds', {
  role: 'client',
  host: { limits: { subflows: 0 } },
  during: async (t, talk) => {
    await quiet();
    t.equal(talk.socket.subflows.length, 1);
  },
});

scenario('an address added later is joined from at once', {
  role: 'client',
  addresses: NO_JOIN_FROM_SECOND,
  counters: { ...joinedByUs(), RmAddr: 1 },
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
  counters: { ...joinedByUs(2) },
  joins: 2,
  during: async (_t, talk) => {
    talk.socket.addSubflow({ localAddress: ourAddress(1), remoteAddress: kernelAddress(1) });
    talk.socket.addSubflow({ localAddress: ourAddress(0) });
    await subflowsReach(talk, 3);
  },
});

for (const family of [4, 6] as const) {
  scenario(`the kernel joins from its second address to ours, IPv${family}`, {
    role: 'server',
    family,
    endpoints: [`${kernelAddress(1, family)} dev tun1 subflow`],
    counters: { ...joinedByKernel() },
    joins: 1,
    during: async (t, talk) => {
      await subflowsReach(talk, 2);
      t.match(
        talk.rig.events.filter((event) => event.name === 'sub_established'),
        [{ localAddress: ourAddress(0, family), remoteAddress: kernelAddress(1, family) }],
      );
    },
  });
}

scenario('fullmesh endpoints of the kernel join all that we have', {
  role: 'server',
  addresses: [{}, { signal: true }],
  endpoints: [`${kernelAddress(0)} dev tun0 subflow fullmesh`, `${kernelAddress(1)} dev tun1 subflow fullmesh`],
  counters: { ...announcedByUs(), ...joinedByKernel(3) },
  joins: 3,
  addAddrs: 1,
  during: async (_t, talk) => subflowsReach(talk, 4),
});
