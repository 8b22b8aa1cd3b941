/** How a configuration is refused. */

export type ConfigErrorCode = 'not-found' | 'unreadable' | 'syntax' | 'unknown-key' | 'missing-key' | 'bad-value' | 'conflict' | 'key-file';

/** The message is complete and one line. */
export class ConfigError extends Error {
  readonly code: ConfigErrorCode;
  constructor(code: ConfigErrorCode, message: string, options?: ErrorOptions) {
    super(message.replaceAll(/\s*\n\s*/g, ' '), options);
    this.name = 'ConfigError';
    this.code = code;
  }
}

/** Receives one line for each thing that works but should not stay so. */
export type ConfigWarning = (message: string) => void;
