/**
 * What tunnels may have left where no journal tells of it any more: its file was deleted, or lay in a run directory that is another now. Tables of nftables bear the
 * tunnel's name, rules our protocol number and a table of routes that is empty when its device is gone.
 */

import { execFile } from 'node:child_process';
import { queryIp, ROUTE_PROTOCOL, runIpBatchAll } from './ip-command.js';
import { meansGone } from './network-journal.js';
import { runNft } from './nft-command.js';
import { nftTableName, removeTableScript } from './nft-table.js';

interface RuleRecord {
  readonly priority: number;
  readonly table?: string;
  readonly protocol?: string | number;
  readonly suppress_prefixlen?: number;
}

/** Of a tunnel that does not run. Returns what could not be taken away. */
export async function sweepLeftovers(tunnel: string): Promise<string[]> {
  return [...(await sweepTables(tunnel)), ...(await sweepRules(4)), ...(await sweepRules(6))];
}

async function sweepTables(tunnel: string): Promise<string[]> {
  const failures: string[] = [];
  for (const { family, name } of await listTables()) {
    if (!name.startsWith(nftTableName(tunnel, ''))) continue;
    try {
      await runNft(removeTableScript(family, name), `removing the table ${name}`);
    } catch (error) {
      failures.push((error as Error).message);
    }
  }
  return failures;
}

/** A pair of ours: "lookup main suppress_prefixlength", and behind it the one that leads to our table. */
export function orphanedRules(rules: readonly RuleRecord[], tablesInUse: ReadonlySet<string>): number[] {
  const ours = rules.filter(({ protocol }) => String(protocol) === String(ROUTE_PROTOCOL));
  const orphans = ours.filter((rule) => rule.suppress_prefixlen === undefined && !tablesInUse.has(String(rule.table)));
  const heads = ours.filter(
    (rule) =>
      rule.suppress_prefixlen !== undefined && !ours.some((other) => other.priority === rule.priority + 1 && !orphans.includes(other)),
  );
  return [...orphans, ...heads].map(({ priority }) => priority);
}

async function sweepRules(family: 4 | 6): Promise<string[]> {
  const rules = await queryIp<RuleRecord>([`-${family}`, 'rule', 'show']);
  const inUse = new Set<string>();
  for (const { table } of rules) {
    if (table !== undefined && (await queryIp([`-${family}`, 'route', 'show', 'table', table])).length > 0) inUse.add(table);
  }
  const lines = orphanedRules(rules, inUse).map((priority) => `rule del priority ${priority} protocol ${ROUTE_PROTOCOL}`);
  return (await runIpBatchAll(family, lines)).filter((reason) => !meansGone(reason));
}

/** Empty where there is no nft. */
function listTables(): Promise<{ family: 'inet' | 'ip' | 'ip6'; name: string }[]> {
  return new Promise((resolve) => {
    execFile('nft', ['list', 'tables'], { env: { ...process.env, LC_ALL: 'C' } }, (error, stdout) => {
      const tables = error === null ? [...stdout.matchAll(/^table (inet|ip|ip6) (\S+)$/gm)] : [];
      resolve(tables.map(([, family, name]) => ({ family: family as 'inet' | 'ip' | 'ip6', name: name! })));
    });
  });
}
