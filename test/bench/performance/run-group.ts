/** All runs of one group: the carriers one after the other in each run, so that what changes on the machine changes for all. */

import { type Carrier, openCarrier } from './carrier.js';
import { untilIdle, watchOtherWork } from './other-work.js';
import { addError, addRun, type RowReport } from './report.js';
import type { CarrierName, Figures, Group } from './row.js';

export interface RunOptions {
  runs: number;
  seconds: number;
  carriers: readonly CarrierName[];
  /** For each run and carrier: how long to wait for a quiet machine, and to measure again. */
  patienceSeconds: number;
  /** Node.js options of our daemons. */
  nodeOptions: readonly string[];
  progress: (line: string) => void;
}

export interface GroupResult {
  rows: RowReport[];
  /** Cores that other work had, by run and carrier, in the order in which they were taken. */
  otherWork: number[];
}

/** Cores. Above it the run is made again while there is patience. */
const MUCH_OTHER_WORK = 0.15;

/** Fills `result` as it goes, so that what was measured is there when the run is interrupted. */
export async function runGroup(group: Group, options: RunOptions, result: GroupResult): Promise<void> {
  const open = new Map<CarrierName, Carrier>();
  const names = group.carriers.filter((name) => options.carriers.includes(name));
  try {
    for (let run = 1; run <= options.runs; run++) {
      for (const name of names) {
        await runCarrier(group, name, open, options, result, `${group.name} ${run}/${options.runs} ${name.padEnd(12)}`);
        if (group.fresh === true) await closeAll(open);
      }
    }
  } finally {
    await closeAll(open);
  }
}

async function runCarrier(
  group: Group,
  name: CarrierName,
  open: Map<CarrierName, Carrier>,
  options: RunOptions,
  result: GroupResult,
  what: string,
): Promise<void> {
  try {
    const { figures, otherCores } = await measureInPeace(group, name, open, options, what);
    addRun(result.rows, name, figures);
    result.otherWork.push(Number(otherCores.toFixed(2)));
    options.progress(`${what} ${describe(group, figures)}`);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    addError(result.rows, name, reason);
    options.progress(`${what} ${reason}`);
  }
}

/** Made again beside too much other work, until patience ends: then it counts as it is. */
async function measureInPeace(
  group: Group,
  name: CarrierName,
  open: Map<CarrierName, Carrier>,
  options: RunOptions,
  what: string,
): Promise<{ figures: Figures; otherCores: number }> {
  const deadlineMs = performance.now() + options.patienceSeconds * 1000;
  for (;;) {
    await untilIdle(deadlineMs - performance.now());
    const carrier = open.get(name) ?? (await openCarrier(name, { ...group.setup, nodeOptions: options.nodeOptions }));
    open.set(name, carrier);
    const otherWork = watchOtherWork(carrier.lab);
    const figures = await group.measure(carrier, { seconds: options.seconds });
    const otherCores = otherWork();
    if (otherCores <= MUCH_OTHER_WORK) return { figures, otherCores };
    const again = performance.now() < deadlineMs;
    options.progress(`${what} beside other work (${otherCores.toFixed(2)} cores)${again ? ', again' : ''}: ${describe(group, figures)}`);
    if (!again) return { figures, otherCores };
    if (group.fresh === true) await closeAll(open);
  }
}

function describe(group: Group, figures: Figures): string {
  return group.rows
    .filter(({ name }) => figures[name] !== undefined)
    .map(({ name, digits, unit }) => `${name} ${figures[name]!.toFixed(digits)} ${unit}`)
    .join(', ');
}

async function closeAll(open: Map<CarrierName, Carrier>): Promise<void> {
  for (const carrier of open.values()) await carrier.close();
  open.clear();
}
