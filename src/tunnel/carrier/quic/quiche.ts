/** The library that speaks QUIC (quiche, sans-IO), and how it is set up: for datagrams (RFC 9221), and the few short streams of HTTP/3. */

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { rootCertificates } from 'node:tls';
import type { Quiche, QuicheConfig } from './quiche-binding.js';

export type { Quiche, QuicheConfig, QuicheConnection } from './quiche-binding.js';

/** What is spoken on a connection, by its name in the handshake (ALPN): our datagrams and nothing else, or HTTP/3. */
export type QuicProtocol = 'mptunnel' | 'h3';
/** What our own protocol was called before HTTP/3 was there: who is older still calls it so. */
const FORMER_NAME = 'h3';
const IDLE_MS = 10_000;
/** HTTP/3 needs three streams of either side, and what is said there is short. */
const STREAMS = 8;
const STREAM_BYTES = 16 * 1024;
const CONNECTION_BYTES = 64 * 1024;
/** Only bounds what a burst brings: how long datagrams may wait is watched by the connection. */
const SEND_QUEUE_DATAGRAMS = 1024;
const RECEIVE_QUEUE_DATAGRAMS = 4096;
/** The library looks for no path MTU; past an interface with larger packets there is seldom a path with them. */
const PATH_MTU_BYTES = 1500;
const IP_UDP_BYTES = { 4: 28, 6: 48 } as const;
/** The subflows inside have a congestion control of their own: this one shall follow them, not halve at each loss. */
const CONGESTION_CONTROL = 'bbr';
/** The binary of @matrixai/quic alone. */
export const QUICHE_PACKAGE = '@matrixai/quic-linux-x64';
const SYSTEM_AUTHORITIES = ['/etc/ssl/certs/ca-certificates.crt', '/etc/pki/tls/certs/ca-bundle.crt'];

/** Throws when there is no binary for this machine, or it is not installed. */
export function loadQuiche(): Quiche {
  return createRequire(import.meta.url)(QUICHE_PACKAGE) as Quiche;
}

/** It sends no more than the client says that it takes, and takes the first of its own protocols that the client has, too. */
export function serverConfig(
  quiche: Quiche,
  certificate: string,
  privateKey: string,
  family: 4 | 6,
  protocols: readonly QuicProtocol[],
): QuicheConfig {
  const config = quiche.Config.withBoringSslCtx(false, false, null, [Buffer.from(privateKey)], [Buffer.from(certificate)]);
  configure(config, PATH_MTU_BYTES, family, protocols.includes('mptunnel') ? ['mptunnel', FORMER_NAME] : protocols);
  if (protocols.includes('h3')) allowStreams(config, STREAMS);
  return config;
}

/** `pinned`: the caller looks at the certificate itself. `mtuBytes`: of the interface. */
export function clientConfig(quiche: Quiche, pinned: boolean, mtuBytes: number, family: 4 | 6, protocol: QuicProtocol): QuicheConfig {
  const authorities = pinned ? null : Buffer.from(hostAuthorities());
  const config = quiche.Config.withBoringSslCtx(true, pinned, authorities);
  configure(config, mtuBytes, family, protocol === 'mptunnel' ? ['mptunnel', FORMER_NAME] : [protocol]);
  // RFC 9114, 6.1: a server begins no requests.
  if (protocol === 'h3') allowStreams(config, 0);
  return config;
}

function allowStreams(config: QuicheConfig, requests: number): void {
  config.setInitialMaxData(CONNECTION_BYTES);
  config.setInitialMaxStreamDataBidiLocal(STREAM_BYTES);
  config.setInitialMaxStreamDataBidiRemote(STREAM_BYTES);
  config.setInitialMaxStreamDataUni(STREAM_BYTES);
  config.setInitialMaxStreamsBidi(requests);
  config.setInitialMaxStreamsUni(STREAMS);
}

function configure(config: QuicheConfig, mtuBytes: number, family: 4 | 6, names: readonly string[]): void {
  const payloadMaxBytes = Math.min(mtuBytes, PATH_MTU_BYTES) - IP_UDP_BYTES[family];
  config.setApplicationProtos([...names]);
  config.setMaxIdleTimeout(IDLE_MS);
  // Told to the other side, which knows nothing of our interface and sends no longer ones either.
  config.setMaxRecvUdpPayloadSize(payloadMaxBytes);
  config.setMaxSendUdpPayloadSize(payloadMaxBytes);
  config.enableDgram(true, RECEIVE_QUEUE_DATAGRAMS, SEND_QUEUE_DATAGRAMS);
  config.setDisableActiveMigration(true);
  config.setCcAlgorithmName(CONGESTION_CONTROL);
  config.enablePacing(false);
  config.grease(false);
}

function hostAuthorities(): string {
  for (const file of SYSTEM_AUTHORITIES) {
    try {
      return readFileSync(file, 'utf8');
    } catch {
      // Elsewhere, or nowhere.
    }
  }
  return rootCertificates.join('\n');
}
