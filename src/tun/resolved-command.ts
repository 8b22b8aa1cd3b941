/** systemd-resolved, by its program `resolvectl`: what it is told of a device goes with the device. */

import { execFile } from 'node:child_process';
import { HostNetworkError } from './ip-command.js';
import type { DnsSettings } from './resolv-conf.js';

/** Where it listens for the host's own programs. */
export const STUB_ADDRESSES: ReadonlySet<string> = new Set(['127.0.0.53', '127.0.0.54']);
/** All servers that it knows, of all links. */
export const UPSTREAM_FILE = '/run/systemd/resolve/resolv.conf';

const TIMEOUT_MS = 10_000;

/** It is there and answers. */
export async function isResolvedRunning(): Promise<boolean> {
  return (await resolvectl(['dns'])) === undefined;
}

/** Names of all domains are asked at `servers`, over the device. Throws HostNetworkError. */
export async function setResolved(device: string, { servers, search }: DnsSettings): Promise<void> {
  for (const args of [
    ['dns', device, ...servers],
    // "~." leads every name here that no other link claims more precisely.
    ['domain', device, '~.', ...search],
    ['default-route', device, 'true'],
  ]) {
    const reason = await resolvectl(args);
    if (reason !== undefined) throw new HostNetworkError('dns-failed', `\`resolvectl ${args.join(' ')}\` failed: ${reason}`);
  }
}

/** Never throws: a device that is gone has nothing to be reverted. */
export async function revertResolved(device: string): Promise<void> {
  await resolvectl(['revert', device]);
}

/** Why it failed; undefined when it did not. */
function resolvectl(args: readonly string[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    const options = { timeout: TIMEOUT_MS, env: { ...process.env, LC_ALL: 'C' } };
    execFile('resolvectl', [...args], options, (error, _stdout, stderr) => {
      if (error === null) resolve(undefined);
      else resolve(stderr.trim().split('\n').at(-1) || error.message);
    });
  });
}
