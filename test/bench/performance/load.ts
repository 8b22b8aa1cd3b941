/** The load program (load.c) in the hosts of a carrier. */

import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { NamespaceHost } from '../../../src/lab/namespaces.js';
import { runCommand } from '../../../src/lab/namespaces.js';
import type { Carrier } from './carrier.js';

const SOURCE = fileURLToPath(new URL('../../../../test/bench/performance/load.c', import.meta.url));
const PROGRAM = fileURLToPath(new URL('./load', import.meta.url));
const PORT = '8090';
const PATIENCE_SECONDS = 30;

let built: Promise<unknown> | undefined;

async function program(): Promise<string> {
  built ??= runCommand('gcc', ['-O2', '-o', PROGRAM, SOURCE]);
  await built;
  return PROGRAM;
}

const serving = new WeakSet<NamespaceHost>();

/** Once for each gateway; the end of the lab is its end. */
async function serve(host: NamespaceHost): Promise<void> {
  if (serving.has(host)) return;
  const child = host.spawnPiped(await program(), ['serve', PORT]);
  await Promise.race([once(child.stdout!, 'data'), once(child, 'exit').then(([code]) => Promise.reject(new Error(`load serve: ${code}`)))]);
  serving.add(host);
}

export interface Churn {
  served: number;
  failed: number;
  seconds: number;
}

/** Connections opened, used for a request and a response, and closed by the far side. */
export async function churn(carrier: Carrier, atOnce: number, seconds: number): Promise<Churn> {
  await serve(carrier.lab.server);
  const args = ['churn', carrier.gateway, PORT, String(atOnce), String(seconds)];
  const { stdout } = await carrier.lab.client.run(await program(), args, { timeoutMs: (seconds + PATIENCE_SECONDS) * 1000 });
  return JSON.parse(stdout) as Churn;
}

export interface Held {
  /** Closes them all; how many messages came back. */
  close(): Promise<number>;
}

export interface HoldOptions {
  count: number;
  /** Of each message. */
  bytes: number;
  /** Each connection has a message echoed in every interval; 0: none after the first. */
  intervalMs: number;
}

/** Resolves when all are open and each has echoed a message; throws when one could not. */
export async function hold(carrier: Carrier, { count, bytes, intervalMs }: HoldOptions): Promise<Held> {
  await serve(carrier.lab.server);
  const args = ['hold', carrier.gateway, PORT, String(count), String(bytes), String(intervalMs)];
  const child = carrier.lab.client.spawnPiped(await program(), args);
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  const { open, failed } = JSON.parse((await lines.next()).value ?? '{}') as { open?: number; failed?: number };
  if (open !== count) throw new Error(`${open ?? 0} of ${count} connections opened, ${failed ?? '?'} failed`);
  return {
    close: async () => {
      child.stdin!.end();
      const { echoed } = JSON.parse((await lines.next()).value ?? '{}') as { echoed?: number };
      return echoed ?? 0;
    },
  };
}
