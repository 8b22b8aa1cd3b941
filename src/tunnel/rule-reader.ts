/** What the [[rule]]s of a configuration file mean, and whether each makes sense. */

import type { PathConfig, RuleConfig } from './config.js';
import type { ConfigError, ConfigErrorCode, ConfigWarning } from './config-error.js';
import { didYouMean, quotedList } from './did-you-mean.js';
import { hasPorts, parseDomain, parseMark, parsePorts, parseProtocol, parseUser, type RuleTable } from './rule-schema.js';
import type { KeyPath } from './toml-lines.js';

const TCP = 6;

export interface RuleReaderOptions {
  /** Empty: their names are not known here. */
  paths: readonly PathConfig[];
  /** Host bits cleared, each once. */
  networks: (prefixes: readonly string[] | undefined) => string[];
  error: (code: ConfigErrorCode, path: KeyPath, what: string) => ConfigError;
  /** With the file's name before it. */
  warn: ConfigWarning;
}

/** Throws what `error` makes. */
export function readRules(tables: readonly RuleTable[], options: RuleReaderOptions): RuleConfig[] {
  const rules = tables.map((table, index) => readRule(table, index, options));
  const last = tables.findIndex(({ mode: _, paths: __, plane: ___, bypass: ____, ...conditions }) => Object.keys(conditions).length === 0);
  if (last >= 0 && last < tables.length - 1)
    options.warn(`[[rule]] ${last + 2} is never reached: [[rule]] ${last + 1} has no condition and takes every flow`);
  return rules;
}

function readRule(table: RuleTable, index: number, options: RuleReaderOptions): RuleConfig {
  const { networks, error } = options;
  // A plane is about TCP: without a protocol, such a rule is about TCP alone.
  const told = table.protocol === undefined ? undefined : parseProtocol(table.protocol);
  const protocols = told ?? (table.plane === undefined ? undefined : [TCP]);
  const ports = table.port === undefined ? undefined : parsePorts(table.port);
  const fwmark = table.fwmark === undefined ? undefined : parseMark(table.fwmark);
  const domains = table.domain === undefined ? undefined : [...new Set(listOf<string>(table.domain).map((name) => parseDomain(name)!))];
  const users = table.user === undefined ? undefined : readUsers(listOf<string | number>(table.user), index, options);
  if (protocols !== undefined && ports !== undefined && !hasPorts(protocols))
    throw error('conflict', ['rule', index, 'port'], `does not go with protocol ${JSON.stringify(table.protocol)}: that has no ports`);
  if (table.plane !== undefined && protocols?.includes(TCP) === false)
    throw error(
      'conflict',
      ['rule', index, 'plane'],
      `does not go with protocol ${JSON.stringify(table.protocol)}: only TCP can be ended and aggregated, the rest goes packet by packet`,
    );
  checkAction(table, index, options);
  checkPaths(table, index, options);
  return {
    ...(protocols === undefined ? {} : { protocols }),
    ...(ports === undefined ? {} : { ports }),
    ...(table.destination === undefined ? {} : { destinations: networks(table.destination) }),
    ...(table.source === undefined ? {} : { sources: networks(table.source) }),
    ...(domains === undefined ? {} : { domains }),
    ...(table.dscp === undefined ? {} : { dscp: table.dscp }),
    ...(fwmark === undefined ? {} : { fwmark }),
    ...(users === undefined ? {} : { users }),
    ...(table.mode === undefined ? {} : { mode: table.mode }),
    ...(table.paths === undefined ? {} : { paths: table.paths }),
    ...(table.plane === undefined ? {} : { plane: table.plane }),
    ...(table.bypass === true ? { bypass: true } : {}),
  };
}

function listOf<T>(value: unknown): T[] {
  return (Array.isArray(value) ? value : [value]) as T[];
}

function readUsers(names: readonly (string | number)[], index: number, { error }: RuleReaderOptions): number[] {
  const users = names.map((name) => {
    const id = parseUser(name);
    if (id === undefined) throw error('bad-value', ['rule', index, 'user'], `${JSON.stringify(name)} is no user of this machine`);
    return id;
  });
  return [...new Set(users)];
}

function checkAction(table: RuleTable, index: number, { error }: RuleReaderOptions): void {
  const { mode, paths, plane, bypass } = table;
  if (bypass !== true) {
    if (mode === undefined && paths === undefined && plane === undefined)
      throw error(
        'missing-key',
        ['rule', index, 'mode'],
        'is missing: say how its packets go, as mode = "redundant" (or by paths, plane, or bypass = true)',
      );
    return;
  }
  const beside = Object.entries({ mode, paths, plane }).find(([, value]) => value !== undefined);
  if (beside !== undefined)
    throw error('conflict', ['rule', index, beside[0]], 'stands beside bypass: what does not enter the tunnel takes none of its paths');
}

function checkPaths({ mode, paths: names }: RuleTable, index: number, { paths, error }: RuleReaderOptions): void {
  const where: KeyPath = ['rule', index, 'paths'];
  if (mode === 'pin' && names?.length !== 1)
    throw error(names === undefined ? 'missing-key' : 'bad-value', where, 'must name the one path of mode "pin", as paths = ["dsl"]');
  if (names?.length === 0) throw error('bad-value', where, 'is empty: name a path, or leave the key out for all paths');
  const twice = (names ?? []).find((name, at) => names?.indexOf(name) !== at);
  if (twice !== undefined) throw error('conflict', where, `names "${twice}" twice: remove one`);
  // A server knows no names of its own: the client tells them. Automatic paths have names that nobody knows yet.
  const known = paths.map(({ name }) => name);
  for (const name of paths.length === 0 ? [] : (names ?? [])) {
    if (known.includes(name)) continue;
    const suggestion = didYouMean(name, known);
    const hint = suggestion === undefined ? `known are ${quotedList(known).replaceAll(' or ', ', ')}` : `did you mean "${suggestion}"?`;
    throw error('bad-value', where, `"${name}" is the name of no [[path]]: ${hint}`);
  }
}
