/** Runs `nft` of nftables over a script on its standard input: one transaction, all of it or nothing. No shell. */

import { execFile } from 'node:child_process';
import { HostNetworkError } from './ip-command.js';

const TIMEOUT_MS = 15_000;
const OUTPUT_MAX_BYTES = 64 << 20;

/**
 * `purpose`: what of the configuration needs it, as "a [[rule]] with bypass", for messages. Throws HostNetworkError: 'no-nft-command' when the program is missing or the kernel lacks
 * nf_tables, 'not-permitted', 'nft-failed' with nft's first complaint.
 */
export async function runNft(script: string, purpose: string): Promise<void> {
  const failure = await tryNft(script);
  if (failure !== undefined) throw explain(failure, purpose);
}

/** What `nft ARGS` prints; "" when it cannot be run, or fails. */
export function queryNft(args: readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    const options = { timeout: TIMEOUT_MS, maxBuffer: OUTPUT_MAX_BYTES, env: { ...process.env, LC_ALL: 'C' } };
    execFile('nft', [...args], options, (error, stdout) => resolve(error === null ? stdout : ''));
  });
}

interface NftFailure {
  readonly kind: 'missing' | 'timeout' | 'refused';
  /** In one line. */
  readonly reason: string;
  readonly cause: unknown;
}

function tryNft(script: string): Promise<NftFailure | undefined> {
  return new Promise((resolve) => {
    const options = { timeout: TIMEOUT_MS, env: { ...process.env, LC_ALL: 'C' } };
    const child = execFile('nft', ['-f', '-'], options, (error, _stdout, stderr) => {
      if (error === null) return resolve(undefined);
      if (error.code === ('ENOENT' as unknown)) return resolve({ kind: 'missing', reason: '', cause: error });
      if (error.killed === true) return resolve({ kind: 'timeout', reason: '', cause: error });
      resolve({ kind: 'refused', reason: firstComplaint(stderr), cause: error });
    });
    // A child that could not start, or died early, has closed this pipe: its exit tells the reason.
    child.stdin?.on('error', () => {});
    child.stdin?.end(script);
  });
}

/** nft names the place, then quotes the line and underlines it: the place means nothing to a user. */
function firstComplaint(stderr: string): string {
  const line = stderr.split('\n').find((text) => text.trim() !== '') ?? 'no reason given';
  return line.replace(/^\/dev\/stdin:[\d:-]+\s*/, '').replace(/^Error: /, '');
}

function explain({ kind, reason, cause }: NftFailure, purpose: string): HostNetworkError {
  if (kind === 'missing')
    return new HostNetworkError('no-nft-command', `${purpose} needs the program \`nft\`, which is missing: install the package nftables`, {
      cause,
    });
  if (kind === 'timeout') return new HostNetworkError('nft-failed', `\`nft\` did not end within ${TIMEOUT_MS / 1000} s`, { cause });
  if (/Operation not permitted/.test(reason))
    return new HostNetworkError('not-permitted', 'changing nftables needs root or CAP_NET_ADMIN: run with sudo', { cause });
  if (/Unable to initialize Netlink socket|Protocol not supported/.test(reason))
    return new HostNetworkError('no-nft-command', `${purpose} needs nftables, which this kernel lacks: load the module nf_tables`, {
      cause,
    });
  return new HostNetworkError('nft-failed', `${purpose}: \`nft\` refused: ${reason}`, { cause });
}
