/** Text for terminals of a given width: tables that give up columns, lines that break between words. */

export interface Column {
  heading: string;
  /** Numbers are flush right. */
  align?: 'left' | 'right';
  /** When room is short the column with the highest number goes first; without one it stays. */
  dropFirst?: number;
}

const GAP = '  ';
/** A cell is never cut to less than this. */
const MIN_CELL_CHARACTERS = 4;

/** One line for the headings, then one for each row. None is longer than `width`, which may be Infinity. */
export function formatTable(columns: readonly Column[], rows: readonly (readonly string[])[], width = Number.POSITIVE_INFINITY): string[] {
  const kept = columns.map((_, index) => index);
  const all = [columns.map(({ heading }) => heading), ...rows];
  const widths = columns.map((_, index) => Math.max(...all.map((row) => textWidth(row[index] ?? ''))));
  const total = (): number => kept.reduce((sum, index) => sum + widths[index]!, (kept.length - 1) * GAP.length);
  while (total() > width) {
    const droppable = kept.filter((index) => columns[index]!.dropFirst !== undefined);
    if (droppable.length === 0) break;
    const worst = droppable.reduce((a, b) => (columns[b]!.dropFirst! > columns[a]!.dropFirst! ? b : a));
    kept.splice(kept.indexOf(worst), 1);
  }
  shrinkWidest(kept, widths, columns, total, width);
  return all.map((row) =>
    cutText(
      kept
        .map((index) => pad(cutText(row[index] ?? '', widths[index]!), widths[index]!, columns[index]!.align === 'right'))
        .join(GAP)
        .trimEnd(),
      width,
    ),
  );
}

/** Words give way to numbers: of columns that are flush left the widest loses characters. */
function shrinkWidest(kept: readonly number[], widths: number[], columns: readonly Column[], total: () => number, width: number): void {
  while (total() > width) {
    const left = kept.filter((index) => columns[index]!.align !== 'right' && widths[index]! > MIN_CELL_CHARACTERS);
    if (left.length === 0) return;
    const widest = left.reduce((a, b) => (widths[b]! > widths[a]! ? b : a));
    widths[widest]!--;
  }
}

/** With an ellipsis where something is missing. Control characters, which could steer a terminal, are shown as "?". */
export function cutText(text: string, width: number): string {
  const shown = printable(text);
  const characters = [...shown];
  if (characters.length <= width) return shown;
  return width <= 0 ? '' : `${characters.slice(0, width - 1).join('')}…`;
}

/** Breaks between words; all lines but the first are indented as the first is, and two more. Words longer than a line are cut. */
export function wrapText(text: string, width = Number.POSITIVE_INFINITY): string[] {
  const shown = printable(text);
  if (textWidth(shown) <= width) return [shown];
  const indent = ' '.repeat(shown.length - shown.trimStart().length);
  const lines: string[] = [];
  let line = '';
  for (const word of shown.trim().split(' ')) {
    const head = lines.length === 0 ? indent : `${indent}  `;
    if (line === '') line = head + word;
    else if (textWidth(line) + 1 + textWidth(word) <= width) line += ` ${word}`;
    else {
      lines.push(cutText(line, width));
      line = `${indent}  ${word}`;
    }
  }
  return [...lines, cutText(line, width)];
}

/** Characters; what we show has no wide ones, names are ASCII. */
function textWidth(text: string): number {
  return [...text].length;
}

function pad(text: string, width: number, right: boolean): string {
  const fill = ' '.repeat(Math.max(0, width - textWidth(text)));
  return right ? fill + text : text + fill;
}

function printable(text: string): string {
  return text.replaceAll(/\p{C}/gu, '?');
}
