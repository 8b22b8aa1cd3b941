/**
 * A device that root has made for a user, with all that belongs to it: `ip tuntap add NAME mode tun user USER`, addresses, routes. Then the user may not change the network, and need not.
 */

import { type BatchFamily, HostNetworkError, queryIp } from './ip-command.js';

/** Of lines that may not be run, those that are not true already. */
export async function linesNotInForce(lines: readonly string[], device: string): Promise<string[]> {
  const missing: string[] = [];
  for (const line of lines) {
    const [, prefix, table] = /^route add (\S+) dev \S+ table (\S+)/.exec(line) ?? [];
    const isThere =
      prefix !== undefined &&
      (await queryIp([familyFlagOf(prefix), 'route', 'show', 'exact', prefix, 'dev', device, 'table', table!])).length > 0;
    if (!isThere) missing.push(line);
  }
  return missing;
}

function familyFlagOf(prefix: string): string {
  return prefix.includes(':') ? '-6' : '-4';
}

/** A rule sends past the tunnel what carries a mark, and to set that mark is not permitted either. */
export function notPermitted(family: BatchFamily, missing: readonly string[]): HostNetworkError {
  const needed = 'changing the network needs root or CAP_NET_ADMIN: run with sudo';
  const canPrepare = family === 0 && missing.every((line) => !/^route add .* table \d/.test(line));
  if (!canPrepare) return new HostNetworkError('not-permitted', needed);
  const commands = missing.map((line) => `ip ${line.replace(/ (table main|proto \d+)\b/g, '')}`);
  return new HostNetworkError('not-permitted', `${needed}, or let root prepare the device: ${commands.join('; ')}`);
}
