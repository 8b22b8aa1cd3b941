/** How failures reach the user: one line on standard error. */

/** A failure that is fully told by its message. */
export class CliError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'CliError';
    this.code = code;
  }
}

/** `elsewhere`: how the user chooses another place than `path`. */
export function notWritten(path: string, cause: unknown, elsewhere: string): CliError {
  const { code, message } = cause as NodeJS.ErrnoException;
  const what = code === 'EACCES' || code === 'EPERM' ? `permission denied: run with sudo, or ${elsewhere}` : (code ?? message);
  return new CliError('not-written', `${path} cannot be written: ${what}`, { cause });
}

export function failureLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const line = text
    .trim()
    .replaceAll(/\s*\n\s*/g, ' ')
    .replace(/^error: /, '');
  // Without a code of ours it is a defect, and a report of it needs the place.
  const isDefect = error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError;
  return isDefect ? `internal error: ${line} (MPTUNNEL_DEBUG=1 shows where)` : line;
}

export function reportFailure(error: unknown): void {
  process.stderr.write(`mptunnel: ${failureLine(error)}\n`);
  if (isDebugging() && error instanceof Error) process.stderr.write(`${error.stack}\n`);
}

export function reportWarning(message: string): void {
  process.stderr.write(`mptunnel: warning: ${message}\n`);
}

function isDebugging(): boolean {
  return (process.env.MPTUNNEL_DEBUG ?? '') !== '';
}
