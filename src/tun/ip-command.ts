/** Runs `ip` of iproute2: JSON queries and batches of changes. No shell. */

import { execFile } from 'node:child_process';

export type HostNetworkErrorCode =
  | 'not-permitted'
  | 'no-ip-command'
  | 'no-interface'
  | 'route-exists'
  | 'ipv6-disabled'
  | 'busy'
  | 'needs-restart'
  | 'no-nft-command'
  | 'nft-failed'
  | 'dns-failed'
  | 'ip-failed';

/** A change of the host's network failed; the message, one line, tells the user what to do. */
export class HostNetworkError extends Error {
  readonly code: HostNetworkErrorCode;
  constructor(code: HostNetworkErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'HostNetworkError';
    this.code = code;
  }
}

export interface IpResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Routing protocol number of our routes and rules, so that we never delete another's. */
export const ROUTE_PROTOCOL = 84;

const TIMEOUT_MS = 15_000;
const OUTPUT_MAX_BYTES = 64 << 20;

/** Resolves whatever the exit code; rejects only when `ip` could not be run. */
export function runIp(args: readonly string[], input?: string): Promise<IpResult> {
  return new Promise((resolve, reject) => {
    const options = { timeout: TIMEOUT_MS, maxBuffer: OUTPUT_MAX_BYTES, env: { ...process.env, LC_ALL: 'C' } };
    const child = execFile('ip', [...args], options, (error, stdout, stderr) => {
      if (error === null) return resolve({ code: 0, stdout, stderr });
      if (error.code === ('ENOENT' as unknown))
        return reject(new HostNetworkError('no-ip-command', 'the program `ip` is missing: install the package iproute2', { cause: error }));
      if (error.killed === true)
        return reject(
          new HostNetworkError('ip-failed', `\`ip ${args.join(' ')}\` did not end within ${TIMEOUT_MS / 1000} s`, { cause: error }),
        );
      resolve({ code: typeof error.code === 'number' ? error.code : 1, stdout, stderr });
    });
    // A child that could not start, or died early, has closed this pipe: its exit tells the reason.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input ?? '');
  });
}

/** The list that `ip -j ARGS` prints; empty when it fails (no such device, no such table). */
export async function queryIp<T>(args: readonly string[]): Promise<T[]> {
  const { code, stdout } = await runIp(['-j', ...args]);
  if (code !== 0 || stdout.trim() === '') return [];
  // iproute2 prints {} for what a filter left out.
  return (JSON.parse(stdout) as T[]).filter((item) => Object.keys(item as object).length > 0);
}

/** `family` 0: `ip` takes it from each line's own addresses. */
export type BatchFamily = 0 | 4 | 6;

export interface BatchFailure {
  /** Index of the line that failed; the lines before it are in force, those after it are not. */
  readonly index: number;
  readonly reason: string;
}

/** Runs the lines in order up to the first that fails. */
export async function runIpBatch(family: BatchFamily, lines: readonly string[]): Promise<BatchFailure | undefined> {
  if (lines.length === 0) return undefined;
  const { code, stderr } = await runIp([...familyFlag(family), '-batch', '-'], `${lines.join('\n')}\n`);
  if (code === 0) return undefined;
  const index = Number(/Command failed -:(\d+)/.exec(stderr)?.[1] ?? 1) - 1;
  return { index, reason: reasonOf(stderr) };
}

/** Runs every line, going on after those that fail. Returns the reasons of the failures. */
export async function runIpBatchAll(family: BatchFamily, lines: readonly string[]): Promise<string[]> {
  if (lines.length === 0) return [];
  const { stderr } = await runIp([...familyFlag(family), '-force', '-batch', '-'], `${lines.join('\n')}\n`);
  return stderr.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('Command failed'));
}

function familyFlag(family: BatchFamily): string[] {
  return family === 0 ? [] : [`-${family}`];
}

function reasonOf(stderr: string): string {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('Command failed'));
  return (
    lines
      .join('; ')
      .replace('RTNETLINK answers: ', '')
      .replace(/^Error: /, '') || 'no reason given'
  );
}
