import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { runDirectory } from '../../src/tun/run-directory.js';

/** Of nobody else, it is hoped: no such user is in any list. */
const USER = 64_123;
const MODULE = fileURLToPath(new URL('../../src/tun/run-directory.js', import.meta.url));
const PRINT = `import { ensureRunDirectory } from ${JSON.stringify(MODULE)}; process.stdout.write(ensureRunDirectory());`;
const CANNOT_RUN = process.getuid?.() === 0 ? false : 'needs root, to be another user';

function asUser(before: readonly string[], environment: NodeJS.ProcessEnv = {}): string {
  const [command, ...args] = ['setpriv', `--reuid=${USER}`, `--regid=${USER}`, '--clear-groups', ...before];
  const env = { PATH: process.env.PATH, ...environment };
  return execFileSync(command!, [...args, process.execPath, '--input-type=module', '-e', PRINT], { env, encoding: 'utf8', stdio: 'pipe' });
}

t.test('MPTUNNEL_RUN_DIR is taken before anything else', async (t) => {
  t.equal(runDirectory({ MPTUNNEL_RUN_DIR: '/somewhere/else', XDG_RUNTIME_DIR: '/run/user/1' }), '/somewhere/else');
});

t.test('an ordinary user', { skip: CANNOT_RUN }, async (t) => {
  const shared = `/tmp/mptunnel-${USER}`;
  t.teardown(() => rmSync(shared, { recursive: true, force: true }));
  const session = `/tmp/mptunnel-session-${USER}`;
  t.teardown(() => rmSync(session, { recursive: true, force: true }));
  execFileSync('install', ['-d', '-m', '700', '-o', String(USER), session]);

  t.match(asUser([], { XDG_RUNTIME_DIR: session }), new RegExp(`^${join(session, 'mptunnel')}/\\d+$`), 'has it in its session');
  t.match(asUser([], { XDG_RUNTIME_DIR: '/run/user/0' }), new RegExp(`^${shared}/\\d+$`), "a session that is another's does not count");
  t.match(asUser([]), new RegExp(`^${shared}/\\d+$`), 'has it in /tmp without a session');
  const inNamespace = asUser(['unshare', '--user', '--map-root-user']);
  t.match(inNamespace, new RegExp(`^${shared}/\\d+$`), 'and as the root of a user namespace, to whom /run does not belong');
});

t.test('what somebody else has put at its place in /tmp is not taken', { skip: CANNOT_RUN }, async (t) => {
  const shared = `/tmp/mptunnel-${USER}`;
  t.teardown(() => rmSync(shared, { recursive: true, force: true }));
  mkdirSync(shared);
  t.throws(() => asUser([]), /is not this user's own: set MPTUNNEL_RUN_DIR/, "another user's");
  rmSync(shared, { recursive: true });
  symlinkSync('/tmp', shared);
  t.throws(() => asUser([]), /is not this user's own/, 'a link');
  rmSync(shared);
  asUser([]);
  chmodSync(shared, 0o777);
  t.throws(() => asUser([]), /is not this user's own/, 'open to all');
});
