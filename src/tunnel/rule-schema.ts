/** Shape of a [[rule]] in a configuration file, and the form of its single values. */

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { domainToASCII } from 'node:url';
import { z } from 'zod';
import { parsePrefix } from '../tun/ip-prefix.js';
import { FLOW_MODES, RULE_PLANES, type RuleMark } from './config.js';
import { didYouMean, quotedList } from './did-you-mean.js';

/** Names of IP protocols; a rule may also give the number. */
const PROTOCOLS: Readonly<Record<string, readonly number[]>> = {
  icmp: [1, 58],
  tcp: [6],
  udp: [17],
  gre: [47],
  esp: [50],
  sctp: [132],
};
/** Those whose packets have ports. */
export const PORT_PROTOCOLS: readonly number[] = [6, 17, 33, 132, 136];
const MAX_U32 = 0xffff_ffff;
/** RFC 1035 (2.3.4). */
const NAME_MAX_CHARACTERS = 253;
const LABEL = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/;
const GETENT_TIMEOUT_MS = 5_000;

/** undefined: neither a known name nor a number. */
export function parseProtocol(value: unknown): readonly number[] | undefined {
  if (typeof value === 'string') return Object.hasOwn(PROTOCOLS, value) ? PROTOCOLS[value] : undefined;
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 255 ? [value] : undefined;
}

export function hasPorts(protocols: readonly number[]): boolean {
  return protocols.some((protocol) => PORT_PROTOCOLS.includes(protocol));
}

/** 5004 or "5004-5010"; undefined: neither. */
export function parsePorts(value: unknown): readonly [first: number, last: number] | undefined {
  const match = typeof value === 'number' || typeof value === 'string' ? /^(\d{1,5})(?:\s*-\s*(\d{1,5}))?$/.exec(String(value)) : null;
  if (match === null) return undefined;
  const first = Number(match[1]);
  const last = Number(match[2] ?? first);
  return first >= 1 && first <= last && last <= 65_535 ? [first, last] : undefined;
}

/** 16, "0x10" or "0x10/0xff" (value and mask); undefined: none of these, or bits outside of the mask. */
export function parseMark(input: unknown): RuleMark | undefined {
  const match = /^(0x[0-9a-f]{1,8}|\d{1,10})(?:\/(0x[0-9a-f]{1,8}|\d{1,10}))?$/i.exec(String(input));
  if ((typeof input !== 'number' && typeof input !== 'string') || match === null) return undefined;
  const value = Number(match[1]);
  const mask = Number(match[2] ?? MAX_U32);
  if (value > MAX_U32 || mask > MAX_U32 || mask === 0 || (value & ~mask) !== 0) return undefined;
  return { value, mask };
}

/** "Example.org." -> "example.org", "*.bücher.example" -> "*.xn--bcher-kva.example"; undefined: no name. */
export function parseDomain(text: string): string | undefined {
  const wildcard = text.startsWith('*.') ? '*.' : '';
  const name = text.slice(wildcard.length).replace(/\.$/, '');
  const ascii = /^[\x21-\x7e]*$/.test(name) ? name.toLowerCase() : domainToASCII(name);
  if (ascii === '' || ascii.length > NAME_MAX_CHARACTERS || isIP(ascii) !== 0) return undefined;
  return ascii.split('.').every((label) => LABEL.test(label)) ? `${wildcard}${ascii}` : undefined;
}

/** The user id that a name or a number stands for on this machine; undefined: there is no such user. */
export function parseUser(value: string | number): number | undefined {
  if (typeof value === 'number' || /^\d+$/.test(value)) {
    const id = Number(value);
    return Number.isInteger(id) && id >= 0 && id < MAX_U32 ? id : undefined;
  }
  return userIn(readPasswd(), value) ?? userIn(askDirectory(value), value);
}

function userIn(passwd: string, name: string): number | undefined {
  const fields = passwd
    .split('\n')
    .map((line) => line.split(':'))
    .find(([first]) => first === name);
  return fields === undefined ? undefined : Number(fields[2]);
}

function readPasswd(): string {
  try {
    return readFileSync('/etc/passwd', 'utf8');
  } catch {
    return '';
  }
}

/** Users that are in no file: LDAP, systemd-homed and the like. */
function askDirectory(name: string): string {
  try {
    return execFileSync('getent', ['passwd', name], { encoding: 'utf8', timeout: GETENT_TIMEOUT_MS, stdio: ['ignore', 'pipe', 'ignore'] });
  } catch {
    return '';
  }
}

const protocol = z.unknown().superRefine((value, context) => {
  if (value === undefined || parseProtocol(value) !== undefined) return;
  const suggestion = typeof value === 'string' ? didYouMean(value, Object.keys(PROTOCOLS)) : undefined;
  const what = `must be ${quotedList(Object.keys(PROTOCOLS))}, or a number from 0 to 255`;
  context.addIssue({ code: 'custom', message: suggestion === undefined ? what : `${what}: did you mean "${suggestion}"?` });
});

export const ports = z.unknown().superRefine((value, context) => {
  if (value === undefined || parsePorts(value) !== undefined) return;
  context.addIssue({ code: 'custom', message: `must be a port (5004) or a range in quotes ("5004-5010"), not ${JSON.stringify(value)}` });
});

const mark = z.unknown().superRefine((value, context) => {
  if (value === undefined || parseMark(value) !== undefined) return;
  context.addIssue({
    code: 'custom',
    message: `must be a mark (16 or "0x10"), or a mark and its mask ("0x10/0xff"), not ${JSON.stringify(value)}`,
  });
});

const dscp = z.number().superRefine((value, context) => {
  if (!Number.isInteger(value) || value < 0 || value > 63)
    context.addIssue({ code: 'custom', message: `must be a whole number from 0 to 63, not ${value}` });
});

const prefix = z.string().superRefine((value, context) => {
  if (parsePrefix(value) === undefined)
    context.addIssue({ code: 'custom', message: `"${value}" is no IP prefix: write it as 198.51.100.0/24 or 2001:db8::/32` });
});

/** One, or a list of them. */
const list = (what: string, fault: (item: unknown) => string | undefined) =>
  z.unknown().superRefine((value, context) => {
    if (value === undefined) return;
    const items = Array.isArray(value) ? value : [value];
    const message =
      items.length === 0 ? `is empty: name ${what}, or leave the key out` : items.map(fault).find((text) => text !== undefined);
    if (message !== undefined) context.addIssue({ code: 'custom', message });
  });

const domain = list('a domain', (item) =>
  typeof item === 'string' && parseDomain(item) !== undefined
    ? undefined
    : `${JSON.stringify(item)} is no domain: write it as "example.org", or "*.example.org" for all names below it`,
);

const user = list('a user', (item) =>
  (typeof item === 'string' && item !== '') || typeof item === 'number'
    ? undefined
    : `${JSON.stringify(item)} is neither a user name nor an id`,
);

export const ruleSchema = z.strictObject({
  protocol: protocol.optional(),
  port: ports.optional(),
  destination: z.array(prefix).optional(),
  source: z.array(prefix).optional(),
  domain: domain.optional(),
  dscp: dscp.optional(),
  fwmark: mark.optional(),
  user: user.optional(),
  mode: z.enum(FLOW_MODES).optional(),
  paths: z.array(z.string()).optional(),
  plane: z.enum(RULE_PLANES).optional(),
  bypass: z.boolean().optional(),
});

export type RuleTable = z.infer<typeof ruleSchema>;
