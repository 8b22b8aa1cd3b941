import { type Command, InvalidArgumentError } from 'commander';
import { ControlClient } from '../control/control-client.js';
import { findInstance } from '../control/instance.js';
import { runFiles } from '../tun/run-directory.js';
import { describeEvent, type TunnelEvent } from '../tunnel/events.js';
import { reportWarning } from './report.js';

interface EventsOptions {
  follow: boolean;
  last: number;
  json?: boolean;
}

const DEFAULT_LAST_COUNT = 10;

export function addEvents(program: Command): void {
  program
    .command('events')
    .description('show what happens: paths and peers that come and go, benches, changes of the configuration, and why')
    .argument('<name>', 'the name of the tunnel')
    .option('--no-follow', 'only what has happened')
    .option('-n, --last <count>', 'begin with so many of the last events (256 are kept)', parseLast, DEFAULT_LAST_COUNT)
    .option('--json', 'print JSON, one object a line')
    .addHelpText(
      'after',
      '\nIt ends at Ctrl-C, or with the tunnel. Examples:\n  sudo mptunnel events home\n  sudo mptunnel events home --json | jq \'select(.type == "path")\'',
    )
    .action(events);
}

async function events(name: string, options: EventsOptions): Promise<void> {
  const client = await ControlClient.connect(runFiles(findInstance(name).name).socket);
  const onChunk = (chunk: Uint8Array): void => {
    const taken = process.stdout.write(options.json === true ? chunk : asText(Buffer.from(chunk).toString()));
    if (taken) return;
    // What we do not read waits in the daemon's bounded queue.
    client.pause();
    process.stdout.once('drain', () => client.resume());
  };
  const running = client.events(options.last, options.follow, onChunk);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, running.cancel);
  try {
    const { droppedEvents } = await running.done;
    if (droppedEvents > 0) reportWarning(`${droppedEvents} events were dropped, because they could not be written fast enough`);
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, running.cancel);
    client.close();
  }
}

function asText(lines: string): string {
  return lines
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const event = JSON.parse(line) as TunnelEvent;
      return `${event.time}  ${describeEvent(event)}\n`;
    })
    .join('');
}

function parseLast(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError('Give a whole number from 0.');
  return Number(text);
}
