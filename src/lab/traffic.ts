/** Traffic between hosts of a lab: a server in one, a client in another, both Node programs run inside the namespaces. */

import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { LabError, type NamespaceHost } from './namespaces.js';
import type { TrafficLine, TrafficRequest, TrafficResult } from './traffic-client.js';

export type { TrafficLine, TrafficRequest, TrafficResult } from './traffic-client.js';

const SERVER_PROGRAM = fileURLToPath(new URL('./traffic-server.js', import.meta.url));
const CLIENT_PROGRAM = fileURLToPath(new URL('./traffic-client.js', import.meta.url));
export const TRAFFIC_PORT = 8080;

export interface TrafficServer {
  readonly port: number;
  close(): void;
}

/** Resolves when it listens. */
export function startTrafficServer(host: NamespaceHost, port = TRAFFIC_PORT): Promise<TrafficServer> {
  const child = host.spawnPiped(process.execPath, [SERVER_PROGRAM, String(port)]);
  let errors = '';
  child.stderr!.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  return new Promise((resolve, reject) => {
    child.stdout!.once('data', () => resolve({ port, close: () => void child.kill() }));
    child.on('exit', (code) => reject(new LabError('traffic-server', `The traffic server ended with ${code}: ${errors}`)));
    child.on('error', reject);
  });
}

export interface TrafficRun {
  /** Resolves in every case; look at `error`. */
  readonly result: Promise<TrafficResult>;
  /** Ends an open-ended transfer: the result follows. */
  stop(): void;
}

/** Starts a client; `onLine` gets what it prints on the way. */
export function startTraffic(host: NamespaceHost, request: TrafficRequest, onLine?: (line: TrafficLine) => void): TrafficRun {
  const child = host.spawnPiped(process.execPath, [CLIENT_PROGRAM, JSON.stringify(request)]);
  let result: TrafficResult | undefined;
  let errors = '';
  createInterface({ input: child.stdout! }).on('line', (text) => {
    const line = JSON.parse(text) as TrafficLine;
    if (line.type === 'result') result = line;
    onLine?.(line);
  });
  child.stderr!.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  child.stdin!.on('error', () => undefined);
  return {
    result: new Promise((resolve) => {
      child.on('error', (error) => resolve({ type: 'result', error: error.message }));
      child.on('close', (code) => resolve(result ?? { type: 'result', error: `the client ended with ${code}: ${errors}` }));
    }),
    stop: () => void child.stdin!.end(),
  };
}

/** Runs a client to its end; throws LabError when it failed. */
export async function runTraffic(
  host: NamespaceHost,
  request: TrafficRequest,
  onLine?: (line: TrafficLine) => void,
): Promise<TrafficResult> {
  const result = await startTraffic(host, request, onLine).result;
  if (result.error !== undefined) throw new LabError('traffic', `${request.op} from ${request.host}: ${result.error}`);
  return result;
}
