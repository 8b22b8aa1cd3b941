/** What the machine does beside the measurement: a figure taken beside other work means little. */

import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Lab } from '../../../src/lab/topology.js';
import { busySecondsOf, busySecondsOfMachine } from './processes.js';

const IDLE_SAMPLE_MS = 1000;
/** Cores. An idle machine has a little to do all the same. */
const IDLE_CORES = 0.15;

/** Waits for a second in which the machine does nothing, for as long as `patienceMs`. */
export async function untilIdle(patienceMs: number): Promise<void> {
  const deadlineMs = performance.now() + patienceMs;
  while (performance.now() < deadlineMs) {
    const [startMs, before] = [performance.now(), busySecondsOfMachine()];
    await sleep(IDLE_SAMPLE_MS);
    if ((busySecondsOfMachine() - before) / ((performance.now() - startMs) / 1000) < IDLE_CORES) return;
  }
}

/** Watches the processes that are neither this one nor in the lab's namespaces. Call the result for the cores that they have taken since. */
export function watchOtherWork(lab: Lab): () => number {
  const ours = new Set(
    [lab.client, lab.server, lab.web, lab.middle].map(({ namespace }) => `net:[${statSync(`/run/netns/${namespace}`).ino}]`),
  );
  const [startMs, before] = [performance.now(), secondsByPid(ours)];
  return () => {
    let seconds = 0;
    for (const [pid, busy] of secondsByPid(ours)) seconds += busy - (before.get(pid) ?? 0);
    return seconds / ((performance.now() - startMs) / 1000);
  };
}

function secondsByPid(ours: ReadonlySet<string>): Map<number, number> {
  const seconds = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      // The kernel's own threads have no command line: they work for everybody.
      if (readFileSync(`/proc/${pid}/cmdline`).length > 0 && !ours.has(readlinkSync(`/proc/${pid}/ns/net`)))
        seconds.set(pid, busySecondsOf(pid));
    } catch {
      // It has ended meanwhile.
    }
  }
  return seconds;
}
