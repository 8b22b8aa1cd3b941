/** Whom this host trusts to vouch for a server: its own bundle of certificates, which may hold a company's, beside those that Node brings along. */

import { existsSync, readFileSync } from 'node:fs';
import { createSecureContext, rootCertificates, type SecureContext } from 'node:tls';

/** Where distributions keep it. */
const BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

const contexts = new Map<string, SecureContext>();

/** Reading them takes some ten milliseconds: once for each bundle. SSL_CERT_FILE names another one, as for OpenSSL. */
export function hostAuthorities(): SecureContext {
  const file = process.env.SSL_CERT_FILE ?? BUNDLES.find((bundle) => existsSync(bundle)) ?? '';
  let context = contexts.get(file);
  if (context === undefined) {
    context = createSecureContext({ ca: [...rootCertificates, ...readBundle(file)] });
    contexts.set(file, context);
  }
  return context;
}

function readBundle(file: string): string[] {
  try {
    return file === '' ? [] : [readFileSync(file, 'utf8')];
  } catch {
    return [];
  }
}
