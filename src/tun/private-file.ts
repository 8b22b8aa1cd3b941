/** Files that only their owner may read, and that are never half written. */

import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Whole or not at all, also over a crash or a power cut; for its owner only. */
export function writePrivateFile(file: string, text: string): void {
  const staged = join(dirname(file), `.${process.pid}.${Date.now()}.new`);
  const fd = openSync(staged, 'wx', 0o600);
  try {
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  try {
    renameSync(staged, file);
  } catch (error) {
    rmSync(staged, { force: true });
    throw error;
  }
}
