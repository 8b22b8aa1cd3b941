/** Suggestions for mistyped names. */

/** The candidate nearest to `word`, if it is near enough to be a typing error; case, "_" and "-" do not count (PrivateKey is private_key). */
export function didYouMean(word: string, candidates: readonly string[]): string | undefined {
  const plain = (text: string): string => text.toLowerCase().replaceAll(/[_-]/g, '');
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const distance = editDistance(plain(word), plain(candidate));
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return bestDistance <= Math.max(1, Math.floor(word.length / 3)) ? best : undefined;
}

/** The end of a message that something is not there: which are. The first ten, where they are many. */
export function knownAre(names: readonly string[]): string {
  return names.length === 0 ? 'there is none' : `known are ${names.slice(0, 10).join(', ')}${names.length > 10 ? ', ...' : ''}`;
}

/** `"a" or "b" or "c"` */
export function quotedList(options: readonly unknown[]): string {
  return options.map((option) => `"${String(option)}"`).join(' or ');
}

/** Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours. */
function editDistance(left: string, right: string): number {
  const rows: number[][] = [Array.from({ length: right.length + 1 }, (_, column) => column)];
  for (let i = 1; i <= left.length; i++) {
    const row = [i];
    for (let j = 1; j <= right.length; j++) {
      const cost = left[i - 1] === right[j - 1] ? 0 : 1;
      let distance = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, rows[i - 1]![j - 1]! + cost);
      if (i > 1 && j > 1 && left[i - 1] === right[j - 2] && left[i - 2] === right[j - 1])
        distance = Math.min(distance, rows[i - 2]![j - 2]! + 1);
      row.push(distance);
    }
    rows.push(row);
  }
  return rows[left.length]![right.length]!;
}
