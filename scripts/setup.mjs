#!/usr/bin/env node
// Brings a machine that has only Node.js, npm and git to a built program at dist/bin/mptunnel.js. Every step first looks whether there
// is anything to do, so that a second run takes well under a second. Plain Node.js: it runs before anything is installed.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, lstatSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const PROGRAM = 'dist/bin/mptunnel.js';

/** Debian's package for each command. Without the first group nothing can be built; the second is needed as root, to run. */
const BUILD_PACKAGES = { gcc: 'gcc', 'g++': 'g++', make: 'make', python3: 'python3' };
const RUN_PACKAGES = { ip: 'iproute2', nft: 'nftables' };
/** Triples the speed of AES-256-GCM. Debian 12 and Ubuntu 24.04 have the first, Debian 13 the second. */
const IPSEC_MB_PACKAGES = ['libipsec-mb1', 'libipsec-mb2'];
const TEST_PACKAGES = {
  tshark: 'tshark',
  tcpdump: 'tcpdump',
  iperf3: 'iperf3',
  ping: 'iputils-ping',
  curl: 'curl',
  ssh: 'openssh-client',
  dropbear: 'dropbear-bin',
};
/** What `npm run bench` measures beside us. Where they cannot be had the table says so. */
const PEER_PACKAGES = { 'wireguard-go': 'wireguard-go', wg: 'wireguard-tools', openvpn: 'openvpn', openssl: 'openssl' };

/** A failure that the user can do something about: printed without a stack. */
class SetupError extends Error {}

const isRoot = process.getuid?.() === 0;

function main(args) {
  if (process.platform !== 'linux') throw new SetupError('mptunnel runs on Linux only.');
  step('system packages', () => installPackages(args.includes('--no-test-tools')));
  if (args.includes('--bench-peers')) step('peers', installPeers);
  step('npm packages', installNodeModules);
  step('native addon', buildAddon);
  step('program', compile);
}

/** Runs one step and prints a line with what it did and how long it took. */
function step(name, run) {
  const startMs = performance.now();
  const done = run();
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  console.log(`setup: ${name.padEnd(16)} ${done.padEnd(30)} ${seconds} s`);
}

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'], ...options });
  if (result.error) throw new SetupError(`Cannot run ${command}: ${result.error.message}`);
  if (result.status !== 0) throw new SetupError(`\`${[command, ...args].join(' ')}\` failed (exit ${result.status ?? result.signal}).`);
}

// ---- system packages ----

/** sbin is not in every user's PATH, and ip, nft live there. */
function hasCommand(command) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin', '/usr/local/sbin'];
  return folders.some((folder) => existsSync(join(folder, command)));
}

function missingPackages(packages) {
  return Object.keys(packages)
    .filter((command) => !hasCommand(command))
    .map((command) => packages[command]);
}

function installPackages(withoutTestTools) {
  const toBuild = missingPackages(BUILD_PACKAGES);
  const toRun = missingPackages(withoutTestTools ? RUN_PACKAGES : { ...RUN_PACKAGES, ...TEST_PACKAGES });
  const missing = [...toBuild, ...toRun];
  if (missing.length === 0) return installIpsecMb() ? 'installed ipsec-mb' : 'all there';
  const command = `apt-get install -y --no-install-recommends ${missing.join(' ')}`;
  if (!hasCommand('apt-get')) {
    throw new SetupError(`Not a Debian or Ubuntu machine: install what provides these packages yourself: ${missing.join(', ')}`);
  }
  if (!isRoot) {
    const advice = `sudo apt-get update && sudo ${command}`;
    if (toBuild.length > 0) throw new SetupError(`Packages are missing. Run:\n  ${advice}`);
    console.log(`setup: the demo and the tests that run as root need more packages:\n  ${advice}`);
    return 'enough to build';
  }
  aptInstall(missing);
  installIpsecMb();
  return `installed ${missing.length}`;
}

/** Nothing of ours needs them: without them the bench runs all the same. */
function installPeers() {
  const missing = missingPackages(PEER_PACKAGES);
  if (missing.length === 0) return 'all there';
  try {
    if (!isRoot || !hasCommand('apt-get')) throw new SetupError('needs root, and Debian or Ubuntu');
    aptInstall(missing);
    return `installed ${missing.length}`;
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.log(`setup: cannot install ${missing.join(' ')}: ${error.message}`);
    return 'some are missing';
  }
}

function aptInstall(packages) {
  // The logs of apt are long; they are shown only when it fails.
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  console.log(`setup: installing ${packages.join(' ')}`);
  for (const args of [
    ['update', '-qq'],
    ['install', '-y', '--no-install-recommends', ...packages],
  ]) {
    const result = spawnSync('apt-get', args, { env: environment, encoding: 'utf8', maxBuffer: 64 << 20 });
    if (result.status !== 0) throw new SetupError(`\`apt-get ${args.join(' ')}\` failed:\n${result.stdout}${result.stderr}`);
  }
}

/** Never fails: mptunnel works without it. Whether it was installed now. */
function installIpsecMb() {
  const folders = ['/usr/lib/x86_64-linux-gnu', '/usr/local/lib', '/usr/lib', '/usr/lib64'];
  const isThere = folders.some((folder) => [1, 2].some((version) => existsSync(join(folder, `libIPSec_MB.so.${version}`))));
  if (process.arch !== 'x64' || !isRoot || isThere || !hasCommand('apt-get')) return false;
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  return IPSEC_MB_PACKAGES.some((name) => {
    if (!/Candidate: \d/.test(spawnSync('apt-cache', ['policy', name], { encoding: 'utf8' }).stdout ?? '')) return false;
    const result = spawnSync('apt-get', ['install', '-y', '--no-install-recommends', name], { env: environment, encoding: 'utf8' });
    return result.status === 0;
  });
}

// ---- npm packages ----

function installNodeModules() {
  // `npm ci` would empty the folder that the link leads to, which belongs to another checkout.
  if (lstatSync(join(ROOT, 'node_modules'), { throwIfNoEntry: false })?.isSymbolicLink()) return 'linked, left alone';
  const lockHash = hashOf(['package-lock.json']);
  const stamp = join(ROOT, 'node_modules/.mptunnel-lock');
  const installed = join(ROOT, 'node_modules/.package-lock.json');
  if (existsSync(installed)) {
    if (readStamp(stamp) === lockHash) return 'all there';
    // Installed by hand: trust it when it is not older than the lock file.
    if (readStamp(stamp) === '' && statSync(installed).mtimeMs >= statSync(join(ROOT, 'package-lock.json')).mtimeMs) {
      return 'all there';
    }
  }
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
  writeFileSync(stamp, lockHash);
  giveToOwner('node_modules');
  return 'installed';
}

// ---- native addon ----

function buildAddon() {
  const sources = ['binding.gyp', ...filesUnder('src/tun/native', (name) => /\.(c|cc|h|gypi)$/.test(name))];
  const stamp = join(ROOT, 'build/.mptunnel-addon');
  const hash = `${hashOf(sources)} ${process.versions.modules} ${process.arch}`;
  const built = existsSync(join(ROOT, 'build/Release')) && readdirSync(join(ROOT, 'build/Release')).some((name) => name.endsWith('.node'));
  if (built && readStamp(stamp) === hash) return 'up to date';
  const headers = process.env.npm_config_nodedir ? [] : nodeHeaders();
  // node-gyp is wordy: its output is shown only when it fails.
  const args = ['run', '--silent', 'build:addon', '--', '--silent', ...headers];
  const result = spawnSync('npm', args, { cwd: ROOT, encoding: 'utf8', maxBuffer: 64 << 20 });
  if (result.status !== 0) throw new SetupError(`The native addon does not build:\n${result.stdout}${result.stderr}`);
  writeFileSync(stamp, hash);
  giveToOwner('build');
  return 'built';
}

/** Headers of this very Node.js that lie on the machine already; else node-gyp fetches them. */
function nodeHeaders() {
  for (const prefix of [join(dirname(process.execPath), '..'), '/usr']) {
    const header = join(prefix, 'include/node/node_version.h');
    if (!existsSync(header)) continue;
    const modules = /#define NODE_MODULE_VERSION (\d+)/.exec(readFileSync(header, 'utf8'))?.[1];
    if (modules === process.versions.modules) return [`--nodedir=${prefix}`];
  }
  return [];
}

// ---- program ----

function compile() {
  const isTypeScript = (name) => name.endsWith('.ts') && !name.endsWith('.d.ts');
  const sources = ['bin', 'src', 'test'].flatMap((folder) => filesUnder(folder, isTypeScript));
  const stamp = join(ROOT, 'dist/.mptunnel-sources');
  const hash = hashOf(['package-lock.json', 'tsconfig.json', ...sources]);
  const outputs = sources.map((source) => join('dist', source.replace(/\.ts$/, '.js')));
  const complete = outputs.every((output) => existsSync(join(ROOT, output)));
  const orphans = removeOrphans(new Set(outputs));
  if (complete && readStamp(stamp) === hash) return orphans > 0 ? `removed ${orphans} stale files` : 'up to date';
  run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json']);
  if (existsSync(join(ROOT, PROGRAM))) chmodSync(join(ROOT, PROGRAM), 0o755);
  writeFileSync(stamp, hash);
  giveToOwner('dist');
  return 'compiled';
}

/** Deletes compiled files whose source is gone: a stale compiled test would still be run. */
function removeOrphans(outputs) {
  const compiled = filesUnder('dist', (name) => /\.js(\.map)?$/.test(name));
  const orphans = compiled.filter((file) => !outputs.has(file.replace(/\.map$/, '')));
  for (const file of orphans) rmSync(join(ROOT, file));
  return orphans.length;
}

// ---- files ----

/** Paths relative to the project, sorted; none when the folder is not there. */
function filesUnder(folder, accept) {
  if (!existsSync(join(ROOT, folder))) return [];
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && accept(entry.name))
    .map((entry) =>
      relative(ROOT, join(entry.parentPath ?? entry.path, entry.name))
        .split(sep)
        .join('/'),
    )
    .sort();
}

/** Over names and contents: neither a deleted file nor a checkout's new timestamps deceive it. */
function hashOf(files) {
  const hash = createHash('sha256');
  for (const file of files) {
    const path = join(ROOT, file);
    hash
      .update(`${file}\0`)
      .update(existsSync(path) ? readFileSync(path) : 'missing')
      .update('\0');
  }
  return hash.digest('hex');
}

function readStamp(file) {
  return existsSync(file) ? readFileSync(file, 'utf8') : '';
}

/** `sudo npm test` in a user's clone must not leave files behind that the user cannot replace. */
function giveToOwner(folder) {
  if (!isRoot) return;
  const { uid, gid } = statSync(ROOT);
  if (uid === 0 || lstatSync(join(ROOT, folder)).uid === uid) return;
  spawnSync('chown', ['-R', `${uid}:${gid}`, folder], { cwd: ROOT });
}

try {
  main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(`setup: ${error.message}`);
  process.exitCode = 1;
}
