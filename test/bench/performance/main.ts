/**
 * How fast the tunnel is and what it costs, row by row beside the bare link, wireguard-go and OpenVPN in the same run; each in network
 * namespaces of its own; needs root.
 *
 *   npm run bench -- [--only stream-one,udp] [--runs 5] [--seconds 4] [--patience 60] [--no-peers] [--json FILE [--add]] [--markdown FILE]
 *   npm run bench -- --render FILE          the table of figures that were taken before
 *   npm run bench -- --only stream-one --flame-graph FILE     where the daemons' time goes, as SVG
 *
 * JSON goes to standard output and the table to standard error; with --json FILE the table to standard output. Ends with 1 when a bar is missed.
 */

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { Command } from 'commander';
import { flameGraphSvg, sampleGroup } from './flame-graph.js';
import { describeMachine } from './machine.js';
import { emptyRows, errorLines, markdownTable, mergeReports, type Report, verdictOf } from './report.js';
import { CARRIERS, type Group } from './row.js';
import { GROUPS, groupsNamed } from './rows.js';
import { type GroupResult, runGroup } from './run-group.js';

interface Options {
  only?: string;
  runs: number;
  seconds: number;
  patience: number;
  peers: boolean;
  json?: string;
  add?: boolean;
  markdown?: string;
  render?: string;
  nodeOptions?: string;
  flameGraph?: string;
}

function progress(line: string): void {
  process.stderr.write(`${line}\n`);
}

function readReport(file: string): Report {
  return JSON.parse(readFileSync(file, 'utf8')) as Report;
}

async function measure(options: Options, groups: readonly Group[], report: Report): Promise<void> {
  for (const group of groups) {
    const result: GroupResult = { rows: emptyRows(group.rows), otherWork: [] };
    report.rows.push(...result.rows);
    report.otherWork[group.name] = result.otherWork;
    const { runs, seconds, patience, peers, nodeOptions } = options;
    await runGroup(
      group,
      {
        runs,
        seconds,
        patienceSeconds: patience,
        carriers: peers ? CARRIERS : ['ours', 'raw'],
        nodeOptions: nodeOptions?.split(' ') ?? [],
        progress,
      },
      result,
    );
  }
}

function deliver(options: Options, report: Report): void {
  const json = `${JSON.stringify(report, undefined, 1)}\n`;
  const errors = errorLines(report.rows).map((line) => `- ${line}\n`);
  const markdown = `${markdownTable(report.rows)}${errors.length === 0 ? '' : `\n${errors.join('')}`}`;
  if (options.json !== undefined) writeFileSync(options.json, json);
  if (options.markdown !== undefined) writeFileSync(options.markdown, markdown);
  if (options.json !== undefined || options.render !== undefined) process.stdout.write(markdown);
  else {
    process.stdout.write(json);
    progress(`\n${markdown}`);
  }
}

const names = GROUPS.map((group) => `  ${group.name.padEnd(16)} ${group.rows.map((row) => row.name).join(', ')}`).join('\n');

const options = new Command('bench')
  .description('How fast the tunnel is and what it costs, beside the bare link, wireguard-go and OpenVPN.')
  .option('--only <rows>', 'only these rows or groups of rows, with commas between them')
  .option('--runs <n>', 'the figures are medians of so many', Number, 5)
  .option('--seconds <s>', 'of each transfer, without its warm-up', Number, 4)
  .option('--patience <s>', 'wait so long for a quiet machine, and measure again what other work disturbed', Number, 60)
  .option('--no-peers', 'leave wireguard-go and OpenVPN out')
  .option('--json <file>', 'write the JSON there')
  .option('--add', 'keep the runs that are in that file: a long table can be measured in pieces')
  .option('--markdown <file>', 'write the table there too')
  .option('--render <file>', 'measure nothing: the table of such a file')
  .option('--node-options <options>', 'Node.js options of our daemons, e.g. "--cpu-prof --cpu-prof-dir=/tmp/prof"')
  .option(
    '--flame-graph <file>',
    'measure nothing: sample both daemons under the first of the groups, and draw where their time goes, as SVG',
  )
  .addHelpText('after', `\nGroups and their rows:\n${names}`)
  .parse()
  .opts<Options>();

const groups = groupsNamed(options.only?.split(','));

if (options.render !== undefined) {
  deliver(options, readReport(options.render));
} else if (options.flameGraph !== undefined) {
  const [group] = groups;
  const root = await sampleGroup(group!, options.seconds);
  writeFileSync(options.flameGraph, await flameGraphSvg(root, `${group!.name}: ${root.samples} samples of both daemons`));
} else {
  const measured: Report = {
    benchmark: 'performance',
    machine: await describeMachine(),
    options: { seconds: options.seconds },
    otherWork: {},
    rows: [],
  };
  const earlier = options.add === true && options.json !== undefined && existsSync(options.json) ? readReport(options.json) : undefined;
  const finish = (status: number): never => {
    deliver(options, earlier === undefined ? measured : mergeReports(earlier, measured));
    process.exit(status);
  };
  // What was measured until then is not lost.
  process.once('SIGINT', () => finish(130));
  await measure(options, groups, measured);
  finish(measured.rows.some((row) => verdictOf(row) === 'missed') ? 1 : 0);
}
