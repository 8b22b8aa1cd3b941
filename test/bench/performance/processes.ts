/** What processes and the machine have used, from /proc. */

import { readFileSync } from 'node:fs';

/** USER_HZ: 100 on every Linux that Node.js runs on. */
const TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4096;

export interface CpuSeconds {
  user: number;
  system: number;
}

/** All threads of a process, since it began. */
export function cpuSecondsOf(pid: number): CpuSeconds {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  // The command name may hold spaces and parentheses; utime and stime are the 12th and 13th fields after it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { user: Number(fields[11]) / TICKS_PER_SECOND, system: Number(fields[12]) / TICKS_PER_SECOND };
}

/** User and system time together. */
export function busySecondsOf(pid: number): number {
  const { user, system } = cpuSecondsOf(pid);
  return user + system;
}

/** What all cores have worked since the machine began, interrupts included. */
export function busySecondsOfMachine(): number {
  const line = readFileSync('/proc/stat', 'latin1').split('\n')[0] ?? '';
  // cpu user nice system idle iowait irq softirq steal (guest time is within user time)
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = line.trim().split(/\s+/).slice(1).map(Number);
  return (user + nice + system + irq + softirq) / TICKS_PER_SECOND;
}

export function residentBytesOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[1]) * PAGE_BYTES;
}
