/**
 * Where the time of the data plane goes: each case through the real tunnel over two wires, with the CPU time of both daemons and, on request, the
 * functions that used most of it.
 *
 *   sudo node dist/test/bench/data-plane-profile.js [CASE ...] [--seconds 4] [--runs 1] [--profile]
 *
 * CASE: stream-down, stream-up, datagram-down, datagram-up, udp-up, udp-down, raw-udp. Prints one JSON object a run; with --profile the top rows of V8's CPU profile of each daemon
 * ("(program)" is native code and system calls outside of a JavaScript frame; a system call within the addon counts for the JavaScript function that called it).
 */

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { CarrierSetup } from './performance/carrier.js';
import { type Carrier, openCarrier } from './performance/carrier.js';
import { deliveredPackets, runIperf } from './performance/iperf.js';
import { cpuSecondsOf } from './performance/processes.js';
import { TWO_WIRES } from './performance/row.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '4' },
    runs: { type: 'string', default: '1' },
    profile: { type: 'boolean', default: false },
  },
});
const SECONDS = Number(values.seconds);
const WARM_UP_SECONDS = 1;
const UDP_BYTES = '1200';
const TOP_ROWS = 25;

const UDP = ['-u', '-b', '0', '-l', UDP_BYTES];
const CASES: Record<string, { stream?: string; args: string[]; raw?: boolean }> = {
  'stream-down': { args: ['-R'] },
  'stream-up': { args: [] },
  'stream16-down': { args: ['-R', '-P', '16'] },
  'stream16-up': { args: ['-P', '16'] },
  'datagram-down': { stream: 'steer = "datagram"', args: ['-R'] },
  'datagram-up': { stream: 'steer = "datagram"', args: [] },
  'udp-up': { args: UDP },
  'udp-down': { args: [...UDP, '-R'] },
  'raw-udp': { args: UDP, raw: true },
};

/** Runs iperf3 and says how fast the receiver got it, and the daemons' CPU seconds meanwhile, by a second of transfer. */
async function run(name: string, carrier: Carrier, args: readonly string[]): Promise<Record<string, unknown>> {
  const before = carrier.daemons.map(cpuSecondsOf);
  const isUdp = args.includes('-u');
  const warmUpSeconds = isUdp ? 0 : WARM_UP_SECONDS;
  const { sum_sent: sent, sum_received: got } = await runIperf(carrier, ['-O', String(warmUpSeconds), ...args], SECONDS);
  const seconds = SECONDS + warmUpSeconds;
  const packets = deliveredPackets(got);
  // Of what was delivered, the warm-up included.
  const units = isUdp ? packets / 1e6 : (got.bits_per_second * seconds) / 8e9;
  const daemons = carrier.daemons.map((pid, i) => {
    const now = cpuSecondsOf(pid);
    const [user, system] = [now.user - before[i]!.user, now.system - before[i]!.system];
    return { user: round(user / units), system: round(system / units), load: round((user + system) / seconds) };
  });
  const udp = { kpps: round(packets / got.seconds / 1000), offeredKpps: round((sent.packets ?? 0) / SECONDS / 1000) };
  return {
    case: name,
    gbitPerSec: round(got.bits_per_second / 1e9),
    ...(isUdp ? udp : {}),
    unit: isUdp ? 'us a packet' : 's a GB',
    client: daemons[0],
    server: daemons[1],
    both: round(daemons.reduce((sum, { user, system }) => sum + user + system, 0)),
  };
}

const round = (value: number) => Number(value.toFixed(2));

interface CpuProfile {
  nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number } }[];
  samples: number[];
  timeDeltas: number[];
}

/** Self time by function, in percent of the samples that were not idle. */
function topRows(file: string): string[] {
  const profile = JSON.parse(readFileSync(file, 'utf8')) as CpuProfile;
  const names = new Map(
    profile.nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) => [
      id,
      url === '' ? functionName : `${functionName || '(anonymous)'} ${url.replace(/.*\/dist\//, '')}:${lineNumber + 1}`,
    ]),
  );
  const selfTime = new Map<string, number>();
  let total = 0;
  for (const [i, id] of profile.samples.entries()) {
    const name = names.get(id) ?? '?';
    if (name === '(idle)') continue;
    const delta = profile.timeDeltas[i] ?? 0;
    selfTime.set(name, (selfTime.get(name) ?? 0) + delta);
    total += delta;
  }
  const sorted = [...selfTime].sort((a, b) => b[1] - a[1]).slice(0, TOP_ROWS);
  return sorted.map(([name, time]) => `${((time * 100) / total).toFixed(1).padStart(5)} %  ${name}`);
}

async function measure(name: string): Promise<void> {
  const { stream, args, raw } = CASES[name]!;
  const folder = mkdtempSync(join(tmpdir(), 'mptunnel-profile-'));
  mkdirSync(folder, { recursive: true });
  const nodeOptions = values.profile ? ['--cpu-prof', `--cpu-prof-dir=${folder}`, '--cpu-prof-interval=500'] : [];
  const setup: CarrierSetup = { ...TWO_WIRES, nodeOptions, ...(stream === undefined ? {} : { stream }) };
  const carrier = await openCarrier(raw === true ? 'raw' : 'ours', setup);
  try {
    for (let i = 0; i < Number(values.runs); i++) process.stdout.write(`${JSON.stringify(await run(name, carrier, args))}\n`);
  } finally {
    await carrier.close();
  }
  // Of the daemons alone: the commands that started them leave small ones.
  const files = readdirSync(folder).map((file) => join(folder, file));
  const largest = files.sort((a, b) => statSync(b).size - statSync(a).size).slice(0, 2);
  for (const file of largest) {
    const pid = /CPU\.\d+\.\d+\.(\d+)/.exec(file)?.[1];
    const side = Number(pid) === carrier.daemons[0] ? 'client' : 'server';
    process.stdout.write(`${side}:\n  ${topRows(file).join('\n  ')}\n`);
  }
  rmSync(folder, { recursive: true });
}

for (const name of positionals.length > 0 ? positionals : Object.keys(CASES)) {
  if (CASES[name] === undefined) throw new Error(`no case ${name}: ${Object.keys(CASES).join(', ')}`);
  await measure(name);
}
process.exit(0);
