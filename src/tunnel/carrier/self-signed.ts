/**
 * A certificate that nobody vouches for but itself, for peers who know its SHA-256: X.509 v3 (RFC 5280) with ECDSA over P-256 and SHA-256 (RFC 5758), in DER (X.690).
 * Written by hand, since the libraries that make certificates bring along 25 packages and 7 MB.
 */

import { createHash, generateKeyPair, randomBytes, sign, X509Certificate } from 'node:crypto';
import { isIP, isIPv4 } from 'node:net';
import { promisify } from 'node:util';

export interface SelfSigned {
  /** PEM */
  readonly certificate: string;
  /** PEM, PKCS #8 */
  readonly privateKey: string;
  /** Of the certificate's DER. */
  readonly sha256: Uint8Array;
}

const DAY_MS = 86_400_000;
const DEFAULT_DAYS = 7300;
/** Clocks of peers may be behind. */
const BEFORE_DAYS = 1;
const COMMON_NAME_MAX_CHARACTERS = 64;

const BOOLEAN = 0x01;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const OCTET_STRING = 0x04;
const OBJECT_IDENTIFIER = 0x06;
const UTF8_STRING = 0x0c;
const UTC_TIME = 0x17;
const GENERALIZED_TIME = 0x18;
const SEQUENCE = 0x30;
const SET = 0x31;
const VERSION = 0xa0;
const EXTENSIONS = 0xa3;
const DNS_NAME = 0x82;
const IP_ADDRESS = 0x87;

const ECDSA_WITH_SHA256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const COMMON_NAME = [0x55, 0x04, 0x03];
const KEY_USAGE = [0x55, 0x1d, 0x0f];
const SUBJECT_ALTERNATIVE_NAME = [0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS = [0x55, 0x1d, 0x13];
const EXTENDED_KEY_USAGE = [0x55, 0x1d, 0x25];
const SERVER_AUTHENTICATION = [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];

/** For the name or address `commonName`, good from yesterday on. Throws RangeError. */
export async function makeSelfSigned(commonName: string, days: number = DEFAULT_DAYS): Promise<SelfSigned> {
  if (commonName.length === 0 || commonName.length > COMMON_NAME_MAX_CHARACTERS) {
    throw new RangeError(`commonName must have 1 to ${COMMON_NAME_MAX_CHARACTERS} characters`);
  }
  const { publicKey, privateKey } = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' });
  const statement = toBeSigned(commonName, days, publicKey.export({ type: 'spki', format: 'der' }));
  const signature = sign('sha256', statement, privateKey);
  const certificate = der(SEQUENCE, statement, algorithm(), der(BIT_STRING, [0], signature));
  return {
    certificate: pem(certificate),
    privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    sha256: sha256(certificate),
  };
}

/** Of the DER of the first certificate in `certificatePem`. Throws when there is none. */
export function certificateSha256(certificatePem: string): Uint8Array {
  return sha256(new X509Certificate(certificatePem).raw);
}

/** RFC 5280 (4.1.2) */
function toBeSigned(commonName: string, days: number, publicKeyInfo: Uint8Array): Buffer {
  const name = der(SEQUENCE, der(SET, der(SEQUENCE, objectIdentifier(COMMON_NAME), der(UTF8_STRING, Buffer.from(commonName)))));
  const now = Date.now();
  return der(
    SEQUENCE,
    der(VERSION, der(INTEGER, [2])),
    der(INTEGER, serialNumber()),
    algorithm(),
    name,
    der(SEQUENCE, time(now - BEFORE_DAYS * DAY_MS), time(now + days * DAY_MS)),
    name,
    publicKeyInfo,
    der(EXTENSIONS, der(SEQUENCE, ...extensions(commonName))),
  );
}

function extensions(commonName: string): Buffer[] {
  const alternative = isIP(commonName) === 0 ? der(DNS_NAME, Buffer.from(commonName)) : der(IP_ADDRESS, addressBytes(commonName));
  return [
    // Not an authority; digitalSignature alone.
    extension(BASIC_CONSTRAINTS, true, der(SEQUENCE)),
    extension(KEY_USAGE, true, der(BIT_STRING, [7, 0x80])),
    extension(EXTENDED_KEY_USAGE, false, der(SEQUENCE, objectIdentifier(SERVER_AUTHENTICATION))),
    extension(SUBJECT_ALTERNATIVE_NAME, false, der(SEQUENCE, alternative)),
  ];
}

function extension(identifier: readonly number[], critical: boolean, value: Uint8Array): Buffer {
  const flag = critical ? [der(BOOLEAN, [0xff])] : [];
  return der(SEQUENCE, objectIdentifier(identifier), ...flag, der(OCTET_STRING, value));
}

function algorithm(): Buffer {
  return der(SEQUENCE, objectIdentifier(ECDSA_WITH_SHA256));
}

function objectIdentifier(bytes: readonly number[]): Buffer {
  return der(OBJECT_IDENTIFIER, bytes);
}

/** Positive, and without a leading zero byte. */
function serialNumber(): Uint8Array {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0]! & 0x3f) | 0x40;
  return bytes;
}

/** Until 2049 with two digits of the year (4.1.2.5). */
function time(wallClockMs: number): Buffer {
  const text = new Date(wallClockMs).toISOString().replace(/\.\d+|[-:T]/g, '');
  const year = Number(text.slice(0, 4));
  return year < 2050 ? der(UTC_TIME, Buffer.from(text.slice(2))) : der(GENERALIZED_TIME, Buffer.from(text));
}

function addressBytes(address: string): Uint8Array {
  if (isIPv4(address)) return Uint8Array.from(address.split('.').map(Number));
  // As a URL has it: at most one "::", no dotted end.
  const [head = '', tail] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const groups = [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right];
  return Uint8Array.from(groups.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff]));
}

function der(tag: number, ...parts: readonly (Uint8Array | readonly number[])[]): Buffer {
  const value = Buffer.concat(parts.map((part) => Uint8Array.from(part)));
  const { length } = value;
  const header = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Uint8Array.of(tag, ...header), value]);
}

function pem(certificate: Uint8Array): string {
  const lines =
    Buffer.from(certificate)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

function sha256(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(createHash('sha256').update(bytes).digest());
}
