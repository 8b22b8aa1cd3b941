/**
 * docs/guide.md as something to be run. What counts in it, in the order in which it stands:
 *
 *   ```console        a line "HOST$ COMMAND" is run on that host, the lines below it are what comes out (`...`: some lines)
 *   ```toml           with "# HOST: FILE" as its first line: the file is written there; "# HOST: FILE, at the end" appends,
 *                     "# HOST: FILE, under [table]" inserts below that line
 *   <!-- ... -->      a stage direction: what happens in the world meanwhile, or what must hold now; a test knows what it means
 *
 * Anything else is for readers alone. Keys, invites and random prefixes differ from run to run: they are learned where they are printed, and
 * stand for those of the guide from then on. Numbers with a unit, ports and process numbers may be others.
 */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export type Step =
  | { kind: 'command'; line: number; host: string; command: string; output: string[] }
  | { kind: 'file'; line: number; host: string; path: string; place: string; text: string }
  | { kind: 'direction'; line: number; text: string };

const GUIDE_FILE = fileURLToPath(new URL('../../../docs/guide.md', import.meta.url));
const PROMPT = /^([a-z][a-z0-9-]*)\$ (.+)$/;
const FILE_HEAD = /^# ([a-z][a-z0-9-]*): (\/\S+?)(?:, (at the end|under \[\w+\]))?$/;
const DIRECTION = /^<!-- (.+) -->$/;

/** The steps below the heading, up to the next one of the same depth. */
export function readGuide(heading: string, text: string = readFileSync(GUIDE_FILE, 'utf8')): Step[] {
  const lines = text.split('\n');
  const start = lines.indexOf(`## ${heading}`);
  if (start < 0) throw new Error(`the guide has no section "${heading}"`);
  const steps: Step[] = [];
  for (let at = start + 1; at < lines.length && !lines[at]!.startsWith('## '); at++) {
    const direction = DIRECTION.exec(lines[at]!);
    if (direction !== null) steps.push({ kind: 'direction', line: at + 1, text: direction[1]! });
    if (!lines[at]!.startsWith('```')) continue;
    const end = lines.indexOf('```', at + 1);
    if (end < 0) throw new Error(`line ${at + 1}: the block has no end`);
    const block = lines.slice(at + 1, end);
    if (lines[at] === '```console') steps.push(...transcript(block, at + 2));
    if (lines[at] === '```toml') steps.push(...file(block, at + 2));
    at = end;
  }
  return steps;
}

function transcript(block: readonly string[], firstLine: number): Step[] {
  const steps: (Step & { kind: 'command' })[] = [];
  for (const [index, line] of block.entries()) {
    const prompt = PROMPT.exec(line);
    if (prompt !== null) steps.push({ kind: 'command', line: firstLine + index, host: prompt[1]!, command: prompt[2]!, output: [] });
    else if (steps.length > 0) steps.at(-1)!.output.push(line);
    else throw new Error(`line ${firstLine + index}: output before the first prompt`);
  }
  for (const step of steps) while (step.output.at(-1) === '') step.output.pop();
  return steps;
}

function file(block: readonly string[], line: number): Step[] {
  const head = FILE_HEAD.exec(block[0] ?? '');
  if (head === null) return [];
  return [{ kind: 'file', line, host: head[1]!, path: head[2]!, place: head[3] ?? '', text: `${block.slice(1).join('\n')}\n` }];
}

/** Of the guide: what is this run's own. Tried in this order at each place of a line. */
const TOKENS: readonly { guide: RegExp; actual: string; learned?: true }[] = [
  { guide: /mptunnel:[\w-]{20,}(?:\.\.\.)?/g, actual: 'mptunnel:[\\w-]+', learned: true },
  { guide: /[A-Za-z0-9+/]{43}=/g, actual: '[A-Za-z0-9+/]{43}=', learned: true },
  { guide: /\bfd[0-9a-f]{2}:[0-9a-f]{1,4}:[0-9a-f]{1,4}(?=::)/g, actual: 'fd[0-9a-f]{2}:[0-9a-f]{1,4}:[0-9a-f]{1,4}', learned: true },
  { guide: /\d+\.\d+\.\d+\.\d+:(?:[3-6]\d{4})\b/g, actual: '\\d+\\.\\d+\\.\\d+\\.\\d+:\\d+' },
  { guide: /\d+\.\d+\.\d+\.\d+(?:[:/]\d+)?/g, actual: '' },
  { guide: /(?<![\w.:/-])\d+(?:\.\d+)? (?:[kMG]?bit\/s|[kMG]?B)(?!\w)/g, actual: '(?:-|[\\d.]+ (?:[kMG]?bit/s|[kMG]?B))' },
  {
    guide: /(?<![\w.:/-])\d+(?:\.\d+)? (?:ms|s|min|h|days?)(?: \d+ (?:s|min|h))?(?!\w)/g,
    actual: '(?:-|[\\d.]+ (?:ms|s|min|h|days?)(?: \\d+ (?:s|min|h))?)',
  },
  { guide: /(?<![\w.:/-])\d+(?:\.\d+)? %/g, actual: '(?:-|[\\d.]+ %)' },
  { guide: /(?<![\w.:/-])\d+ connections?\b/g, actual: '\\d+ connections?' },
  { guide: /(?<![\w.:/-])\d+(?:\.\d+)?(?![\w.:/-])/g, actual: '[\\d.]+' },
  { guide: / +/g, actual: ' +' },
];

/** What a run has had in place of the guide's keys, invites and prefixes. */
export class Learned {
  private readonly values = new Map<string, string>();

  /** The guide's text with this run's values. */
  apply(text: string): string {
    let result = text;
    for (const [guide, actual] of this.values) result = result.replaceAll(guide, actual);
    return result;
  }

  /** Whether this came out, in shape; if so, what is new in it is learned. */
  matches(expected: readonly string[], actual: string): boolean {
    const names: string[] = [];
    const body = expected.map((line) => (line.trim() === '...' ? '(?:.*\\n)*?' : `${this.pattern(line.trimEnd(), names)}[ ]*\\n`)).join('');
    const found = new RegExp(`^${body}$`).exec(actual === '' || actual.endsWith('\n') ? actual : `${actual}\n`);
    if (found === null) return false;
    for (const [index, name] of names.entries()) this.values.set(name, found[index + 1]!);
    return true;
  }

  private pattern(line: string, names: string[]): string {
    let result = '';
    for (let at = 0; at < line.length; ) {
      const found = firstToken(line, at);
      if (found === undefined) return result + literally(line.slice(at));
      const { token, index, text } = found;
      result += literally(line.slice(at, index));
      at = index + text.length;
      if (token.learned !== true) result += token.actual === '' ? literally(text) : token.actual;
      else if (this.values.has(text)) result += literally(this.values.get(text)!);
      else if (names.includes(text)) result += `\\${names.indexOf(text) + 1}`;
      else {
        names.push(text);
        result += `(${token.actual})`;
      }
    }
    return result;
  }
}

/** The token that begins first from there on; of several the one that stands first in the table. */
function firstToken(line: string, at: number): { token: (typeof TOKENS)[number]; index: number; text: string } | undefined {
  let best: { token: (typeof TOKENS)[number]; index: number; text: string } | undefined;
  for (const token of TOKENS) {
    token.guide.lastIndex = at;
    const found = token.guide.exec(line);
    if (found !== null && (best === undefined || found.index < best.index)) best = { token, index: found.index, text: found[0] };
  }
  return best;
}

function literally(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
