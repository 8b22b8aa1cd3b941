/**
 * What must be taken back, written down before each change: whoever finds the file after a crash (the next `up`, or `down`) can undo all of
 * it. Every entry is safe to run when its change never happened, or was undone already: our routes and rules carry a protocol
 * number of their own, what hangs on a device names that device's index, a sysctl or a limit is restored only while it holds our value, a table of nftables
 * bears the tunnel's name, and so does what is ours of the host's DNS; an MPTCP endpoint is ours by its id and address.
 */

import { appendFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { releaseDns } from './host-dns.js';
import { type BatchFamily, queryIp, runIpBatchAll } from './ip-command.js';
import { type PathManagerUndo, undoPathManager } from './mptcp-path-manager.js';
import { runNft } from './nft-command.js';
import { type NftFamily, removeTableScript } from './nft-table.js';
import { isProcessAlive, processStartTicks } from './process-identity.js';

export interface SysctlEntry {
  readonly kind: 'sysctl';
  readonly path: string;
  readonly previous: string;
  readonly ours: string;
}

export type UndoEntry =
  | { readonly kind: 'ip'; readonly family: BatchFamily; readonly line: string; readonly device?: { name: string; index: number } }
  | SysctlEntry
  | { readonly kind: 'nft'; readonly family: NftFamily; readonly table: string }
  | { readonly kind: 'dns'; readonly file: string; readonly stateFile: string; readonly tunnel: string }
  | PathManagerUndo;

interface JournalHeader {
  readonly version: 1;
  readonly pid: number;
  readonly startTicks: number;
}

interface JournalRecord {
  readonly id: number;
  /** undefined: the change of this id was not made. */
  readonly undo?: UndoEntry;
}

export class NetworkJournal {
  /** Absolute. */
  readonly file: string;
  #nextId = 0;

  private constructor(file: string) {
    this.file = file;
  }

  /** Begins an empty journal in the name of this process. */
  static create(file: string): NetworkJournal {
    const header: JournalHeader = { version: 1, pid: process.pid, startTicks: processStartTicks(process.pid) ?? 0 };
    writeFileSync(file, `${JSON.stringify(header)}\n`, { mode: 0o600 });
    return new NetworkJournal(file);
  }

  /** Call before making the changes. Returns their ids. The page cache outlives the process, so no fsync. */
  add(entries: readonly UndoEntry[]): number[] {
    const records = entries.map((undo): JournalRecord => ({ id: this.#nextId++, undo }));
    if (records.length > 0) appendFileSync(this.file, records.map((record) => `${JSON.stringify(record)}\n`).join(''));
    return records.map((record) => record.id);
  }

  /** These changes failed, so there is nothing to undo. */
  cancel(ids: readonly number[]): void {
    if (ids.length > 0) appendFileSync(this.file, ids.map((id) => `${JSON.stringify({ id })}\n`).join(''));
  }
}

/** Suffix of every journal in a run directory (run-directory.ts). */
const SUFFIX = '.journal';

/**
 * Sets a switch of the host. Tunnels that live in one run directory share such switches: one that finds it set by another notes what that had found, and
 * whoever is undone last restores it. Throws what writing throws, with nothing in the journal; does nothing when there is no such switch, or somebody else has set it so.
 */
export function setSysctl(journal: NetworkJournal, path: string, ours: string): void {
  const previous = readSysctl(path);
  if (previous === undefined) return;
  if (previous === ours) {
    const held = holderOf(path, journal.file);
    if (held !== undefined) journal.add([held]);
    return;
  }
  const ids = journal.add([{ kind: 'sysctl', path, previous, ours }]);
  try {
    writeFileSync(path, ours);
  } catch (error) {
    journal.cancel(ids);
    throw error;
  }
}

/** undefined: there is none. */
export function readSysctl(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}

/** The entry for it in the journal of another tunnel that lives. */
function holderOf(path: string, ownFile: string): SysctlEntry | undefined {
  const directory = dirname(ownFile);
  for (const name of readdirSync(directory)) {
    const file = join(directory, name);
    if (!name.endsWith(SUFFIX) || file === ownFile || journalOwner(file) === undefined) continue;
    const entry = pendingEntries(file).find((one): one is SysctlEntry => one.kind === 'sysctl' && one.path === path);
    if (entry !== undefined) return entry;
  }
  return undefined;
}

/** The process that keeps this journal, while it lives. */
export function journalOwner(file: string): number | undefined {
  const header = readLines(file)[0] as JournalHeader | undefined;
  return header !== undefined && isProcessAlive(header.pid, header.startTicks) ? header.pid : undefined;
}

/**
 * Undoes what the journal lists, last change first, and removes the file. Returns what could not be undone (one line each; things that are gone
 * already are none). Nothing happens when there is no such file.
 */
export async function undoJournal(file: string): Promise<string[]> {
  if (!existsSync(file)) return [];
  const entries = await withoutVanishedDevices(pendingEntries(file).reverse());
  const failures: string[] = [];
  for (let begin = 0; begin < entries.length; ) {
    const first = entries[begin]!;
    if (first.kind !== 'ip') {
      if (first.kind === 'sysctl') restoreSysctl(first, file, failures);
      else if (first.kind === 'nft') await removeTable(first, failures);
      else if (first.kind === 'dns') failures.push(...(await releaseDns(first, first.tunnel)));
      else await restorePathManager(first, failures);
      begin++;
      continue;
    }
    let end = begin;
    const lines: string[] = [];
    for (let entry = entries[end]; entry?.kind === 'ip' && entry.family === first.family; entry = entries[++end]) lines.push(entry.line);
    failures.push(...(await runIpBatchAll(first.family, lines)).filter((reason) => !meansGone(reason)));
    begin = end;
  }
  rmSync(file, { force: true });
  return failures;
}

function pendingEntries(file: string): UndoEntry[] {
  const pending = new Map<number, UndoEntry>();
  for (const record of readLines(file).slice(1) as JournalRecord[]) {
    if (record.undo === undefined) pending.delete(record.id);
    else pending.set(record.id, record.undo);
  }
  return [...pending.values()];
}

/** A line that was cut short by a crash has no change behind it: it is written whole before the change begins. */
function readLines(file: string): unknown[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8')
    .split('\n')
    .flatMap((line): unknown[] => {
      try {
        return line === '' ? [] : [JSON.parse(line)];
      } catch {
        return [];
      }
    });
}

/** Addresses and settings went with their device; one of the same name that was made since is another's. */
async function withoutVanishedDevices(entries: readonly UndoEntry[]): Promise<UndoEntry[]> {
  if (!entries.some((entry) => entry.kind === 'ip' && entry.device !== undefined)) return [...entries];
  const links = await queryIp<{ ifname: string; ifindex: number }>(['link', 'show']);
  return entries.filter(
    (entry) =>
      entry.kind !== 'ip' ||
      entry.device === undefined ||
      links.some((link) => link.ifname === entry.device?.name && link.ifindex === entry.device.index),
  );
}

function restoreSysctl(entry: SysctlEntry, file: string, failures: string[]): void {
  try {
    if (readFileSync(entry.path, 'utf8').trim() !== entry.ours || holderOf(entry.path, file) !== undefined) return;
    writeFileSync(entry.path, entry.previous);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT') failures.push(message);
  }
}

async function restorePathManager(entry: PathManagerUndo, failures: string[]): Promise<void> {
  // A journal of a newer version, after a downgrade.
  if (entry.kind !== 'mptcp-endpoint' && entry.kind !== 'mptcp-limit') {
    failures.push(`an entry of the kind "${(entry as { kind: string }).kind}", which this version does not know`);
    return;
  }
  const failure = await undoPathManager(entry).catch((error: Error) => error.message);
  if (failure !== '') failures.push(failure);
}

async function removeTable({ family, table }: { family: NftFamily; table: string }, failures: string[]): Promise<void> {
  try {
    await runNft(removeTableScript(family, table), `removing the table ${table}`);
  } catch (error) {
    failures.push((error as Error).message);
  }
}

/** Of a failure to delete. */
export function meansGone(reason: string): boolean {
  return /No such (process|file or directory|device)|Cannot find device|Address not found|Cannot assign requested address|does not exist/i.test(
    reason,
  );
}
