import t from 'tap';
import { spanOf } from '../../../src/tunnel/budget/calendar.js';
import { type BudgetRecord, PathBudget } from '../../../src/tunnel/budget/path-budget.js';
import type { Budget } from '../../../src/tunnel/config.js';

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
const GB = 1e9;
const MONTHLY: Budget = { bytes: 30 * GB, period: 'month' };
/** Local, as the calendar is. */
const at = (year: number, month: number, day: number, hour = 0): number => new Date(year, month - 1, day, hour).getTime();

t.test('days, weeks and months are those of the local calendar', async (t) => {
  const days = (period: Budget['period'], wallMs: number): number => {
    const { startMs, endMs } = spanOf(period, wallMs);
    t.ok(startMs <= wallMs && wallMs < endMs, 'it is within');
    // A day with a change of the clock has 23 or 25 hours.
    return Math.round((endMs - startMs) / DAY_MS);
  };
  t.equal(days('month', at(2027, 2, 10)), 28);
  t.equal(days('month', at(2028, 2, 29, 23)), 29, 'a leap year');
  t.equal(days('month', at(2027, 4, 30, 23)), 30);
  t.equal(days('month', at(2027, 12, 31, 23)), 31);
  t.equal(days('day', at(2027, 3, 28, 12)), 1);
  t.equal(days('week', at(2027, 1, 1)), 7);
  t.equal(spanOf('month', at(2027, 12, 31, 23)).endMs, at(2028, 1, 1));
  t.equal(spanOf('week', at(2027, 1, 3, 23)).startMs, at(2026, 12, 28), 'Sunday ends the week that began on Monday, in the year before');
  t.equal(spanOf('week', at(2027, 1, 4)).startMs, at(2027, 1, 4));
});

t.test('what runs ahead of the calendar waits until the calendar has caught up', async (t) => {
  // April: 1 GB a day.
  const budget = new PathBudget(MONTHLY, undefined, at(2027, 4, 11), 0);
  t.equal(budget.state, 'within');
  t.equal(budget.dueBytes(at(2027, 4, 11)), 10 * GB);
  t.notOk(budget.update(11 * GB, at(2027, 4, 11), 0), 'a little ahead is free');
  t.ok(budget.update(1 * GB, at(2027, 4, 11), 0));
  t.equal(budget.state, 'ahead');
  t.notOk(budget.update(0, at(2027, 4, 11, 12), 0), 'it needs to be clear of the edge');
  t.ok(budget.update(0, at(2027, 4, 12), 0));
  t.equal(budget.state, 'within');
  t.ok(budget.update(18 * GB, at(2027, 4, 12), 0));
  t.equal(budget.state, 'spent');
  t.notOk(budget.update(0, at(2027, 4, 30, 23), 0), 'to the end of the month');
  t.equal(budget.endsAtMs, at(2027, 5, 1));
  t.ok(budget.update(0, at(2027, 5, 1), 0));
  t.equal(budget.state, 'within');
  t.equal(budget.usedBytes, 0);
});

t.test('the same use is ahead in a long month and not in a short one', async (t) => {
  const state = (month: number): string =>
    new PathBudget(MONTHLY, { period: 'month', startMs: at(2027, month, 1), usedBytes: 17 * GB }, at(2027, month, 15, 12), 0).state;
  t.equal(state(2), 'within', 'half of February is over');
  t.equal(state(1), 'ahead', 'of January less than half');
});

t.test('a restart goes on where it was, in the same period only', async (t) => {
  const first = new PathBudget(MONTHLY, undefined, at(2027, 1, 20), 0);
  first.update(12 * GB, at(2027, 1, 20), 0);
  const record = JSON.parse(JSON.stringify(first.record)) as BudgetRecord;
  t.equal(new PathBudget(MONTHLY, record, at(2027, 1, 25), 5).usedBytes, 12 * GB);
  t.equal(new PathBudget(MONTHLY, record, at(2027, 2, 1), 5).usedBytes, 0, 'the month is over');
  t.equal(new PathBudget(MONTHLY, record, at(2031, 2, 1), 5).usedBytes, 0, 'or years');
  t.equal(new PathBudget({ bytes: GB, period: 'day' }, record, at(2027, 1, 20), 5).usedBytes, 0, 'days are counted anew');
});

t.test('a clock that was set back brings no new budget; believed for an hour, it takes the use along', async (t) => {
  const budget = new PathBudget(MONTHLY, undefined, at(2027, 3, 1), 0);
  budget.update(29 * GB, at(2027, 3, 1), 0);
  budget.update(0, at(2027, 2, 10), 1000);
  budget.update(GB, at(2027, 2, 10), 2000);
  t.equal(budget.usedBytes, 30 * GB);
  t.equal(budget.state, 'spent');
  budget.update(0, at(2027, 3, 1, 1), 3000);
  t.equal(budget.usedBytes, 30 * GB, 'set right again');
  budget.update(0, at(2027, 2, 10), 4000);
  budget.update(0, at(2027, 2, 10, 1), 4000 + HOUR_MS);
  t.equal(budget.usedBytes, 30 * GB);
  t.equal(budget.endsAtMs, at(2027, 3, 1), 'now it is February');
  t.equal(budget.state, 'spent');
});

t.test('a machine without a clock starts in 1970 and counts on where it was, for as long as it takes', async (t) => {
  const record: BudgetRecord = { period: 'month', startMs: at(2027, 3, 1), usedBytes: 15 * GB };
  const budget = new PathBudget(MONTHLY, record, 60_000, 0);
  budget.update(GB, 120_000, 60_000);
  budget.update(GB, 5 * HOUR_MS, 5 * HOUR_MS);
  t.equal(budget.usedBytes, 17 * GB);
  t.equal(budget.state, 'ahead', 'no more than a backup meanwhile');
  budget.update(0, at(2027, 3, 20), 5 * HOUR_MS);
  t.equal(budget.usedBytes, 17 * GB);
  t.equal(budget.state, 'within');
});

t.test('a clock that was far ahead for a while takes nothing away and gives nothing', async (t) => {
  const budget = new PathBudget(MONTHLY, { period: 'month', startMs: at(2027, 3, 1), usedBytes: 15 * GB }, at(2027, 3, 20), 0);
  budget.update(GB, at(2099, 1, 1), 1000);
  t.equal(budget.usedBytes, GB, 'another period, as far as we know');
  budget.update(GB, at(2027, 3, 20), 2000);
  const again = new PathBudget(MONTHLY, budget.record, at(2027, 3, 20), 0);
  again.update(0, at(2027, 3, 20), HOUR_MS);
  t.equal(again.usedBytes, 17 * GB, 'over a restart too');
  t.equal(again.endsAtMs, at(2027, 4, 1));
});

t.test('a changed amount holds at once, for what was used already', async (t) => {
  const budget = new PathBudget(MONTHLY, undefined, at(2027, 4, 29), 0);
  budget.update(12 * GB, at(2027, 4, 29), 0);
  budget.setBytes(10 * GB, at(2027, 4, 29), 0);
  t.equal(budget.state, 'spent');
  budget.setBytes(100 * GB, at(2027, 4, 29), 0);
  t.equal(budget.state, 'within');
});
