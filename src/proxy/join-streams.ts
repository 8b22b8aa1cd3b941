/** Joins two streams with half-open ends: each end crosses by itself, and what breaks one breaks the other. */

import type { Duplex } from 'node:stream';

interface Resettable extends Duplex {
  resetAndDestroy?(): unknown;
}

export function joinStreams(a: Resettable, b: Resettable): void {
  a.pipe(b);
  b.pipe(a);
  breakWith(a, b);
  breakWith(b, a);
}

function breakWith(one: Resettable, other: Resettable): void {
  one.on('error', () => reset(other));
  one.on('close', () => {
    // Closed before both of its ends: nobody reads the rest.
    if (!one.readableEnded || !one.writableFinished) reset(other);
  });
}

function reset(stream: Resettable): void {
  if (stream.destroyed) return;
  if (stream.resetAndDestroy === undefined) stream.destroy();
  else stream.resetAndDestroy();
}
