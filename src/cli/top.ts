import type { Command } from 'commander';
import type { ControlClient } from '../control/control-client.js';
import { parseEventLines } from '../control/event-stream.js';
import { applyKey, FIRST_CHOICE, parseKeys, type TopChoice } from '../control/top-choice.js';
import { renderTop, type TopKnowledge } from '../control/top-view.js';
import { CONNECTIONS_PAGE_MAX_COUNT } from '../tunnel/connections.js';
import type { TunnelEvent } from '../tunnel/events.js';
import { withDaemon } from './daemon-client.js';
import { parseSeconds } from './numbers.js';
import { CliError } from './report.js';
import { requireTerminal, TerminalScreen } from './terminal-screen.js';

const DEFAULT_INTERVAL_SECONDS = 1;
/** Connections' rates need half a second between looks. */
const MIN_INTERVAL_MS = 500;
const EVENTS_MAX_COUNT = 256;

export function addTop(program: Command): void {
  program
    .command('top')
    .description('watch a running tunnel: paths, connections and what they carry, who is benched and why, events')
    .argument('<name>', 'the name of the tunnel')
    .option('-i, --interval <seconds>', 'look so often', parseSeconds, DEFAULT_INTERVAL_SECONDS)
    .addHelpText(
      'after',
      '\nKeys: p paths, c connections, e events, s sort, space pause, arrows scroll, q quit. Example:\n  sudo mptunnel top home',
    )
    .action(async (name: string, options: { interval: number }) => {
      requireTerminal();
      await withDaemon(name, (client) => new Top(client, Math.max(MIN_INTERVAL_MS, options.interval * 1000)).run());
    });
}

class Top {
  readonly #client: ControlClient;
  readonly #intervalMs: number;
  readonly #events: TunnelEvent[] = [];
  readonly #screen: TerminalScreen;
  #known: TopKnowledge;
  #choice: TopChoice = FIRST_CHOICE;
  #scrollMax = 0;
  #looking = false;
  #lookAgain = false;
  #lookTimer: NodeJS.Timeout | undefined;
  #leave: (error?: unknown) => void = () => {};
  readonly #left = new Promise<void>((resolve, reject) => {
    this.#leave = (error) => (error === undefined ? resolve() : reject(error));
  });

  constructor(client: ControlClient, intervalMs: number) {
    this.#client = client;
    this.#intervalMs = intervalMs;
    this.#known = { status: undefined, connections: { total: 0, connections: [] }, events: this.#events };
    this.#screen = new TerminalScreen({ onInput: (text) => this.#handleInput(text), onResize: () => this.#draw() });
  }

  async run(): Promise<void> {
    try {
      const stream = this.#client.events(EVENTS_MAX_COUNT, true, (chunk) => this.#handleEvents(chunk));
      stream.done.then(
        () => this.#leave(new CliError('gone', 'the tunnel has stopped')),
        (error: unknown) => this.#leave(error),
      );
      void this.#look();
      await this.#left;
    } finally {
      clearTimeout(this.#lookTimer);
      this.#screen.close();
    }
  }

  async #look(): Promise<void> {
    // What is under way may have been asked for another view.
    this.#lookAgain = this.#looking;
    if (this.#looking) return;
    this.#looking = true;
    clearTimeout(this.#lookTimer);
    try {
      const { view, connectionOrder: order } = this.#choice;
      const status = await this.#client.status();
      const limit = view === 'connections' ? CONNECTIONS_PAGE_MAX_COUNT : 0;
      const connections = limit === 0 ? this.#known.connections : await this.#client.connections({ order, offset: 0, limit });
      if (!this.#choice.paused) this.#known = { status, connections, events: [...this.#events] };
      this.#draw();
      this.#lookTimer = setTimeout(() => void this.#look(), this.#lookAgain ? 0 : this.#intervalMs);
    } catch (error) {
      this.#leave(error);
    } finally {
      this.#looking = false;
    }
  }

  #handleEvents(chunk: Uint8Array): void {
    this.#events.push(...parseEventLines(chunk));
    this.#events.splice(0, Math.max(0, this.#events.length - EVENTS_MAX_COUNT));
  }

  #handleInput(text: string): void {
    for (const key of parseKeys(text)) {
      const before = this.#choice;
      const next = applyKey(before, key, this.#scrollMax);
      if (next === undefined) {
        this.#leave();
        return;
      }
      this.#choice = next;
      this.#draw();
      const needsLook = next.view !== before.view || next.connectionOrder !== before.connectionOrder || (before.paused && !next.paused);
      if (needsLook) void this.#look();
    }
  }

  #draw(): void {
    const { lines, scrollMax } = renderTop(this.#known, this.#choice, this.#screen.size);
    this.#scrollMax = scrollMax;
    this.#screen.draw(lines);
  }
}
