/** How the demo looks: bars in place on a terminal, else a line a second. */

import type { DemoLink } from './demo-figures.js';

const BAR_WIDTH = 30;
const NAME_WIDTH = 10;
const REDRAW_MS = 250;
const LINE_MS = 1000;

export interface DemoMeters {
  atMs: number;
  linkBitsPerSec: readonly number[];
  downloadBitsPerSec: number;
  /** Links that are cut now. */
  cut: ReadonlySet<number>;
}

export function formatRate(bitsPerSec: number): string {
  return `${(bitsPerSec / 1e6).toFixed(1).padStart(6)} Mbit/s`;
}

export function formatBar(value: number, full: number, width: number, unicode: boolean): string {
  const filled = full > 0 ? Math.max(0, Math.min(width, Math.round((value / full) * width))) : 0;
  const [mark, space] = unicode ? ['█', '░'] : ['#', '.'];
  return mark.repeat(filled) + space.repeat(width - filled);
}

export class DemoView {
  private readonly out: NodeJS.WriteStream;
  private readonly links: readonly DemoLink[];
  private readonly inPlace: boolean;
  private readonly unicode: boolean;
  private drawnLines = 0;
  private lastDrawMs = Number.NEGATIVE_INFINITY;

  constructor(out: NodeJS.WriteStream, links: readonly DemoLink[]) {
    this.out = out;
    this.links = links;
    this.inPlace = out.isTTY === true;
    this.unicode = /utf-?8/i.test(process.env.LC_ALL || process.env.LC_CTYPE || process.env.LANG || '');
  }

  /** A line that stays; moving bars go on below it. */
  say(text: string): void {
    this.erase();
    this.out.write(`${text}\n`);
  }

  /** Draws when it is time to. */
  meters(meters: DemoMeters): void {
    const dueMs = this.lastDrawMs + (this.inPlace ? REDRAW_MS : LINE_MS);
    if (meters.atMs < dueMs) return;
    // In whole steps from the start: a late sample shifts no later line.
    this.lastDrawMs = this.inPlace ? meters.atMs : Math.floor(meters.atMs / LINE_MS) * LINE_MS;
    if (this.inPlace) this.drawBars(meters);
    else this.out.write(`${this.lineOf(meters)}\n`);
  }

  /** Leaves the last bars on the screen. */
  end(): void {
    this.drawnLines = 0;
  }

  private drawBars(meters: DemoMeters): void {
    const total = this.links.reduce((sum, link) => sum + link.rateBitsPerSec, 0);
    const row = (name: string, rate: number, full: number, note: string) => {
      const width = Math.round((BAR_WIDTH * full) / total);
      return `  ${name.padEnd(NAME_WIDTH)}${formatBar(rate, full, width, this.unicode)}${' '.repeat(BAR_WIDTH - width)} ${formatRate(rate)}${note}`;
    };
    const lines = this.links.map((link, i) =>
      row(link.name, meters.linkBitsPerSec[i] ?? 0, link.rateBitsPerSec, meters.cut.has(i) ? '  CUT' : ''),
    );
    lines.push(row('download', meters.downloadBitsPerSec, total, `  ${(meters.atMs / 1000).toFixed(0)} s`));
    this.erase();
    this.out.write(lines.map((line) => `${line}\n`).join(''));
    this.drawnLines = lines.length;
  }

  private lineOf(meters: DemoMeters): string {
    const total = this.links.reduce((sum, link) => sum + link.rateBitsPerSec, 0);
    const cells = this.links.map((link, i) => {
      const rate = meters.linkBitsPerSec[i] ?? 0;
      return `${link.name} ${formatBar(rate, link.rateBitsPerSec, 8, this.unicode)} ${meters.cut.has(i) ? '       CUT  ' : formatRate(rate)}`;
    });
    const download = `download ${formatBar(meters.downloadBitsPerSec, total, 16, this.unicode)} ${formatRate(meters.downloadBitsPerSec)}`;
    return `  ${(meters.atMs / 1000).toFixed(0).padStart(3)} s  ${[...cells, download].join('   ')}`;
  }

  private erase(): void {
    if (this.drawnLines === 0) return;
    // Up to the first bar, and clear from there to the end of the screen.
    this.out.write(`\u001b[${this.drawnLines}A\r\u001b[J`);
    this.drawnLines = 0;
  }
}
