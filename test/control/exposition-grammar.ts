/**
 * Prometheus' text exposition format 0.0.4, as its documentation gives it: returns what is wrong, or the samples. Strict: every line matches, a family's
 * lines stand together, HELP and TYPE come once and first, no sample stands twice, the last line ends in a newline.
 */

export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
  type: string;
}

const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*';
const LABEL = '[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\["\\\\n])*"';
const SAMPLE = new RegExp(
  `^(${NAME})(?:\\{(${LABEL}(?:,${LABEL})*,?)?\\})? ([-+]?(?:\\d+(?:\\.\\d*)?(?:[eE][-+]?\\d+)?|Inf)|NaN)(?: -?\\d+)?$`,
);
const COMMENT = new RegExp(`^# (HELP|TYPE) (${NAME}) (.*)$`);
const TYPES = ['counter', 'gauge', 'histogram', 'summary', 'untyped'];

export function parseExposition(text: string): Sample[] | string {
  if (!text.endsWith('\n')) return 'no newline at the end';
  const samples: Sample[] = [];
  const types = new Map<string, string>();
  const seen = new Set<string>();
  const closed = new Set<string>();
  let family = '';
  for (const line of text.slice(0, -1).split('\n')) {
    const comment = COMMENT.exec(line);
    const sample = comment === null ? SAMPLE.exec(line) : null;
    const name = comment?.[2] ?? sample?.[1];
    if (name === undefined) return `not a line: ${line}`;
    if (name !== family) {
      if (closed.has(name)) return `${name} is torn apart`;
      closed.add(family);
      family = name;
    }
    if (comment !== null) {
      const [, kind, , rest] = comment;
      const key = `${kind} ${name}`;
      if (seen.has(key) || samples.at(-1)?.name === name) return `${key} twice, or after its samples`;
      seen.add(key);
      if (kind === 'TYPE' && !TYPES.includes(rest!)) return `unknown type ${rest}`;
      if (kind === 'TYPE') types.set(name, rest!);
      if (kind === 'HELP' && /\\(?![\\n])/.test(rest!)) return `bad escape: ${line}`;
      continue;
    }
    const [, , labelText = '', value] = sample!;
    const labels: Record<string, string> = {};
    for (const [, key, quoted] of labelText.matchAll(/([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"/g)) {
      if (key! in labels) return `label twice: ${line}`;
      labels[key!] = quoted!.replace(/\\(.)/g, (_, c: string) => (c === 'n' ? '\n' : c));
    }
    const identity = `${name} ${JSON.stringify(Object.entries(labels).sort())}`;
    if (seen.has(identity)) return `sample twice: ${line}`;
    seen.add(identity);
    const type = types.get(name) ?? 'untyped';
    if (type === 'counter' && !name.endsWith('_total')) return `${name}: a counter ends in _total`;
    samples.push({ name, labels, value: Number(value!.replace('Inf', 'Infinity')), type });
  }
  return samples;
}
