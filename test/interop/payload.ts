/** Bytes to send, bytes received, and the wait for something to come about. */

import { createHash } from 'node:crypto';
import type { MptcpSocket } from '../../src/index.js';

/** What a socket of ours received. */
export interface Received {
  bytes: number;
  sha256: string;
  ended: boolean;
}

/** Reads to the end of what the peer sends. Rejects when the connection is lost. */
export function receiveAll(socket: MptcpSocket): Promise<Received> {
  const hash = createHash('sha256');
  let bytes = 0;
  return new Promise((resolve, reject) => {
    socket.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      hash.update(chunk);
    });
    socket.on('end', () => resolve({ bytes, sha256: hash.digest('hex'), ended: true }));
    socket.on('error', reject);
  });
}

/** Bytes that depend on the seed; returns them whole, with their hash. */
export function randomPayload(seed: number, bytes: number): { data: Buffer; sha256: string } {
  const data = Buffer.alloc(bytes);
  let state = (seed * 0x9e37_79b1) >>> 0 || 1;
  for (let i = 0; i + 4 <= bytes; i += 4) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    data.writeInt32LE(state | 0, i);
  }
  return { data, sha256: createHash('sha256').update(data).digest('hex') };
}

/** Waits for a condition that the kernel or the engine brings about; the event loop goes on meanwhile. */
export async function until(what: string, condition: () => boolean | Promise<boolean>, timeoutMs = 10_000): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadlineMs) throw new Error(`waited ${timeoutMs} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
