/**
 * The terminal as a screen of lines: the alternate screen and raw mode while it is open, and whatever happens the terminal as it was afterwards. Plain
 * ECMA-48 sequences, as every terminal and ssh know them.
 */

import { writeSync } from 'node:fs';
import type { ScreenSize, TopLine } from '../control/top-view.js';
import { CliError, reportFailure } from './report.js';

const ENTER = '\u001b[?1049h\u001b[?25l\u001b[2J';
const LEAVE = '\u001b[0m\u001b[?25h\u001b[?1049l';
const STYLES: Readonly<Record<TopLine['style'], string>> = { plain: '', bold: '\u001b[1m', inverse: '\u001b[7m', bad: '\u001b[31m' };
const SIGNALS = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;
const FALLBACK_SIZE: ScreenSize = { columns: 80, rows: 24 };

export interface ScreenHandlers {
  onInput: (text: string) => void;
  /** What is drawn must be drawn again, whole. */
  onResize: () => void;
}

/** Throws CliError where lines cannot be placed. */
export function requireTerminal(): void {
  if (!process.stdin.isTTY || !process.stdout.isTTY)
    throw new CliError('no-terminal', '`mptunnel top` needs a terminal: use `mptunnel status`, or `mptunnel events` in scripts');
  if (process.env.TERM === 'dumb')
    throw new CliError('no-terminal', 'this terminal cannot place its cursor (TERM=dumb): use `mptunnel status`');
}

export class TerminalScreen {
  readonly #colour = !process.env.NO_COLOR;
  #drawn: string[] = [];
  #open = true;

  constructor(handlers: ScreenHandlers) {
    const { stdin, stdout } = process;
    requireTerminal();
    process.once('exit', this.close);
    for (const signal of Object.keys(SIGNALS) as (keyof typeof SIGNALS)[]) process.once(signal, this.#handleSignal);
    process.once('uncaughtException', this.#handleDefect);
    process.once('unhandledRejection', this.#handleDefect);
    stdin.setRawMode(true);
    stdin.setEncoding('utf8');
    stdin.on('data', handlers.onInput);
    const redraw = (): void => {
      this.#drawn = [];
      if (this.#open) handlers.onResize();
    };
    stdout.on('resize', redraw);
    // Back from the shell, which has used the screen.
    process.on('SIGCONT', redraw);
    write(ENTER);
  }

  get size(): ScreenSize {
    const { columns, rows } = process.stdout;
    return columns > 0 && rows > 0 ? { columns, rows } : FALLBACK_SIZE;
  }

  /** Only lines that changed are sent. */
  draw(lines: readonly TopLine[]): void {
    if (!this.#open) return;
    const all = this.#drawn.length !== lines.length;
    let out = all ? '\u001b[2J' : '';
    const drawn = lines.map(({ text, style }) => (this.#colour || style !== 'bad' ? STYLES[style] : '') + text);
    drawn.forEach((line, i) => {
      if (all || this.#drawn[i] !== line) out += `\u001b[${i + 1};1H\u001b[0m${line}\u001b[0m\u001b[K`;
    });
    this.#drawn = drawn;
    if (out !== '') write(out);
  }

  /** The terminal is as before. Idempotent. */
  readonly close = (): void => {
    if (!this.#open) return;
    this.#open = false;
    try {
      process.stdin.setRawMode(false);
    } catch {
      // The terminal is gone.
    }
    process.stdin.pause();
    write(LEAVE);
  };

  readonly #handleSignal = (signal: NodeJS.Signals): void => {
    this.close();
    process.exit(128 + (SIGNALS[signal as keyof typeof SIGNALS] ?? 0));
  };

  readonly #handleDefect = (error: unknown): void => {
    this.close();
    reportFailure(error);
    process.exit(1);
  };
}

/** At once, also while the process ends. What a terminal that is gone or stopped does not take is lost. */
function write(text: string): void {
  try {
    writeSync(1, text);
  } catch {
    // EAGAIN, EIO: the next drawing may succeed.
  }
}
