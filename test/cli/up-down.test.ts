import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { processStartTicks } from '../../src/tun/process-identity.js';
import { CliRunner } from './cli-runner.js';

t.test('up leaves a daemon that status finds, refuses a second, and down ends it', async (t) => {
  const cli = new CliRunner(t);
  t.same(await cli.run(['up', cli.config]), { code: 0, stdout: '', stderr: '' });
  const pid = cli.daemonPid()!;
  t.equal(statSync(cli.runDirectory).mode & 0o777, 0o700);
  t.equal(statSync(join(cli.runDirectory, 'mpt0.sock')).mode & 0o777, 0o600);
  t.notMatch(readFileSync(`/proc/${pid}/environ`, 'latin1'), /NODE_OPTIONS/, 'hooks of a test runner are not passed on');
  t.match(readFileSync(join(cli.runDirectory, 'mpt0.log'), 'utf8'), /Z info mpt0 is up/);

  const [json, text, byFile, second] = await Promise.all([
    cli.run(['status', '--json']),
    cli.run(['status', 'mpt0', '--verbose']),
    cli.run(['status', cli.config]),
    cli.run(['up', cli.config]),
  ]);
  t.match(JSON.parse(json.stdout), { name: 'mpt0', state: 'up', pid, peers: [{ name: 'vps', paths: [{ id: 0, rttMs: 20.4 }, {}] }] });
  t.equal(
    text.stdout,
    `mpt0: up for 1 min 5 s, 3 connections, process ${pid}
  peer vps: up, 3 connections, key xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=
    PATH  STATE    LOCAL            REMOTE              RTT   LOSS       DOWN          UP  RECEIVED   SENT
    dsl   up       10.90.0.1:40000  203.0.113.1:5180  20 ms  1.2 %  48 Mbit/s  960 kbit/s    1.2 GB  999 B
    lte   probing  -                203.0.113.1:5180      -      -    0 bit/s     0 bit/s       0 B    0 B
    lte is probing: the link is back
  counted: badTag 2
`,
  );
  t.equal(`${byFile.stdout}  counted: badTag 2\n`, text.stdout, 'the configuration names the tunnel too');
  t.match(second, { code: 1, stderr: `mptunnel: mpt0 is running already (process ${pid}): see \`mptunnel status mpt0\`` });
  t.equal(cli.daemonPid(), pid, 'the first goes on');

  t.same(await cli.run(['down', 'mpt0']), { code: 0, stdout: '', stderr: '' });
  t.notOk(existsSync(cli.runDirectory), 'the last tunnel takes the run directory along');
  t.equal(processStartTicks(pid), undefined, 'the process has ended');
  const [again, none] = await Promise.all([cli.run(['down', 'mpt0']), cli.run(['status'])]);
  t.match(again, { code: 1, stderr: 'mptunnel: no tunnel named mpt0 is running; none is running here\n' });
  t.match(none, { code: 0, stdout: 'No tunnel is running here.\n' });
});
