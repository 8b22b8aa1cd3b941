/** "backup=on limit_up=20Mbit/s" on the command line. */

import { checkPath } from '../control/change-requests.js';
import type { PathTable } from '../tunnel/config-schema.js';
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

const POLICY_KEYS = POLICY_SETTINGS.map((setting) => setting.slice(0, setting.indexOf('=')));
const SWITCHES: Readonly<Record<string, boolean>> = { on: true, off: false, true: true, false: false };

/** A [[path]] table of the settings of a path's use, and of `more` keys. Throws CliError that says what to write. */
export function parseSettings(settings: readonly string[], more: readonly string[] = [], name = 'path'): PathTable {
  const table: Record<string, unknown> = { name };
  for (const setting of settings) {
    const at = setting.indexOf('=');
    const key = at < 0 ? setting : setting.slice(0, at);
    const text = setting.slice(at + 1);
    if (at < 0 || text === '' || !(more.includes(key) || POLICY_KEYS.includes(key))) {
      const known = [...more.map((one) => `${one}=...`), ...POLICY_SETTINGS].join(', ');
      throw new CliError('bad-setting', `"${setting}" is no setting of a path: write ${known}`);
    }
    if (key in table && key !== 'name') throw new CliError('bad-setting', `${key} is set twice`);
    table[key] = settingOf(key, text);
  }
  const path = checkPath(table);
  if (typeof path === 'string') throw new CliError('bad-setting', path);
  return path;
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
