/** With what a server shows itself on the ports of QUIC and WebTransport: files of the administrator's, or a self-signed certificate that is made once and kept. */

import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writePrivateFile } from '../../tun/private-file.js';
import { stateDirectory } from '../../tun/state-directory.js';
import type { CarrierListenConfig } from '../config.js';
import { TunnelError } from '../tunnel-api.js';
import { certificateSha256, makeSelfSigned } from './self-signed.js';

export interface ServerCertificate {
  /** PEM; the certificate may be followed by its chain. */
  readonly certificate: string;
  readonly privateKey: string;
  /** Clients must be told its hash: no authority vouches for it. */
  readonly selfSigned: boolean;
  readonly sha256: Uint8Array;
}

/** `tunnel` names the files of one that is made. Rejects with TunnelError `listen`, which says what to do. */
export async function serverCertificate({ tlsFiles }: CarrierListenConfig, tunnel: string): Promise<ServerCertificate> {
  if (tlsFiles !== undefined) {
    const certificate = readPem(tlsFiles.certificate, 'certificate');
    return { certificate, privateKey: readPem(tlsFiles.privateKey, 'private_key'), selfSigned: false, sha256: hashOf(certificate) };
  }
  const folder = stateDirectory();
  const files = { certificate: join(folder, `${tunnel}.certificate.pem`), privateKey: join(folder, `${tunnel}.certificate-key.pem`) };
  const kept = readKept(files);
  if (kept !== undefined) return { ...kept, selfSigned: true, sha256: hashOf(kept.certificate) };
  const { certificate, privateKey, sha256 } = await makeSelfSigned('localhost');
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    // The key first: a certificate without one would be taken for whole.
    writePrivateFile(files.privateKey, privateKey);
    writePrivateFile(files.certificate, certificate);
  } catch (cause) {
    throw new TunnelError('listen', `the certificate of the carriers cannot be kept in ${folder}: ${(cause as Error).message}`, { cause });
  }
  return { certificate, privateKey, selfSigned: true, sha256 };
}

function readKept(files: { certificate: string; privateKey: string }): { certificate: string; privateKey: string } | undefined {
  try {
    return { certificate: readFileSync(files.certificate, 'utf8'), privateKey: readFileSync(files.privateKey, 'utf8') };
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new TunnelError('listen', `the certificate of the carriers cannot be read: ${(cause as Error).message}`, { cause });
  }
}

function readPem(file: string, key: string): string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new TunnelError('listen', `[carriers] ${key}: ${(cause as Error).message}`, { cause });
  }
  if (!text.includes('-----BEGIN ')) throw new TunnelError('listen', `[carriers] ${key}: ${file} is not PEM`);
  return text;
}

function hashOf(certificate: string): Uint8Array {
  try {
    return certificateSha256(certificate);
  } catch (cause) {
    throw new TunnelError('listen', `[carriers] certificate: ${(cause as Error).message}`, { cause });
  }
}
