/** "backup=on limit_up=20Mbit/s" on the command line, of a path or of a peer. */

import { checkPath, checkPeerLimits } from '../control/change-requests.js';
import type { PathTable, PeerLimitsTable } from '../tunnel/config-schema.js';
import { CliError } from './report.js';

/** Those that say how a path is used, with an example of each. */
export const POLICY_SETTINGS = [
  'backup=on',
  'priority=10',
  'cost=1',
  'limit_up="20 Mbit/s"',
  'limit_down=off',
  'budget="20 GB/month"',
  'budget_spent=off',
] as const;

/** Those of a peer, likewise. */
export const PEER_SETTINGS = ['limit_up="5 Mbit/s"', 'limit_down=off'] as const;

const SWITCHES: Readonly<Record<string, boolean>> = { on: true, off: false, true: true, false: false };

/** A [[path]] table of the settings of a path's use, and of `more` keys. Throws CliError that says what to write. */
export function parseSettings(settings: readonly string[], more: readonly string[] = [], name = 'path'): PathTable {
  const known = [...more.map((one) => `${one}=...`), ...POLICY_SETTINGS];
  const path = checkPath({ name, ...tableOf(settings, 'path', known) });
  if (typeof path === 'string') throw new CliError('bad-setting', path);
  return path;
}

/** The limits in a [[peer]] table. Throws as parseSettings. */
export function parsePeerSettings(settings: readonly string[]): PeerLimitsTable {
  const limits = checkPeerLimits(tableOf(settings, 'peer', PEER_SETTINGS));
  if (typeof limits === 'string') throw new CliError('bad-setting', limits);
  return limits;
}

/** `known`: those that there are, with an example of each. */
function tableOf(settings: readonly string[], what: string, known: readonly string[]): Record<string, unknown> {
  const keys = known.map((one) => one.slice(0, one.indexOf('=')));
  const table: Record<string, unknown> = {};
  for (const setting of settings) {
    const at = setting.indexOf('=');
    const key = at < 0 ? setting : setting.slice(0, at);
    const text = setting.slice(at + 1);
    if (at < 0 || text === '' || !keys.includes(key))
      throw new CliError('bad-setting', `"${setting}" is no setting of a ${what}: write ${known.join(', ')}`);
    if (Object.hasOwn(table, key)) throw new CliError('bad-setting', `${key} is set twice`);
    table[key] = settingOf(key, text);
  }
  return table;
}

function settingOf(key: string, text: string): unknown {
  if (key === 'backup') {
    if (!Object.hasOwn(SWITCHES, text)) throw new CliError('bad-setting', `backup must be on or off, not "${text}"`);
    return SWITCHES[text]!;
  }
  if (key !== 'priority' && key !== 'cost') return text;
  if (!/^\d+$/.test(text)) throw new CliError('bad-setting', `${key} must be a whole number from 0 to 255, not "${text}"`);
  return Number(text);
}
