/**
 * resolv.conf(5): what of it we read, and what we write in its place. Pure. Texts are latin1 strings, a character for each byte, so that what we do not understand comes
 * back as it was.
 *
 * What we write carries what was there before in its comments: not even a power cut, which empties /run, loses that. A check value in the first line says whether
 * somebody has changed it since.
 */

import { createHash } from 'node:crypto';
import { parseIp } from './ip-prefix.js';

/** What a tunnel wants of the host's name resolution. */
export interface DnsSettings {
  /** IP addresses, the first that answers counts; at most NAMESERVERS_MAX_COUNT. */
  readonly servers: readonly string[];
  /** Domains that are appended to short names; empty: those that the host has. */
  readonly search: readonly string[];
}

export type ResolvConf =
  | { readonly kind: 'absent' }
  /** `text` is that of its target, "" when it leads nowhere. */
  | { readonly kind: 'link'; readonly target: string; readonly text: string }
  | { readonly kind: 'file'; readonly text: string };

/** MAXNS of glibc and musl: further ones are ignored. */
export const NAMESERVERS_MAX_COUNT = 3;
const SIGNATURE = '# Written by mptunnel for the tunnel';
const BEFORE = '# Before, ';
const KEPT = '#|';
const CHECK_DIGITS = 12;

/** In place of `original`, whose options stay, and its search list when the tunnel has none. */
export function formatResolvConf(tunnel: string, { servers, search }: DnsSettings, original: ResolvConf): string {
  const before = original.kind === 'absent' ? '' : original.text;
  const body = [
    '# When the tunnel goes down, what was here before comes back; if this is changed meanwhile, it stays as it is then.',
    ...(search.length === 0 ? [] : [`search ${search.join(' ')}`]),
    ...servers.map((server) => `nameserver ${server}`),
    ...inheritedLines(before, search.length === 0),
    `${BEFORE}${original.kind === 'link' ? `a link to ${original.target}` : original.kind === 'file' ? 'a file' : 'nothing'}:`,
    ...(original.kind === 'absent' ? [] : before.split('\n').map((line) => KEPT + line)),
    '',
  ].join('\n');
  return `${SIGNATURE} ${tunnel}, ${checkValue(body)}\n${body}`;
}

/** Whose text that is, and what was there before it; undefined when it is not ours, or was changed. */
export function parseOurs(text: string): { tunnel: string; original: ResolvConf } | undefined {
  const end = text.indexOf('\n');
  const head = /^ (\S+), (\w+)$/.exec(text.startsWith(SIGNATURE) ? text.slice(SIGNATURE.length, end) : '');
  const body = text.slice(end + 1);
  if (head === null || head[2] !== checkValue(body)) return undefined;
  const lines = body.split('\n');
  const at = lines.findIndex((line) => line.startsWith(BEFORE));
  const kept = lines
    .slice(at + 1)
    .filter((line) => line.startsWith(KEPT))
    .map((line) => line.slice(KEPT.length))
    .join('\n');
  const what = lines[at]?.slice(BEFORE.length, -1) ?? 'nothing';
  const target = /^a link to (.*)$/.exec(what)?.[1];
  const original: ResolvConf =
    target !== undefined ? { kind: 'link', target, text: kept } : what === 'a file' ? { kind: 'file', text: kept } : { kind: 'absent' };
  return { tunnel: head[1]!, original };
}

/** IP addresses, in order. Those with a zone ("fe80::1%eth0") are left out: they mean something on one interface only. */
export function nameserversOf(text: string): string[] {
  return text.split('\n').flatMap((line) => {
    const server = /^\s*nameserver\s+(\S+)/.exec(line)?.[1];
    return server === undefined || parseIp(server) === undefined ? [] : [server];
  });
}

function inheritedLines(original: string, withSearch: boolean): string[] {
  return original.split('\n').flatMap((line) => {
    if (/^\s*sortlist\s/.test(line) || (withSearch && /^\s*(search|domain)\s/.test(line))) return [line.trim()];
    if (!/^\s*options\s/.test(line)) return [];
    // trust-ad says that this very server, and the way to it, may be trusted with DNSSEC.
    const words = line
      .trim()
      .split(/\s+/)
      .filter((word) => word !== 'trust-ad');
    return words.length > 1 ? [words.join(' ')] : [];
  });
}

function checkValue(body: string): string {
  return createHash('sha256').update(body, 'latin1').digest('hex').slice(0, CHECK_DIGITS);
}
