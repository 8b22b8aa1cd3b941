// Builds mptunnel_VERSION_ARCH.deb from what is compiled: program, addon, production modules, unit, man page, completions.
//
//   node scripts/package.mjs [--out FOLDER] [--version VERSION]
//
// `npm run package` compiles first. The package goes to out/, and its path is the last line on standard output.

import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const MANIFEST = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
const { values } = parseArgs({
  options: { out: { type: 'string', default: join(ROOT, 'out') }, version: { type: 'string', default: MANIFEST.version } },
});

const PROGRAM = join(ROOT, 'dist/bin/mptunnel.js');
const ADDON = join(ROOT, 'build/Release/mptunnel.node');
for (const file of [PROGRAM, ADDON]) if (!existsSync(file)) fail(`${file} is missing: run \`npm run package\`, which builds it`);

/**
 * An upgrade leaves tunnels alone until the new program is in place, then restarts those that systemd runs: an old daemon beside new files is neither. Removal takes
 * every tunnel down first, also those that were started by hand, because afterwards nobody could. Configurations, keys and peers are the
 * administrator's: purge leaves them, too. DPKG_ROOT: another system is being made, whose services do not run here.
 */
const HERE = '[ -z "$DPKG_ROOT" ]';
const SYSTEMD = `${HERE} && [ -d /run/systemd/system ]`;
const MAINTAINER_SCRIPTS = {
  postinst: `#!/bin/sh
set -e
if [ "$1" = configure ] && ${SYSTEMD}; then
  systemctl daemon-reload || true
  if [ -n "$2" ]; then systemctl try-restart 'mptunnel@*.service' || true; fi
fi
`,
  prerm: `#!/bin/sh
set -e
if [ "$1" = remove ] && ${HERE}; then
  if [ -d /run/systemd/system ]; then systemctl stop 'mptunnel@*.service' || true; fi
  for state in /run/mptunnel/*/*.json; do
    [ -e "$state" ] || continue
    MPTUNNEL_RUN_DIR="$(dirname "$state")" mptunnel down "$(basename "$state" .json)" || true
  done
fi
`,
  postrm: `#!/bin/sh
set -e
if ${SYSTEMD}; then systemctl daemon-reload || true; fi
`,
};

const architecture = run('dpkg', '--print-architecture');
const stage = mkdtempSync(join(tmpdir(), 'mptunnel-deb-'));
try {
  installProgram();
  installExtras();
  writeControl();
  normalizeModes(stage);
  mkdirSync(values.out, { recursive: true });
  const file = resolve(values.out, `mptunnel_${values.version}_${architecture}.deb`);
  run('dpkg-deb', '--root-owner-group', '-Zxz', '--build', stage, file);
  console.log(file);
} finally {
  rmSync(stage, { recursive: true, force: true });
}

function installProgram() {
  const library = join(stage, 'usr/lib/mptunnel');
  for (const folder of ['bin', 'src']) copy(join(ROOT, 'dist', folder), join(library, 'dist', folder), (path) => !path.endsWith('.map'));
  copy(ADDON, join(library, 'build/Release/mptunnel.node'));
  const { name, version, license, type, engines } = { ...MANIFEST, version: values.version };
  write(join(library, 'package.json'), `${JSON.stringify({ name, version, license, type, engines }, undefined, 2)}\n`);
  for (const path of productionModules()) copy(join(ROOT, path), join(library, path), isNeededAtRunTime);
  chmodSync(join(library, 'dist/bin/mptunnel.js'), 0o755);
  mkdirSync(join(stage, 'usr/bin'), { recursive: true });
  symlinkSync('../lib/mptunnel/dist/bin/mptunnel.js', join(stage, 'usr/bin/mptunnel'));
}

/** As the lock file has them: no development, no optional accelerators. */
function productionModules() {
  const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8'));
  return Object.entries(packages)
    .filter(([path, entry]) => path !== '' && !entry.dev && !entry.optional && !entry.devOptional)
    .map(([path]) => path);
}

function isNeededAtRunTime(path) {
  return !/\.(map|md|[cm]?ts)$/.test(path) && !/\/node_modules\/zod\/src(\/|$)/.test(path);
}

function installExtras() {
  const { systemdUnit, UNIT_NAME } = loadUnit();
  write(join(stage, 'usr/lib/systemd/system', UNIT_NAME), systemdUnit);
  write(join(stage, 'usr/share/man/man1/mptunnel.1.gz'), gzipSync(program('man-page'), { level: 9 }));
  write(join(stage, 'usr/share/bash-completion/completions/mptunnel'), program('completion', 'bash'));
  write(join(stage, 'usr/share/zsh/vendor-completions/_mptunnel'), program('completion', 'zsh'));
  write(join(stage, 'usr/share/fish/vendor_completions.d/mptunnel.fish'), program('completion', 'fish'));
  copy(join(ROOT, 'LICENSE'), join(stage, 'usr/share/doc/mptunnel/copyright'));
  copy(join(ROOT, 'README.md'), join(stage, 'usr/share/doc/mptunnel/README.md'));
  for (const file of readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md')))
    copy(join(ROOT, 'docs', file), join(stage, 'usr/share/doc/mptunnel', file));
  mkdirSync(join(stage, 'etc/mptunnel'), { recursive: true });
}

function loadUnit() {
  const text =
    "import('./dist/src/control/systemd-unit.js').then((m) => console.log(JSON.stringify({ UNIT_NAME: m.UNIT_NAME, systemdUnit: m.systemdUnit('/usr/bin/mptunnel') })))";
  return JSON.parse(execFileSync(process.execPath, ['-e', text], { cwd: ROOT, encoding: 'utf8' }));
}

function writeControl() {
  const kibibytes = Number(run('du', '-sk', stage).split('\t')[0]);
  const control = `Package: mptunnel
Version: ${values.version}
Architecture: ${architecture}
Maintainer: mptunnel maintainers <maintainers@mptunnel.invalid>
Installed-Size: ${kibibytes}
Depends: nodejs (>= 20.12), iproute2, libc6
Recommends: libipsec-mb2 | libipsec-mb1, nftables
Section: net
Priority: optional
Description: makes several Internet links behave as one
 A TUN device takes the packets of the host; a userspace Multipath TCP stack
 (RFC 8684) spreads every TCP connection over all links, and everything else
 goes packet by packet. It travels in encrypted UDP to a server of yours.
`;
  write(join(stage, 'DEBIAN/control'), control);
  for (const [name, text] of Object.entries(MAINTAINER_SCRIPTS)) {
    write(join(stage, 'DEBIAN', name), text);
    chmodSync(join(stage, 'DEBIAN', name), 0o755);
  }
}

function normalizeModes(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      chmodSync(path, 0o755);
      normalizeModes(path);
    } else if (entry.isFile()) chmodSync(path, statSync(path).mode & 0o111 ? 0o755 : 0o644);
  }
  chmodSync(folder, 0o755);
}

function program(...args) {
  return execFileSync(process.execPath, [PROGRAM, ...args], { encoding: 'utf8' });
}

function copy(from, to, filter = () => true) {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to, { recursive: true, dereference: true, filter });
}

function write(file, content) {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
}

function run(command, ...args) {
  return execFileSync(command, args, { encoding: 'utf8' }).trim();
}

function fail(message) {
  console.error(`package: ${message}`);
  process.exit(1);
}
