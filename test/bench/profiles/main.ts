/**
 * The benchmarks of bonding, each in namespaces of its own; needs root. JSON on standard output, progress on standard error.
 *
 *   npm run bench:profiles -- [table] [--profiles a,b] [--runs 3] [--seconds 10] [--only ours|kernel|single] [--json FILE] [--markdown FILE]
 */

import { writeFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import { PROFILES, type Profile, profileNamed } from './profiles.js';
import { type Part, runTable } from './table-command.js';

const PARTS: readonly Part[] = ['single', 'kernel', 'ours'];

interface Common {
  profiles?: string;
  json?: string;
  markdown?: string;
}

function chosen(names: string | undefined, fallback: readonly Profile[]): readonly Profile[] {
  return names === undefined ? fallback : names.split(',').map(profileNamed);
}

function progress(line: string): void {
  process.stderr.write(`${line}\n`);
}

function deliver(options: Common, value: object, markdown: string): void {
  const text = `${JSON.stringify(value, undefined, 1)}\n`;
  if (options.json !== undefined) writeFileSync(options.json, text);
  if (options.markdown !== undefined) writeFileSync(options.markdown, markdown);
  process.stdout.write(text);
  progress(`\n${markdown}`);
}

function command(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .option('--profiles <a,b>', 'names of profiles')
    .option('--json <file>', 'write the JSON there too')
    .option('--markdown <file>', 'write the Markdown there too');
}

const table = command('table', 'one TCP stream each way: share of the sum of rates')
  .option('--runs <n>', 'the figures are medians of so many', Number, 3)
  .option('--seconds <s>', `measured after the warm-up`, Number, 10)
  .addOption(new Option('--only <part>', 'only these').choices(PARTS))
  .option('--stream <toml>', 'lines for [stream] of both ends')
  .option('--no-check', 'do not check the emulator first')
  .action(async (options: Common & { runs: number; seconds: number; only?: Part; stream?: string; check: boolean }) => {
    const result = await runTable({
      profiles: chosen(options.profiles, PROFILES),
      runs: options.runs,
      seconds: options.seconds,
      parts: options.only === undefined ? PARTS : [options.only],
      emulatorCheck: options.check,
      ...(options.stream === undefined ? {} : { stream: options.stream }),
      progress,
    });
    const { markdown, ...rest } = result;
    deliver(options, rest, markdown);
    process.exitCode = result.ok ? 0 : 1;
  });

await new Command('bench:profiles').addCommand(table, { isDefault: true }).parseAsync();
