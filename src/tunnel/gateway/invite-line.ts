/**
 * The one line that makes a client: all that it needs to find the server, to be let in once, and to write its configuration.
 *
 *   mptunnel:<base64url>
 *
 *   +-------------+----------------------------------+-----------------------------+
 *   | version (1) | MessagePack array, see FIELDS    | checksum (4)                |
 *   +-------------+----------------------------------+-----------------------------+
 *
 * The checksum, the beginning of SHA-256 over what precedes it, is against mistakes in copying, not against people: what the line says of the server is
 * proven by the handshake, and who has the line has the secret.
 */

import { createHash } from 'node:crypto';
import { Packr, Unpackr } from 'msgpackr';
import { z } from 'zod';
import { parsePrefix } from '../../tun/ip-prefix.js';
import { interfaceNameFault, parseEndpoint } from '../config-schema.js';
import { peerNameFault } from '../peer-directory.js';

const SCHEME = 'mptunnel:';
const VERSION = 1;
const CHECKSUM_BYTES = 4;
const SHA256_BYTES = 32;
/** Far more than a line with many routes. */
const LINE_MAX_CHARACTERS = 8192;
export const INVITE_SECRET_BYTES = 32;

/** Where the server listens beside UDP, and how it is known there. */
export interface InviteCarriers {
  readonly quicPort?: number;
  readonly webtransportPort?: number;
  /** Of its own certificate; absent: an authority vouches for it. */
  readonly certificateSha256?: Uint8Array;
}

export interface Invite {
  readonly serverPublicKey: Uint8Array;
  /** Whoever has it may enrol one key, once. */
  readonly secret: Uint8Array;
  /** "203.0.113.1:5180"; the first that answers is taken. */
  readonly endpoints: readonly string[];
  /** The server's name for the tunnel; serves as the client's, too. */
  readonly tunnel: string;
  /** The server's name for the client. */
  readonly peer: string;
  /** Of the client, inside the tunnel: "10.77.0.2/24". */
  readonly addresses: readonly string[];
  /** What goes into the tunnel. */
  readonly routes: readonly string[];
  /** Milliseconds since 1970. The server decides by its own clock. */
  readonly expiresAtMs: number;
  /** Absent: nowhere. */
  readonly carriers?: InviteCarriers;
}

const bytes = (length: number) => z.instanceof(Uint8Array).refine((value) => value.length === length);
const port = z.int().min(0).max(65_535);
const prefix = z.string().refine((value) => value.includes('/') && parsePrefix(value) !== undefined);
const FIELDS = z
  .tuple([
    bytes(32),
    bytes(INVITE_SECRET_BYTES),
    z
      .array(z.string().refine((value) => parseEndpoint(value) !== undefined))
      .min(1)
      .max(8),
    z.string().refine((value) => interfaceNameFault(value) === undefined),
    z.string().refine((value) => peerNameFault(value) === undefined),
    z.array(prefix).min(1).max(8),
    z.array(prefix).max(64),
    // Seconds, to be short.
    z.int().min(0),
    // Ports, 0 for none, and a hash, empty for none. Lines of older versions end before it.
    z.tuple([port, port, z.instanceof(Uint8Array).refine(({ length }) => length === 0 || length === SHA256_BYTES)]).optional(),
  ])
  // What a later version of the same format appends is not for us.
  .rest(z.unknown());

const packr = new Packr({ useRecords: false });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true });

export function formatInvite(invite: Invite): string {
  const { serverPublicKey, secret, endpoints, tunnel, peer, addresses, routes, expiresAtMs, carriers } = invite;
  const { quicPort = 0, webtransportPort = 0, certificateSha256 = new Uint8Array(0) } = carriers ?? {};
  const last = carriers === undefined ? [] : [[quicPort, webtransportPort, certificateSha256]];
  const fields = FIELDS.parse([
    serverPublicKey,
    secret,
    endpoints,
    tunnel,
    peer,
    addresses,
    routes,
    Math.floor(expiresAtMs / 1000),
    ...last,
  ]);
  const body = Buffer.concat([Uint8Array.of(VERSION), packr.pack(fields)]);
  return SCHEME + Buffer.concat([body, checksum(body)]).toString('base64url');
}

/** The invite, or what is wrong with the line, as the end of a sentence. White space, as mail programs put it in, is forgiven. */
export function parseInvite(line: string): Invite | string {
  const text = line.replaceAll(/\s+/g, '');
  if (!text.startsWith(SCHEME)) return `is no invite: that begins with "${SCHEME}"`;
  const encoded = text.slice(SCHEME.length);
  if (encoded.length > LINE_MAX_CHARACTERS || !/^[A-Za-z0-9_-]*$/.test(encoded)) return DAMAGED;
  const data = Buffer.from(encoded, 'base64url');
  if (data.length < 1 + CHECKSUM_BYTES) return DAMAGED;
  const body = data.subarray(0, -CHECKSUM_BYTES);
  if (!checksum(body).equals(data.subarray(-CHECKSUM_BYTES))) return DAMAGED;
  if (body[0] !== VERSION) return `is of version ${body[0]}, which this mptunnel does not know: update it`;
  return readFields(body.subarray(1));
}

const DAMAGED = 'was damaged on its way (its checksum does not fit): copy the whole line';

function readFields(body: Uint8Array): Invite | string {
  let value: unknown;
  try {
    value = unpackr.unpack(body);
  } catch {
    return 'is not well formed: ask for another';
  }
  const checked = FIELDS.safeParse(value);
  if (!checked.success) return 'is not well formed: ask for another';
  const [serverPublicKey, secret, endpoints, tunnel, peer, addresses, routes, expiresAtSeconds, carriers] = checked.data;
  return {
    serverPublicKey: Uint8Array.from(serverPublicKey),
    secret: Uint8Array.from(secret),
    endpoints,
    tunnel,
    peer,
    addresses,
    routes,
    expiresAtMs: expiresAtSeconds * 1000,
    ...(carriers === undefined ? {} : { carriers: carriersOf(carriers) }),
  };
}

function carriersOf([quicPort, webtransportPort, certificateSha256]: readonly [number, number, Uint8Array]): InviteCarriers {
  return {
    ...(quicPort === 0 ? {} : { quicPort }),
    ...(webtransportPort === 0 ? {} : { webtransportPort }),
    ...(certificateSha256.length === 0 ? {} : { certificateSha256: Uint8Array.from(certificateSha256) }),
  };
}

function checksum(body: Uint8Array): Buffer {
  return createHash('sha256').update(body).digest().subarray(0, CHECKSUM_BYTES);
}
