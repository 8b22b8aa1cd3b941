import type { CloseReason } from '../mptcp-over-udp/tcp/tcp-connection.js';

/** An operation of the host that failed: `code` is stable (an errno name where one fits), the message says what to do. */
export class HostError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'HostError';
    this.code = code;
  }
}

const CODES: Readonly<Record<CloseReason, readonly [code: string, message: string]>> = {
  finished: ['EPIPE', 'the connection is closed'],
  reset: ['ECONNRESET', 'the peer reset the connection'],
  timeout: ['ETIMEDOUT', 'the peer does not answer'],
  aborted: ['ECONNABORTED', 'the connection was aborted'],
  refused: ['ECONNREFUSED', 'the peer refused the connection'],
  unreachable: ['EHOSTUNREACH', 'the peer cannot be reached'],
};

/** As Node's sockets say it. */
export function errorOf(reason: CloseReason, peer: string): HostError {
  const [code, message] = CODES[reason];
  return new HostError(code, `${peer}: ${message}`);
}
