/** "backup=on priority=10" on the command line. */

import { parsePath } from '../control/change-requests.js';
import type { PathConfig } from '../tunnel/config.js';
import { CliError } from './report.js';

const SWITCHES: Readonly<Record<string, boolean>> = { on: true, off: false, true: true, false: false };

/** `allowed`: keys as in [[path]]. Throws CliError that says what to write. */
export function parseSettings(settings: readonly string[], allowed: readonly string[], name = 'path'): PathConfig {
  const table: Record<string, unknown> = { name };
  for (const setting of settings) {
    const at = setting.indexOf('=');
    const key = at < 0 ? setting : setting.slice(0, at);
    const text = setting.slice(at + 1);
    if (at < 0 || text === '' || !allowed.includes(key)) {
      const known = allowed.map((one) => (one === 'backup' ? 'backup=on' : one === 'priority' ? 'priority=10' : `${one}=...`)).join(', ');
      throw new CliError('bad-setting', `"${setting}" is no setting of a path: write ${known}`);
    }
    if (key in table && key !== 'name') throw new CliError('bad-setting', `${key} is set twice`);
    table[key] = key === 'backup' ? switchOf(text) : key === 'priority' ? numberOf(text) : text;
  }
  const path = parsePath(table);
  if (typeof path === 'string') throw new CliError('bad-setting', path);
  return path;
}

function switchOf(text: string): boolean {
  if (!Object.hasOwn(SWITCHES, text)) throw new CliError('bad-setting', `backup must be on or off, not "${text}"`);
  return SWITCHES[text]!;
}

function numberOf(text: string): number {
  if (!/^\d+$/.test(text)) throw new CliError('bad-setting', `priority must be a whole number from 0 to 255, not "${text}"`);
  return Number(text);
}
