/** Medians of runs, ratios to the others of the same run, and the table that people read. */

import { median, table } from '../profiles/report.js';
import { CARRIERS, type CarrierName, type Figures, type Row } from './row.js';

/** What one carrier did in a row. */
export interface Figure {
  /** In the order in which they were taken. */
  runs: number[];
  /** Why runs have no figure: each reason once. */
  errors: string[];
}

export interface RowReport extends Row {
  figures: Partial<Record<CarrierName, Figure>>;
}

export interface Report {
  benchmark: 'performance';
  machine: Record<string, string | number>;
  options: { seconds: number };
  /** Cores that other work had, by group and run: a figure taken beside it means little. */
  otherWork: Record<string, number[]>;
  rows: RowReport[];
}

export type Verdict = 'aim' | 'bar' | 'missed' | '';

/** Rows in which nothing is measured yet. */
export function emptyRows(rows: readonly Row[]): RowReport[] {
  return rows.map((row) => ({ ...row, figures: {} }));
}

function figureOf(row: RowReport, carrier: CarrierName): Figure {
  row.figures[carrier] ??= { runs: [], errors: [] };
  return row.figures[carrier];
}

/** A row that the run has no figure for is none of that carrier's. */
export function addRun(rows: readonly RowReport[], carrier: CarrierName, figures: Figures): void {
  for (const row of rows) {
    const value = figures[row.name];
    if (value !== undefined) figureOf(row, carrier).runs.push(value);
  }
}

export function addError(rows: readonly RowReport[], carrier: CarrierName, reason: string): void {
  for (const row of rows) {
    const { errors } = figureOf(row, carrier);
    if (!errors.includes(reason)) errors.push(reason);
  }
}

/** The runs of `later` behind those of `earlier`; bounds and titles are those of `later`. Rows of either alone stay. */
export function mergeReports(earlier: Report, later: Report): Report {
  const rows = new Map<string, RowReport>(earlier.rows.map((row) => [row.name, row]));
  for (const row of later.rows) rows.set(row.name, { ...row, figures: mergeFigures(rows.get(row.name)?.figures ?? {}, row.figures) });
  const otherWork: Report['otherWork'] = { ...earlier.otherWork };
  for (const [group, values] of Object.entries(later.otherWork)) otherWork[group] = [...(otherWork[group] ?? []), ...values];
  return { ...later, otherWork, rows: [...rows.values()] };
}

function mergeFigures(earlier: RowReport['figures'], later: RowReport['figures']): RowReport['figures'] {
  const merged: RowReport['figures'] = {};
  for (const carrier of CARRIERS) {
    const [first, second] = [earlier[carrier], later[carrier]];
    if (first === undefined && second === undefined) continue;
    merged[carrier] = {
      runs: [...(first?.runs ?? []), ...(second?.runs ?? [])],
      errors: [...new Set([...(first?.errors ?? []), ...(second?.errors ?? [])])],
    };
  }
  return merged;
}

/** undefined when that carrier has no figure. */
export function medianOf(row: RowReport, carrier: CarrierName): number | undefined {
  const runs = row.figures[carrier]?.runs ?? [];
  return runs.length === 0 ? undefined : median(runs);
}

/** Ours by another's; undefined when one of them is missing. */
export function ratioTo(row: RowReport, carrier: CarrierName): number | undefined {
  const [ours, other] = [medianOf(row, 'ours'), medianOf(row, carrier)];
  return ours === undefined || other === undefined || other === 0 ? undefined : ours / other;
}

/** What the bounds are held against. */
function judged(row: RowReport): number | undefined {
  return row.boundsAre === 'ratio to raw' ? ratioTo(row, 'raw') : medianOf(row, 'ours');
}

/** Without bounds there is none; a bound that nothing can be held against is missed. */
export function verdictOf(row: RowReport): Verdict {
  if (row.bar === undefined) return '';
  const value = judged(row);
  if (value === undefined) return 'missed';
  const reaches = (bound: number): boolean => (row.better === 'more' ? value >= bound : value <= bound);
  if (row.aim !== undefined && reaches(row.aim)) return 'aim';
  return reaches(row.bar) ? 'bar' : 'missed';
}

const HEAD = ['row', 'unit', 'bar', 'aim', 'ours', 'runs', 'raw', 'wireguard-go', 'OpenVPN', ''];
const ERROR_CHARACTERS = 80;

/** Beside each of the others' medians stands ours as a multiple of it. */
export function markdownTable(rows: readonly RowReport[]): string {
  return table(HEAD, rows.map(cellsOf));
}

function cellsOf(row: RowReport): string[] {
  const ours = medianOf(row, 'ours');
  const share = row.boundsAre === 'ratio to raw' ? ratioTo(row, 'raw') : undefined;
  const others = (['raw', 'wireguard-go', 'openvpn'] as const).map((carrier) => otherCell(row, carrier));
  return [
    row.title,
    row.boundsAre === undefined ? row.unit : `${row.unit} (bounds: ${row.boundsAre})`,
    row.bar === undefined ? '' : String(row.bar),
    row.aim === undefined ? '' : String(row.aim),
    ours === undefined ? errorText(row, 'ours') : `**${ours.toFixed(row.digits)}**${share === undefined ? '' : ` (${share.toFixed(2)})`}`,
    (row.figures.ours?.runs ?? []).map((value) => value.toFixed(row.digits)).join(' '),
    ...others,
    verdictOf(row),
  ];
}

function otherCell(row: RowReport, carrier: CarrierName): string {
  const value = medianOf(row, carrier);
  if (value === undefined) return errorText(row, carrier);
  const ratio = ratioTo(row, carrier);
  return `${value.toFixed(row.digits)}${ratio === undefined ? '' : ` (×${ratio.toPrecision(2)})`}`;
}

/** One line that cannot break the table. */
function errorText(row: RowReport, carrier: CarrierName): string {
  const error = row.figures[carrier]?.errors[0];
  if (error === undefined) return '';
  const line = error.replaceAll(/\s+/g, ' ').replaceAll('|', '/');
  return `error: ${line.length > ERROR_CHARACTERS ? `${line.slice(0, ERROR_CHARACTERS)}…` : line}`;
}

/** What the table has no room for. */
export function errorLines(rows: readonly RowReport[]): string[] {
  return rows.flatMap((row) =>
    CARRIERS.flatMap((carrier) => (row.figures[carrier]?.errors ?? []).map((error) => `${row.name}, ${carrier}: ${error}`)),
  );
}
