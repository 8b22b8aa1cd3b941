/** Unix stream sockets for their owner only. */

import { chmodSync, lstatSync, rmSync } from 'node:fs';
import type { Server } from 'node:net';

/** Resolves when `server` listens at `path`; rejects with the system's error. A socket that a dead process left there is replaced, another kind of file is not. */
export function listenPrivately(server: Server, path: string): Promise<void> {
  // The umask, not chmod alone: there must be no moment in which others could connect.
  const umask = process.umask(0o177);
  return new Promise<void>((resolve, reject) => {
    removeSocket(path);
    // It stays: a connection that cannot be accepted (no more descriptors, say) is an error of the server too, and no reason to end a tunnel.
    server.on('error', reject);
    server.listen(path, () => {
      chmodSync(path, 0o600);
      resolve();
    });
  }).finally(() => process.umask(umask));
}

/** Never another kind of file. */
export function removeSocket(path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() === true) rmSync(path, { force: true });
}
