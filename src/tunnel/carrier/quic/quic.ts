/**
 * The kind `quic`: one connection of QUIC for each path, its datagrams in DATAGRAM frames (RFC 9221). The library runs in a worker, which a watchdog ends when it does not turn
 * (watched-worker.ts): its connections close, and their owners dial again.
 */

import { TunnelError } from '../../tunnel-api.js';
import type { TransportProvider } from '../transport.js';
import { QuicHost } from './quic-host.js';
import { loadQuiche, QUICHE_PACKAGE } from './quiche.js';

/** Rejects with TunnelError `carrier-missing`. Carriers that share a host share its worker, and ports. */
export async function loadQuicHost(): Promise<QuicHost> {
  try {
    loadQuiche();
  } catch (cause) {
    throw new TunnelError(
      'carrier-missing',
      `QUIC needs the package ${QUICHE_PACKAGE}, for Linux on x64: \`npm install ${QUICHE_PACKAGE}\` in the folder of mptunnel`,
      { cause },
    );
  }
  return new QuicHost();
}

/** Rejects with TunnelError `carrier-missing`. */
export async function loadQuic(
  shared: Promise<QuicHost> = loadQuicHost(),
): Promise<TransportProvider & { hangForTest(nativelyMs?: number): void }> {
  const host = await shared;
  return {
    kind: 'quic',
    dial: (options, events) => host.dial('mptunnel', options, events),
    listen: (options) => host.listen('mptunnel', options),
    close: () => host.close(),
    hangForTest: (nativelyMs = 0) => host.post({ type: 'hang', nativelyMs }),
  };
}
