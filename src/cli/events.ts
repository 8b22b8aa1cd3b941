import { type Command, InvalidArgumentError } from 'commander';
import { parseEventLines } from '../control/event-stream.js';
import { describeEvent } from '../tunnel/events.js';
import { cancelledBySignals, withDaemon, writePaced } from './daemon-client.js';
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
  const { droppedEvents } = await withDaemon(name, (client) => {
    const onChunk = (chunk: Uint8Array): void => writePaced(client, process.stdout, options.json === true ? chunk : asText(chunk));
    const running = client.events(options.last, options.follow, onChunk);
    return cancelledBySignals(running.cancel, running.done);
  });
  if (droppedEvents > 0) reportWarning(`${droppedEvents} events were dropped, because they could not be written fast enough`);
}

function asText(lines: Uint8Array): string {
  return parseEventLines(lines)
    .map((event) => `${event.time}  ${describeEvent(event)}\n`)
    .join('');
}

function parseLast(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError('Give a whole number from 0.');
  return Number(text);
}
