/** Many connections from one host of the lab to its traffic server. */

import { WEB_ADDRESS } from '../../src/lab/topology.js';
import { TRAFFIC_PORT } from '../../src/lab/traffic.js';
import { inside, type Remote } from './tunnel-remote.js';
import type { TunnelRig } from './tunnel-rig.js';

export interface Crowd {
  /** Connections that echoed what they were told. */
  echoed: number;
  errors: string[];
  seconds: number;
}

/** Opens `count` connections at once, has something echoed on each, says 'open', and closes them when `stay` milliseconds are over. */
export function openAtOnce(rig: TunnelRig, count: number, stayMs: number): Remote<Crowd> {
  return inside(
    rig.lab.client,
    async ({ host, port, count, stayMs }, say) => {
      const net = await import('node:net');
      const startMs = performance.now();
      const errors: string[] = [];
      let echoed = 0;
      const one = (i: number) =>
        new Promise<import('node:net').Socket | undefined>((resolve) => {
          const text = `connection ${i} `.repeat(20);
          let got = '';
          const socket = net.connect({ host, port, noDelay: true }, () => socket.write(`ECHO\n${text}`));
          socket.on('data', (chunk) => {
            got += chunk;
            if (got.length < text.length) return;
            if (got === text) echoed++;
            else errors.push(`connection ${i} got another's bytes`);
            resolve(socket);
          });
          socket.on('error', (error) => {
            errors.push(error.message);
            resolve(undefined);
          });
        });
      const sockets = await Promise.all(Array.from({ length: count }, (_, i) => one(i)));
      const seconds = (performance.now() - startMs) / 1000;
      say('open');
      await new Promise((resolve) => setTimeout(resolve, stayMs));
      await Promise.all(
        sockets.map((socket) => {
          if (socket === undefined) return undefined;
          socket.removeAllListeners('data');
          return new Promise<void>((resolve) => {
            socket.on('close', () => resolve());
            socket.resume().end();
          });
        }),
      );
      return { echoed, errors: errors.slice(0, 10), seconds };
    },
    { host: WEB_ADDRESS, port: TRAFFIC_PORT, count, stayMs },
  );
}

/** Opens `count` connections, `atOnce` at a time, each of which gets 100 bytes and is closed by the far side. */
export function openInSequence(rig: TunnelRig, count: number, atOnce: number): Promise<Crowd> {
  return inside(
    rig.lab.client,
    async ({ host, port, count, atOnce }) => {
      const net = await import('node:net');
      const startMs = performance.now();
      const errors: string[] = [];
      let echoed = 0;
      let begun = 0;
      const one = () =>
        new Promise<void>((resolve) => {
          let bytes = 0;
          const socket = net.connect({ host, port }, () => socket.write('DOWNLOAD 100\n'));
          socket.on('data', (chunk) => {
            bytes += chunk.length;
          });
          socket.on('error', (error) => errors.push(error.message));
          socket.on('close', () => {
            if (bytes === 100) echoed++;
            resolve();
          });
        });
      const worker = async () => {
        while (begun < count) {
          begun++;
          await one();
        }
      };
      await Promise.all(Array.from({ length: atOnce }, worker));
      return { echoed, errors: errors.slice(0, 10), seconds: (performance.now() - startMs) / 1000 };
    },
    { host: WEB_ADDRESS, port: TRAFFIC_PORT, count, atOnce },
  ).result;
}
