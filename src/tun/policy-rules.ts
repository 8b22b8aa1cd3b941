/** Where there is room for a tunnel's policy routing: marks, tables and priorities that nobody else has. */

import { HostNetworkError, queryIp } from './ip-command.js';
import type { IpFamily } from './ip-prefix.js';

export interface Rule {
  readonly priority: number;
  readonly table?: string;
  readonly fwmark?: string;
}

/** Marks and tables are counted up from here ("mp"). */
const FIRST_MARK = 0x6d70;

export function readRules(family: IpFamily): Promise<Rule[]> {
  return queryIp<Rule>([`-${family}`, 'rule', 'show']);
}

/** A number that is free as a mark, and it and its successors as tables. `taken`: marks that no rule names (yet). */
export async function freeMark(tables: number, taken: readonly number[] = []): Promise<number> {
  const rules = [...(await readRules(4)), ...(await readRules(6))];
  const used = new Set([...taken, ...rules.flatMap((rule) => [Number(rule.table), Number(rule.fwmark)])]);
  for (let mark = FIRST_MARK; mark < FIRST_MARK + 0x1000; mark += 8) {
    const numbers = Array.from({ length: tables }, (_, index) => mark + index);
    if (numbers.some((number) => used.has(number))) continue;
    const routes = await Promise.all(
      numbers.flatMap((number) => [
        queryIp(['-4', 'route', 'show', 'table', String(number)]),
        queryIp(['-6', 'route', 'show', 'table', String(number)]),
      ]),
    );
    if (routes.every((list) => list.length === 0)) return mark;
  }
  throw new HostNetworkError('ip-failed', 'no routing table is free: look at `ip rule` for leftovers');
}

/** Ours go before all others but the local table's, as the kernel itself would place them. */
export function firstPriority(rules: readonly Rule[], count: number): number {
  const lowest = Math.min(32_766, ...rules.map((rule) => rule.priority).filter((priority) => priority > 0));
  if (lowest <= count) throw new HostNetworkError('ip-failed', `no room for ${count} rules before priority ${lowest}: look at \`ip rule\``);
  return lowest - count;
}
