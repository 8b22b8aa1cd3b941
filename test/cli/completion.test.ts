import { spawnSync } from 'node:child_process';
import t from 'tap';
import { CliRunner } from './cli-runner.js';

function complete(script: string, line: readonly string[]): string[] {
  const words = line.map((word) => `'${word}'`).join(' ');
  const program = `${script}\nCOMP_WORDS=(${words}); COMP_CWORD=${line.length - 1}; _mptunnel; printf '%s\\n' "\${COMPREPLY[@]}"`;
  return spawnSync('bash', ['-c', program], { encoding: 'utf8' }).stdout.trim().split('\n');
}

t.test('completions know every command, its subcommands and its options', async (t) => {
  const cli = new CliRunner(t);
  const [bash, zsh, fish, bad] = await Promise.all([
    cli.run(['completion', 'bash']),
    cli.run(['completion', 'zsh']),
    cli.run(['completion', 'fish']),
    cli.run(['completion', 'csh']),
  ]);
  t.match(bad, { code: 1, stderr: /Give one of bash, zsh, fish/ });
  t.same(complete(bash.stdout, ['mptunnel', 'inv']), ['invite']);
  t.same(complete(bash.stdout, ['mptunnel', 'invite', 're']), ['revoke']);
  t.same(complete(bash.stdout, ['mptunnel', 'init', 'server', '--listen']), ['--listen-port']);
  t.ok(complete(bash.stdout, ['mptunnel', 'up', '--f']).includes('--foreground'));
  t.same(complete(bash.stdout, ['mptunnel', 'set', 'home', 'pe']), ['peer'], 'an argument that is one of few words');
  t.same(complete(bash.stdout, ['mptunnel', 'man']), [''], 'what is hidden stays so');
  for (const { stdout } of [zsh, fish]) for (const word of ['invite', 'revoke', 'listen-port', 'capture']) t.match(stdout, word);
  t.match(zsh.stdout, /'set'\) commands=\('path' 'peer'\)/);
  t.match(fish.stdout, /^complete -c mptunnel -f -n '__fish_seen_subcommand_from set' -a 'peer'$/m);
  t.match(fish.stdout, /^complete -c mptunnel -f -n '__fish_use_subcommand' -a 'join' /m);
});

t.test('the man page has all that --help has, and no formatter complains', async (t) => {
  const cli = new CliRunner(t);
  const { stdout } = await cli.run(['man-page']);
  t.match(stdout, /^\.TH MPTUNNEL 1 /);
  t.match(stdout, /\\fB\\-p, \\-\\-listen\\-port <port>\\fR\n.*UDP port.*5180/);
  const groff = spawnSync('groff', ['-man', '-Tascii', '-ww', '-z'], { input: stdout, encoding: 'utf8' });
  if (groff.error === undefined) t.same([groff.status, groff.stderr], [0, '']);
  else t.comment('groff is not here');
});
