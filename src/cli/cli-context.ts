/** What the commands need from their surroundings; tests give their own. */

import type { StartTunnel } from '../tunnel/tunnel-api.js';

export interface CliContext {
  /** The program that a daemon is started from: `node ENTRY up CONFIG --foreground`. */
  readonly entryFile: string;
  /** Loaded late: most commands need neither the addon nor the stack. */
  readonly loadStartTunnel: () => Promise<StartTunnel>;
}
