/** The package, installed, upgraded and removed in a root of its own. Needs root for dpkg, and no other file of this machine. */

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import t from 'tap';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

t.setTimeout(300_000);

function build(out: string, version: string): string {
  const script = join(ROOT, 'scripts/package.mjs');
  return execFileSync(process.execPath, [script, '--out', out, '--version', version], { encoding: 'utf8' }).trim().split('\n').at(-1)!;
}

class Root {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
    for (const folder of ['var/lib/dpkg/info', 'var/lib/dpkg/updates', 'var/lib/dpkg/triggers', 'var/log'])
      mkdirSync(join(path, folder), { recursive: true });
    for (const file of ['status', 'available']) writeFileSync(join(path, 'var/lib/dpkg', file), '');
  }

  /** Scripts run, and are told that it is another system's root. The dependencies are not in this root. */
  dpkg(...args: string[]): string {
    const force = '--force-script-chrootless,depends,not-root,bad-path';
    const log = `--log=${join(this.path, 'var/log/dpkg.log')}`;
    const done = spawnSync('dpkg', [`--root=${this.path}`, log, force, ...args], { encoding: 'utf8' });
    if (done.status !== 0) throw new Error(`dpkg ${args.join(' ')}: ${done.stdout}${done.stderr}`);
    return done.stdout;
  }

  files(): string[] {
    return readdirSync(this.path, { recursive: true, encoding: 'utf8' })
      .filter((file) => !/^var(\/|$)/.test(file) && !statSync(join(this.path, file)).isDirectory())
      .sort();
  }
}

t.test("the package installs, runs, upgrades and is removed, and leaves what is the administrator's", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'mpt-package-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const [first, second] = [build(folder, '0.1.0'), build(folder, '0.2.0')];
  t.match(first, /mptunnel_0\.1\.0_\w+\.deb$/);
  const fields = execFileSync('dpkg-deb', ['--field', first, 'Depends', 'Package'], { encoding: 'utf8' });
  t.match(fields, /nodejs \(>= 20\.12\), iproute2/);

  const root = new Root(join(folder, 'root'));
  root.dpkg('--install', first);
  t.equal(readlinkSync(join(root.path, 'usr/bin/mptunnel')), '../lib/mptunnel/dist/bin/mptunnel.js');
  const run = (...args: string[]) => execFileSync(process.execPath, [join(root.path, 'usr/bin/mptunnel'), ...args], { encoding: 'utf8' });
  t.equal(run('--version'), '0.1.0\n');
  const etc = join(root.path, 'etc/mptunnel');
  t.match(run('init', 'server', '--dir', etc), /Next:/, 'it works with the modules that it brought');
  const addon = `const { loadNative } = await import(${JSON.stringify(join(root.path, 'usr/lib/mptunnel/dist/src/tun/native.js'))}); loadNative().measureAead();`;
  execFileSync(process.execPath, ['--input-type=module', '-e', addon]);
  const unit = readFileSync(join(root.path, 'usr/lib/systemd/system/mptunnel@.service'), 'utf8');
  t.match(unit, /^ExecStart=\/usr\/bin\/mptunnel up %i --foreground --timeout 0$/m);
  const man = gunzipSync(readFileSync(join(root.path, 'usr/share/man/man1/mptunnel.1.gz'))).toString();
  for (const command of ['init server', 'invite', 'join', 'peer remove', 'up', 'capture'])
    t.ok(man.includes(`.SS "${command}"`), `man page: ${command}`);
  t.equal(
    spawnSync('bash', ['-n', join(root.path, 'usr/share/bash-completion/completions/mptunnel')]).status,
    0,
    'bash reads the completion',
  );
  t.notOk(
    root.files().some((file) => /\.map$|fast-check|typescript|\/test\//.test(file)),
    'nothing of development',
  );

  root.dpkg('--install', second);
  t.equal(run('--version'), '0.2.0\n');
  t.ok(existsSync(join(etc, 'mpt0.toml')), 'the configuration stays');

  root.dpkg('--remove', 'mptunnel');
  t.same(root.files(), ['etc/mptunnel/mpt0.key', 'etc/mptunnel/mpt0.toml']);
  root.dpkg('--purge', 'mptunnel');
  t.same(root.files(), ['etc/mptunnel/mpt0.key', 'etc/mptunnel/mpt0.toml'], 'keys and configurations are never deleted');
});

t.test('maintainer scripts are plain sh', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'mpt-package-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  execFileSync('dpkg-deb', ['--control', build(folder, '0.1.0'), join(folder, 'control')]);
  for (const script of ['postinst', 'prerm', 'postrm']) t.equal(spawnSync('sh', ['-n', join(folder, 'control', script)]).status, 0, script);
});
