/**
 * Hosts on which the guide is run as it is written: each has its own /etc, /run, home and state, `mptunnel` on its PATH, and a `sudo` that
 * does nothing, since the test is root.
 */

import { appendFileSync, chmodSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import type { LabProcess } from '../../src/lab/lab-api.js';
import type { NamespaceHost } from '../../src/lab/namespaces.js';
import type { TunnelStatus } from '../../src/tunnel/status.js';
import { Learned, type Step } from './guide-reader.js';
import { PROGRAM } from './tunnel-rig.js';

const COMMAND_TIMEOUT_MS = 90_000;
const COMMAND_SECONDS = '85';
/** What only looks is asked again until it shows what the guide shows: a reader takes longer to type it. */
const ONLY_LOOKS = /\b(status|list|connections|getent|ip|ping|curl)\b/;
/** A command may fail only where the guide shows it. */
const TELLS_OF_FAILURE = /^(curl|mptunnel|ping): | 100% packet loss/;
/** Daemons that got too little of a busy machine to be up in time: whoever sees that tries again. */
const TOO_BUSY = /did not report within|was not reached within/;
const LOOK_AGAIN_FOR_MS = 30_000;
const ATTEMPTS_MAX = 3;
const DOWNLOADS_MAX = 6;
const LOOK_AGAIN_MS = 300;

/** In a mount namespace of its own, which `ip netns exec` has made; "$0" is the host's folder. `timeout` also ends what the command has started. */
const ENTER = `mount --bind "$0/etc" /etc && mount --bind "$0/run" /run && cd "$0/home" &&
exec env PATH="$0/bin:$PATH" HOME="$0/home" MPTUNNEL_STATE_DIR="$0/state" NODE_OPTIONS= TERM=dumb timeout -k 2 "$2" sh -c "$1"`;

export class GuideHost {
  readonly host: NamespaceHost;
  private readonly folder: string;

  /** `names`: lines for /etc/hosts. */
  constructor(host: NamespaceHost, folder: string, resolvConf: string, names: readonly string[]) {
    this.host = host;
    this.folder = folder;
    for (const name of ['run', 'home', 'state', 'bin']) mkdirSync(join(folder, name), { recursive: true });
    cpSync('/etc', join(folder, 'etc'), { recursive: true, verbatimSymlinks: true });
    rmSync(join(folder, 'etc/mptunnel'), { recursive: true, force: true });
    rmSync(join(folder, 'etc/resolv.conf'), { force: true });
    writeFileSync(join(folder, 'etc/resolv.conf'), resolvConf);
    writeFileSync(join(folder, 'etc/hosts'), `127.0.0.1 localhost\n${names.map((line) => `${line}\n`).join('')}`);
    this.program('mptunnel', `exec ${JSON.stringify(process.execPath)} ${JSON.stringify(PROGRAM)} "$@"`);
    this.program('sudo', 'exec "$@"');
  }

  /** What comes out, on both streams; rejects when the command fails. */
  async run(command: string): Promise<string> {
    const { stdout } = await this.host.run('sh', ['-c', ENTER, this.folder, `exec 2>&1\n${command}`, COMMAND_SECONDS], {
      timeoutMs: COMMAND_TIMEOUT_MS,
    });
    return stdout;
  }

  /** As `run`, but a failure is an outcome like others. */
  async attempt(command: string): Promise<{ output: string; failed: boolean }> {
    const text = await this.run(`(${command}) && echo ended: 0 || echo ended: $?`);
    const end = text.lastIndexOf('ended: ');
    return { output: text.slice(0, end), failed: text.slice(end).trim() !== 'ended: 0' };
  }

  start(command: string): LabProcess {
    return this.host.spawn('sh', ['-c', ENTER, this.folder, command, '0']);
  }

  async status(): Promise<TunnelStatus> {
    return JSON.parse(await this.run('mptunnel status mpt0 --json')) as TunnelStatus;
  }

  read(path: string): string {
    return readFileSync(join(this.folder, path), 'utf8');
  }

  writeFile(path: string, place: string, text: string): void {
    const file = join(this.folder, path);
    mkdirSync(dirname(file), { recursive: true });
    if (place === '') {
      writeFileSync(file, text, { mode: 0o600 });
      return;
    }
    if (place === 'at the end') {
      appendFileSync(file, `\n${text}`);
      return;
    }
    const table = place.slice('under '.length);
    const before = readFileSync(file, 'utf8');
    if (!before.includes(`${table}\n`)) throw new Error(`${path} has no ${table}`);
    writeFileSync(file, before.replace(`${table}\n`, `${table}\n${text}`));
  }

  async close(): Promise<void> {
    await this.run('mptunnel down mpt0').catch(() => undefined);
  }

  private program(name: string, line: string): void {
    const file = join(this.folder, 'bin', name);
    writeFileSync(file, `#!/bin/sh\n${line}\n`);
    chmodSync(file, 0o755);
  }
}

/** What each path of a host's first peer has received meanwhile, in bytes. */
export async function sharesOf(t: Test, host: GuideHost, act: () => Promise<unknown>): Promise<number[]> {
  const received = async (): Promise<number[]> => (await host.status()).peers[0]!.paths.map(({ rxBytes }) => rxBytes);
  const before = await received();
  await act();
  const shares = (await received()).map((bytes, index) => bytes - before[index]!);
  t.comment(`by path: ${shares.join(', ')} bytes`);
  return shares;
}

/** Of a few downloads the fastest, in bits per second, which must be above `least`: a busy machine slows some. */
export async function bestRate(t: Test, host: GuideHost, url: string, least: number): Promise<void> {
  const rates: number[] = [];
  do rates.push(8 * Number(await host.run(`curl -so /dev/null -w '%{speed_download}' ${url}`)));
  while (rates.at(-1)! < least && rates.length < DOWNLOADS_MAX);
  t.ok(Math.max(...rates) >= least, `more than one link alone has: ${rates.join(', ')} bit/s`);
}

export interface Stage {
  readonly hosts: Readonly<Record<string, GuideHost>>;
  /** What each stage direction of the section means. */
  readonly directions: Readonly<Record<string, () => Promise<void>>>;
}

/** Does what the steps say, one after the other; a failure ends it, since nothing after it would mean anything. */
export async function follow(t: Test, steps: readonly Step[], stage: Stage): Promise<void> {
  const learned = new Learned();
  const met = new Set<string>();
  for (const step of steps) {
    const where = `docs/guide.md:${step.line}`;
    if (step.kind === 'direction') {
      const act = stage.directions[step.text];
      if (act === undefined) throw new Error(`${where}: nobody knows what "${step.text}" means`);
      met.add(step.text);
      t.comment(`${where}: ${step.text}`);
      await act();
      t.pass(`${where}: ${step.text}`);
      continue;
    }
    const host = stage.hosts[step.host];
    if (host === undefined) throw new Error(`${where}: there is no host ${step.host}`);
    if (step.kind === 'file') host.writeFile(step.path, step.place, learned.apply(step.text));
    else await obey(t, where, host, step, learned);
  }
  t.same([...met].sort(), Object.keys(stage.directions).sort(), 'every stage direction was met');
}

async function obey(t: Test, where: string, host: GuideHost, step: Step & { kind: 'command' }, learned: Learned): Promise<void> {
  const command = learned.apply(step.command);
  t.comment(`${step.host}$ ${command}`);
  const deadlineMs = performance.now() + (ONLY_LOOKS.test(command) ? LOOK_AGAIN_FOR_MS : 0);
  for (let attempt = 1; ; attempt++) {
    const { output: actual, failed } = await host.attempt(command);
    if ((!failed || step.output.some((line) => TELLS_OF_FAILURE.test(line))) && learned.matches(step.output, actual)) {
      t.comment(actual);
      t.pass(`${where}: ${step.command}`);
      return;
    }
    if (performance.now() >= deadlineMs && !(TOO_BUSY.test(actual) && attempt < ATTEMPTS_MAX)) {
      t.comment(actual);
      throw new Error(`${where}: after ${step.command}\nexpected\n${step.output.join('\n')}\nbut had\n${actual}`);
    }
    await sleep(LOOK_AGAIN_MS);
  }
}
