#!/usr/bin/env node
// Runs the compiled tests, each file in a process of its own, and adds up what their TAP says. The `tap` command does the same but
// needs 2-3 s a file; a file run by node prints the same TAP in 0.2 s.
//
//   node scripts/run-tests.mjs [--unit] [PART OF A FILE NAME ...]
//
// A file that crashes, times out, exits non-zero or does not keep its plan counts as failed whatever it has printed before.

import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** These make network namespaces and devices: as root, one after the other. */
const ROOT_FOLDERS = ['tun', 'netns', 'interop'];
/** Hours of virtual time: not among the quick ones. */
const LONG_FOLDERS = ['long'];
const UNIT_JOBS = 2;
const UNIT_TIMEOUT_MS = 180_000;
const ROOT_TIMEOUT_MS = 240_000;
/** Between SIGTERM and SIGKILL: long enough to remove namespaces. */
const KILL_AFTER_MS = 5_000;
const CLOSE_PATIENCE_MS = 1_000;

const running = new Set();
let interrupted = false;

async function main(args) {
  const onlyUnit = args.includes('--unit');
  const wanted = args.filter((arg) => !arg.startsWith('--'));
  const files = testFiles().filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)));
  const isIn = (folders, file) => folders.includes(file.split('/')[2] ?? '');
  const needsRoot = (file) => isIn(ROOT_FOLDERS, file);
  const isLong = (file) => isIn(LONG_FOLDERS, file);
  const total = { passed: 0, failed: 0, skipped: 0 };
  const add = (result) => {
    for (const key of Object.keys(total)) total[key] += result[key];
  };
  if (files.length === 0) {
    console.log('No test file found.');
    total.failed += 1;
  }
  await inParallel(
    files.filter((file) => !needsRoot(file) && !isLong(file)),
    UNIT_JOBS,
    async (file) => add(await runFile(file, UNIT_TIMEOUT_MS)),
  );
  if (!onlyUnit) {
    await inParallel(files.filter(isLong), UNIT_JOBS, async (file) => add(await runFile(file, ROOT_TIMEOUT_MS)));
    const rootFiles = files.filter(needsRoot);
    if (rootFiles.length > 0 && process.getuid?.() !== 0) {
      for (const file of rootFiles) console.log(`FAIL  ${file}: makes network devices, needs root: run \`sudo npm test\``);
      total.failed += rootFiles.length;
    } else {
      await inParallel(rootFiles, 1, async (file) => add(await runTwice(file)));
    }
  }
  if (interrupted) total.failed += 1;
  if (total.skipped > 0) console.log(`${total.skipped} skipped (see above)`);
  console.log(`${total.passed} passed, ${total.failed} failed`);
  process.exitCode = total.failed > 0 ? 1 : 0;
}

function testFiles() {
  const folder = join(ROOT, 'dist/test');
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.test.js'))
    .map((entry) => relative(ROOT, join(entry.parentPath ?? entry.path, entry.name)))
    .sort();
}

async function inParallel(items, jobs, work) {
  const queue = [...items];
  const worker = async () => {
    for (let item = queue.shift(); item !== undefined && !interrupted; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: jobs }, worker));
}

/** Real kernels, links and clocks on a machine that others may share: a file that fails runs once more, and both runs are shown. */
async function runTwice(file) {
  const first = await runFile(file, ROOT_TIMEOUT_MS);
  if (first.failed === 0 || interrupted) return first;
  console.log(`again ${file}: a failure that repeats counts`);
  return runFile(file, ROOT_TIMEOUT_MS);
}

/** Runs one file, prints its line (and all its output when it failed), resolves to its counts. */
async function runFile(file, timeoutMs) {
  const startMs = performance.now();
  const { output, errors, exit, timedOut } = await runProcess(file, timeoutMs);
  const counts = countTap(output);
  const faults = [];
  if (timedOut) faults.push(`timed out after ${timeoutMs / 1000} s`);
  else if (exit !== 0 && counts.failed === 0) faults.push(`ended with ${exit} although no test failed`);
  if (counts.planned !== counts.seen) faults.push(`ran ${counts.seen} tests of ${counts.planned ?? 'an unknown number'}`);
  if (counts.seen === 0) faults.push('holds no test');
  if (counts.bailOut) faults.push('bailed out');
  if (faults.length > 0) counts.failed += 1;
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  const source = file.replace(/^dist\//, '').replace(/\.js$/, '.ts');
  if (counts.failed > 0) process.stdout.write(`${output}\n${errors}`);
  const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : '';
  console.log(
    `${counts.failed > 0 ? 'FAIL' : 'ok  '}  ${source}: ${counts.passed} passed, ${counts.failed} failed${skipped}  ${seconds} s`,
  );
  for (const fault of faults) console.log(`      ${fault}`);
  for (const line of counts.skippedLines) console.log(`      ${line}`);
  return counts;
}

function runProcess(file, timeoutMs) {
  return new Promise((resolve) => {
    // A process group of its own, so that what a test leaves running ends with it.
    const child = spawn(process.execPath, [join(ROOT, file)], {
      cwd: ROOT,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TAP_TIMEOUT: String(timeoutMs / 1000), TAP: '1' },
    });
    const output = [];
    const errors = [];
    let timedOut = false;
    let killTimer;
    const end = () => {
      signalGroup(child, 'SIGTERM');
      killTimer = setTimeout(() => signalGroup(child, 'SIGKILL'), KILL_AFTER_MS);
    };
    const timer = setTimeout(() => {
      timedOut = true;
      end();
    }, timeoutMs);
    const handle = { end };
    running.add(handle);
    child.stdout.on('data', (chunk) => output.push(chunk));
    child.stderr.on('data', (chunk) => errors.push(chunk));
    const finish = (exit) => {
      clearTimeout(timer);
      clearTimeout(killTimer);
      running.delete(handle);
      for (const stream of [child.stdout, child.stderr]) stream.destroy();
      const text = (chunks) => Buffer.concat(chunks).toString('utf8');
      resolve({ output: text(output), errors: text(errors), exit, timedOut });
    };
    child.on('error', (error) => {
      errors.push(Buffer.from(`${error.message}\n`));
      finish('no process');
    });
    child.on('exit', (code, signal) => {
      signalGroup(child, 'SIGKILL');
      // The pipes are empty at 'close'; a daemon that the test left behind could hold them open for ever.
      const patience = setTimeout(() => finish(code ?? signal), CLOSE_PATIENCE_MS);
      child.on('close', () => {
        clearTimeout(patience);
        finish(code ?? signal);
      });
    });
  });
}

function signalGroup(child, signal) {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, signal);
  } catch {
    // The group is gone already.
  }
}

/** Counts the test points at the top level of one TAP stream: a subtest counts once, by its verdict. */
export function countTap(output) {
  const counts = { passed: 0, failed: 0, skipped: 0, seen: 0, planned: undefined, bailOut: false, skippedLines: [] };
  for (const line of output.split('\n')) {
    const plan = /^1\.\.(\d+)/.exec(line);
    if (plan) counts.planned = Number(plan[1]);
    if (line.startsWith('Bail out!')) counts.bailOut = true;
    const point = /^(not )?ok\b(.*)$/.exec(line);
    if (!point) continue;
    counts.seen += 1;
    const directive = /(?<!\\)#\s*(SKIP|TODO)\b/i.exec(point[2]);
    if (directive) {
      counts.skipped += 1;
      counts.skippedLines.push(line);
    } else if (point[1]) counts.failed += 1;
    else counts.passed += 1;
  }
  return counts;
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    interrupted = true;
    for (const handle of running) handle.end();
  });
}

await main(process.argv.slice(2));
