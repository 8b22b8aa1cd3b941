import t from 'tap';
import {
  budgetFault,
  describePolicy,
  formatBudget,
  formatRate,
  parseBudget,
  parseRate,
  policyChange,
  policyOf,
  rateFault,
} from '../../src/tunnel/path-policy.js';

t.test('rates are read in bits and bytes, and come back as they may be written', async (t) => {
  for (const [text, bytesPerSec] of [
    ['20 Mbit/s', 2.5e6],
    ['20Mbit/s', 2.5e6],
    ['1.5 Gbit/s', 187.5e6],
    ['500 kbit/s', 62_500],
    ['10 Mbps', 1.25e6],
    ['2 MB/s', 2e6],
    ['off', 0],
  ] as const) {
    t.equal(parseRate(text), bytesPerSec, text);
    t.equal(parseRate(formatRate(bytesPerSec)), bytesPerSec, formatRate(bytesPerSec));
  }
  t.equal(formatRate(2.5e6), '20 Mbit/s');
  for (const text of ['20', '20 M', 'Mbit/s', '-1 Mbit/s', '0 Mbit/s', '1 bit/s', '20 Mbit', '20 Tbit/s', '2000 Gbit/s', '', 'of'])
    t.match(rateFault(text), /is no rate: write it as "20 Mbit\/s"/, text);
});

t.test('budgets likewise', async (t) => {
  for (const [text, bytes, period] of [
    ['20 GB/month', 20e9, 'month'],
    ['500MB/day', 500e6, 'day'],
    ['1.5 TB / month', 1.5e12, 'month'],
    ['5 GiB/week', 5 * 2 ** 30, 'week'],
    ['20 GB per month', 20e9, 'month'],
  ] as const) {
    t.same(parseBudget(text), { bytes, period }, text);
    t.same(parseBudget(formatBudget({ bytes, period })), { bytes, period }, formatBudget({ bytes, period }));
  }
  t.equal(parseBudget('off')?.bytes, 0);
  for (const text of ['20 GB', '20/month', '20 Gbit/month', '1 kB/day', '0 GB/month', '20 GB/year', ''])
    t.match(budgetFault(text), /is no budget: write it as "20 GB\/month"/, text);
});

t.test('a change of policy has what differs, and nothing that only says the default', async (t) => {
  const before = policyOf({ backup: true, limit_up: '10 Mbit/s', budget: '20 GB/month' });
  t.equal(policyChange(before, { ...before, cost: 0, limitDownBytesPerSec: 0 }), undefined);
  t.equal(policyChange({ budget: { bytes: 0, period: 'month' } }, {}), undefined);
  const change = policyChange(
    before,
    policyOf({ limit_up: '10 Mbit/s', limit_down: '1 Mbit/s', cost: 2, budget: '20 GB/week', budget_spent: 'off' }),
  )!;
  t.same(change, { backup: false, cost: 2, limitDownBytesPerSec: 125_000, budget: { bytes: 20e9, period: 'week' }, budgetSpent: 'off' });
  t.equal(describePolicy(change), 'backup = false, cost = 2, limit_down = 1 Mbit/s, budget = 20 GB/week, budget_spent = off');
});
