import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setImmediate as turn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t from 'tap';

// Needs root and iproute2: runs in a network namespace of its own.
const CANNOT_RUN = process.getuid?.() === 0 ? false : 'needs root: network namespaces';
const ACTOR = fileURLToPath(new URL('./link-watch-actor.js', import.meta.url));

t.test('link watch', { skip: CANNOT_RUN }, async (t) => {
  const namespace = `mptunnel-test-${randomBytes(4).toString('hex')}`;
  execFileSync('ip', ['netns', 'add', namespace]);
  const ip = (line: string): string =>
    execFileSync('ip', ['netns', 'exec', namespace, 'ip', ...line.split(' ')], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  t.teardown(() => execFileSync('ip', ['netns', 'del', namespace]));
  ip('link set lo up');
  ip('link add wan0 type veth peer name far0');
  ip('link set wan0 addrgenmode none up');
  ip('link set far0 addrgenmode none up');
  ip('addr add 10.90.0.2/24 dev wan0');

  const actor = spawn('ip', ['netns', 'exec', namespace, process.execPath, ACTOR], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => actor.kill('SIGTERM'));
  const lines = createInterface({ input: actor.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => (await lines.next()).value as string;

  t.equal(await next(), 'far0 down', 'at the start: what has no address');
  ip('link set wan0 down');
  t.equal(await next(), 'wan0 down', 'taken down');
  ip('link set wan0 up');
  t.equal(await next(), 'wan0 up', 'brought back');
  ip('link set far0 down');
  t.equal(await next(), 'wan0 down', 'carrier lost');
  ip('link set far0 up');
  t.equal(await next(), 'wan0 up', 'carrier back');
  ip('addr add 10.90.1.2/24 dev wan0');
  t.equal(await next(), 'wan0 up', 'another address');
  ip('addr flush dev wan0');
  t.equal(await next(), 'wan0 down', 'no address left');

  const monitorPids = (): number[] =>
    execFileSync('ip', ['netns', 'pids', namespace], { encoding: 'utf8' })
      .split('\n')
      .map(Number)
      .filter((pid) => pid > 0 && pid !== actor.pid);
  // Beside the monitor there may still be an `ip` of the actor's that reads a table.
  let monitors = monitorPids();
  for (; monitors.length !== 1; monitors = monitorPids()) await turn();
  process.kill(monitors[0]!, 'SIGKILL');
  ip('addr add 10.90.0.3/24 dev wan0');
  t.equal(await next(), 'wan0 up', 'noticed although the monitor died');
  ip('link del wan0');
  t.same([await next()], ['wan0 down'], 'vanished');

  actor.kill('SIGKILL');
  await once(actor, 'exit');
  while (monitorPids().length > 0) await turn();
  t.pass('no monitor survives its watcher');
});
