/** A port on which QUIC is listened on, as the tunnel's thread sees it; the worker has its socket. Carriers share it, each with a protocol of its own. */

import { TunnelError } from '../../tunnel-api.js';
import type { ListenOptions } from '../transport.js';
import type { QuicProtocol } from './quiche.js';

export class QuicListening {
  port = 0;
  /** Of its socket in the worker; below zero: none. */
  descriptor = -1;
  counters: Readonly<Record<string, number>> = {};
  /** Of who was first. */
  readonly options: ListenOptions;
  readonly id: number;
  /** The worker has had it once. */
  wasReady = false;
  /** Whose the connections are. */
  readonly takers = new Map<QuicProtocol, ListenOptions>();
  /** Rejects with TunnelError `listen`. */
  readonly ready: Promise<void>;
  /** Where the worker has it, or cannot have it. */
  settle: (error: TunnelError | undefined) => void = () => {};

  constructor(id: number, options: ListenOptions) {
    this.id = id;
    this.options = options;
    this.ready = new Promise((resolve, reject) => {
      this.settle = (error) => (error === undefined ? resolve() : reject(error));
    });
  }

  get protocols(): QuicProtocol[] {
    return [...this.takers.keys()];
  }
}

export function listenError(listening: QuicListening, code: string, message: string): TunnelError {
  const { port } = listening.options;
  const key = listening.takers.has('mptunnel') ? 'quic_port' : 'webtransport_port';
  const text =
    code === 'EADDRINUSE'
      ? `UDP port ${port} is taken: choose another ${key}, or stop the program that holds it ("ss -lunp" shows it).`
      : code === 'EACCES'
        ? `UDP port ${port} needs root or CAP_NET_BIND_SERVICE: choose a ${key} above 1023.`
        : `QUIC cannot listen on UDP port ${port}: ${message}`;
  return new TunnelError('listen', text);
}
