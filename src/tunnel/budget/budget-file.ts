/** NAME.budgets.json in the state directory: what each path of a tunnel has carried in its period. Written whole, so that no crash leaves half of it. */

import { mkdirSync, readFileSync, renameSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { stateDirectory } from '../../tun/state-directory.js';
import type { BudgetRecord } from './path-budget.js';

const bytes = z.number().min(0);
const fileSchema = z.object({
  version: z.literal(1),
  paths: z.record(
    z.string(),
    z.object({
      period: z.enum(['day', 'week', 'month']),
      startMs: z.number(),
      usedBytes: bytes,
      previous: z.object({ startMs: z.number(), usedBytes: bytes }).optional(),
    }),
  ),
});

export type BudgetRecords = Readonly<Record<string, BudgetRecord>>;

export class BudgetFile {
  readonly path: string;
  readonly #warn: (message: string) => void;
  #writing: Promise<void> | undefined;
  #warned = false;

  constructor(tunnel: string, warn: (message: string) => void, directory = stateDirectory()) {
    this.path = join(directory, `${tunnel}.budgets.json`);
    this.#warn = warn;
  }

  /** Nothing where there is no file yet; a damaged one is put aside, and told. */
  read(): BudgetRecords {
    let text: string;
    try {
      text = readFileSync(this.path, 'utf8');
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT') this.#warn(`${this.path} cannot be read (${code}): budgets are counted from nothing`);
      return {};
    }
    try {
      return fileSchema.parse(JSON.parse(text)).paths;
    } catch {
      this.#putAside();
      return {};
    }
  }

  /** In the background; one that is asked for while another is under way is left out, and false. The next has it all. */
  save(records: BudgetRecords): boolean {
    if (this.#writing !== undefined) return false;
    this.#writing = this.#write(records)
      .catch((error: NodeJS.ErrnoException) => this.#complain(error))
      .finally(() => {
        this.#writing = undefined;
      });
    return true;
  }

  /** The last word; returns when it is on the disk. */
  async close(records: BudgetRecords): Promise<void> {
    await this.#writing;
    await this.#write(records).catch((error: NodeJS.ErrnoException) => this.#complain(error));
  }

  async #write(records: BudgetRecords): Promise<void> {
    mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 });
    const staged = `${this.path}.new`;
    const file = await open(staged, 'w', 0o600);
    try {
      await file.writeFile(`${JSON.stringify({ version: 1, paths: records }, undefined, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(staged, this.path);
    this.#warned = false;
  }

  #putAside(): void {
    const aside = `${this.path}.damaged`;
    try {
      renameSync(this.path, aside);
      this.#warn(`${this.path} is damaged: it lies in ${aside} now, and budgets are counted from nothing`);
    } catch (error) {
      this.#warn(`${this.path} is damaged, and cannot be put aside: ${(error as Error).message}`);
    }
  }

  #complain(error: NodeJS.ErrnoException): void {
    if (this.#warned) return;
    this.#warned = true;
    this.#warn(
      `what paths have used of their budgets cannot be kept (${error.message}): run as root, or set MPTUNNEL_STATE_DIR to a folder that can be written`,
    );
  }
}
