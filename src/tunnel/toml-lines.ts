/** Finds the line of a key in a TOML document, for error messages. The parser proper keeps no positions. */

export type KeyPath = readonly (string | number)[];

/**
 * 1-based line where `path` (["peer", 1, "public_key"]) is written; of the closest parent when the key itself is absent; undefined when neither is
 * found. Understands tables, arrays of tables and plain `key =` lines; inside inline tables and multi-line values it answers their first line.
 */
export function lineOfKey(document: string, path: KeyPath): number | undefined {
  const lines = indexLines(document);
  for (let length = path.length; length > 0; length--) {
    const line = lines.get(path.slice(0, length).join('\0'));
    if (line !== undefined) return line;
  }
  return undefined;
}

function indexLines(document: string): Map<string, number> {
  const lines = new Map<string, number>();
  const counts = new Map<string, number>();
  let table = '';
  let quote: string | undefined;
  document.split('\n').forEach((text, index) => {
    const opening = quote ?? /"""|'''/.exec(text)?.[0];
    const inside = quote !== undefined;
    if (opening !== undefined && (text.split(opening).length - 1) % 2 === 1) quote = inside ? undefined : opening;
    if (inside) return;
    const array = /^\s*\[\[\s*([\w.-]+)\s*\]\]/.exec(text)?.[1];
    const header = /^\s*\[\s*([\w.-]+)\s*\]/.exec(text)?.[1];
    const key = /^\s*"?([\w-]+)"?\s*=/.exec(text)?.[1];
    if (array !== undefined) {
      const count = counts.get(array) ?? 0;
      counts.set(array, count + 1);
      table = `${array}\0${count}`;
      remember(lines, array, index + 1);
      remember(lines, table, index + 1);
    } else if (header !== undefined) {
      table = header.replaceAll('.', '\0');
      remember(lines, table, index + 1);
    } else if (key !== undefined) remember(lines, table === '' ? key : `${table}\0${key}`, index + 1);
  });
  return lines;
}

function remember(lines: Map<string, number>, path: string, line: number): void {
  if (!lines.has(path)) lines.set(path, line);
}
