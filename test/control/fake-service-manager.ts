/** A service manager that keeps descriptors, for tests: fake-service-manager.py, its commands and events. */

import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const SOURCE = fileURLToPath(new URL('../../../test/control/fake-service-manager.py', import.meta.url));

export interface ManagerEvent {
  event: 'ready' | 'started' | 'ended' | 'heard';
  pid?: number;
  code?: number;
  /** Names, as handed to a start. */
  descriptors?: string[];
  /** Of a notification. */
  fields?: Record<string, string>;
  /** Names, after it. */
  store?: string[];
}

export class FakeServiceManager {
  readonly events: ManagerEvent[] = [];
  readonly #child: ChildProcess;
  readonly #waiters: (() => void)[] = [];
  #errors = '';

  /** `spawn` runs a command with pipes, where the service is to live. `socket`: a path, not taken yet. */
  constructor(spawn: (command: string, args: string[]) => ChildProcess, socket: string, command: readonly string[]) {
    this.#child = spawn('python3', [SOURCE, socket, ...command]);
    this.#child.stderr?.on('data', (chunk) => {
      this.#errors += String(chunk);
    });
    createInterface({ input: this.#child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      this.events.push(JSON.parse(line) as ManagerEvent);
      for (const waiter of this.#waiters.splice(0)) waiter();
    });
  }

  /** What the service and the manager wrote to standard error. */
  get errors(): string {
    return this.#errors;
  }

  /** The first event from the one of that number on that fits. */
  async next(from: number, fits: (event: ManagerEvent) => boolean, timeoutMs = 20_000): Promise<ManagerEvent> {
    const endMs = performance.now() + timeoutMs;
    for (;;) {
      const found = this.events.slice(from).find(fits);
      if (found !== undefined) return found;
      const restMs = endMs - performance.now();
      if (restMs <= 0) throw new Error(`not within ${timeoutMs} ms; heard: ${JSON.stringify(this.events.slice(from))}; ${this.#errors}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, restMs);
        this.#waiters.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  /** Resolves when the service says that it is ready, to the names that it was given. */
  async start(): Promise<string[]> {
    const from = this.events.length;
    this.#say('start');
    const started = await this.next(from, ({ event }) => event === 'started');
    await this.next(from, ({ fields }) => fields?.READY === '1');
    return started.descriptors ?? [];
  }

  /** Resolves to its exit code, -9 when killed. */
  async end(how: 'kill' | 'stop'): Promise<number> {
    const from = this.events.length;
    this.#say(how);
    return (await this.next(from, ({ event }) => event === 'ended')).code ?? 0;
  }

  close(): void {
    this.#say('end');
    this.#child.stdin?.end();
  }

  /** Names that it keeps now. */
  get store(): readonly string[] {
    return this.events.findLast(({ store }) => store !== undefined)?.store ?? [];
  }

  #say(word: string): void {
    this.#child.stdin?.write(`${word}\n`);
  }
}
