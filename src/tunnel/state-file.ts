/** A file in the state directory, of what shall outlive a tunnel: written whole, so that no crash leaves half of it; a damaged one is put aside, and told. */

import { mkdirSync, readFileSync, renameSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { stateDirectory } from '../tun/state-directory.js';

export interface StateFileOptions<T> {
  /** "mpt0.budgets.json" */
  name: string;
  /** Of what JSON gives; throws when it is something else. */
  parse: (value: unknown) => T;
  /** What there is without a file. */
  empty: T;
  /** For people, of what is lost with the file: "budgets are counted from nothing". */
  loss: string;
  /** What is not kept while the file cannot be written: "what paths have used of their budgets". */
  content: string;
  warn: (message: string) => void;
  directory?: string;
}

export class StateFile<T> {
  readonly path: string;
  readonly #options: StateFileOptions<T>;
  #writing: Promise<void> | undefined;
  #warned = false;

  constructor(options: StateFileOptions<T>) {
    this.path = join(options.directory ?? stateDirectory(), options.name);
    this.#options = options;
  }

  /** `empty` where there is no file yet, and where it cannot be used, which is told. */
  read(): T {
    const { parse, empty, loss, warn } = this.#options;
    let text: string;
    try {
      text = readFileSync(this.path, 'utf8');
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT') warn(`${this.path} cannot be read (${code}): ${loss}`);
      return empty;
    }
    try {
      return parse(JSON.parse(text));
    } catch {
      this.#putAside();
      return empty;
    }
  }

  /** In the background; one that is asked for while another is under way is left out, and false. The next has it all. */
  save(content: unknown): boolean {
    if (this.#writing !== undefined) return false;
    this.#writing = this.#write(content)
      .catch((error: NodeJS.ErrnoException) => this.#complain(error))
      .finally(() => {
        this.#writing = undefined;
      });
    return true;
  }

  /** The last word; returns when it is on the disk. */
  async close(content: unknown): Promise<void> {
    await this.#writing;
    await this.#write(content).catch((error: NodeJS.ErrnoException) => this.#complain(error));
  }

  async #write(content: unknown): Promise<void> {
    mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 });
    const staged = `${this.path}.new`;
    const file = await open(staged, 'w', 0o600);
    try {
      await file.writeFile(`${JSON.stringify(content, undefined, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(staged, this.path);
    this.#warned = false;
  }

  #putAside(): void {
    const { loss, warn } = this.#options;
    const aside = `${this.path}.damaged`;
    try {
      renameSync(this.path, aside);
      warn(`${this.path} is damaged: it lies in ${aside} now, and ${loss}`);
    } catch (error) {
      warn(`${this.path} is damaged, and cannot be put aside: ${(error as Error).message}`);
    }
  }

  #complain(error: NodeJS.ErrnoException): void {
    if (this.#warned) return;
    this.#warned = true;
    const { content, warn } = this.#options;
    warn(`${content} cannot be kept (${error.message}): run as root, or set MPTUNNEL_STATE_DIR to a folder that can be written`);
  }
}
