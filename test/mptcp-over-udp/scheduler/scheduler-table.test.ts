/**
 * (rate, delay, loss, queue) x scheduler, as a snapshot: a change of behaviour shows in review as a change of scheduler-table.txt. After a change that
 * is meant: UPDATE_SNAPSHOT=1 node dist/test/mptcp-over-udp/scheduler/scheduler-table.test.js
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { SCHEDULERS, type SchedulerName } from '../../../src/mptcp-over-udp/scheduler/schedulers.js';
import { formatTable, measure, type Row, SCENARIOS, type Scenario } from './scheduler-table.js';

const SNAPSHOT = fileURLToPath(new URL('../../../../test/mptcp-over-udp/scheduler/scheduler-table.txt', import.meta.url));
const NAMES = Object.keys(SCHEDULERS) as SchedulerName[];

t.setTimeout(120_000);

const table = new Map<Scenario, Map<SchedulerName, Row>>();
for (const scenario of SCENARIOS) {
  const rows = new Map<SchedulerName, Row>();
  for (const name of NAMES) rows.set(name, measure(name, scenario));
  table.set(scenario, rows);
}

t.test('the scheduler table is as committed', async (t) => {
  const text = formatTable(table);
  if (process.env.UPDATE_SNAPSHOT !== undefined) writeFileSync(SNAPSHOT, text);
  t.equal(text, readFileSync(SNAPSHOT, 'utf8'), 'if the change is meant, run again with UPDATE_SNAPSHOT=1 and commit the table');
});
