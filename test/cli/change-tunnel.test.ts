import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { CliRunner } from './cli-runner.js';

// Each command is a process of its own.
t.setTimeout(300_000);

const logOf = (cli: CliRunner): string => readFileSync(join(cli.runDirectory, 'mpt0.log'), 'utf8');

async function untilLogged(cli: CliRunner, text: string): Promise<void> {
  while (!logOf(cli).includes(text)) await sleep(5);
}

t.test('paths are set, added and removed by command', async (t) => {
  const cli = new CliRunner(t);
  t.match(await cli.run(['up', cli.config]), { code: 0 });
  t.match(await cli.run(['set', 'mpt0', 'path', 'lte', 'backup=on', 'priority=7']), { code: 0, stdout: 'path lte: changed\n', stderr: '' });
  await untilLogged(cli, 'fake: change lte {"priority":7,"backup":true}');
  t.match(await cli.run(['path', 'add', 'mpt0', 'usb', 'interface=usb0', 'backup=off']), { code: 0, stdout: 'path usb: added\n' });
  t.match(await cli.run(['path', 'add', 'mpt0', 'late', 'interface=usb0']), {
    stdout: 'path late: added, waits: interface "usb0" does not exist\n',
  });
  t.match(await cli.run(['path', 'remove', 'mpt0', 'dsl', '--json']), { code: 0, stdout: '{"done":["path dsl: removed"],"left":[]}\n' });
  t.match(await cli.run(['path', 'remove', 'mpt0', 'nope']), {
    code: 1,
    stderr: 'mptunnel: There is no path "nope" here: known are dsl, lte.\n',
  });
  const list = await cli.run(['path', 'list', 'mpt0']);
  t.match(list, { code: 0, stdout: /^PATH +STATE +LOCAL +REMOTE +USE +PRIORITY +COST +LIMIT +BUDGET\ndsl +up / });
  const limits = ['limit_up=10Mbit/s', 'limit_down=off', 'cost=2', 'budget=20 GB/month'];
  t.match(await cli.run(['set', 'mpt0', 'path', 'lte', ...limits]), { code: 0, stdout: 'path lte: changed\n', stderr: '' });
  await untilLogged(
    cli,
    'fake: change lte {"cost":2,"limitUpBytesPerSec":1250000,"limitDownBytesPerSec":0,"budget":{"bytes":20000000000,"period":"month"}}',
  );
  await untilLogged(cli, 'configuration: path lte: cost = 2, limit_up = 10 Mbit/s, limit_down = off, budget = 20 GB/month');
  t.match(JSON.parse((await cli.run(['path', 'list', 'mpt0', '--json'])).stdout.split('\n')[0]!), {
    peer: 'vps',
    name: 'dsl',
    state: 'up',
  });
});

t.test('the limits of a peer are set by command', async (t) => {
  const cli = new CliRunner(t);
  t.match(await cli.run(['up', cli.config]), { code: 0 });
  t.match(await cli.run(['set', 'mpt0', 'peer', 'laptop', 'limit_down=12 Mbit/s']), {
    code: 0,
    stdout: 'peer laptop: changed\n',
    stderr: '',
  });
  await untilLogged(cli, 'fake: limit laptop {"limitDownBytesPerSec":1500000}');
  await untilLogged(cli, 'configuration: peer laptop: limit_down = 12 Mbit/s');
  t.match(await cli.run(['set', 'mpt0', 'peer', 'laptop', 'limit_up=5Mbit/s', 'limit_down=off', '--json']), {
    code: 0,
    stdout: '{"done":["peer laptop: changed"],"left":[]}\n',
  });
  await untilLogged(cli, 'fake: limit laptop {"limitUpBytesPerSec":625000,"limitDownBytesPerSec":0}');
  await untilLogged(cli, 'configuration: peer laptop: limit_up = 5 Mbit/s, limit_down = off');
  t.match(await cli.run(['set', 'mpt0', 'peer', 'lap', 'limit_up=off']), {
    code: 1,
    stdout: '',
    stderr: 'mptunnel: There is no peer "lap" here: known are laptop, phone.\n',
  });
});

t.test('wrong settings are refused before anybody is asked', async (t) => {
  const cli = new CliRunner(t);
  for (const [args, fault] of [
    [['set', 'mpt0', 'path', 'lte', 'backup=maybe'], /backup must be on or off, not "maybe"/],
    [['set', 'mpt0', 'path', 'lte', 'priority=-1'], /priority must be a whole number from 0 to 255/],
    [['set', 'mpt0', 'path', 'lte', 'priority=256'], /from 0 to 255, not 256/],
    [['set', 'mpt0', 'path', 'lte', 'colour=red'], /"colour=red" is no setting of a path: write backup=on, priority=10, cost=1/],
    [['set', 'mpt0', 'path', 'lte', 'limit_up=10'], /limit_up "10" is no rate: write it as "20 Mbit\/s"/],
    [['set', 'mpt0', 'path', 'lte', 'budget=20GB'], /budget "20GB" is no budget: write it as "20 GB\/month"/],
    [['set', 'mpt0', 'path', 'lte', 'interface=eth0'], /"interface=eth0" is no setting of a path/],
    [['set', 'mpt0', 'path', 'lte', 'backup=on', 'backup=off'], /set twice/],
    [
      ['set', 'mpt0', 'pear', 'lte', 'backup=on'],
      /"pear" cannot be set: write `mptunnel set mpt0 path PATH backup=on`, or `mptunnel set mpt0 peer PEER/,
    ],
    [['set', 'mpt0', 'peer', 'laptop', 'backup=on'], /"backup=on" is no setting of a peer: write limit_up="5 Mbit\/s", limit_down=off\n/],
    [['set', 'mpt0', 'peer', 'laptop', 'limit_up=fast'], /limit_up "fast" is no rate: write it as "20 Mbit\/s"/],
    [['set', 'mpt0', 'peer', 'laptop', 'limit_up=off', 'limit_up=off'], /set twice/],
    [['set', 'mpt0', 'peer', 'laptop', 'limit_up=off'], /no tunnel named mpt0 is running/],
    [['path', 'add', 'mpt0', 'a b', 'interface=usb0'], /name "a b" may hold only/],
    [['path', 'add', 'mpt0', 'usb', 'address=nowhere'], /address "nowhere" is no IP address/],
    [['set', 'mpt0', 'path', 'lte', 'backup=on'], /no tunnel named mpt0 is running/],
  ] as const)
    t.match(await cli.run(args), { code: 1, stdout: '', stderr: fault }, args.join(' '));
});

t.test('reload and SIGHUP read the configuration again; a faulty file changes nothing and says why', async (t) => {
  const cli = new CliRunner(t);
  t.match(await cli.run(['up', cli.config]), { code: 0 });
  const written = readFileSync(cli.config, 'utf8');
  writeFileSync(cli.config, `${written}[[path]]\nname = "usb"\ninterface = "usb0"\n`);
  t.match(await cli.run(['reload', 'mpt0']), {
    code: 0,
    stdout: 'path usb: added\n',
    stderr: 'mptunnel: warning: [stream] differs, and is in force only after a restart\n',
  });
  writeFileSync(cli.config, `${written}[[path]]\nnome = "usb"\n`);
  t.match(await cli.run(['reload', 'mpt0']), {
    code: 1,
    stdout: '',
    stderr: /mpt0\.toml:\d+: \[\[path\]\] 1: nome is not known: did you mean "name"\?\n$/,
  });
  process.kill(cli.daemonPid()!, 'SIGHUP');
  await untilLogged(cli, 'reload: nothing was changed: ');
  writeFileSync(cli.config, `${written}[[path]]\nname = "two"\ninterface = "usb0"\n`);
  process.kill(cli.daemonPid()!, 'SIGHUP');
  await untilLogged(cli, 'reload: path two: added');
  t.match(await cli.run(['status', 'mpt0']), { code: 0 }, 'it runs on');
  chmodSync(cli.config, 0o644);
  t.match(await cli.run(['reload', 'mpt0']), { code: 0 });
  const { stdout } = await cli.run(['events', 'mpt0', '--no-follow']);
  t.match(stdout, /everybody on this machine can read this private key/, 'what the file is warned of is an event');
});
