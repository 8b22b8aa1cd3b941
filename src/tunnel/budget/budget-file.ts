/** NAME.budgets.json in the state directory: what each path of a tunnel has carried in its period. */

import { z } from 'zod';
import { StateFile } from '../state-file.js';
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
  readonly #file: StateFile<BudgetRecords>;

  constructor(tunnel: string, warn: (message: string) => void, directory?: string) {
    this.#file = new StateFile<BudgetRecords>({
      name: `${tunnel}.budgets.json`,
      parse: (value) => fileSchema.parse(value).paths,
      empty: {},
      loss: 'budgets are counted from nothing',
      content: 'what paths have used of their budgets',
      warn,
      ...(directory === undefined ? {} : { directory }),
    });
  }

  get path(): string {
    return this.#file.path;
  }

  /** As StateFile's, and so are the others. */
  read(): BudgetRecords {
    return this.#file.read();
  }

  save(records: BudgetRecords): boolean {
    return this.#file.save({ version: 1, paths: records });
  }

  close(records: BudgetRecords): Promise<void> {
    return this.#file.close({ version: 1, paths: records });
  }
}
