/**
 * What a relay costs: 1,000 sessions of small datagrams over loopback, the relay in a process of its own. Prints datagrams a second and the relay's CPU time for each.
 *
 *   node dist/test/bench/relay/main.js [sessions] [bytes] [seconds]
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { formatKey } from '../../../src/crypto/keys.js';
import { publicKeyOf } from '../../../src/crypto/x25519.js';
import { loadKey, RelayLoad } from '../../tunnel/relay/relay-load.js';

const PROGRAM = fileURLToPath(new URL('../../../bin/mptunnel.js', import.meta.url));
const PORT = 25_181;
const TICKS_PER_SECOND = 100;

const [sessions = 1000, bytes = 100, seconds = 5] = process.argv.slice(2).map(Number);
const folder = mkdtempSync(join(tmpdir(), 'mptunnel-relay-bench-'));
const relay = startRelay();
try {
  const relayKey = await relayPublicKey(relay);
  const load = await RelayLoad.open(sessions, PORT, relayKey);
  await load.pair(60_000);
  const [startMs, startCpu, before] = [performance.now(), cpuMs(relay), load.received];
  while (performance.now() - startMs < seconds * 1000) await load.send(bytes);
  await new Promise((resolve) => setTimeout(resolve, 300));
  const [elapsedMs, usedMs, received] = [performance.now() - startMs, cpuMs(relay) - startCpu, load.received - before];
  const rate = Math.round((received * 1000) / elapsedMs);
  const micros = ((usedMs * 1000) / received).toFixed(2);
  const lost = (((load.sent - received) / load.sent) * 100).toFixed(2);
  process.stdout.write(
    `${sessions} sessions, ${bytes} bytes: ${rate} datagrams/s offered and carried, ${lost} % lost, ${micros} us CPU of the relay each (so ${Math.round(1e6 / Number(micros))}/s a core)\n`,
  );
  load.close();
} finally {
  relay.kill('SIGTERM');
  rmSync(folder, { recursive: true, force: true });
}

function startRelay(): ChildProcess {
  const keys = Array.from({ length: 2 * sessions }, (_, index) => formatKey(publicKeyOf(loadKey(index))));
  const allow = join(folder, 'allow');
  writeFileSync(allow, keys.join('\n'));
  const args = ['relay', '--listen', String(PORT), '--address', '127.0.0.1', '--key', join(folder, 'key'), '--allow-file', allow, '--json'];
  return spawn(process.execPath, [PROGRAM, ...args, '--sessions', String(sessions)], { stdio: ['ignore', 'pipe', 'inherit'] });
}

function relayPublicKey(child: ChildProcess): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the relay ended with ${code}`)));
    child.stdout!.once('data', (line: Buffer) => resolve(new Uint8Array(Buffer.from(JSON.parse(line.toString()).key, 'base64'))));
  });
}

/** User and system time so far. */
function cpuMs(child: ChildProcess): number {
  const fields = readFileSync(`/proc/${child.pid}/stat`, 'latin1').split(') ')[1]!.split(' ');
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_SECOND;
}
