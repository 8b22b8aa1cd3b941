/**
 * The benchmarks of bonding, each in namespaces of its own; needs root. JSON on standard output, progress on standard error.
 *
 *   npm run bench:profiles -- [table] [--profiles a,b] [--runs 3] [--seconds 10] [--only ours|kernel|single] [--json FILE] [--markdown FILE]
 *   npm run bench:profiles -- plot [--profiles a,b] [--folder docs/plots]
 *   npm run bench:profiles -- latency | fairness | failover | short-flows | udp [--profiles a,b] [--json FILE] [--markdown FILE]
 */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { failoverTable, runFailover } from './failover-command.js';
import { fairnessTable, runFairness } from './fairness-command.js';
import { latencyTable, runLatency } from './latency-command.js';
import type { Carrier } from './measure.js';
import { plotSvg, runPlot } from './plot-command.js';
import { PROFILES, type Profile, profileNamed } from './profiles.js';
import { runShortFlows, shortFlowsOk, shortFlowsTable } from './short-flows-command.js';
import { type Part, runTable } from './table-command.js';
import { runUdp, udpTable } from './udp-command.js';

const FAIRNESS_CONNECTIONS = 16;
const OBJECTS = 200;
const OBJECTS_PARALLEL = 6;
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
  .option('--peer-runs <n>', 'the same for the kernel and for single links (default: as --runs)', Number)
  .option('--seconds <s>', `measured after the warm-up`, Number, 10)
  .addOption(new Option('--only <part>', 'only these').choices(PARTS))
  .option('--stream <toml>', 'lines for [stream] of both ends')
  .option('--no-check', 'do not check the emulator first')
  .action(async (options: Common & { runs: number; peerRuns?: number; seconds: number; only?: Part; stream?: string; check: boolean }) => {
    const result = await runTable({
      profiles: chosen(options.profiles, PROFILES),
      runs: options.runs,
      peerRuns: options.peerRuns ?? options.runs,
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

/** Runs `one` for each chosen profile and delivers all results; exit 1 when `ok` says no. */
function eachProfile<R>(
  one: (profile: Profile, options: Common & { carrier: Carrier; seconds: number }) => Promise<R[]>,
  fallback: readonly string[],
  toTable: (results: readonly R[]) => string,
  ok: (results: readonly R[]) => boolean,
): (options: Common & { carrier: Carrier; seconds: number }) => Promise<void> {
  return async (options) => {
    const all: R[] = [];
    let good = true;
    for (const profile of chosen(options.profiles, fallback.map(profileNamed))) {
      const results = await one(profile, options);
      all.push(...results);
      good = ok(results) && good;
      progress(toTable(results));
    }
    deliver(options, { results: all }, toTable(all));
    process.exitCode = good ? 0 : 1;
  };
}

const carrier = (): Option =>
  new Option('--carrier <which>', 'the tunnel, or the kernel MPTCP').choices(['tunnel', 'kernel']).default('tunnel');
const allOk = (results: readonly { ok: boolean }[]): boolean => results.every((result) => result.ok);

const latency = command('latency', 'first byte of a new connection and ping, idle and under load each way')
  .addOption(carrier())
  .option('--seconds <s>', 'of load', Number, 15)
  .action(
    eachProfile(
      async (profile, options) => [await runLatency(profile, options.carrier, options.seconds)],
      ['dsl_60_15', 'dual_lte', 'fiber_lte'],
      latencyTable,
      allOk,
    ),
  );

const fairness = command('fairness', "16 connections at once, Jain's index over their rates")
  .addOption(carrier())
  .option('--seconds <s>', 'measured after the warm-up', Number, 20)
  .action(
    eachProfile(
      (profile, options) => runFairness(profile, options.carrier, FAIRNESS_CONNECTIONS, options.seconds),
      ['dsl_60_15', 'dual_lte'],
      fairnessTable,
      allOk,
    ),
  );

const failover = command('failover', 'a link is cut, silently and with a link event, and comes back')
  .addOption(carrier())
  .action(eachProfile((profile, options) => runFailover(profile, options.carrier), ['dsl_60_15', 'dual_lte'], failoverTable, allOk));

const shortFlows = command('short-flows', '200 objects of 2 KB to 2 MB, six at a time, against each link alone').action(
  eachProfile((profile) => runShortFlows(profile, OBJECTS, OBJECTS_PARALLEL), ['fiber_lte', 'dual_lte'], shortFlowsTable, shortFlowsOk),
);

const plot = command('plot', 'a transfer through cuts of the first link, drawn as SVG')
  .option('--folder <folder>', 'where the drawings go', 'docs/plots')
  .action(async (options: Common & { folder: string }) => {
    const plots = [];
    mkdirSync(options.folder, { recursive: true });
    for (const profile of chosen(options.profiles, ['dsl_60_15', 'dual_lte'].map(profileNamed))) {
      for (const direction of ['download', 'upload'] as const) {
        const result = await runPlot(profile, direction);
        const file = join(options.folder, `failover-${profile.name}-${direction}.svg`);
        writeFileSync(file, await plotSvg(result));
        progress(file);
        plots.push(result);
      }
    }
    process.stdout.write(`${JSON.stringify({ plots })}\n`);
  });

const udp = command('udp', 'a call and a video, on idle links and beside a download')
  .option('--seconds <s>', 'of each flow', Number, 8)
  .action(
    eachProfile(
      (profile, options) => runUdp(profile, options.seconds),
      ['dsl_60_15', 'dual_lte'],
      udpTable,
      () => true,
    ),
  );

const program = new Command('bench:profiles').addCommand(table, { isDefault: true });
for (const one of [latency, fairness, failover, plot, shortFlows, udp]) program.addCommand(one);
await program.parseAsync();
