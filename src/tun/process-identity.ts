/** Whether a process that was noted down earlier still lives: a process id alone is used again by others. */

import { readFileSync } from 'node:fs';

/** Field 22 of /proc/PID/stat: start time in clock ticks since boot; undefined when there is no such process, or it is a zombie. */
export function processStartTicks(pid: number): number | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  // The second field is the program's name in brackets and may hold anything.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : Number(fields[19]);
}

export function isProcessAlive(pid: number, startTicks: number): boolean {
  return Number.isInteger(pid) && pid > 0 && processStartTicks(pid) === startTicks;
}
