/** Words for what is wrong in a configuration file. */

import type { z } from 'zod';
import type { ConfigErrorCode } from './config-error.js';
import { KNOWN_KEYS } from './config-schema.js';
import { didYouMean, quotedList } from './did-you-mean.js';
import type { KeyPath } from './toml-lines.js';

/** ["peer", 1, "public_key"] -> `[[peer]] 2: public_key`. */
export function describe(path: KeyPath): string {
  const [table, second, third] = path;
  if (table === 'path' || table === 'peer' || table === 'rule' || table === 'forward') {
    if (second === undefined) return `[[${table}]]`;
    return `[[${table}]] ${Number(second) + 1}${third === undefined ? '' : `: ${third}`}`;
  }
  if (second !== undefined) return `[${table}] ${second}`;
  return table !== undefined && Object.hasOwn(KNOWN_KEYS, String(table)) ? `[${table}]` : `${table}`;
}

export interface SchemaFault {
  readonly code: ConfigErrorCode;
  readonly path: KeyPath;
  /** What follows the name of the key. */
  readonly what: string;
}

/** The worst of what does not fit the schema. An unknown key goes first: it is often the reason why another is missing. */
export function schemaFault(issues: readonly z.core.$ZodIssue[], raw: unknown): SchemaFault {
  const issue = issues.find((candidate) => candidate.code === 'unrecognized_keys') ?? issues[0]!;
  const path = issue.path as KeyPath;
  if (issue.code === 'unrecognized_keys') return unknownKey(path, issue.keys[0]!);
  const value = valueAt(raw, path);
  if (value === undefined) return { code: 'missing-key', path, what: `is missing${missingHint(path)}` };
  const bad = (what: string): SchemaFault => ({ code: 'bad-value', path, what });
  if (issue.code === 'invalid_type') return bad(typeFault(issue.expected, value, path));
  if (issue.code === 'invalid_value') {
    const suggestion = typeof value === 'string' ? didYouMean(value, issue.values.map(String)) : undefined;
    const hint = suggestion === undefined ? '' : `: did you mean "${suggestion}"?`;
    return bad(`must be ${quotedList(issue.values)}${hint}`);
  }
  return bad(issue.message);
}

function unknownKey(table: KeyPath, key: string): SchemaFault {
  const known = KNOWN_KEYS[String(table[0] ?? '')] ?? [];
  const suggestion = didYouMean(key, known);
  const what =
    suggestion === undefined ? `is not known here: known are ${known.join(', ')}` : `is not known: did you mean "${suggestion}"?`;
  return { code: 'unknown-key', path: [...table, key], what };
}

function valueAt(raw: unknown, path: KeyPath): unknown {
  return path.reduce<unknown>((value, key) => (value as Record<string | number, unknown> | undefined)?.[key], raw);
}

export function missingHint(path: KeyPath): string {
  const hints: Record<string, string> = {
    interface: ': every configuration begins with it',
    peer: ': a tunnel needs one, with the public_key of the other side',
    'interface.address': ': give the address inside the tunnel, as address = ["10.77.0.2/24"]',
    'paths.auto': ': say auto = true, or leave [paths] out',
    'path.name': ': give the uplink a name, as name = "dsl"',
    'forward.protocol': ': say protocol = "tcp" or "udp"',
    'forward.to': ': name the peer that the port leads to, as to = "laptop" or to = "laptop:22"',
    'rule.mode': ': say how its packets go, as mode = "redundant"',
    'peer.public_key': ": print the other side's with `mptunnel pubkey < ITS_PRIVATE_KEY` there",
  };
  return hints[path.filter((part) => typeof part === 'string').join('.')] ?? '';
}

export function typeFault(expected: string, value: unknown, path: KeyPath): string {
  if (path.length === 1 && path[0] === 'paths') return 'must be "auto", or a table [paths] with auto = true';
  if (path.length === 1 && expected === 'array') return `must be written with double brackets: [[${path[0]}]]`;
  if (path.length === 1 && expected === 'object') return `must be a table with single brackets: [${path[0]}]`;
  if (expected === 'array') return `must be a list: ["${String(value)}"]`;
  if (expected === 'string') return `must be text in quotes, not ${describeType(value)}`;
  if (expected === 'boolean') return `must be true or false, not ${describeType(value)}`;
  if (expected === 'number') return `must be a number without quotes, not ${describeType(value)}`;
  return `must be ${expected}, not ${describeType(value)}`;
}

function describeType(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a table';
  return typeof value === 'string' ? `"${value}"` : `${String(value)}`;
}
