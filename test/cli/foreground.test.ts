import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { CliRunner, finish } from './cli-runner.js';

/** Until its log says so. */
async function untilLogged(child: ChildProcessWithoutNullStreams, text: string): Promise<void> {
  let seen = '';
  await new Promise<void>((resolve, reject) => {
    child.stderr.on('data', (chunk) => {
      seen += chunk;
      if (seen.includes(text)) resolve();
    });
    child.on('close', () => reject(new Error(`ended without "${text}": ${seen}`)));
  });
}

t.test('in the foreground it logs to standard error and each stop signal closes it cleanly', async (t) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const cli = new CliRunner(t);
    const child = cli.spawn(['up', cli.config, '--foreground']);
    await untilLogged(child, 'mpt0 is up');
    child.kill(signal);
    t.match(await finish(child), { code: 0, stdout: '', stderr: new RegExp(`info stopping: ${signal}`) }, signal);
    t.same(cli.leftovers(), []);
  }
});

t.test('a second Ctrl-C ends a close that hangs, and its files are gone all the same', async (t) => {
  const cli = new CliRunner(t);
  const child = cli.spawn(['up', cli.config, '--foreground'], 'hangs-at-close');
  await untilLogged(child, 'mpt0 is up');
  child.kill('SIGINT');
  await untilLogged(child, 'stopping: SIGINT');
  child.kill('SIGINT');
  t.match(await finish(child), { code: 0, stderr: /closing mpt0 was cut short \(SIGINT\)/ });
  t.same(cli.leftovers(), ['device']);
});

t.test('it can be stopped while it is still starting; two requests do not wait for a start that hangs', async (t) => {
  const cli = new CliRunner(t);
  const child = cli.spawn(['up', cli.config, '--foreground'], 'never-starts');
  const ended = finish(child);
  while (!cli.leftovers().includes('mpt0.sock')) await sleep(5);
  t.match(JSON.parse((await cli.run(['status', 'mpt0', '--json'])).stdout), { name: 'mpt0', state: 'starting', pid: child.pid, peers: [] });
  child.kill('SIGTERM');
  child.kill('SIGINT');
  t.match(await ended, { code: 0, stderr: /closing mpt0 was cut short/ });
  t.same(cli.leftovers(), []);
});

t.test('a defect in a running tunnel ends it with its place in the log, and nothing of ours is left', async (t) => {
  const cli = new CliRunner(t);
  const result = await finish(cli.spawn(['up', cli.config, '--foreground'], 'throws-later'));
  t.match(result, { code: 1, stderr: /internal error: Error: a defect\n +at / });
  t.same(cli.leftovers(), ['device']);
});

t.test('in the foreground a client that cannot get through ends with the reason', async (t) => {
  const cli = new CliRunner(t);
  const result = await finish(cli.spawn(['up', cli.config, '--foreground', '--timeout', '0.05'], 'unreachable'));
  t.match(result, { code: 1, stderr: /^mptunnel: peer vps \(203\.0\.113\.1:5180\) does not answer/m });
  t.same(cli.leftovers(), []);
});
