/** The kind `webtransport`: datagrams over HTTP/3 where UDP gets through, and else over HTTP/2; a server takes both, on the same port of UDP and TCP. */

import type { QuicHost } from '../quic/quic-host.js';
import type { DialTransport, ListenOptions, TransportListener, TransportProvider } from '../transport.js';
import { loadWebTransportOverHttp2 } from './http2.js';
import { Http3Memory } from './http3-memory.js';
import { RacedTransport } from './raced-transport.js';

/** HTTP/3 needs the package of QUIC; without it (`quic` rejects) there is HTTP/2. Rejects when the addon is not built. */
export async function loadWebTransport(quic: Promise<QuicHost>): Promise<TransportProvider> {
  const http2 = await loadWebTransportOverHttp2();
  const http3 = await quic.catch((error: Error) => error);
  const memory = new Http3Memory();
  const dialled = new Set<RacedTransport>();
  const dialHttp3: DialTransport | undefined = http3 instanceof Error ? undefined : (options, events) => http3.dial('h3', options, events);
  return {
    kind: 'webtransport',
    dial: (options, events) => {
      const race = { dialHttp3, dialHttp2: http2.dial, memory, onGone: (one: RacedTransport) => dialled.delete(one) };
      const transport = new RacedTransport(race, options, events);
      dialled.add(transport);
      return transport;
    },
    listen: async (options) => {
      const overTcp = await http2.listen(options);
      return both(overTcp, await listenHttp3(http3, { ...options, port: overTcp.port }));
    },
    close: async () => {
      for (const transport of dialled) transport.close();
      await Promise.all([http2.close(), http3 instanceof Error ? undefined : http3.close()]);
    },
  };
}

/** undefined: it cannot be had here, which is said once. */
async function listenHttp3(http3: QuicHost | Error, options: ListenOptions): Promise<TransportListener | undefined> {
  try {
    if (http3 instanceof Error) throw http3;
    return await http3.listen('h3', options);
  } catch (error) {
    options.warn(`webtransport is served over HTTP/2 only, not over HTTP/3: ${(error as Error).message}`);
    return undefined;
  }
}

function both(http2: TransportListener, http3: TransportListener | undefined): TransportListener {
  return {
    port: http2.port,
    get counters() {
      const all: Record<string, number> = { ...http2.counters };
      for (const [name, count] of Object.entries(http3?.counters ?? {}))
        all[`http3${name.charAt(0).toUpperCase()}${name.slice(1)}`] = count;
      return all;
    },
    close: async () => {
      await Promise.all([http2.close(), http3?.close()]);
    },
  };
}
