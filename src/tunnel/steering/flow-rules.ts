/** The rules of the configuration, made ready for packets: which one a flow goes by. First match wins. */

import type { IpPacketFacts } from '../../mptcp-over-udp/wire/ip-header.js';
import { type IpPrefix, networkOf, parsePrefix } from '../../tun/ip-prefix.js';
import type { FlowMode, RuleConfig, RulePlane } from '../config.js';
import type { PathLink } from '../link.js';
import { distinctHostConditions, hostConditionKey, hostConditionOf } from './host-conditions.js';

export interface FlowRule {
  /** Of packets. */
  readonly mode: FlowMode;
  /** Of connections that we end ourselves, undefined: as [stream] says. */
  readonly streamMode: FlowMode | undefined;
  /** Names in order of preference, undefined: all. */
  readonly paths: readonly string[] | undefined;
  /** undefined: as [stream] says. */
  readonly plane: RulePlane | undefined;
}

/** What no packet tells. */
export interface RuleKnowledge {
  /** Did this packet, which came out of the TUN just now, fit the host condition of that place among the distinct ones? */
  holds(condition: number, bytes: Uint8Array, facts: IpPacketFacts): boolean;
  /** Is it an address of one of these domains? */
  hasAddress(domains: readonly string[], bytes: Uint8Array, at: number, addressBytes: number): boolean;
}

/** Nothing is known. */
const IGNORANCE: RuleKnowledge = { holds: () => false, hasAddress: () => false };
/** Of flows that the other side began: user and mark are those of its host. */
const NO_CONDITIONS: ReadonlySet<string> = new Set();

interface CompiledRule extends FlowRule {
  readonly protocols: readonly number[] | undefined;
  readonly firstPort: number;
  readonly lastPort: number;
  readonly sources: readonly IpPrefix[] | undefined;
  readonly destinations: readonly IpPrefix[] | undefined;
  /** -1: any. */
  readonly dscp: number;
  readonly domains: readonly string[] | undefined;
  /** Among the distinct ones, and its key; -1: none. */
  readonly condition: number;
  readonly conditionKey: string;
  /** What is in the tunnel has not gone by. */
  readonly bypass: boolean;
}

export class FlowRules {
  readonly #knowledge: RuleKnowledge;
  #rules: readonly CompiledRule[] = [];
  #conditionKeys: readonly string[] = [];

  /** Throws RangeError on a malformed prefix. */
  constructor(rules: readonly RuleConfig[], knowledge: RuleKnowledge = IGNORANCE) {
    this.#knowledge = knowledge;
    this.replace(rules);
  }

  /** Numbers of rules from before mean nothing any more. Throws RangeError on a malformed prefix, and nothing has changed then. */
  replace(rules: readonly RuleConfig[]): void {
    const keys = distinctHostConditions(rules).map(hostConditionKey);
    this.#rules = rules.map((rule) => compile(rule, keys));
    this.#conditionKeys = keys;
  }

  /** Does any rule send TCP there that would go elsewhere? */
  hasPlane(plane: RulePlane): boolean {
    return this.#rules.some((rule) => rule.plane === plane);
  }

  get isEmpty(): boolean {
    return this.#rules.length === 0;
  }

  /** The keys of all host conditions that this packet, which came out of the TUN just now, fits. */
  heldConditions(bytes: Uint8Array, facts: IpPacketFacts): ReadonlySet<string> {
    if (this.#conditionKeys.length === 0) return NO_CONDITIONS;
    return new Set(this.#conditionKeys.filter((_, condition) => this.#knowledge.holds(condition, bytes, facts)));
  }

  rule(index: number): FlowRule {
    return this.#rules[index]!;
  }

  /**
   * The number of the first rule that the packet fits, -1: none. `reversed`: the flow is that of the packet's answers. `held`: the keys of the host conditions that
   * the flow fitted; without it the kernel is asked.
   */
  match(bytes: Uint8Array, facts: IpPacketFacts, reversed: boolean, held = reversed ? NO_CONDITIONS : undefined): number {
    const source = reversed ? facts.destinationAddressOffset : facts.sourceAddressOffset;
    const destination = reversed ? facts.sourceAddressOffset : facts.destinationAddressOffset;
    for (let i = 0; i < this.#rules.length; i++) {
      const rule = this.#rules[i]!;
      if (rule.bypass) continue;
      if (rule.protocols !== undefined && !rule.protocols.includes(facts.protocol)) continue;
      if (rule.lastPort >= 0 && !hasPort(rule, facts)) continue;
      if (rule.dscp >= 0 && rule.dscp !== facts.dscpEcn >>> 2) continue;
      if (rule.sources !== undefined && !liesIn(rule.sources, bytes, source, facts.addressBytes)) continue;
      if (rule.destinations !== undefined && !liesIn(rule.destinations, bytes, destination, facts.addressBytes)) continue;
      if (rule.domains !== undefined && !this.#knowledge.hasAddress(rule.domains, bytes, destination, facts.addressBytes)) continue;
      // Last: this may be a question to the kernel.
      if (rule.condition >= 0 && !this.#holds(rule, bytes, facts, held)) continue;
      return i;
    }
    return -1;
  }

  #holds(rule: CompiledRule, bytes: Uint8Array, facts: IpPacketFacts, held: ReadonlySet<string> | undefined): boolean {
    return held === undefined ? this.#knowledge.holds(rule.condition, bytes, facts) : held.has(rule.conditionKey);
  }
}

/** Where a path stands in the rule's order, or in that of the configuration; -1: the rule does not want it. */
export function rankOf(rule: FlowRule | undefined, path: PathLink): number {
  return rule?.paths === undefined ? path.id : rule.paths.indexOf(path.name);
}

function compile(rule: RuleConfig, conditionKeys: readonly string[]): CompiledRule {
  const bypass = rule.bypass === true;
  const condition = bypass ? undefined : hostConditionOf(rule);
  const conditionKey = condition === undefined ? '' : hostConditionKey(condition);
  return {
    // The other side is told of this one, and answers on the path on which it comes.
    mode: rule.mode ?? (rule.paths === undefined ? 'min-delay' : 'active-standby'),
    streamMode: rule.mode,
    paths: rule.paths,
    plane: rule.plane,
    protocols: rule.protocols,
    firstPort: rule.ports?.[0] ?? -1,
    lastPort: rule.ports?.[1] ?? -1,
    sources: rule.sources?.map(prefixOf),
    destinations: rule.destinations?.map(prefixOf),
    dscp: rule.dscp ?? -1,
    domains: rule.domains,
    condition: condition === undefined ? -1 : conditionKeys.indexOf(conditionKey),
    conditionKey,
    bypass,
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
