/** Requests and answers as fields (RFC 9114, 4.2 and 4.3): what must be there, and what may not. */

import type { Field } from './qpack.js';

export interface Http3Request {
  readonly method: string;
  /** Of an extended CONNECT (RFC 9220). */
  readonly protocol: string | undefined;
  /** "" of a plain CONNECT. */
  readonly path: string;
}

const REQUEST_FIELDS: ReadonlySet<string> = new Set([':method', ':scheme', ':authority', ':path', ':protocol']);
const ANSWER_FIELDS: ReadonlySet<string> = new Set([':status']);
/** RFC 9114, 4.2: of a connection of HTTP/1.1. */
const CONNECTION_FIELDS: ReadonlySet<string> = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade']);
/** RFC 9110, 5.1, and no upper case. */
const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
/** RFC 9114, 10.3. */
const BAD_VALUE = /[\0\r\n]/;
const STATUS = /^[1-5]\d\d$/;

/** undefined: it is malformed. */
export function requestOf(fields: readonly Field[]): Http3Request | undefined {
  const named = pseudoFields(fields, REQUEST_FIELDS);
  const method = named?.get(':method');
  if (named === undefined || method === undefined || method === '') return undefined;
  const protocol = named.get(':protocol');
  const path = named.get(':path');
  const isPlainConnect = method === 'CONNECT' && protocol === undefined;
  if (isPlainConnect) return path === undefined && !named.has(':scheme') ? { method, protocol, path: '' } : undefined;
  if (path === undefined || path === '' || !named.has(':scheme')) return undefined;
  // RFC 9220, 3: in nothing but CONNECT.
  if (protocol !== undefined && (method !== 'CONNECT' || !named.has(':authority'))) return undefined;
  return { method, protocol, path };
}

/** undefined: it is malformed. */
export function statusOf(fields: readonly Field[]): number | undefined {
  const status = pseudoFields(fields, ANSWER_FIELDS)?.get(':status');
  return status !== undefined && STATUS.test(status) ? Number(status) : undefined;
}

/** They come first, once each. */
function pseudoFields(fields: readonly Field[], known: ReadonlySet<string>): Map<string, string> | undefined {
  const named = new Map<string, string>();
  let isRegular = false;
  for (const [name, value] of fields) {
    if (BAD_VALUE.test(value)) return undefined;
    if (name.startsWith(':')) {
      if (isRegular || !known.has(name) || named.has(name)) return undefined;
      named.set(name, value);
    } else {
      isRegular = true;
      if (!NAME.test(name) || CONNECTION_FIELDS.has(name)) return undefined;
    }
  }
  return named;
}
