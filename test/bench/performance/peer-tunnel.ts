/** What both peers' tunnels have in common: their addresses, and waiting until they carry. */

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LabProcess } from '../../../src/lab/lab-api.js';
import type { NamespaceHost } from '../../../src/lab/namespaces.js';

/** Those of our own tunnel: web has the routes back. */
export const PEER_CLIENT_ADDRESS = '10.77.0.2';
export const PEER_GATEWAY_ADDRESS = '10.77.0.1';
const UP_TIMEOUT_MS = 15_000;
const POLL_MS = 200;
const LOG_CHARACTERS = 600;

/** Until the gateway answers a ping through the tunnel; throws what the daemons said when one ends or time runs out. */
export async function untilItCarries(client: NamespaceHost, daemons: readonly LabProcess[]): Promise<void> {
  const deadlineMs = performance.now() + UP_TIMEOUT_MS;
  let ended: number | undefined;
  for (const daemon of daemons) {
    void daemon.exited.then((code) => {
      ended = code;
    });
  }
  while (ended === undefined && performance.now() < deadlineMs) {
    if (await answers(client)) return;
    await sleep(POLL_MS);
  }
  const said = daemons.map(({ logFile }) => readFileSync(logFile, 'utf8').trim().slice(-LOG_CHARACTERS)).join('\n');
  throw new Error(`${ended === undefined ? 'does not carry' : `ended with ${ended}`}: ${said}`);
}

async function answers(client: NamespaceHost): Promise<boolean> {
  try {
    await client.run('ping', ['-c', '1', '-W', '1', PEER_GATEWAY_ADDRESS]);
    return true;
  } catch {
    return false;
  }
}
