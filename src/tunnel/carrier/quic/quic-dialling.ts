/** A connection of QUIC that we begin: by a given way out, knocking until the other side answers. */

import { randomBytes } from 'node:crypto';
import type { NativeAddon } from '../../../tun/native.js';
import { emitAddressRecord } from '../../path/address-record.js';
import { authorityOf, proofPath } from '../session-request.js';
import type { DialOptions } from '../transport.js';
import { ANY_PATH, QuicConnection, type QuicConnectionEvents } from './quic-connection.js';
import { QuicSocket } from './quic-socket.js';
import { CONNECTION_ID_BYTES, emitKnock } from './quic-wire.js';
import { clientConfig, type Quiche, type QuicProtocol } from './quiche.js';

const KNOCK_EVERY_MS = 200;
const OPENING_MS = 10_000;

export interface DiallingOptions {
  readonly native: NativeAddon;
  readonly quiche: Quiche;
  readonly id: number;
  readonly protocol: QuicProtocol;
  readonly options: DialOptions;
  readonly events: QuicConnectionEvents;
  readonly touch: (connection: QuicConnection) => void;
  readonly endBatch: () => void;
  /** It takes too long. */
  readonly giveUp: (connection: QuicConnection) => void;
}

export interface Dialling {
  readonly connection: QuicConnection;
  /** Of the connection: its socket goes with it. */
  readonly end: () => void;
}

/** Throws as udpOpen does, and for what the library does not take. */
export function dialQuic({ native, quiche, id, protocol, options, events, touch, endBatch, giveUp }: DiallingOptions): Dialling {
  const { address, port, serverName, proof, certificateSha256, mtuBytes } = options;
  const family = address.includes(':') ? 6 : 4;
  const remote = emitAddressRecord(address, port);
  let connection: QuicConnection | undefined;
  const { localAddress, device, deviceAddress, mark } = options;
  const socket = new QuicSocket(
    native,
    { family, port: 0, address: localAddress, device, deviceAddress, mark },
    (bytes, from) => {
      if (connection === undefined) return;
      connection.receive(bytes, from);
      touch(connection);
    },
    endBatch,
  );
  try {
    const config = clientConfig(quiche, certificateSha256 !== undefined, mtuBytes, family, protocol);
    const begun = quiche.Connection.connect(serverName, randomBytes(CONNECTION_ID_BYTES), ANY_PATH.from, ANY_PATH.to, config);
    const http3 = { name: 'client', authority: authorityOf(serverName, port), path: proofPath(proof) } as const;
    connection = new QuicConnection(id, begun, socket, remote, events, { certificateSha256, protocols: [protocol], http3 });
  } catch (error) {
    socket.close();
    throw error;
  }
  const knocks = startKnocking(connection, proof, giveUp);
  const end = (): void => {
    clearInterval(knocks);
    socket.close();
  };
  return { connection, end };
}

function startKnocking(connection: QuicConnection, proof: Uint8Array, giveUp: (connection: QuicConnection) => void): NodeJS.Timeout {
  const startedMs = performance.now();
  const bytes = emitKnock(proof);
  const knock = (): void => {
    connection.socket.stage(connection.remote, bytes, bytes.length);
    connection.socket.flush();
  };
  knock();
  const knocks = setInterval(() => {
    if (connection.isOpen) clearInterval(knocks);
    else if (performance.now() - startedMs > OPENING_MS) giveUp(connection);
    else knock();
  }, KNOCK_EVERY_MS);
  return knocks;
}
