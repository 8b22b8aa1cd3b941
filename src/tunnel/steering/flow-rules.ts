/** The rules of the configuration, made ready for packets: which one a flow goes by. First match wins. */

import type { IpPacketFacts } from '../../mptcp-over-udp/wire/ip-header.js';
import { type IpPrefix, networkOf, parsePrefix } from '../../tun/ip-prefix.js';
import type { FlowMode, RuleConfig } from '../config.js';
import type { PathLink } from '../link.js';

export interface FlowRule {
  readonly mode: FlowMode;
  /** Names in order of preference, undefined: all. */
  readonly paths: readonly string[] | undefined;
}

interface CompiledRule extends FlowRule {
  readonly protocols: readonly number[] | undefined;
  readonly firstPort: number;
  readonly lastPort: number;
  readonly sources: readonly IpPrefix[] | undefined;
  readonly destinations: readonly IpPrefix[] | undefined;
  /** -1: any. */
  readonly dscp: number;
}

export class FlowRules {
  #rules: readonly CompiledRule[];

  /** Throws RangeError on a malformed prefix. */
  constructor(rules: readonly RuleConfig[]) {
    this.#rules = rules.map(compile);
  }

  /** Numbers of rules from before mean nothing any more. Throws RangeError on a malformed prefix, and nothing has changed then. */
  replace(rules: readonly RuleConfig[]): void {
    this.#rules = rules.map(compile);
  }

  rule(index: number): FlowRule {
    return this.#rules[index]!;
  }

  /** The number of the first rule that the packet fits, -1: none. `reversed`: the flow is that of the packet's answers. */
  match(bytes: Uint8Array, facts: IpPacketFacts, reversed: boolean): number {
    const source = reversed ? facts.destinationAddressOffset : facts.sourceAddressOffset;
    const destination = reversed ? facts.sourceAddressOffset : facts.destinationAddressOffset;
    for (let i = 0; i < this.#rules.length; i++) {
      const rule = this.#rules[i]!;
      if (rule.protocols !== undefined && !rule.protocols.includes(facts.protocol)) continue;
      if (rule.lastPort >= 0 && !hasPort(rule, facts)) continue;
      if (rule.dscp >= 0 && rule.dscp !== facts.dscpEcn >>> 2) continue;
      if (rule.sources !== undefined && !liesIn(rule.sources, bytes, source, facts.addressBytes)) continue;
      if (rule.destinations !== undefined && !liesIn(rule.destinations, bytes, destination, facts.addressBytes)) continue;
      return i;
    }
    return -1;
  }
}

/** Where a path stands in the rule's order, or in that of the configuration; -1: the rule does not want it. */
export function rankOf(rule: FlowRule | undefined, path: PathLink): number {
  return rule?.paths === undefined ? path.id : rule.paths.indexOf(path.name);
}

function compile(rule: RuleConfig): CompiledRule {
  return {
    mode: rule.mode,
    paths: rule.paths,
    protocols: rule.protocols,
    firstPort: rule.ports?.[0] ?? -1,
    lastPort: rule.ports?.[1] ?? -1,
    sources: rule.sources?.map(prefixOf),
    destinations: rule.destinations?.map(prefixOf),
    dscp: rule.dscp ?? -1,
  };
}

function prefixOf(text: string): IpPrefix {
  const prefix = parsePrefix(text);
  if (prefix === undefined) throw new RangeError(`"${text}" is no IP prefix`);
  return networkOf(prefix);
}

/** Fragments have no ports: only the first could tell, and all of a datagram go one way. */
function hasPort(rule: CompiledRule, facts: IpPacketFacts): boolean {
  if (!facts.hasPorts || facts.isFragment) return false;
  return (
    (facts.destinationPort >= rule.firstPort && facts.destinationPort <= rule.lastPort) ||
    (facts.sourcePort >= rule.firstPort && facts.sourcePort <= rule.lastPort)
  );
}

function liesIn(prefixes: readonly IpPrefix[], bytes: Uint8Array, at: number, addressBytes: number): boolean {
  for (let i = 0; i < prefixes.length; i++) if (contains(prefixes[i]!, bytes, at, addressBytes)) return true;
  return false;
}

function contains(prefix: IpPrefix, bytes: Uint8Array, at: number, addressBytes: number): boolean {
  if (prefix.bytes.length !== addressBytes) return false;
  const whole = prefix.length >>> 3;
  for (let i = 0; i < whole; i++) if (prefix.bytes[i] !== bytes[at + i]) return false;
  const rest = prefix.length & 7;
  return rest === 0 || (prefix.bytes[whole]! ^ bytes[at + whole]!) >>> (8 - rest) === 0;
}
