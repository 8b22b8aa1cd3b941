/** Subflows and addresses that go: REMOVE_ADDR of either side, subflows that we reset, endpoints that the kernel deletes. Needs root and a kernel with MPTCP. */

import { NO_JOIN_FROM_SECOND, quiet, SOME, scenario, subflowsReach } from './join-scenario.js';
import { kernelAddress, ourAddress } from './kernel-rig.js';
import { announcedByKernel, announcedByUs, joinedByKernel, joinedByUs } from './kernel-verdict.js';
import { until } from './payload.js';

for (const family of [4, 6] as const) {
  scenario(`data goes on when the initial subflow is reset, IPv${family}`, {
    role: 'client',
    family,
    counters: { ...joinedByUs(), MPRstRx: 1 },
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
}

scenario('a subflow that we remove is reset, and not joined again', {
  role: 'client',
  counters: { ...joinedByUs(), MPRstRx: 1 },
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
  counters: { ...joinedByUs(), RmAddr: 1, MPRstRx: 1 },
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
  counters: { ...announcedByKernel(), ...joinedByUs(), RmAddrTx: 1, RmSubflow: 1, MPRstRx: 1 },
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

scenario('REMOVE_ADDR of ours for an address that we announced', {
  role: 'server',
  addresses: [{}, { signal: true }],
  counters: { ...announcedByUs(), ...joinedByKernel(), RmAddr: 1, MPRstRx: 1 },
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
  counters: { ...joinedByKernel(), RmAddrTx: 1, RmSubflow: 1, MPRstRx: 1 },
  joins: 1,
  during: async (_t, talk, rig) => {
    await subflowsReach(talk, 2);
    await rig.run('ip mptcp endpoint delete id 7');
    await until('the event', () => rig.events.some((event) => event.name === 'removed' && event.addressId === 7));
    await subflowsReach(talk, 1);
  },
});

scenario('we reset the initial subflow of a connection that the kernel opened', {
  role: 'server',
  endpoints: [`${kernelAddress(1)} dev tun1 subflow`],
  counters: { ...joinedByKernel(), MPRstRx: 1 },
  joins: 1,
  during: async (t, talk) => {
    await subflowsReach(talk, 2);
    talk.socket.removeSubflow({ remoteAddress: kernelAddress(0) });
    await talk.up(SOME);
    await talk.down(SOME);
    t.equal(talk.socket.subflows.length, 1);
  },
});
