/** On which interface a path of the configuration stands, and what keeps it from being used there, in words for people. */

import type { PathConfig } from '../config.js';
import type { InterfaceInfo } from './interface-info.js';

export interface UplinkProblem {
  what: string;
  /** "" where there is nothing to look up. */
  advice: string;
}

/** undefined: there is none, or the path is bound to none. */
export function interfaceOf({ interface: name, address }: PathConfig, interfaces: readonly InterfaceInfo[]): InterfaceInfo | undefined {
  if (name !== undefined) return interfaces.find((one) => one.name === name);
  if (address === undefined) return undefined;
  // 127.0.0.2 is ours without being configured.
  const loopback = isLoopback(address);
  return interfaces.find((one) => one.addresses.includes(address) || (loopback && one.addresses.includes('127.0.0.1')));
}

/** `info`: its interface, as interfaceOf finds it. */
export function interfaceProblem({ interface: name, address }: PathConfig, info: InterfaceInfo | undefined): UplinkProblem | undefined {
  if (name !== undefined && info === undefined) return absentInterface(name);
  if (address !== undefined && (info === undefined || (!info.addresses.includes(address) && !isLoopback(address)))) {
    const where = name === undefined ? ' on this host' : ` on "${name}"`;
    return { what: `address ${address} is not configured${where}`, advice: '"ip addr" lists those that are' };
  }
  if (info?.usable === false) return { what: `interface "${info.name}" is down or has no carrier`, advice: '' };
  return undefined;
}

export function absentInterface(name: string): UplinkProblem {
  return { what: `interface "${name}" does not exist`, advice: '"ip link" lists those that do' };
}

export function describeProblem({ what, advice }: UplinkProblem): string {
  return advice === '' ? what : `${what}: ${advice}`;
}

/** IPv4. */
function isLoopback(address: string): boolean {
  return address.startsWith('127.');
}
