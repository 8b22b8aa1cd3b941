import t from 'tap';
import { CliRunner } from './cli-runner.js';

t.test('genkey, pubkey and genpsk print keys in base64, pubkey agrees with X25519', async (t) => {
  const cli = new CliRunner(t);
  const [genkey, genpsk, pubkey, bad] = await Promise.all([
    cli.run(['genkey']),
    cli.run(['genpsk']),
    // RFC 7748 (6.1), Alice.
    cli.run(['pubkey'], { input: 'dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=\n' }),
    cli.run(['pubkey'], { input: 'nonsense\n' }),
  ]);
  t.match(genkey, { code: 0, stdout: /^[A-Za-z0-9+/]{43}=\n$/, stderr: '' });
  t.match(genpsk, { code: 0, stdout: /^[A-Za-z0-9+/]{43}=\n$/ });
  t.not(genkey.stdout, genpsk.stdout);
  t.same(pubkey, { code: 0, stdout: 'hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\n', stderr: '' });
  t.match(bad, { code: 1, stdout: '', stderr: /^mptunnel: the input is not a key.*\n$/ });
});

t.test('wrong usage is one line and exit code 1, help and version are 0', async (t) => {
  const cli = new CliRunner(t);
  const cases: [string[], RegExp][] = [
    [['stats'], /unknown command 'stats' \(Did you mean status\?\)/],
    [['status', '--jsn'], /unknown option '--jsn' \(Did you mean --json\?\)/],
    [['up'], /missing required argument 'config'/],
    [['up', 'a', '--timeout', 'soon'], /Give a number of seconds/],
    [['capture', 'mpt0'], /required option '-w, --write <file>' not specified/],
    [['capture', 'mpt0', '-w', 'x', '--count', '0'], /Give a whole number from 1/],
    [['genkey', 'more'], /too many arguments/],
  ];
  const results = await Promise.all(cases.map(([args]) => cli.run(args)));
  results.forEach((result, index) => {
    t.match(result, { code: 1, stdout: '' }, cases[index]![0].join(' '));
    t.match(result.stderr, cases[index]![1]);
    t.match(result.stderr, /^mptunnel: [^\n]+\n$/, 'one line');
  });
  const [help, version, upHelp, nothing] = await Promise.all([
    cli.run(['--help']),
    cli.run(['--version']),
    cli.run(['up', '--help']),
    cli.run([]),
  ]);
  t.match(help, { code: 0, stderr: '' });
  for (const command of [
    'init',
    'up',
    'down',
    'status',
    'top',
    'connections',
    'events',
    'metrics',
    'doctor',
    'capture',
    'genkey',
    'pubkey',
    'genpsk',
    'relay',
    'demo',
  ])
    t.match(help.stdout, new RegExp(`^  ${command} `, 'm'));
  t.match(version, { code: 0, stdout: /^\d+\.\d+\.\d+\n$/ });
  t.match(upHelp, { code: 0, stdout: /--foreground/ });
  t.match(nothing, { code: 1 });
});
