/**
 * The rules as far as only the kernel can tell, as the body of a table of nftables. Pure.
 *
 * - `fwmark`, `user`: whatever is about to enter the tunnel and fits is written down by its addresses, protocol and ports, in sets whose elements live a minute longer than
 *   their flow is silent. The packet itself is not changed; who reads it from the TUN asks the sets (OwnerSets). It is written down last of all in postrouting, so as it is read.
 * - `bypass`: the first packet of a connection decides, as conntrack sees connections. One that fits gets the mark by which the policy routing takes the tunnel's own datagrams past
 *   the tunnel, and is routed again. Its socket has chosen the tunnel's address by then, so that is masqueraded; and so are hosts of a
 *   LAN of ours, whose addresses nobody outside knows. The decision stays with the connection.
 */

import { formatIp, type IpFamily, type IpPrefix, parsePrefix, prefixContains } from '../../tun/ip-prefix.js';
import type { RuleConfig } from '../config.js';
import { PORT_PROTOCOLS } from '../rule-schema.js';
import { distinctHostConditions, type HostCondition } from './host-conditions.js';

export interface NftRulesInput {
  readonly device: string;
  /** Of the device, "10.77.0.2/24". */
  readonly addresses: readonly string[];
  /** Behind them there are hosts that use the tunnel through this one. */
  readonly lanInterfaces?: readonly string[];
  readonly rules: readonly RuleConfig[];
  /** What the policy routing takes past the tunnel; only read when a rule says bypass. */
  readonly mark: number;
  /** Addresses that the rule's domains are known to have now. */
  readonly addressesOf: (rule: RuleConfig) => readonly KnownAddress[];
}

export interface KnownAddress {
  /** "198.51.100.2", "fd98::2" */
  readonly address: string;
  readonly remainingMs: number;
}

const FAMILIES: readonly IpFamily[] = [4, 6];
const OWNER_TIMEOUT_SECONDS = 60;
const OWNER_SET_SIZE = 65_535;
export const DOMAIN_SET_SIZE = 16_384;
/** A larger packet may be cut on its way into the TUN, and pieces have no ports. */
const WHOLE_BYTES = 1280;
const WITH_PORTS = `meta l4proto { ${PORT_PROTOCOLS.join(', ')} }`;

/** Do these rules need nftables at all? */
export function needsNft(rules: readonly RuleConfig[]): boolean {
  return rules.some((rule) => rule.bypass === true) || distinctHostConditions(rules).length > 0;
}

/** What of the rules it is that needs nftables, for messages. */
export function nftNeed(rules: readonly RuleConfig[]): string {
  const rule = rules.find(({ bypass }) => bypass === true) ?? rules.find(({ users }) => users !== undefined);
  return `a [[rule]] with ${rule?.bypass === true ? 'bypass' : rule?.users === undefined ? 'fwmark' : 'user'}`;
}

/** How many of the rules are decided by the kernel: those up to the last that bypasses, since an earlier one that fits keeps a flow in the tunnel. */
export function kernelRuleCount(rules: readonly RuleConfig[]): number {
  return rules.findLastIndex((rule) => rule.bypass === true) + 1;
}

/** The set that holds a rule's addresses, for changes while the table stands. */
export function domainSetName(rule: number, family: IpFamily): string {
  return `domain${rule}_${family}`;
}

/** The sets of a host condition: flows with ports, and those without, among them pieces of packets. */
export function ownerSetName(condition: number, family: IpFamily, hasPorts: boolean): string {
  return `owner${condition}_${family}${hasPorts ? '' : 'n'}`;
}

export function rulesTableBody(input: NftRulesInput): string {
  return [...ownerLines(input), ...bypassLines(input)].join('\n');
}

// ---- fwmark and user ----

function ownerLines({ device, rules }: NftRulesInput): string[] {
  const conditions = distinctHostConditions(rules);
  if (conditions.length === 0) return [];
  return [
    ...conditions.flatMap((_, index) => FAMILIES.flatMap((family) => [ownerSet(index, family, true), ownerSet(index, family, false)])),
    ...conditions.map((_, index) => `chain owner${index} {\n${FAMILIES.flatMap((family) => noteLines(index, family)).join('\n')}\n}`),
    'chain owners { type filter hook postrouting priority 300; policy accept;',
    ...conditions.map((condition, index) => `oifname "${device}" ${hostMatches(condition).join(' ')} jump owner${index}`),
    '}',
  ];
}

function ownerSet(condition: number, family: IpFamily, hasPorts: boolean): string {
  const address = addressType(family);
  const ports = hasPorts ? ' . inet_service . inet_service' : '';
  return (
    `set ${ownerSetName(condition, family, hasPorts)} { type ${address} . ${address} . inet_proto${ports}; ` +
    `flags dynamic,timeout; timeout ${OWNER_TIMEOUT_SECONDS}s; size ${OWNER_SET_SIZE}; }`
  );
}

function noteLines(condition: number, family: IpFamily): string[] {
  const ip = header(family);
  const key = `${ip} saddr . ${ip} daddr . meta l4proto`;
  const withoutPorts = `update @${ownerSetName(condition, family, false)} { ${key} }`;
  return [
    `${WITH_PORTS} update @${ownerSetName(condition, family, true)} { ${key} . th sport . th dport }`,
    `meta l4proto != { ${PORT_PROTOCOLS.join(', ')} } ${withoutPorts}`,
    `meta l4proto != 6 meta length > ${WHOLE_BYTES} ${withoutPorts}`,
  ];
}

function hostMatches({ users, fwmark }: HostCondition): string[] {
  return [
    ...(users === undefined ? [] : [`meta skuid { ${users.join(', ')} }`]),
    ...(fwmark === undefined ? [] : [`meta mark & ${hex(fwmark.mask)} == ${hex(fwmark.value)}`]),
  ];
}

// ---- bypass ----

function bypassLines(input: NftRulesInput): string[] {
  const { device, rules, mark } = input;
  const count = kernelRuleCount(rules);
  if (count === 0) return [];
  const decided = rules.slice(0, count);
  const goBy = `ct mark set ${hex(mark)} meta mark set ${hex(mark)} return`;
  return [
    ...decided.flatMap((rule, index) =>
      rule.domains === undefined ? [] : FAMILIES.map((family) => domainSet(input, rule, index, family)),
    ),
    'chain decide {',
    `ct mark ${hex(mark)} meta mark set ${hex(mark)} return`,
    // A connection that is under way goes on as it began.
    'ct status & confirmed == confirmed return',
    ...decided.flatMap((rule, index) => ruleMatches(rule, index).map((match) => `${match} ${rule.bypass === true ? goBy : 'return'}`)),
    '}',
    // After what else sets marks there.
    'chain output { type route hook output priority mangle + 1; policy accept;',
    `oifname "${device}" jump decide`,
    '}',
    'chain forwarded { type filter hook prerouting priority mangle + 1; policy accept;',
    `iifname != "${device}" jump decide`,
    '}',
    'chain source { type nat hook postrouting priority srcnat; policy accept;',
    ...FAMILIES.flatMap((family) => masqueradeLine(input, family)),
    ...lanMasqueradeLines(input),
    '}',
  ];
}

function domainSet({ addressesOf }: NftRulesInput, rule: RuleConfig, index: number, family: IpFamily): string {
  const known = addressesOf(rule).filter(({ address }) => parsePrefix(address)?.family === family);
  const elements = known.length === 0 ? '' : ` elements = { ${known.map(elementText).join(', ')} };`;
  return `set ${domainSetName(index, family)} { type ${addressType(family)}; flags timeout; size ${DOMAIN_SET_SIZE};${elements} }`;
}

export function elementText({ address, remainingMs }: KnownAddress): string {
  return `${address} timeout ${Math.max(1, Math.ceil(remainingMs / 1000))}s`;
}

/** Only what bears the tunnel's address: a socket that was bound to another goes out as it is. */
function masqueradeLine({ device, addresses, mark }: NftRulesInput, family: IpFamily): string[] {
  const own = addresses.map((text) => parsePrefix(text)!).filter((prefix) => prefix.family === family);
  if (own.length === 0) return [];
  const list = own.map(({ bytes }) => formatIp(bytes)).join(', ');
  return [`ct mark ${hex(mark)} oifname != "${device}" ${header(family)} saddr { ${list} } masquerade`];
}

/** By whose address it is: where it came in, older kernels do not tell in postrouting. */
function lanMasqueradeLines({ device, mark, lanInterfaces = [] }: NftRulesInput): string[] {
  if (lanInterfaces.length === 0) return [];
  const inside = [device, ...lanInterfaces].map((name) => JSON.stringify(name)).join(', ');
  return [`ct mark ${hex(mark)} oifname != { ${inside} } fib saddr type != local masquerade`];
}

/** Lines that fit what the rule fits, of which the first counts: nft has no "or" between headers. */
function ruleMatches(rule: RuleConfig, index: number): string[] {
  const perFamily = [rule.sources, rule.destinations, rule.domains, rule.dscp].some((condition) => condition !== undefined);
  const bases = perFamily ? FAMILIES.flatMap((family) => familyMatch(rule, index, family)) : [''];
  return bases.flatMap((base) =>
    portMatches(rule).map((ports) => joined([protocolMatch(rule), ports, base, ...hostMatches(hostPart(rule))])),
  );
}

function hostPart({ users, fwmark }: RuleConfig): HostCondition {
  return { users, fwmark };
}

function protocolMatch({ protocols, ports }: RuleConfig): string {
  if (protocols !== undefined) return `meta l4proto { ${protocols.join(', ')} }`;
  return ports === undefined ? '' : WITH_PORTS;
}

function portMatches({ ports }: RuleConfig): string[] {
  if (ports === undefined) return [''];
  const [first, last] = ports;
  const range = first === last ? `${first}` : `${first}-${last}`;
  return [`th dport ${range}`, `th sport ${range}`];
}

/** [] when no packet of the family can fit. */
function familyMatch(rule: RuleConfig, index: number, family: IpFamily): string[] {
  const ip = header(family);
  const parts: string[] = [];
  for (const [field, prefixes] of [
    ['saddr', rule.sources],
    ['daddr', rule.destinations],
  ] as const) {
    if (prefixes === undefined) continue;
    const mine = withoutContained(prefixes.map((text) => parsePrefix(text)!).filter((prefix) => prefix.family === family));
    if (mine.length === 0) return [];
    parts.push(`${ip} ${field} { ${mine.map(({ bytes, length }) => `${formatIp(bytes)}/${length}`).join(', ')} }`);
  }
  if (rule.domains !== undefined) parts.push(`${ip} daddr @${domainSetName(index, family)}`);
  if (rule.dscp !== undefined) parts.push(`${ip} dscp ${rule.dscp}`);
  return [parts.join(' ')];
}

/** nft refuses intervals that overlap. */
function withoutContained(prefixes: readonly IpPrefix[]): IpPrefix[] {
  return prefixes.filter(
    (prefix, at) =>
      !prefixes.some((other, place) => place !== at && prefixContains(other, prefix) && (other.length < prefix.length || place < at)),
  );
}

function joined(parts: readonly string[]): string {
  return parts.filter((part) => part !== '').join(' ');
}

function header(family: IpFamily): 'ip' | 'ip6' {
  return family === 4 ? 'ip' : 'ip6';
}

function addressType(family: IpFamily): string {
  return family === 4 ? 'ipv4_addr' : 'ipv6_addr';
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
