/** How a path is used: the form of its settings in the configuration and on the command line, what they mean, and how they are told. */

import type { Budget, BudgetSpent, PathPolicy } from './config.js';

/** As written in a [[path]] table, and in requests to change a path. */
export interface PolicyTable {
  priority?: number | undefined;
  backup?: boolean | undefined;
  cost?: number | undefined;
  limit_up?: string | undefined;
  limit_down?: string | undefined;
  budget?: string | undefined;
  budget_spent?: BudgetSpent | undefined;
}

const BITS: Readonly<Record<string, number>> = { '': 1, k: 1e3, m: 1e6, g: 1e9 };
const BYTES: Readonly<Record<string, number>> = {
  ...{ '': 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12 },
  ...{ ki: 2 ** 10, mi: 2 ** 20, gi: 2 ** 30, ti: 2 ** 40 },
};
const MIN_BYTES_PER_SEC = 1e3;
const MAX_BYTES_PER_SEC = 125e9;
/** Less is eaten by probes. */
const MIN_BUDGET_BYTES = 1e6;
const MAX_BUDGET_BYTES = 1e15;

/** "20 Mbit/s", "2.5 MB/s" -> bytes per second; "off" -> 0; undefined: neither. */
export function parseRate(text: string): number | undefined {
  if (text.trim() === 'off') return 0;
  const match = /^\s*(\d+(?:\.\d+)?)\s*([kKmMgG]?)(bit|b|B)(?:\/s|ps)\s*$/.exec(text);
  if (match === null) return undefined;
  const [, figure, unit, what] = match as unknown as [string, string, string, string];
  const bytesPerSec = (Number(figure) * BITS[unit.toLowerCase()]!) / (what === 'B' ? 1 : 8);
  return bytesPerSec >= MIN_BYTES_PER_SEC && bytesPerSec <= MAX_BYTES_PER_SEC ? bytesPerSec : undefined;
}

/** What is wrong with it. */
export function rateFault(text: string): string | undefined {
  return parseRate(text) === undefined
    ? `"${text}" is no rate: write it as "20 Mbit/s", between "8 kbit/s" and "1000 Gbit/s", or "off"`
    : undefined;
}

/** "20 GB/month" -> bytes and period; "off" -> 0 bytes; undefined: neither. */
export function parseBudget(text: string): Budget | undefined {
  if (text.trim() === 'off') return { bytes: 0, period: 'month' };
  const match = /^\s*(\d+(?:\.\d+)?)\s*([kKmMgGtT]i?|)B\s*(?:\/|per)\s*(day|week|month)\s*$/.exec(text);
  if (match === null) return undefined;
  const [, figure, unit, period] = match as unknown as [string, string, string, Budget['period']];
  const bytes = Math.round(Number(figure) * BYTES[unit.toLowerCase()]!);
  return bytes >= MIN_BUDGET_BYTES && bytes <= MAX_BUDGET_BYTES ? { bytes, period } : undefined;
}

export function budgetFault(text: string): string | undefined {
  return parseBudget(text) === undefined
    ? `"${text}" is no budget: write it as "20 GB/month", "5 GB/week" or "500 MB/day" (1 MB at least), or "off"`
    : undefined;
}

/** What a table says, in our units. Its texts were checked. */
export function policyOf(table: PolicyTable): PathPolicy {
  const { priority, backup, cost, limit_up: up, limit_down: down, budget, budget_spent: budgetSpent } = table;
  return {
    ...(priority === undefined ? {} : { priority }),
    ...(backup === undefined ? {} : { backup }),
    ...(cost === undefined ? {} : { cost }),
    ...(up === undefined ? {} : { limitUpBytesPerSec: parseRate(up)! }),
    ...(down === undefined ? {} : { limitDownBytesPerSec: parseRate(down)! }),
    ...(budget === undefined ? {} : { budget: parseBudget(budget)! }),
    ...(budgetSpent === undefined ? {} : { budgetSpent }),
  };
}

const DEFAULTS: Required<PathPolicy> = {
  priority: 0,
  backup: false,
  cost: 0,
  limitUpBytesPerSec: 0,
  limitDownBytesPerSec: 0,
  budget: { bytes: 0, period: 'month' },
  budgetSpent: 'backup',
};

/** What makes of `before` what `after` says, where absent is the default; undefined: they mean the same. */
export function policyChange(before: PathPolicy, after: PathPolicy): PathPolicy | undefined {
  const [old, now] = [
    { ...DEFAULTS, ...definedOf(before) },
    { ...DEFAULTS, ...definedOf(after) },
  ];
  const differing = (Object.keys(DEFAULTS) as (keyof PathPolicy)[]).filter((key) => wordsOf(old, key) !== wordsOf(now, key));
  if (differing.length === 0) return undefined;
  return Object.fromEntries(differing.map((key) => [key, now[key]])) as PathPolicy;
}

function definedOf(policy: PathPolicy): PathPolicy {
  return Object.fromEntries(Object.entries(policy).filter(([key, value]) => key in DEFAULTS && value !== undefined)) as PathPolicy;
}

const NAMES: Readonly<Record<keyof PathPolicy, string>> = {
  priority: 'priority',
  backup: 'backup',
  cost: 'cost',
  limitUpBytesPerSec: 'limit_up',
  limitDownBytesPerSec: 'limit_down',
  budget: 'budget',
  budgetSpent: 'budget_spent',
};

/** As the configuration would say it: "backup = true, limit_up = 20 Mbit/s". */
export function describePolicy(policy: PathPolicy): string {
  return (Object.keys(NAMES) as (keyof PathPolicy)[])
    .filter((key) => policy[key] !== undefined)
    .map((key) => `${NAMES[key]} = ${wordsOf(policy, key)}`)
    .join(', ');
}

function wordsOf(policy: PathPolicy, key: keyof PathPolicy): string {
  if (key === 'limitUpBytesPerSec' || key === 'limitDownBytesPerSec') return formatRate(policy[key] ?? 0);
  if (key === 'budget') return formatBudget(policy.budget ?? DEFAULTS.budget);
  return String(policy[key]);
}

/** Exact, as it may be written. */
export function formatRate(bytesPerSec: number): string {
  return bytesPerSec === 0 ? 'off' : `${scaled(bytesPerSec * 8, ['', 'k', 'M', 'G'])}bit/s`;
}

export function formatBudget({ bytes, period }: Budget): string {
  return bytes === 0 ? 'off' : `${scaled(bytes, ['', 'k', 'M', 'G', 'T'])}B/${period}`;
}

function scaled(value: number, prefixes: readonly string[]): string {
  let index = 0;
  let figure = value;
  while (figure >= 1000 && index < prefixes.length - 1) {
    figure /= 1000;
    index++;
  }
  return `${Number(figure.toPrecision(12))} ${prefixes[index]}`;
}
