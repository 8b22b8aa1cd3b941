/**
 * Slow control: what peers tell each other rarely, as a MessagePack map with a `kind`. It is decoded after the AEAD only, at most 1200 bytes, and
 * believed after its schema fits. An unknown kind is skipped; unknown fields are dropped, so both can be added later.
 */

import { Packr, Unpackr } from 'msgpackr';
import { z } from 'zod';

export const MAX_SLOW_BYTES = 1200;

const pathId = z.int().min(0).max(31);
const text = z
  .string()
  .max(64)
  .regex(/^[^\p{C}\p{Zl}\p{Zp}]*$/u);
/** "10.77.0.2/24", "fd77::2/64": told to people and to the route code, which parses them itself. */
const prefix = z
  .string()
  .max(64)
  .regex(/^[0-9a-fA-F:.]+\/[0-9]{1,3}$/);

const hostName = z
  .string()
  .min(1)
  .max(253)
  .regex(/^[\x21-\x7e]+$/);
const address = z
  .string()
  .max(45)
  .regex(/^[0-9a-fA-F:.]+$/);

const bytes = (minimum: number, maximum: number) =>
  z
    .custom<Uint8Array>((value) => value instanceof Uint8Array && value.length >= minimum && value.length <= maximum)
    // What is decoded lies in the receive buffer, which the next batch overwrites; messages are handled after it.
    .transform((value): Uint8Array => Uint8Array.from(value));
const key = bytes(32, 32);

const SCHEMAS = {
  hello: z.object({ kind: z.literal('hello'), version: z.int().min(1), software: text }),
  addresses: z.object({ kind: z.literal('addresses'), addresses: z.array(prefix).max(16) }),
  routes: z.object({ kind: z.literal('routes'), prefixes: z.array(prefix).max(32) }),
  /** From a server, with the answer to a challenge: where that came from. */
  'seen-address': z.object({ kind: z.literal('seen-address'), endpoint: text }),
  /** Of a path that goes by a relay: where the sender's socket may be reached without it. The receiver tells its own, and both look for the other there. */
  candidates: z.object({ kind: z.literal('candidates'), endpoints: z.array(text).max(8) }),
  'path-state': z.object({
    kind: z.literal('path-state'),
    pathId,
    state: z.enum(['probing', 'up', 'suspect', 'down']),
    priority: z.int().min(0).max(255),
    backup: z.boolean(),
    /** Of IP packets: the most that the receiver of this may put on the path. Absent: no limit. */
    limitBytesPerSec: z.number().min(1).optional(),
    /** Absent: 0. */
    cost: z.int().min(0).max(255).optional(),
  }),
  /** The client's paths, all of them: others are gone. `serial` is higher in each newer list of an epoch. */
  paths: z.object({ kind: z.literal('paths'), serial: z.int().min(0), ids: z.array(pathId).max(32) }),
  /** The holder of an invite wants to be a peer under this key of its own; `box` proves that it has the private one (gateway/enrolment-proof.ts). */
  enrol: z.object({
    kind: z.literal('enrol'),
    publicKey: key,
    nonce: bytes(24, 24),
    box: bytes(0, 256),
  }),
  /** It is one from now on. */
  enrolled: z.object({ kind: z.literal('enrolled'), publicKey: key }),
  'enrol-refused': z.object({ kind: z.literal('enrol-refused'), reason: z.enum(['used', 'expired', 'bad-proof', 'failed']) }),
  /** To a gateway: what does that name stand for? */
  resolve: z.object({ kind: z.literal('resolve'), id: z.int().min(0), name: hostName }),
  /** None: it knows no such name, or none that may be reached through it. */
  resolved: z.object({ kind: z.literal('resolved'), id: z.int().min(0), addresses: z.array(address).max(16) }),
} as const;

type SlowKind = keyof typeof SCHEMAS;
export type SlowControl = z.infer<(typeof SCHEMAS)[SlowKind]>;

/** Those that are between peers and not about paths. */
export type PeerMessage = Extract<SlowControl, { kind: 'enrol' | 'enrolled' | 'enrol-refused' | 'resolve' | 'resolved' }>;

const PEER_MESSAGES: ReadonlySet<string> = new Set<PeerMessage['kind']>(['enrol', 'enrolled', 'enrol-refused', 'resolve', 'resolved']);

export function isPeerMessage(message: SlowControl): message is PeerMessage {
  return PEER_MESSAGES.has(message.kind);
}

const packr = new Packr({ useRecords: false });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true });

function isSlowKind(kind: unknown): kind is SlowKind {
  return typeof kind === 'string' && Object.hasOwn(SCHEMAS, kind);
}

/** The encoded map in a new array. */
export function emitSlowControl(message: SlowControl): Uint8Array {
  const checked = SCHEMAS[message.kind].safeParse(message);
  if (!checked.success) throw new TypeError(`${message.kind} is not well formed: ${z.prettifyError(checked.error)}`);
  const bytes = packr.pack(checked.data);
  if (bytes.length > MAX_SLOW_BYTES) throw new RangeError(`${message.kind} is longer than ${MAX_SLOW_BYTES} bytes`);
  return new Uint8Array(bytes);
}

/** The message, undefined for a kind that we do not know, or a fault string. */
export function parseSlowControl(bytes: Uint8Array): SlowControl | undefined | string {
  if (bytes.length > MAX_SLOW_BYTES) return 'slow control is too long';
  let value: unknown;
  try {
    value = unpackr.unpack(bytes);
  } catch {
    // Only a peer that holds the session's keys gets here.
    return 'slow control is not MessagePack';
  }
  if (typeof value !== 'object' || value === null || !('kind' in value)) return 'slow control has no kind';
  if (!isSlowKind(value.kind)) return typeof value.kind === 'string' ? undefined : 'slow control has no kind';
  const checked = SCHEMAS[value.kind].safeParse(value);
  return checked.success ? checked.data : 'slow control does not fit its kind';
}
