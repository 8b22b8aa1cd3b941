/** All runs of one group: the carriers one after the other in each run, so that what changes on the machine changes for all. */

import { loadavg } from 'node:os';
import { type Carrier, openCarrier } from './carrier.js';
import { addError, addRun, emptyRows, type RowReport } from './report.js';
import type { CarrierName, Figures, Group } from './row.js';

export interface RunOptions {
  runs: number;
  seconds: number;
  carriers: readonly CarrierName[];
  /** Node.js options of our daemons. */
  nodeOptions: readonly string[];
  progress: (line: string) => void;
}

export interface GroupResult {
  rows: RowReport[];
  /** Before each run. */
  load: number[];
}

/** A machine with other work to do gives figures that mean little. */
const BUSY_LOAD = 2;

export async function runGroup(group: Group, options: RunOptions): Promise<GroupResult> {
  const result: GroupResult = { rows: emptyRows(group.rows), load: [] };
  const open = new Map<CarrierName, Carrier>();
  const names = group.carriers.filter((name) => options.carriers.includes(name));
  try {
    for (let run = 1; run <= options.runs; run++) {
      const load = loadavg()[0] ?? 0;
      result.load.push(Number(load.toFixed(2)));
      if (load > BUSY_LOAD) options.progress(`${group.name}: LOAD ${load.toFixed(1)}: other work takes part of the machine`);
      for (const name of names) {
        await runCarrier(group, name, open, options, result.rows, `${group.name} ${run}/${options.runs}`);
        if (group.fresh === true) await closeAll(open);
      }
    }
  } finally {
    await closeAll(open);
  }
  return result;
}

async function runCarrier(
  group: Group,
  name: CarrierName,
  open: Map<CarrierName, Carrier>,
  options: RunOptions,
  rows: readonly RowReport[],
  what: string,
): Promise<void> {
  try {
    const carrier = open.get(name) ?? (await openCarrier(name, { ...group.setup, nodeOptions: options.nodeOptions }));
    open.set(name, carrier);
    const figures = await group.measure(carrier, { seconds: options.seconds });
    addRun(rows, name, figures);
    options.progress(`${what} ${name.padEnd(12)} ${describe(group, figures)}`);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    addError(rows, name, reason);
    options.progress(`${what} ${name.padEnd(12)} ${reason}`);
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
