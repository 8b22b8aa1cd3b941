/**
 * nftables' part in answering by the tunnel what came by the tunnel, where the tunnel is not the default route (host-network.ts has the rules and the routing table). A connection
 * that comes out of the device is marked, and its answers, of this host or of one behind it, carry the mark. Pure.
 *
 * A UDP service that listens on all addresses chooses its answer's source by the default route: to conntrack that is another connection. So the callers of the last minutes are kept, and
 * what is sent to one of them from the port that it asked goes into the tunnel, from the address that it asked.
 */

import { type IpFamily, parsePrefix } from './ip-prefix.js';
import type { NftTable } from './nft-table.js';

/** RFC 4787 (REQ-5): a mapping is kept for two minutes at least. */
const CALLER_TIMEOUT = '3m';
const MAX_CALLERS = 65_535;

export interface AnswerTablePlan {
  readonly device: string;
  /** Of the device, "10.77.0.2/24". */
  readonly addresses: readonly string[];
  /** IP versions that have a routing table for answers. */
  readonly families: readonly IpFamily[];
  /** What leads to that table, in a rule. */
  readonly mark: number;
}

export function answerTable({ device, addresses, families, mark }: AnswerTablePlan): NftTable {
  const tunnel = JSON.stringify(device);
  const sets = families.map(
    (family) => `  set callers${family} {
    typeof ${word(family)} saddr . udp sport . udp dport
    size ${MAX_CALLERS}
    flags dynamic,timeout
    timeout ${CALLER_TIMEOUT}
  }`,
  );
  const arriving = [
    `iifname ${tunnel} ct state new ct mark set ${mark}`,
    ...families.map((family) => `iifname ${tunnel} update @callers${family} { ${word(family)} saddr . udp sport . udp dport }`),
    // Of hosts behind this one.
    `iifname != ${tunnel} ct mark ${mark} ct direction reply meta mark set ${mark}`,
  ];
  const leaving = [
    `ct mark ${mark} ct direction reply meta mark set ${mark}`,
    ...families.map((family) => `${toCaller(family)} meta mark set ${mark}`),
  ];
  const entering = families.flatMap((family) => {
    const texts = addresses.filter((address) => parsePrefix(address)?.family === family).map((address) => address.split('/')[0]!);
    const first = texts[0];
    // Of this host's own answers alone, not those of hosts behind it. Not a translation by conntrack, which would find the pair of addresses and ports taken, by the question.
    return first === undefined
      ? []
      : [
          `oifname ${tunnel} meta mark ${mark} fib saddr type local ${word(family)} saddr != { ${texts.join(', ')} } ${toCaller(family)} ${word(family)} saddr set ${first}`,
        ];
  });
  const body = [
    ...sets,
    chain('arriving', 'type filter hook prerouting priority mangle', arriving),
    chain('leaving', 'type route hook output priority mangle', leaving),
    chain('entering', 'type filter hook postrouting priority 200', entering),
  ];
  return { family: 'inet', purpose: 'answers', body: body.join('\n'), neededBy: 'accept_forwards' };
}

function toCaller(family: IpFamily): string {
  return `${word(family)} daddr . udp dport . udp sport @callers${family}`;
}

function word(family: IpFamily): 'ip' | 'ip6' {
  return family === 4 ? 'ip' : 'ip6';
}

function chain(name: string, hook: string, rules: readonly string[]): string {
  return [`  chain ${name} {`, `    ${hook}; policy accept;`, ...rules.map((rule) => `    ${rule}`), '  }'].join('\n');
}
