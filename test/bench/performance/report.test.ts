import t from 'tap';
import {
  addError,
  addRun,
  emptyRows,
  errorLines,
  markdownTable,
  medianOf,
  mergeReports,
  type Report,
  ratioTo,
  verdictOf,
} from './report.js';
import type { CarrierName, Row } from './row.js';
import { GROUPS, groupsNamed } from './rows.js';

const FAST: Row = { name: 'fast-down', title: 'a stream', unit: 'Gbit/s', bar: 3, aim: 5, better: 'more', digits: 2 };
const CHEAP: Row = { name: 'cheap', title: 'a gigabyte', unit: 's', bar: 6, aim: 4, better: 'less', digits: 1 };
const SHARE: Row = { ...FAST, name: 'share', bar: 0.6, aim: 0.9, boundsAre: 'ratio to raw' };

function measured(row: Row, runs: Partial<Record<CarrierName, number[]>>) {
  const rows = emptyRows([row]);
  for (const [carrier, values] of Object.entries(runs)) {
    for (const value of values) addRun(rows, carrier as CarrierName, { [row.name]: value });
  }
  return rows[0]!;
}

function reportOf(rows: Report['rows'], otherWork: Report['otherWork'] = {}): Report {
  return { benchmark: 'performance', machine: {}, options: { seconds: 4 }, otherWork, rows };
}

t.test('the figure is the median of the runs, and the ratio is that of the medians', async (t) => {
  const row = measured(FAST, { ours: [9, 3, 4], raw: [20, 16, 16], openvpn: [0.5] });
  t.equal(medianOf(row, 'ours'), 4);
  t.equal(ratioTo(row, 'raw'), 0.25);
  t.equal(ratioTo(row, 'openvpn'), 8);
  t.equal(ratioTo(row, 'wireguard-go'), undefined, 'who was not measured has no ratio');
});

t.test('a bound is reached from above where more is better, from below where less is', async (t) => {
  const verdicts = (row: Row, values: number[]) => values.map((value) => verdictOf(measured(row, { ours: [value] })));
  t.strictSame(verdicts(FAST, [5, 4.99, 3, 2.99]), ['aim', 'bar', 'bar', 'missed']);
  t.strictSame(verdicts(CHEAP, [4, 4.01, 6, 6.01]), ['aim', 'bar', 'bar', 'missed']);
  t.equal(verdictOf(measured({ ...FAST, bar: 3 }, { raw: [20] })), 'missed', 'without a figure no bar is met');
  const { bar: _bar, aim: _aim, ...informs } = FAST;
  t.equal(verdictOf(measured(informs, { ours: [1] })), '');
});

t.test('bounds on the share of raw are held against the ratio, and not against the figure', async (t) => {
  t.equal(verdictOf(measured(SHARE, { ours: [130], raw: [200] })), 'bar');
  t.equal(verdictOf(measured(SHARE, { ours: [110], raw: [200] })), 'missed');
  t.equal(verdictOf(measured(SHARE, { ours: [110] })), 'missed', 'nothing to hold it against');
  t.match(markdownTable([measured(SHARE, { ours: [130], raw: [200] })]), /\*\*130\.00\*\* \(0\.65\)/);
});

t.test('a run without a figure leaves the row to the other runs, and its reason is told once', async (t) => {
  const rows = emptyRows([FAST, CHEAP]);
  addRun(rows, 'ours', { 'fast-down': 4, cheap: 5 });
  addRun(rows, 'raw', { 'fast-down': 20 });
  addError(rows, 'openvpn', 'cannot | start:\nno device');
  addError(rows, 'openvpn', 'cannot | start:\nno device');
  t.equal(rows[1]!.figures.raw, undefined, 'a carrier without that row');
  t.strictSame(errorLines(rows), ['fast-down, openvpn: cannot | start:\nno device', 'cheap, openvpn: cannot | start:\nno device']);
  const lines = markdownTable(rows).trimEnd().split('\n');
  t.equal(lines.length, 4, 'a reason of several lines does not break the table');
  const cells = (line: string) => line.split('|').length;
  for (const line of lines) t.equal(cells(line), cells(lines[0]!));
  t.match(lines[2], /error: cannot \/ start: no device/);
});

t.test('the table has the runs, the medians of the others and ours as a multiple of them', async (t) => {
  const row = measured(FAST, { ours: [3.1, 3.3, 3.2], raw: [16], 'wireguard-go': [0.5], openvpn: [0.64] });
  const [, , line] = markdownTable([row]).split('\n');
  t.equal(line, '| a stream | Gbit/s | 3 | 5 | **3.20** | 3.10 3.30 3.20 | 16.00 (×0.20) | 0.50 (×6.4) | 0.64 (×5.0) | bar |');
});

t.test('runs of a later report come behind those of the earlier, and rows of either alone stay', async (t) => {
  const earlier = reportOf([measured(FAST, { ours: [1], raw: [10] }), measured(CHEAP, { ours: [7] })], { fast: [0.1] });
  const later = reportOf([measured({ ...FAST, bar: 1 }, { ours: [2, 3] }), measured(SHARE, { ours: [4] })], { fast: [0.2], share: [0.3] });
  const merged = mergeReports(earlier, later);
  t.strictSame(
    merged.rows.map(({ name }) => name),
    ['fast-down', 'cheap', 'share'],
  );
  t.strictSame(merged.rows[0]!.figures.ours!.runs, [1, 2, 3]);
  t.strictSame(merged.rows[0]!.figures.raw!.runs, [10]);
  t.equal(merged.rows[0]!.bar, 1);
  t.strictSame(merged.otherWork, { fast: [0.1, 0.2], share: [0.3] });
  t.strictSame(earlier.rows[0]!.figures.ours!.runs, [1], 'the earlier one is left as it was');
});

t.test('names of rows are unique; --only takes a group, a row, or how they begin; an unknown name is told', async (t) => {
  const names = GROUPS.flatMap((group) => group.rows.map((row) => row.name));
  t.equal(new Set(names).size, names.length);
  t.equal(new Set(GROUPS.map((group) => group.name)).size, GROUPS.length);
  t.equal(groupsNamed(undefined), GROUPS);
  const chosen = (wanted: string[]) => groupsNamed(wanted).map((group) => [group.name, group.rows.length]);
  t.strictSame(chosen(['stream-one']), [['stream-one', 2]]);
  t.strictSame(chosen(['stream-one-up']), [['stream-one', 1]]);
  t.strictSame(
    chosen(['paths']).map(([name]) => name),
    ['paths-1', 'paths-2', 'paths-4', 'paths-8'],
  );
  t.throws(() => groupsNamed(['stream-on']), /No row is called stream-on\. There are stream-one, /);
});

t.test('every bar lies on the near side of its aim', async (t) => {
  for (const { name, bar, aim, better } of GROUPS.flatMap((group) => group.rows)) {
    if (bar === undefined || aim === undefined) continue;
    t.ok(better === 'more' ? aim > bar : aim < bar, name);
  }
});
