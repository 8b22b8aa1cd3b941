/**
 * The measure to hold ourselves against: the Linux kernel's own MPTCP from host to host over the same links, without a tunnel. The client
 * has an address on each link and a route by each for packets from there; its path manager opens a subflow from every one.
 */

import type { Lab } from '../../../src/lab/topology.js';

const FIRST_TABLE = 100;

/** The congestion control of both hosts, and in a lab with several links the subflows. Buffers stay at the kernel's defaults. */
export async function useKernelMptcp(lab: Lab, congestionControl = 'bbr'): Promise<void> {
  const subflows = lab.links.length;
  for (const host of [lab.client, lab.server]) {
    await host.run('sh', [
      '-ec',
      `echo 1 > /proc/sys/net/mptcp/enabled
       echo ${congestionControl} > /proc/sys/net/ipv4/tcp_congestion_control
       ip mptcp limits set subflows ${subflows} add_addr_accepted 0`,
    ]);
  }
  const lines = lab.links.map((_, i) => {
    const table = FIRST_TABLE + i;
    const endpoint = i === 0 ? '' : `ip mptcp endpoint add 10.90.${i}.1 dev wan${i} subflow`;
    return `ip route replace default via 10.90.${i}.2 dev wan${i} table ${table}
            ip rule add from 10.90.${i}.1 table ${table} priority ${table}
            ${endpoint}`;
  });
  await lab.client.run('sh', ['-ec', lines.join('\n')]);
}
