/**
 * The kernel's MPTCP path manager (ip-mptcp(8)): endpoints, which are addresses that subflows may begin from, and the limits. Both belong to the network
 * namespace, not to a device: what a crash leaves stays, so every change is in the journal with what is needed to know it again.
 */

import { readFileSync } from 'node:fs';
import { HostNetworkError, queryIp, runIp } from './ip-command.js';
import { formatPrefix, parsePrefix } from './ip-prefix.js';

export type PathManagerUndo =
  | { readonly kind: 'mptcp-endpoint'; readonly id: number; readonly address: string }
  | { readonly kind: 'mptcp-limit'; readonly previous: number; readonly ours: number };

interface Endpoint {
  readonly address: string;
  readonly id: number;
}

/** MPTCP_SUBFLOWS_MAX of the kernel: subflows beside the first. */
export const SUBFLOWS_LIMIT_MAX = 8;
/** An address id is one byte, and 0 is the connection's first address (RFC 8684, 3.4.1). */
const LAST_ID = 255;

/** '' when this kernel speaks MPTCP, else why not and what to do. */
export function mptcpFault(): string {
  try {
    const enabled = readFileSync('/proc/sys/net/mptcp/enabled', 'utf8').trim();
    return enabled === '0' ? 'MPTCP is switched off in this kernel: set net.mptcp.enabled=1' : '';
  } catch {
    return 'this kernel has no MPTCP (Linux 5.6 or newer with CONFIG_MPTCP)';
  }
}

/** From the top, since people and other programs count from 1. Throws HostNetworkError when there is none. */
export async function freeEndpointId(taken: ReadonlySet<number>): Promise<number> {
  const used = new Set((await listEndpoints()).map(({ id }) => id));
  for (let id = LAST_ID; id > 0; id--) if (!used.has(id) && !taken.has(id)) return id;
  throw new HostNetworkError('ip-failed', 'the kernel has 255 MPTCP endpoints already: look at `ip mptcp endpoint`');
}

export function addEndpointLine(address: string, id: number, device: string, backup: boolean): string {
  return `mptcp endpoint add ${address} id ${id} dev ${device} subflow${backup ? ' backup' : ''}`;
}

export function changeEndpointLine(id: number, backup: boolean): string {
  return `mptcp endpoint change id ${id} ${backup ? 'backup' : 'nobackup'}`;
}

export function setLimitLine(subflows: number): string {
  return `mptcp limits set subflows ${subflows}`;
}

/** How many subflows a connection may have beside its first. Throws HostNetworkError. */
export async function readSubflowsLimit(): Promise<number> {
  // Of `limits` iproute2 prints no JSON.
  const { code, stdout, stderr } = await runIp(['mptcp', 'limits', 'show']);
  const limit = /\bsubflows (\d+)/.exec(stdout)?.[1];
  if (code !== 0 || limit === undefined)
    throw new HostNetworkError('ip-failed', `\`ip mptcp limits\` failed: ${stderr.trim() || stdout.trim()}`);
  return Number(limit);
}

/** Nothing happens unless the kernel still has what is to be undone. Returns why it failed, '' when it did not. */
export async function undoPathManager(entry: PathManagerUndo): Promise<string> {
  const line = entry.kind === 'mptcp-endpoint' ? await removalLine(entry) : await limitLine(entry);
  if (line === undefined) return '';
  const { code, stderr } = await runIp(line.split(' '));
  return code === 0 ? '' : stderr.trim();
}

async function removalLine({ id, address }: { id: number; address: string }): Promise<string | undefined> {
  const found = (await listEndpoints()).some((endpoint) => endpoint.id === id && isSame(endpoint.address, address));
  return found ? `mptcp endpoint delete id ${id}` : undefined;
}

async function limitLine({ previous, ours }: { previous: number; ours: number }): Promise<string | undefined> {
  return (await readSubflowsLimit()) === ours ? setLimitLine(previous) : undefined;
}

async function listEndpoints(): Promise<Endpoint[]> {
  return queryIp<Endpoint>(['mptcp', 'endpoint', 'show']);
}

function isSame(one: string, other: string): boolean {
  const [first, second] = [parsePrefix(one), parsePrefix(other)];
  return first !== undefined && second !== undefined && formatPrefix(first) === formatPrefix(second);
}
