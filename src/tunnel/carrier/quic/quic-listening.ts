/** A port on which QUIC is listened on, as the tunnel's thread sees it; the worker has its socket. */

import { TunnelError } from '../../tunnel-api.js';
import type { ListenOptions, TransportListener } from '../transport.js';

export class QuicListening implements TransportListener {
  port = 0;
  /** Of its socket in the worker; below zero: none. */
  descriptor = -1;
  counters: Readonly<Record<string, number>> = {};
  readonly options: ListenOptions;
  readonly id: number;
  readonly #stop: (listening: QuicListening) => void;
  /** Where the worker has it. */
  settle: (error: TunnelError | undefined) => void = () => {};

  constructor(stop: (listening: QuicListening) => void, id: number, options: ListenOptions) {
    this.#stop = stop;
    this.id = id;
    this.options = options;
  }

  async close(): Promise<void> {
    this.#stop(this);
  }
}

export function listenError(port: number, code: string, message: string): TunnelError {
  const text =
    code === 'EADDRINUSE'
      ? `UDP port ${port} is taken: choose another quic_port, or stop the program that holds it ("ss -lunp" shows it).`
      : code === 'EACCES'
        ? `UDP port ${port} needs root or CAP_NET_BIND_SERVICE: choose a quic_port above 1023.`
        : `QUIC cannot listen on UDP port ${port}: ${message}`;
  return new TunnelError('listen', text);
}
