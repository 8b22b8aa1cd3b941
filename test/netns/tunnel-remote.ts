/** Small programs for hosts of a lab, written in the middle of a test: a function is sent into the namespace and run there by a Node.js of its own. */

import { createInterface } from 'node:readline';
import type { NamespaceHost } from '../../src/lab/namespaces.js';

/** Tells the test something before the end. */
export type Say = (value: unknown) => void;

export interface Remote<R> {
  /** What it said first; rejects when it ended without a word. */
  readonly said: Promise<unknown>;
  /** Rejects when the function threw: an Error with its `code`. */
  readonly result: Promise<R>;
  /** Ends it, whatever it does. */
  stop(): void;
}

interface Line {
  said?: unknown;
  result?: unknown;
  failed?: { message: string; code?: string };
}

/** `body` is sent as text: it sees its arguments and what it imports itself, nothing of its surroundings. `wrapper`: a command and options that start it, as setpriv. */
export function inside<A, R>(
  host: NamespaceHost,
  body: (args: A, say: Say) => Promise<R>,
  args: A,
  wrapper: readonly string[] = [],
): Remote<R> {
  const program = `const line = (value) => process.stdout.write(JSON.stringify(value) + '\\n');
process.stdin.on('end', () => process.exit(0)).resume();
try {
  const result = await (${body.toString()})(${JSON.stringify(args)}, (said) => line({ said }));
  process.stdout.write(JSON.stringify({ result }) + '\\n', () => process.exit(0));
} catch (error) {
  process.stdout.write(JSON.stringify({ failed: { message: error.stack, code: error.code } }) + '\\n', () => process.exit(1));
}`;
  const [command = process.execPath, ...rest] = [...wrapper, process.execPath, '--input-type=module', '-e', program];
  const child = host.spawnPiped(command, rest);
  let errors = '';
  child.stderr!.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  child.stdin!.on('error', () => undefined);
  let onSaid: (value: unknown) => void = () => undefined;
  let last: Line | undefined;
  createInterface({ input: child.stdout! }).on('line', (text) => {
    const line = JSON.parse(text) as Line;
    if ('said' in line) onSaid(line.said);
    else last = line;
  });
  const result = new Promise<R>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      if (last?.failed !== undefined) reject(Object.assign(new Error(last.failed.message), { code: last.failed.code }));
      else if (last === undefined) reject(new Error(`it ended with ${code}: ${errors}`));
      else resolve(last.result as R);
    });
  });
  const said = new Promise<unknown>((resolve, reject) => {
    onSaid = resolve;
    result.then(() => reject(new Error('it ended without a word')), reject);
  });
  // Whoever does not wait for one of them has no use for its failure.
  said.catch(() => undefined);
  result.catch(() => undefined);
  return { said, result, stop: () => void child.stdin!.end() };
}
