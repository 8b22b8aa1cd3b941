/** What undici's `Agent`, `Pool` and `Client` take as `connect`: how a connection is made. Undici itself is the program's own. */

import type { Socket } from 'node:net';
import { isIP } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Connect } from './agents.js';

export interface UndiciConnectOptions {
  readonly hostname: string;
  readonly protocol: string;
  readonly port: string;
  readonly servername?: string | null;
}

export type ConnectForUndici = (options: UndiciConnectOptions, callback: (error: Error | null, socket: Socket | null) => void) => void;

const ALPN = ['http/1.1'];

export function undiciConnector(connect: Connect): ConnectForUndici {
  return ({ hostname, protocol, port, servername }, callback) => {
    const host = hostname.replace(/^\[|\]$/g, '');
    const isTls = protocol === 'https:';
    const raw = connect({ host, port: port === '' ? (isTls ? 443 : 80) : Number(port) }) as unknown as Socket;
    const name = servername ?? host;
    const socket = isTls ? connectTls({ socket: raw, ALPNProtocols: ALPN, ...(isIP(name) === 0 ? { servername: name } : {}) }) : raw;
    const fail = (error: Error): void => callback(error, null);
    socket.once('error', fail);
    socket.once(isTls ? 'secureConnect' : 'connect', () => {
      socket.off('error', fail);
      callback(null, socket);
    });
  };
}
