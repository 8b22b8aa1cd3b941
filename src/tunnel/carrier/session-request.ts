/** With what a client asks for its WebTransport session, over HTTP/2 and HTTP/3 alike: the authority of the server, and a path that shows the proof. */

import { isIP } from 'node:net';
import { PROOF_BYTES } from './peer-proof.js';

const HTTPS_PORT = 443;
const PROOF_PATH = /^\/[\w-]{27}$/;

/** "vpn.example.org", "[2001:db8::1]:8443" */
export function authorityOf(serverName: string, port: number): string {
  const host = isIP(serverName) === 6 ? `[${serverName}]` : serverName;
  return port === HTTPS_PORT ? host : `${host}:${port}`;
}

export function proofPath(proof: Uint8Array): string {
  return `/${Buffer.from(proof).toString('base64url')}`;
}

/** undefined: it shows none. */
export function proofOf(path: string): Uint8Array | undefined {
  if (!PROOF_PATH.test(path)) return undefined;
  const proof = Buffer.from(path.slice(1), 'base64url');
  return proof.length === PROOF_BYTES ? proof : undefined;
}
