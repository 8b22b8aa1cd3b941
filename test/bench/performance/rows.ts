/** All groups, in the order of the table. */

import { CONNECTION_GROUPS } from './connections.js';
import { COST_GROUPS } from './cost.js';
import { LATENCY_GROUPS } from './latency.js';
import type { Group } from './row.js';
import { SCALING_GROUPS } from './scaling.js';
import { THROUGHPUT_GROUPS } from './throughput.js';

export const GROUPS: readonly Group[] = [...THROUGHPUT_GROUPS, ...CONNECTION_GROUPS, ...COST_GROUPS, ...LATENCY_GROUPS, ...SCALING_GROUPS];

/** `stream-one` chooses itself and all that begins with `stream-one-`. */
function chooses(wanted: string, name: string): boolean {
  return name === wanted || name.startsWith(`${wanted}-`);
}

/** Groups whose name or one of whose rows is wanted, with these rows; all without a wish. An unknown name is a RangeError that tells the known. */
export function groupsNamed(wanted: readonly string[] | undefined): readonly Group[] {
  if (wanted === undefined) return GROUPS;
  for (const name of wanted) {
    if (!GROUPS.some((group) => [group.name, ...group.rows.map((row) => row.name)].some((known) => chooses(name, known))))
      throw new RangeError(`No row is called ${name}. There are ${GROUPS.map((group) => group.name).join(', ')}.`);
  }
  return GROUPS.flatMap((group) => {
    const whole = wanted.some((name) => chooses(name, group.name));
    const rows = whole ? group.rows : group.rows.filter((row) => wanted.some((name) => chooses(name, row.name)));
    return rows.length === 0 ? [] : [{ ...group, rows }];
  });
}
