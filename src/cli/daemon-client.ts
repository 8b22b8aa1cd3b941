/** A conversation of a command with the daemon of a running tunnel. */

import type { Writable } from 'node:stream';
import { ControlClient } from '../control/control-client.js';
import { findInstance, type Instance } from '../control/instance.js';
import { runFiles } from '../tun/run-directory.js';

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** `nameOrConfig`: as findInstance takes it. Rejects with ControlError when nobody answers there, else with what `talk` rejects with. */
export async function withDaemon<T>(nameOrConfig: string, talk: (client: ControlClient) => Promise<T>): Promise<T> {
  return withInstance(findInstance(nameOrConfig), talk);
}

/** The connection is closed when `talk` has ended, however it ended. */
export async function withInstance<T>({ name }: Instance, talk: (client: ControlClient) => Promise<T>): Promise<T> {
  const client = await ControlClient.connect(runFiles(name).socket);
  try {
    return await talk(client);
  } finally {
    client.close();
  }
}

/** Writes what `client` has received. While `output` is full no more is read: it waits in the daemon's bounded queue, where what is beyond that is counted. */
export function writePaced(client: ControlClient, output: Writable, chunk: Uint8Array | string): void {
  const isPaused = output.writableNeedDrain;
  if (output.write(chunk) || isPaused) return;
  client.pause();
  output.once('drain', () => client.resume());
}

/** Until `done` has settled, SIGINT and SIGTERM call `cancel`, and do not kill. */
export async function cancelledBySignals<T>(cancel: () => void, done: Promise<T>): Promise<T> {
  const handle = (): void => cancel();
  for (const signal of SIGNALS) process.on(signal, handle);
  try {
    return await done;
  } finally {
    for (const signal of SIGNALS) process.off(signal, handle);
  }
}
