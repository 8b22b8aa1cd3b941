/** NAME.totals.json in the state directory: what each peer of a tunnel has carried, by its public key. */

import { z } from 'zod';
import { StateFile } from '../state-file.js';
import type { PeerTrafficStatus } from '../status.js';

const count = z.number().min(0);
const fileSchema = z.object({
  version: z.literal(1),
  peers: z.record(
    z.string(),
    z.object({
      rxBytes: count,
      txBytes: count,
      rxPackets: count,
      txPackets: count,
      rxConnections: count,
      txConnections: count,
      knownMs: z.number(),
    }),
  ),
});

export interface TotalsRecord extends PeerTrafficStatus {
  /** Since 1970: when it was a peer here last. */
  knownMs: number;
}

export type TotalsRecords = Readonly<Record<string, TotalsRecord>>;

export class TotalsFile {
  readonly #file: StateFile<TotalsRecords>;

  constructor(tunnel: string, warn: (message: string) => void, directory?: string) {
    this.#file = new StateFile<TotalsRecords>({
      name: `${tunnel}.totals.json`,
      parse: (value) => fileSchema.parse(value).peers,
      empty: {},
      loss: 'what peers carry is counted from nothing',
      content: 'what peers have carried',
      warn,
      ...(directory === undefined ? {} : { directory }),
    });
  }

  get path(): string {
    return this.#file.path;
  }

  /** As StateFile's, and so are the others. */
  read(): TotalsRecords {
    return this.#file.read();
  }

  save(records: TotalsRecords): boolean {
    return this.#file.save({ version: 1, peers: records });
  }

  close(records: TotalsRecords): Promise<void> {
    return this.#file.close({ version: 1, peers: records });
  }
}
