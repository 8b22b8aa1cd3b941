/** The live view on a pseudo terminal (`script` of util-linux): whatever ends it, the terminal is as before. */

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { CliRunner, ENTRY } from './cli-runner.js';

const ENTER = '\u001b[?1049h';
const LEAVE = '\u001b[?1049l';

/** `stty` before and after tells whether the terminal is as it was. */
class Terminal {
  output = '';
  readonly child: ChildProcessWithoutNullStreams;
  readonly ended: Promise<unknown>;

  constructor(cli: CliRunner) {
    const top = `sh -c 'echo pid $$ .; exec "$0" "$1" top mpt0' ${process.execPath} ${ENTRY}`;
    const command = `stty rows 24 cols 80; echo before $(stty -g) .; ${top}; echo exit $? .; echo after $(stty -g) .`;
    const env = { ...process.env, MPTUNNEL_RUN_DIR: cli.runDirectory, NODE_OPTIONS: '', TERM: 'xterm', SHELL: '/bin/sh' };
    this.child = spawn('script', ['--quiet', '--command', command, '/dev/null'], { env, stdio: 'pipe' });
    this.ended = once(this.child, 'close');
    this.child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      this.output += chunk;
    });
  }

  async shows(text: string | RegExp): Promise<void> {
    while (!(typeof text === 'string' ? this.output.includes(text) : text.test(this.output))) {
      if (this.child.exitCode !== null) throw new Error(`ended without ${text}: ${JSON.stringify(this.output)}`);
      await sleep(10);
    }
  }

  /** What the shell said: the first word after `name`. */
  said(name: string): string | undefined {
    return new RegExp(`${name} (\\S+) \\.`).exec(this.output)?.[1];
  }

  kill(signal: NodeJS.Signals): void {
    process.kill(Number(this.said('pid')), signal);
  }
}

async function isRestored(t: Test, terminal: Terminal): Promise<void> {
  await terminal.ended;
  const { output } = terminal;
  t.ok(output.indexOf(LEAVE) > output.indexOf(ENTER), 'the screen from before is back');
  t.ok(output.includes('\u001b[?25h'), 'with its cursor');
  t.ok(terminal.said('before') !== undefined && terminal.said('before') === terminal.said('after'), 'the terminal is set as before');
}

t.test('the live view', { timeout: 400_000 }, async (t) => {
  const cli = new CliRunner(t);
  t.equal((await cli.run(['up', cli.config])).code, 0);

  t.test('shows paths; keys change the view, another size is drawn anew; q ends it', async (t) => {
    const terminal = new Terminal(cli);
    await terminal.shows('mpt0 up 1 min 5 s');
    await terminal.shows(/dsl +up +20 ms/);
    terminal.child.stdin.write('c');
    await terminal.shows('[connections]');
    terminal.child.stdin.write('e');
    await terminal.shows('mpt0 is up');
    const before = terminal.output.length;
    terminal.child.stdin.write(' ');
    await terminal.shows('PAUSED');
    t.ok(terminal.output.length - before < 2000, 'only what changed is drawn');
    terminal.child.stdin.write('q');
    await isRestored(t, terminal);
    t.equal(terminal.said('exit'), '0');
  });

  for (const [signal, code] of [
    ['SIGTERM', '143'],
    ['SIGHUP', '129'],
  ] as const) {
    t.test(`${signal} leaves the terminal as it was`, async (t) => {
      const terminal = new Terminal(cli);
      await terminal.shows('mpt0 up');
      terminal.kill(signal);
      await isRestored(t, terminal);
      t.equal(terminal.said('exit'), code);
    });
  }

  t.test('the end of the tunnel ends it, and says so', async (t) => {
    const terminal = new Terminal(cli);
    await terminal.shows('mpt0 up');
    t.equal((await cli.run(['down', 'mpt0'])).code, 0);
    await isRestored(t, terminal);
    t.equal(terminal.said('exit'), '1');
    t.match(terminal.output.slice(terminal.output.indexOf(LEAVE)), /mptunnel: the tunnel has stopped/);
  });
});

t.test('without a terminal it says what to do', async (t) => {
  const cli = new CliRunner(t);
  await cli.run(['up', cli.config]);
  t.match(await cli.run(['top', 'mpt0']), {
    code: 1,
    stdout: '',
    stderr: /^mptunnel: `mptunnel top` needs a terminal: use `mptunnel status`/,
  });
});
