/** What the kernel's sets of domains hold, and what is to be told to them: one script for all that came since the last. Pure. */

import { parsePrefix } from '../../tun/ip-prefix.js';
import type { RuleConfig } from '../config.js';
import { domainSetName, elementText, type KnownAddress, kernelRuleCount } from './nft-rules.js';

/** An element is given more time only when it is worth a script. */
const WORTH_MS = 30_000;

interface Waiting {
  readonly address: string;
  readonly rules: Set<number>;
  untilMs: number;
}

export class KernelDomains {
  /** Rules that the kernel decides, by the pattern of a domain of theirs. */
  readonly #rulesOf = new Map<string, number[]>();
  /** By set and address: until when the kernel keeps it. */
  readonly #untilMs = new Map<string, number>();
  readonly #waiting = new Map<string, Waiting>();

  get hasNews(): boolean {
    return this.#waiting.size > 0;
  }

  /** A table was made for these rules, with these addresses. */
  setRules(rules: readonly RuleConfig[], told: (rule: RuleConfig) => readonly KnownAddress[], nowMs: number): void {
    this.#rulesOf.clear();
    this.forget();
    rules.slice(0, kernelRuleCount(rules)).forEach((rule, index) => {
      for (const domain of rule.domains ?? []) this.#rulesOf.set(domain, [...(this.#rulesOf.get(domain) ?? []), index]);
      for (const { address, remainingMs } of told(rule)) this.#untilMs.set(`${index} ${address}`, nowMs + remainingMs);
    });
  }

  /** The sets hold nobody knows what. */
  forget(): void {
    this.#untilMs.clear();
    this.#waiting.clear();
  }

  /** An address of these patterns. 'new': a set does not hold it; 'longer': for longer than it holds it; 'nothing': no set is concerned. */
  note(patterns: readonly string[], address: string, untilMs: number, nowMs: number): 'new' | 'longer' | 'nothing' {
    let news: 'new' | 'longer' | 'nothing' = 'nothing';
    for (const rule of new Set(patterns.flatMap((pattern) => this.#rulesOf.get(pattern) ?? []))) {
      const known = this.#untilMs.get(`${rule} ${address}`) ?? 0;
      if (known > nowMs && untilMs < known + WORTH_MS) continue;
      if (known <= nowMs) news = 'new';
      else if (news === 'nothing') news = 'longer';
      const waiting = this.#waiting.get(address) ?? { address, rules: new Set<number>(), untilMs };
      waiting.untilMs = Math.max(waiting.untilMs, untilMs);
      waiting.rules.add(rule);
      this.#waiting.set(address, waiting);
    }
    return news;
  }

  /** For nft: all that waits, '' when nothing does. `table`: "inet NAME". An element that is there is made anew, since older kernels do not change its time. */
  takeScript(table: string, nowMs: number): string {
    const lines: string[] = [];
    for (const { address, rules, untilMs } of this.#waiting.values()) {
      for (const rule of rules) {
        const set = `${table} ${domainSetName(rule, parsePrefix(address)!.family)}`;
        const element = `{ ${elementText({ address, remainingMs: untilMs - nowMs })} }`;
        lines.push(`add element ${set} ${element}`, `delete element ${set} { ${address} }`, `add element ${set} ${element}`);
        this.#untilMs.set(`${rule} ${address}`, untilMs);
      }
    }
    this.#waiting.clear();
    this.#expire(nowMs);
    return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
  }

  #expire(nowMs: number): void {
    for (const [key, untilMs] of this.#untilMs) if (untilMs <= nowMs) this.#untilMs.delete(key);
  }
}
