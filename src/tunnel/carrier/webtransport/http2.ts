/** WebTransport over HTTP/2, TLS and TCP, for networks that let nothing through but the web. */

import { loadNative } from '../../../tun/native.js';
import type { TransportProvider } from '../transport.js';
import type { WebTransportConnection } from './connection.js';
import { dialWebTransport } from './dial.js';
import { WebTransportListener } from './listener.js';

/** Needs no package: the HTTP/2 of Node.js is enough. Rejects when the addon is not built. */
export async function loadWebTransportOverHttp2(): Promise<TransportProvider> {
  const native = loadNative();
  const dialed = new Set<WebTransportConnection>();
  const listeners = new Set<WebTransportListener>();
  return {
    kind: 'webtransport',
    dial: (options, events) => {
      const connection = dialWebTransport(native, options, events);
      dialed.add(connection);
      connection.onGone = () => dialed.delete(connection);
      return connection;
    },
    listen: async (options) => {
      const listener = new WebTransportListener(native, options);
      await listener.listen();
      listeners.add(listener);
      return listener;
    },
    close: async () => {
      for (const connection of dialed) connection.close();
      await Promise.all([...listeners].map((listener) => listener.close()));
      listeners.clear();
    },
  };
}
