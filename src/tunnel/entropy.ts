/** Random bytes in small pieces: a call into the system's generator costs some microseconds, whatever it brings. */

import { randomFillSync } from 'node:crypto';

const POOL_BYTES = 8_192;

/** As `randomBytes` of node:crypto; every result is the caller's own, and no byte is given out twice or kept after it was. */
export function createEntropy(): (count: number) => Uint8Array {
  const pool = new Uint8Array(POOL_BYTES);
  let at = POOL_BYTES;
  return (count) => {
    if (count > POOL_BYTES) return randomFillSync(new Uint8Array(count));
    if (at + count > POOL_BYTES) {
      randomFillSync(pool);
      at = 0;
    }
    const bytes = pool.slice(at, at + count);
    pool.fill(0, at, at + count);
    at += count;
    return bytes;
  };
}
