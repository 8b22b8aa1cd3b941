import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import type { Command } from 'commander';
import { ControlClient, type RunningCapture } from '../control/control-client.js';
import { findInstance } from '../control/instance.js';
import { runFiles } from '../tun/run-directory.js';
import { parseCount, parseSeconds } from './numbers.js';
import { CliError } from './report.js';

interface CaptureOptions {
  write: string;
  seconds?: number;
  count?: number;
}

export function addCapture(program: Command): void {
  program
    .command('capture')
    .description('write the packets on all paths, as they are inside the encryption, to a pcapng file for Wireshark')
    .argument('<name>', 'the name of the tunnel')
    .requiredOption('-w, --write <file>', 'where to; - is standard output')
    .option('-s, --seconds <seconds>', 'stop after so long', parseSeconds)
    .option('-c, --count <packets>', 'stop after so many packets', parseCount)
    .addHelpText(
      'after',
      '\nIt ends at Ctrl-C. Examples:\n  sudo mptunnel capture home -w trace.pcapng\n  sudo mptunnel capture home -w - | tshark -r -',
    )
    .action(capture);
}

async function capture(name: string, options: CaptureOptions): Promise<void> {
  const client = await ControlClient.connect(runFiles(findInstance(name).name).socket);
  try {
    const file = await openOutput(options.write);
    const running = client.capture(options.count ?? 0, (chunk) => {
      if (file.write(chunk)) return;
      // What we do not read waits in the daemon's bounded queue, and beyond it packets are dropped and counted there.
      client.pause();
      file.once('drain', () => client.resume());
    });
    await untilEnd(running, file, options);
  } finally {
    client.close();
  }
}

async function openOutput(path: string): Promise<WriteStream> {
  const file = path === '-' ? createWriteStream('', { fd: 1, autoClose: false }) : createWriteStream(path, { mode: 0o600 });
  if (path === '-') return file;
  try {
    await once(file, 'open');
  } catch (cause) {
    throw new CliError('no-file', `${path} cannot be written: ${(cause as NodeJS.ErrnoException).code}`, { cause });
  }
  return file;
}

async function untilEnd(running: RunningCapture, file: WriteStream, options: CaptureOptions): Promise<void> {
  const cancel = (): void => running.cancel();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, cancel);
  const timer = options.seconds === undefined ? undefined : setTimeout(cancel, options.seconds * 1000);
  const broken = once(file, 'error').then(([error]) => {
    throw new CliError('not-written', `${options.write}: ${(error as Error).message}`, { cause: error });
  });
  broken.catch(() => {});
  try {
    const { packets, droppedPackets } = await Promise.race([running.done, broken]);
    await Promise.race([new Promise<void>((resolve) => file.end(resolve)), broken]);
    const dropped = droppedPackets > 0 ? `; ${droppedPackets} more were dropped, because they could not be written fast enough` : '';
    process.stderr.write(`${packets} packets written to ${options.write}${dropped}\n`);
  } finally {
    clearTimeout(timer);
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, cancel);
  }
}
