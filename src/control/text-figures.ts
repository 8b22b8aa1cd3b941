/** Figures as people read them: three digits at most, and a unit. */

export function formatBitRate(bytesPerSec: number): string {
  return formatScaled(bytesPerSec * 8, ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s']);
}

/** The same, short enough for a column; "-" when it is not known. */
export function formatRateCell(bytesPerSec: number): string {
  return bytesPerSec < 0 ? '-' : formatScaled(bytesPerSec * 8, ['b/s', 'k', 'M', 'G']);
}

export function formatBytes(bytes: number): string {
  return formatScaled(bytes, ['B', 'kB', 'MB', 'GB', 'TB']);
}

/** "-" when it is not known. */
export function formatMs(milliseconds: number): string {
  return milliseconds < 0 ? '-' : `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`;
}

export function formatPercent(ratio: number): string {
  return `${(ratio * 100).toFixed(1)} %`;
}

/** Three figures at most: 999 B, 1.5 kB, 48 MB. */
function formatScaled(value: number, units: readonly string[]): string {
  let index = 0;
  let scaled = value;
  // 999.5 would be written 1000.
  while (scaled >= 999.5 && index < units.length - 1) {
    scaled /= 1000;
    index++;
  }
  const digits = index > 0 && scaled < 9.95 ? 1 : 0;
  return `${scaled.toFixed(digits)} ${units[index]}`;
}

export function formatDuration(durationMs: number): string {
  const seconds = Math.floor(durationMs / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 24 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export function plural(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`;
}
