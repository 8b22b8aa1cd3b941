/** Days, weeks and months by the local calendar, as people and their bills reckon. Pure: the wall clock comes in, as milliseconds since 1970 in UTC. */

import type { Budget } from '../config.js';

export interface Span {
  /** Inclusive. */
  readonly startMs: number;
  /** Exclusive: where the next begins. */
  readonly endMs: number;
}

/** The day, the week (from Monday) or the month that `wallMs` is in. */
export function spanOf(period: Budget['period'], wallMs: number): Span {
  const at = new Date(wallMs);
  const [year, month, day] = [at.getFullYear(), at.getMonth(), at.getDate()];
  switch (period) {
    case 'day':
      return span(new Date(year, month, day), new Date(year, month, day + 1));
    case 'week': {
      const monday = day - ((at.getDay() + 6) % 7);
      return span(new Date(year, month, monday), new Date(year, month, monday + 7));
    }
    case 'month':
      return span(new Date(year, month, 1), new Date(year, month + 1, 1));
  }
}

function span(start: Date, end: Date): Span {
  return { startMs: start.getTime(), endMs: end.getTime() };
}
