import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { processStartTicks } from '../../src/tun/process-identity.js';
import { CliRunner, finish } from './cli-runner.js';

t.test('a client that cannot get through: the reason in one line, exit 1, nothing left behind', async (t) => {
  const cli = new CliRunner(t);
  t.same(await cli.run(['up', cli.config, '--timeout', '0.1'], { mode: 'unreachable' }), {
    code: 1,
    stdout: '',
    stderr: 'mptunnel: mpt0 is not up: peer vps (203.0.113.1:5180) does not answer: check its endpoint, its firewall and the keys\n',
  });
  t.notOk(existsSync(cli.runDirectory), 'not even the log');
});

t.test('failures before that: a tunnel that does not start, a daemon that dies, a wrong configuration', async (t) => {
  const [first, second, third] = [new CliRunner(t), new CliRunner(t), new CliRunner(t)];
  const [noStart, dies, typo, noFile] = await Promise.all([
    first.run(['up', first.config], { mode: 'no-start' }),
    second.run(['up', second.config], { mode: 'dies' }),
    third.run(['up', '/etc/hostname']),
    third.run(['up', 'no-such-tunnel']),
  ]);
  t.match(noStart, { code: 1, stderr: 'mptunnel: mpt0 is not up: there is no /dev/net/tun here: load the module tun\n' });
  t.same(first.leftovers(), []);
  t.match(dies, { code: 1, stderr: /^mptunnel: mpt0 is not up: the daemon ended \(SIGKILL\): .*mpt0\.log\)\n$/ });
  t.same(second.leftovers(), ['device'], 'what only the tunnel itself could have taken back');
  t.match(typo, { code: 1, stderr: /^mptunnel: \/etc\/hostname:1: is not valid TOML: [^\n]+\n$/ });
  t.match(noFile, { code: 1, stderr: /^mptunnel: \/etc\/mptunnel\/no-such-tunnel\.toml: there is no such file/ });
});

t.test('Ctrl-C during up stops the daemon that was being started', async (t) => {
  const cli = new CliRunner(t);
  const child = cli.spawn(['up', cli.config], 'unreachable');
  while (!existsSync(join(cli.runDirectory, 'device'))) await sleep(5);
  child.kill('SIGINT');
  t.match(await finish(child), { code: 1, stderr: 'mptunnel: mpt0 is not up: interrupted by SIGINT\n' });
  t.same(cli.leftovers(), []);
});

t.test('down after a crash cleans up; status says that it crashed', async (t) => {
  const cli = new CliRunner(t);
  await cli.run(['up', cli.config]);
  const pid = cli.daemonPid()!;
  process.kill(pid, 'SIGKILL');
  while (processStartTicks(pid) !== undefined) await sleep(5);
  // A network journal as a tunnel with a changed sysctl would have left it.
  const sysctl = join(cli.folder, 'sysctl');
  writeFileSync(sysctl, '2');
  const entry = { id: 0, undo: { kind: 'sysctl', path: sysctl, previous: '1', ours: '2' } };
  writeFileSync(join(cli.runDirectory, 'mpt0.journal'), `{"version":1,"pid":${pid},"startTicks":1}\n${JSON.stringify(entry)}\n`);
  const status = await cli.run(['status', 'mpt0']);
  t.match(status, { code: 1, stderr: /^mptunnel: mpt0 has crashed: `mptunnel down mpt0` cleans up/ });
  t.match(await cli.run(['down', 'mpt0']), { code: 0, stderr: 'mptunnel: mpt0 had crashed; what it left is cleaned up\n' });
  t.same(cli.leftovers(), ['device']);
  t.equal(readFileSync(sysctl, 'utf8'), '1', 'the network journal was undone');
  t.match(await cli.run(['up', cli.config]), { code: 0 });
  await once(cli.spawn(['down', 'mpt0']), 'close');
});
