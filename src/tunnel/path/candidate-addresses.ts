/** The places that peers tell each other: "203.0.113.1:4711". Only such that a socket could have. */

import { isIP } from 'node:net';
import { parseEndpoint } from '../config-schema.js';
import { emitAddressRecord } from './address-record.js';

/** Within an address record. */
const ADDRESS_AT = 4;

/**
 * An address record, or undefined: no literal address, of another IP version than where we send now (`current`, an address record), or one that is not a host's; this
 * host's own loopback is one only where all of it goes over loopback.
 */
export function candidateAddress(text: string, current: Uint8Array): Uint8Array | undefined {
  const place = parseEndpoint(text);
  if (place === undefined || isIP(place.host) !== current[0]) return undefined;
  const record = emitAddressRecord(place.host, place.port);
  return isHost(place.host) && (!isLoopback(record) || isLoopback(current)) ? record : undefined;
}

function isHost(address: string): boolean {
  if (address.includes(':')) return !/^ff/i.test(address) && !/^fe[89ab]/i.test(address) && !/^[0:]+$/.test(address);
  const first = Number(address.split('.')[0]);
  return first > 0 && first < 224;
}

function isLoopback(record: Uint8Array): boolean {
  if (record[0] === 4) return record[ADDRESS_AT] === 127;
  for (let i = 0; i < 15; i++) if (record[ADDRESS_AT + i] !== 0) return false;
  return record[ADDRESS_AT + 15] === 1;
}
