/** Where both daemons' time goes under one group of rows: sampled by perf, drawn as a flame graph (Gregg, CACM 59(6), 2016). */

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { openCarrier } from './carrier.js';
import { type Group, SIDES } from './row.js';

/** Not a divisor of what timers in the daemons are made of. */
const SAMPLES_PER_SECOND = 497;
const MAX_SCRIPT_BYTES = 1 << 30;
/** Frames of less than this part of all samples are left out of the drawing. */
const LEAST_PART = 0.002;
const WIDTH = 1200;
const ROW_HEIGHT = 15;
const JS_ENTRY = 'Builtins_JSEntryTrampoline';
const NODE_OPTIONS = ['--perf-basic-prof', '--interpreted-frames-native-stack'];

export interface Frame {
  name: string;
  samples: number;
  children: Map<string, Frame>;
}

/** The samples of one measurement of the group through our tunnel, after one that warms it up. Rejects when perf is missing. */
export async function sampleGroup(group: Group, seconds: number): Promise<Frame> {
  const carrier = await openCarrier('ours', { ...group.setup, nodeOptions: NODE_OPTIONS });
  const folder = mkdtempSync(join(tmpdir(), 'mptunnel-flame-'));
  const file = join(folder, 'perf.data');
  try {
    await group.measure(carrier, { seconds });
    const perf = spawn('perf', ['record', '-q', '-F', `${SAMPLES_PER_SECOND}`, '-g', '-o', file, '-p', carrier.daemons.join(',')], {
      stdio: 'ignore',
    });
    const ended = once(perf, 'exit').catch((cause: unknown) => {
      throw new Error('perf does not run here: install linux-perf', { cause });
    });
    await Promise.race([group.measure(carrier, { seconds }), ended]);
    perf.kill('SIGINT');
    await ended;
    const args = ['script', '-i', file, '--no-inline', '-F', 'pid,ip,sym'];
    const { stdout } = await promisify(execFile)('perf', args, { maxBuffer: MAX_SCRIPT_BYTES });
    return foldStacks(stdout, new Map(carrier.daemons.map((pid, i) => [pid, SIDES[i] ?? String(pid)])));
  } finally {
    rmSync(folder, { recursive: true, force: true });
    await carrier.close();
  }
}

/** The output of `perf script -F pid,ip,sym`: a line with the process, one for each frame from the innermost out, an empty one. */
export function foldStacks(script: string, processes: ReadonlyMap<number, string>): Frame {
  const root: Frame = { name: 'all', samples: 0, children: new Map() };
  for (const sample of script.split(/\n\s*\n/)) {
    const [head = '', ...lines] = sample.split('\n').filter((line) => line.trim() !== '');
    const side = processes.get(Number(head.trim().split(/\s/)[0]));
    if (side === undefined) continue;
    const names = lines.map((line) => frameName(line.trim().replace(/^[0-9a-f]+\s+/, ''))).reverse();
    root.samples++;
    let frame = root;
    for (const name of [side, ...withoutWayIn(names)]) {
      let child = frame.children.get(name);
      if (child === undefined) {
        child = { name, samples: 0, children: new Map() };
        frame.children.set(name, child);
      }
      child.samples++;
      frame = child;
    }
  }
  return root;
}

/** Without what leads from the process's start to JavaScript, and with calls of itself once. */
function withoutWayIn(names: readonly string[]): readonly string[] {
  const entry = names.lastIndexOf(JS_ENTRY, names.length - 2);
  return names.slice(entry + 1).filter((name, i, all) => name !== all[i - 1]);
}

/** Functions of ours by file and name, the others without their arguments. */
function frameName(symbol: string): string {
  const js = /^(?:JS|LazyCompile|Function|Script|Builtin|BytecodeHandler):[*~^+]*(.*)$/.exec(symbol)?.[1];
  if (js === undefined) return symbol.replace('(anonymous namespace)::', '').replace(/\(.*$/, '').replace(/<.*>/, '') || '[unknown]';
  const [name = '', place = ''] = js.split(/ (?=file:|node:)/);
  const file = /([^/]+\.js|node:[\w/]+)(?::\d+)*$/.exec(place)?.[1];
  return file === undefined ? js : `${name || '(anonymous)'} ${file.replace(/\.js$/, '')}`;
}

interface Box {
  name: string;
  depth: number;
  x: number;
  x2: number;
  kind: string;
  part: string;
}

export function boxesOf(root: Frame): Box[] {
  const boxes: Box[] = [];
  const place = (frame: Frame, depth: number, x: number): void => {
    const part = frame.samples / root.samples;
    if (part < LEAST_PART) return;
    boxes.push({ name: frame.name, depth, x, x2: x + part, kind: kindOf(frame.name), part: `${(part * 100).toFixed(1)} %` });
    let from = x;
    for (const child of [...frame.children.values()].sort((a, b) => b.samples - a.samples)) {
      place(child, depth + 1, from);
      from += child.samples / root.samples;
    }
  };
  place(root, 0, 0);
  return boxes;
}

/** By what can be read off a name: our TypeScript has its file, C++ its colons. */
function kindOf(name: string): string {
  if (name.includes(' ')) return 'JavaScript';
  return name.includes('::') ? 'C++' : 'kernel and C';
}

export async function flameGraphSvg(root: Frame, title: string): Promise<string> {
  const { parse, View } = await import('vega');
  const boxes = boxesOf(root);
  const rows = Math.max(...boxes.map(({ depth }) => depth)) + 1;
  const across = { scale: 'x', field: 'x' };
  const top = { scale: 'y', field: 'depth' };
  const spec = {
    width: WIDTH,
    height: rows * ROW_HEIGHT,
    background: 'white',
    title,
    data: [{ name: 'boxes', values: boxes }],
    scales: [
      { name: 'x', type: 'linear' as const, domain: [0, 1], range: [0, WIDTH], nice: false },
      { name: 'y', type: 'linear' as const, domain: [0, rows], range: [rows * ROW_HEIGHT, 0], nice: false },
      { name: 'color', type: 'ordinal' as const, domain: ['JavaScript', 'C++', 'kernel and C'], range: ['#f4b860', '#d98b8b', '#9fb8d0'] },
    ],
    legends: [{ fill: 'color', orient: 'top-right' as const, direction: 'vertical' as const }],
    marks: [
      {
        type: 'rect' as const,
        from: { data: 'boxes' },
        encode: {
          enter: {
            x: across,
            x2: { scale: 'x', field: 'x2' },
            y: top,
            height: { value: -(ROW_HEIGHT - 1) },
            fill: { scale: 'color', field: 'kind' },
            stroke: { value: 'white' },
            strokeWidth: { value: 0.5 },
            tooltip: { signal: 'datum.name + " " + datum.part' },
          },
        },
      },
      {
        type: 'text' as const,
        from: { data: 'boxes' },
        encode: {
          enter: {
            x: { ...across, offset: 2 },
            y: { ...top, offset: -4 },
            text: { signal: `(datum.x2 - datum.x) * ${WIDTH} > 24 ? datum.name + " " + datum.part : ""` },
            limit: { signal: `(datum.x2 - datum.x) * ${WIDTH} - 3` },
            fontSize: { value: 10 },
          },
        },
      },
    ],
  };
  return new View(parse(spec), { renderer: 'none' }).toSVG();
}
