/**
 * The host's name resolution in the hands of tunnels: by systemd-resolved where the host asks that, else by resolv.conf. Several tunnels may want it at once: the one
 * that came last has it, and when the last of them leaves, in whatever order, the host has what it had. What holds between processes is in a state file, written
 * before each change; what it says of dead processes counts no more.
 */

import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { withFileLock } from './file-lock.js';
import { HostNetworkError } from './ip-command.js';
import { writePrivateFile } from './private-file.js';
import { isProcessAlive, processStartTicks } from './process-identity.js';
import { type DnsSettings, formatResolvConf, nameserversOf, parseOurs, type ResolvConf } from './resolv-conf.js';
import { readResolvConf, restoreResolvConf, tornText, writeResolvConf } from './resolv-conf-file.js';
import { isResolvedRunning, revertResolved, STUB_ADDRESSES, setResolved, UPSTREAM_FILE } from './resolved-command.js';

/** Where the host's name resolution is set. */
export interface DnsPlace {
  readonly file: string;
  /** What tunnels know of one another. */
  readonly stateFile: string;
}

interface DnsHolder extends DnsSettings {
  /** Also the name of its device. */
  readonly tunnel: string;
  readonly pid: number;
  readonly startTicks: number;
}

interface DnsState {
  readonly way: 'file' | 'resolved';
  /** In order of arrival. */
  holders: DnsHolder[];
  original: ResolvConf;
  /** Texts that a writing of ours may have left, finished or not. */
  written: string[];
}

/** MPTUNNEL_RESOLV_CONF is for tests, and for systems that keep the file elsewhere. */
export function dnsPlace(runDirectory: string, environment: NodeJS.ProcessEnv = process.env): DnsPlace {
  const file = environment.MPTUNNEL_RESOLV_CONF || '/etc/resolv.conf';
  const key = createHash('sha256').update(file).digest('hex').slice(0, 8);
  return { file, stateFile: join(runDirectory, `resolv-conf-${key}`) };
}

/** From now on the host asks these servers. Returns what the user should know. Throws HostNetworkError. */
export function takeDns(place: DnsPlace, tunnel: string, settings: DnsSettings): Promise<string[]> {
  return locked(place, async () => {
    const notes: string[] = [];
    const state = readState(place) ?? (await newState(place));
    state.holders = [...livingOthers(state, tunnel), { tunnel, ...settings, ...ownIdentity() }];
    if (state.way === 'file' && isEdited(place, state)) {
      notes.push(`${place.file} was changed while another tunnel had it: what it says now comes back when the last tunnel goes down`);
      state.original = readResolvConf(place.file);
    }
    await show(place, state);
    return notes;
  });
}

/** The tunnel wants nothing any more. Idempotent, also for one that has died. Returns why the host does not have again what it had. */
export async function releaseDns(place: DnsPlace, tunnel: string): Promise<string[]> {
  try {
    return await locked(place, () => release(place, tunnel));
  } catch (error) {
    return [`DNS: ${(error as Error).message}`];
  }
}

/** False when somebody else has changed resolv.conf since a tunnel took it. */
export function hasDns(place: DnsPlace): boolean {
  const state = readState(place);
  return state === undefined || state.way === 'resolved' || !isEdited(place, state);
}

/** The servers that the host asks without tunnels: where the way to a tunnel's own server is asked for. Never throws. */
export function outerNameservers(place: DnsPlace): string[] {
  const taken = new Set(readState(place)?.holders.flatMap(({ servers }) => servers));
  const servers = nameserversOf(outerText(place.file));
  // What the stub asks is asked directly: by its own sockets it would ask through the tunnel.
  const upstream = servers.some((server) => STUB_ADDRESSES.has(server)) ? nameserversOf(textOf(UPSTREAM_FILE)) : [];
  return [...new Set([...upstream, ...servers.filter((server) => !STUB_ADDRESSES.has(server))])].filter((server) => !taken.has(server));
}

async function release(place: DnsPlace, tunnel: string): Promise<string[]> {
  const state = readState(place);
  if (state === undefined) return releaseForgotten(place, tunnel);
  state.holders = livingOthers(state, tunnel);
  if (state.way === 'resolved') {
    await revertResolved(tunnel);
    if (state.holders.length > 0) await show(place, state);
    else rmSync(place.stateFile, { force: true });
    return [];
  }
  const isTaken = isTakenByStranger(place, state);
  if (isTaken || isEdited(place, state)) {
    if (state.holders.length > 0) writeState(place, state);
    else rmSync(place.stateFile, { force: true });
    return isTaken ? [] : [`${place.file} was changed while the tunnel was up, and stays as it is now`];
  }
  if (state.holders.length > 0) {
    await show(place, state);
    return [];
  }
  restoreResolvConf(place.file, state.original);
  rmSync(place.stateFile, { force: true });
  return [];
}

/** The state went with /run, as after a power cut: the file itself knows. */
function releaseForgotten({ file }: DnsPlace, tunnel: string): string[] {
  const current = readResolvConf(file);
  const ours = current.kind === 'absent' ? undefined : parseOurs(current.text);
  if (ours?.tunnel === tunnel) restoreResolvConf(file, ours.original);
  return [];
}

async function newState({ file }: DnsPlace): Promise<DnsState> {
  const current = readResolvConf(file);
  const text = current.kind === 'absent' ? '' : current.text;
  const asksStub = nameserversOf(text).some((server) => STUB_ADDRESSES.has(server));
  const way = asksStub && (await isResolvedRunning()) ? 'resolved' : 'file';
  return { way, holders: [], original: parseOurs(text)?.original ?? current, written: [text] };
}

/** The last holder's settings are in force. */
async function show(place: DnsPlace, state: DnsState): Promise<void> {
  const top = state.holders.at(-1)!;
  if (state.way === 'resolved') {
    writeState(place, state);
    for (const { tunnel } of state.holders.slice(0, -1)) await revertResolved(tunnel);
    await setResolved(top.tunnel, top);
    return;
  }
  const text = formatResolvConf(top.tunnel, top, state.original);
  const current = readResolvConf(place.file);
  const before = current.kind === 'absent' ? '' : current.text;
  writeState(place, { ...state, written: [...state.written, before, text, tornText(text, before)] });
  writeResolvConf(place.file, text, true);
  state.written = [text];
  writeState(place, state);
}

function isEdited({ file }: DnsPlace, state: DnsState): boolean {
  const current = readResolvConf(file);
  const { original } = state;
  if (current.kind === original.kind && (current.kind === 'absent' || current.text === (original as { text: string }).text)) return false;
  return current.kind === 'absent' || (!state.written.includes(current.text) && parseOurs(current.text) === undefined);
}

/** A tunnel with another run directory came later: it knows what was there before, and puts that back. */
function isTakenByStranger({ file }: DnsPlace, { written }: DnsState): boolean {
  const current = readResolvConf(file);
  return current.kind !== 'absent' && !written.includes(current.text) && parseOurs(current.text) !== undefined;
}

function livingOthers(state: DnsState, tunnel: string): DnsHolder[] {
  return state.holders.filter((holder) => holder.tunnel !== tunnel && isProcessAlive(holder.pid, holder.startTicks));
}

function ownIdentity(): { pid: number; startTicks: number } {
  return { pid: process.pid, startTicks: processStartTicks(process.pid) ?? 0 };
}

/** What the file says without us; a link's target may have changed since it was replaced. */
function outerText(file: string): string {
  const text = textOf(file);
  const original = parseOurs(text)?.original;
  if (original === undefined || original.kind === 'absent') return original === undefined ? text : '';
  const target = original.kind === 'link' ? textOf(join(original.target.startsWith('/') ? '/' : dirname(file), original.target)) : '';
  return target === '' || parseOurs(target) !== undefined ? original.text : target;
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}

function readState({ stateFile }: DnsPlace): DnsState | undefined {
  try {
    return JSON.parse(readFileSync(stateFile, 'utf8')) as DnsState;
  } catch {
    return undefined;
  }
}

function writeState({ stateFile }: DnsPlace, state: DnsState): void {
  writePrivateFile(stateFile, JSON.stringify(state));
}

async function locked<T>({ file, stateFile }: DnsPlace, work: () => Promise<T>): Promise<T> {
  mkdirSync(dirname(stateFile), { recursive: true, mode: 0o700 });
  try {
    return await withFileLock(`${stateFile}.lock`, work);
  } catch (cause) {
    if (cause instanceof HostNetworkError) throw cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    const isDenied = code === 'EACCES' || code === 'EPERM' || code === 'EROFS';
    const what = isDenied ? `${file} cannot be written (${code}): run as root, or take [dns] out of the configuration` : message;
    throw new HostNetworkError('dns-failed', what, { cause });
  }
}
