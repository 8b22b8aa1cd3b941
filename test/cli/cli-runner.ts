/** Runs the command line in a process of its own, with a run directory and a configuration of the test's own. */

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';

export const ENTRY = fileURLToPath(new URL('./fake-mptunnel.js', import.meta.url));

export interface CliResult {
  code: number;
  stdout: string;
  stderr: string;
}

export class CliRunner {
  /** Short: a socket's path has 107 bytes at most. */
  readonly folder = mkdtempSync(join(tmpdir(), 'mpt-cli-'));
  readonly runDirectory = join(this.folder, 'run');
  readonly config = join(this.folder, 'mpt0.toml');

  constructor(t: Test) {
    writeFileSync(
      this.config,
      '[interface]\nprivate_key = "YAnwFRZZXAnVRXB0fEMfnNFHnUVBVEJrgYNyg15JQGM="\naddress = ["10.77.0.2/24"]\n' +
        '[[peer]]\npublic_key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="\nendpoint = "203.0.113.1:5180"\nallowed_ips = ["10.77.0.0/24"]\n',
      { mode: 0o600 },
    );
    t.teardown(() => {
      const pid = this.daemonPid();
      if (pid !== undefined) process.kill(pid, 'SIGKILL');
      rmSync(this.folder, { recursive: true, force: true });
    });
  }

  spawn(args: readonly string[], mode = 'works'): ChildProcessWithoutNullStreams {
    // As a test runner would set it: the daemon must not inherit it.
    const env = { ...process.env, MPTUNNEL_RUN_DIR: this.runDirectory, FAKE_TUNNEL: mode, NODE_OPTIONS: '--no-warnings', NO_COLOR: '1' };
    return spawn(process.execPath, [ENTRY, ...args], { env, stdio: 'pipe' });
  }

  async run(args: readonly string[], options: { mode?: string; input?: string } = {}): Promise<CliResult> {
    const child = this.spawn(args, options.mode);
    child.stdin.end(options.input ?? '');
    return finish(child);
  }

  daemonPid(): number | undefined {
    try {
      return (JSON.parse(readFileSync(join(this.runDirectory, 'mpt0.json'), 'utf8')) as { pid: number }).pid;
    } catch {
      return undefined;
    }
  }

  /** What lies in the run directory, without the log, which stays for people to read. */
  leftovers(): string[] {
    try {
      return readdirSync(this.runDirectory).filter((file) => !file.endsWith('.log'));
    } catch {
      return [];
    }
  }
}

/** Also waits for the end of its output: a daemon that kept our pipes would hang this. */
export async function finish(child: ChildProcessWithoutNullStreams): Promise<CliResult> {
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (chunk) => (stdout += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk) => (stderr += chunk));
  const [code] = await once(child, 'close');
  return { code: code as number, stdout, stderr };
}
