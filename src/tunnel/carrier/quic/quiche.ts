/** The library that speaks QUIC (quiche, sans-IO), and how it is set up: datagrams only (RFC 9221), no streams. */

import { readFileSync } from 'node:fs';
import { rootCertificates } from 'node:tls';
import type { Config, ConfigConstructor, Connection, ConnectionConstructor } from '@matrixai/quic/native/types.js';

export interface Quiche {
  readonly Config: ConfigConstructor;
  readonly Connection: ConnectionConstructor;
}

export type { Config as QuicheConfig, Connection as QuicheConnection };

/** What most QUIC of the web says. */
const ALPN = 'h3';
const IDLE_MS = 10_000;
/** Only bounds what a burst brings: how long datagrams may wait is watched by the connection. */
const SEND_QUEUE_DATAGRAMS = 1024;
const RECEIVE_QUEUE_DATAGRAMS = 4096;
const RECEIVE_MAX_BYTES = 65_527;
/** The subflows inside have a congestion control of their own: this one shall follow them, not halve at each loss. */
const CONGESTION_CONTROL = 'bbr';
const SYSTEM_AUTHORITIES = ['/etc/ssl/certs/ca-certificates.crt', '/etc/pki/tls/certs/ca-bundle.crt'];

/** Rejects when the package is not installed, or has no binary for this machine. */
export async function loadQuiche(): Promise<Quiche> {
  const { quiche } = await import('@matrixai/quic/native/index.js');
  return quiche as unknown as Quiche;
}

export function serverConfig(quiche: Quiche, certificate: string, privateKey: string): Config {
  return configured(
    quiche.Config.withBoringSslCtx(false, false, null, [Buffer.from(privateKey)], [Buffer.from(certificate)]),
    RECEIVE_MAX_BYTES,
  );
}

/** `pinned`: the caller looks at the certificate itself. `sendMaxBytes`: of one UDP payload. */
export function clientConfig(quiche: Quiche, pinned: boolean, sendMaxBytes: number): Config {
  const authorities = pinned ? null : Buffer.from(hostAuthorities());
  return configured(quiche.Config.withBoringSslCtx(true, pinned, authorities), sendMaxBytes);
}

/** `maxBytes`: of one UDP payload. */
function configured(config: Config, maxBytes: number): Config {
  config.setApplicationProtos([ALPN]);
  config.setMaxIdleTimeout(IDLE_MS);
  // Told to the other side, which knows nothing of our interface and sends no longer ones either.
  config.setMaxRecvUdpPayloadSize(maxBytes);
  config.setMaxSendUdpPayloadSize(maxBytes);
  config.enableDgram(true, RECEIVE_QUEUE_DATAGRAMS, SEND_QUEUE_DATAGRAMS);
  config.setDisableActiveMigration(true);
  config.setCcAlgorithmName(CONGESTION_CONTROL);
  config.enablePacing(false);
  config.grease(false);
  return config;
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
