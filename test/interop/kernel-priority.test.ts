/** Backups between our host and the kernel, from the join on and by MP_PRIO: nothing goes first by a backup while another subflow works. Needs root and a kernel with MPTCP. */

import { SOME, scenario, subflowsReach } from './join-scenario.js';
import { kernelAddress, ourAddress } from './kernel-rig.js';
import { joinedByKernel, joinedByUs } from './kernel-verdict.js';
import { until } from './payload.js';

scenario('we join as a backup: the kernel sends nothing there while the other works', {
  role: 'client',
  addresses: [{}, { backup: true }],
  counters: { ...joinedByUs(), MPJoinSynBackupRx: 1 },
  joins: 1,
  during: async (t, talk) => {
    await subflowsReach(talk, 2);
    await talk.down(4 * SOME);
    t.equal(talk.carried(ourAddress(1), kernelAddress(0)).down, 0);
  },
});

scenario('MP_PRIO of ours: the kernel turns from that subflow, and comes back', {
  role: 'client',
  counters: { ...joinedByUs(), MPPrioRx: 3 },
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

scenario('the kernel joins as a backup: we send nothing there while the other works', {
  role: 'server',
  endpoints: [`${kernelAddress(1)} dev tun1 subflow backup`],
  counters: { ...joinedByKernel() },
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
  counters: { ...joinedByKernel(), MPPrioTx: 1 },
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
  counters: { ...joinedByKernel(), MPPrioRx: 1 },
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
