/** A service manager for tests: what it hears, line by line. The project has no datagram sockets of its own for unix paths, so it is a few lines of C. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const SOURCE = fileURLToPath(new URL('../../../test/control/notify-receiver.c', import.meta.url));

export interface NotifyReceiver {
  /** For NOTIFY_SOCKET. */
  readonly socket: string;
  /** One datagram each; newlines in it are spaces. */
  readonly heard: string[];
  close(): void;
}

/** `socket`: default, a path in `folder`. */
export async function startNotifyReceiver(folder: string, socket = join(folder, 'notify')): Promise<NotifyReceiver> {
  const program = join(folder, 'notify-receiver');
  const built = spawnSync('cc', ['-O1', '-Wall', '-Werror', '-o', program, SOURCE], { encoding: 'utf8' });
  if (built.status !== 0) throw new Error(`cc: ${built.stderr ?? built.error?.message}`);
  const child: ChildProcess = spawn(program, [socket], { stdio: ['pipe', 'pipe', 'inherit'] });
  const heard: string[] = [];
  await new Promise<void>((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code) => reject(new Error(`the receiver ended with ${code}`)));
    createInterface({ input: child.stdout! }).on('line', (line) => (line === 'bound' ? resolve() : heard.push(line)));
  });
  return { socket, heard, close: () => void child.stdin!.end() };
}
