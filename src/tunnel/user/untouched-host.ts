/** The host of a tunnel without a TUN: nothing of it is changed, so that no privilege is needed. */

import type { HostNetwork } from '../../tun/host-network.js';
import type { NftTables } from '../../tun/nft-table.js';
import type { TunnelConfig } from '../config.js';
import { TunnelError } from '../tunnel-api.js';

/** What a tunnel wants of its host. */
export type TunnelHost = Pick<
  HostNetwork,
  | 'apply'
  | 'refresh'
  | 'addUplink'
  | 'addRoutes'
  | 'removeRoutes'
  | 'makeBypassable'
  | 'pathAddresses'
  | 'enableForwarding'
  | 'findForwardBlockers'
  | 'undo'
> & { readonly tables: Pick<NftTables, 'nameOf' | 'apply' | 'remove' | 'change'> };

const needsDevice = (): never => {
  throw new TunnelError('no-device', 'there is no TUN: nothing of this host can be changed');
};

export const UNTOUCHED_HOST: TunnelHost = {
  apply: async () => ({ mark: 0 }),
  refresh: async () => {},
  addUplink: () => {},
  addRoutes: async () => {},
  removeRoutes: async () => {},
  // There is none to remove.
  tables: { nameOf: needsDevice, apply: async () => needsDevice(), change: async () => needsDevice(), remove: async () => {} },
  makeBypassable: async () => needsDevice(),
  pathAddresses: needsDevice,
  enableForwarding: async () => needsDevice(),
  findForwardBlockers: async () => [],
  undo: async () => {},
};

/** Throws TunnelError `no-device` that names what cannot be had without a TUN. */
export function requireNoDevice({ interface: own, egress, forwards, dns, lan, rules = [] }: TunnelConfig): void {
  const wanted = [
    ...(own.killSwitch === undefined ? [] : ['kill_switch']),
    ...(own.nativeMptcpAddresses === undefined ? [] : ['native_mptcp']),
    ...(egress?.mode === 'tun' ? ['[egress] mode = "tun"'] : []),
    ...(egress?.nat === undefined ? [] : ['[egress] nat']),
    ...(forwards === undefined || forwards.length === 0 ? [] : ['[[forward]]']),
    ...(dns === undefined ? [] : ['[dns]']),
    ...(lan === undefined ? [] : ['[lan]']),
    ...(rules.some(({ users, fwmark, bypass }) => users !== undefined || fwmark !== undefined || bypass === true)
      ? ['[[rule]] with user, fwmark or bypass']
      : []),
  ];
  if (wanted.length === 0) return;
  throw new TunnelError('no-device', `${wanted.join(', ')} cannot be had without a TUN: remove it, or run \`mptunnel up\` with a device`);
}
