/** What rules ask that a packet out of the TUN does not tell: its mark, and whose socket sent it. Rules that ask the same share a condition. */

import type { RuleConfig, RuleMark } from '../config.js';

export interface HostCondition {
  readonly users: readonly number[] | undefined;
  readonly fwmark: RuleMark | undefined;
}

/** undefined: the rule asks for neither. */
export function hostConditionOf({ users, fwmark }: RuleConfig): HostCondition | undefined {
  return users === undefined && fwmark === undefined ? undefined : { users, fwmark };
}

/** The same for conditions that are the same. */
export function hostConditionKey({ users, fwmark }: HostCondition): string {
  const owners = users === undefined ? '' : `user ${[...users].sort((a, b) => a - b).join(' ')}`;
  return fwmark === undefined ? owners : `${owners} mark ${fwmark.value}/${fwmark.mask}`;
}

/** Of the rules that take traffic into the tunnel, each once: who goes by is decided by nftables alone. */
export function distinctHostConditions(rules: readonly RuleConfig[]): HostCondition[] {
  const found = new Map<string, HostCondition>();
  for (const rule of rules) {
    const condition = rule.bypass === true ? undefined : hostConditionOf(rule);
    if (condition !== undefined) found.set(hostConditionKey(condition), condition);
  }
  return [...found.values()];
}
