import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import type { Command } from 'commander';
import type { RunningCapture } from '../control/control-client.js';
import { cancelledBySignals, withDaemon, writePaced } from './daemon-client.js';
import { parseCount, parseSeconds } from './numbers.js';
import { notWritten } from './report.js';

interface CaptureOptions {
  write: string;
  seconds?: number;
  count?: number;
}

const ELSEWHERE = 'choose another file with --write';

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
  await withDaemon(name, async (client) => {
    const file = await openOutput(options.write);
    const running = client.capture(options.count ?? 0, (chunk) => writePaced(client, file, chunk));
    await cancelledBySignals(running.cancel, untilEnd(running, file, options));
  });
}

async function openOutput(path: string): Promise<WriteStream> {
  const file = path === '-' ? createWriteStream('', { fd: 1, autoClose: false }) : createWriteStream(path, { mode: 0o600 });
  if (path === '-') return file;
  try {
    await once(file, 'open');
  } catch (cause) {
    throw notWritten(path, cause, ELSEWHERE);
  }
  return file;
}

async function untilEnd(running: RunningCapture, file: WriteStream, options: CaptureOptions): Promise<void> {
  const timer = options.seconds === undefined ? undefined : setTimeout(running.cancel, options.seconds * 1000);
  const broken = once(file, 'error').then(([error]) => {
    throw notWritten(options.write, error, ELSEWHERE);
  });
  broken.catch(() => {});
  try {
    const { packets, droppedPackets } = await Promise.race([running.done, broken]);
    await Promise.race([new Promise<void>((resolve) => file.end(resolve)), broken]);
    const dropped = droppedPackets > 0 ? `; ${droppedPackets} more were dropped, because they could not be written fast enough` : '';
    process.stderr.write(`${packets} packets written to ${options.write}${dropped}\n`);
  } finally {
    clearTimeout(timer);
  }
}
