/** A lock that processes of this host hold one after another, for moments: a file with its owner's identity. Whose owner has died is taken over. */

import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isProcessAlive, processStartTicks } from './process-identity.js';

const PATIENCE_MS = 10_000;
const POLL_MS = 10;

/** Runs `work` while `file` is ours. Throws Error when a living process keeps it for longer than 10 s. */
export async function withFileLock<T>(file: string, work: () => Promise<T> | T): Promise<T> {
  await acquire(file);
  try {
    return await work();
  } finally {
    rmSync(file, { force: true });
  }
}

let serial = 0;

async function acquire(file: string): Promise<void> {
  const own = `${file}.${process.pid}.${serial++}`;
  writeFileSync(own, JSON.stringify({ pid: process.pid, startTicks: processStartTicks(process.pid) ?? 0 }), { mode: 0o600 });
  try {
    const untilMs = performance.now() + PATIENCE_MS;
    while (!tryLink(own, file)) {
      removeIfDead(file, own);
      if (performance.now() > untilMs) throw new Error(`${file} is held by process ${ownerOf(file)?.pid ?? '?'}: is it stopped?`);
      await sleep(POLL_MS);
    }
  } finally {
    rmSync(own, { force: true });
  }
}

/** link(2) fails when there is such a file, and the content is there with the name. */
function tryLink(own: string, file: string): boolean {
  try {
    linkSync(own, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return false;
  }
}

/** Between the look and the taking away another may have done the same and got the lock: then it is given back. */
function removeIfDead(file: string, own: string): void {
  const owner = ownerOf(file);
  if (owner === undefined || isProcessAlive(owner.pid, owner.startTicks)) return;
  const aside = `${own}.stale`;
  try {
    renameSync(file, aside);
    const taken = ownerOf(aside);
    if (taken !== undefined && isProcessAlive(taken.pid, taken.startTicks)) tryLink(aside, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  } finally {
    rmSync(aside, { force: true });
  }
}

function ownerOf(file: string): { pid: number; startTicks: number } | undefined {
  try {
    return JSON.parse(readFileSync(file, 'latin1')) as { pid: number; startTicks: number };
  } catch {
    return undefined;
  }
}
