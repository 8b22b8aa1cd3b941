/**
 * One side of a link layer in a process of its own, so that it can live in a network namespace. Arguments: a JSON of {own, peer (key names), listenPort?,
 * endpoint?, paths?}. Commands come as lines of JSON on stdin, answers and events leave as lines of JSON on stdout.
 */

import { createInterface } from 'node:readline';
import { loadNative } from '../../src/tun/native.js';
import type { PathConfig } from '../../src/tunnel/config.js';
import { createLinkLayer } from '../../src/tunnel/link-layer.js';
import { config, KEYS, Recorder, SILENT_LOG, sendNumbered } from '../tunnel/link-pair.js';

interface ActorArguments {
  own: keyof typeof KEYS;
  peer: keyof typeof KEYS;
  listenPort?: number;
  endpoint?: string;
  paths?: PathConfig[];
}

export interface ActorCommand {
  id: number;
  verb: 'status' | 'send' | 'load' | 'interface' | 'close';
  path?: number;
  count?: number;
  bytes?: number;
  name?: string;
  up?: boolean;
}

function say(message: unknown): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

const { own, peer, ...role } = JSON.parse(process.argv[2]!) as ActorArguments;
const layer = createLinkLayer({ config: config(KEYS[own], KEYS[peer], role), native: loadNative(), log: SILENT_LOG });
const recorder = new Recorder();
recorder.keep = false;
let load: NodeJS.Timeout | undefined;

function status() {
  const other = layer.peers[0]!;
  return {
    state: other.state,
    lastError: other.lastError,
    received: recorder.count,
    paths: other.paths.map(({ id, name, state, stateReason, local, remote, innerMtuBytes, rttMs, lossRatio }) => {
      return { id, name, state, stateReason, local, remote, innerMtuBytes, rttMs, lossRatio };
    }),
    counters: layer.counters(),
  };
}

function send(pathId: number, count: number, bytes: number): boolean {
  const path = layer.peers[0]!.paths.find((one) => one.id === pathId);
  let sent = path !== undefined;
  for (let i = 0; i < count && sent; i++) sent = sendNumbered(path!, i, bytes);
  layer.flush();
  return sent;
}

function handle(command: ActorCommand): unknown {
  switch (command.verb) {
    case 'status':
      return status();
    case 'send':
      return send(command.path ?? 0, command.count ?? 1, command.bytes ?? 100);
    case 'load':
      clearInterval(load);
      load = command.up ? setInterval(() => send(command.path ?? 0, 1, 200), 10) : undefined;
      return true;
    case 'interface':
      layer.onInterfaceChange(command.name!, command.up!);
      return true;
    case 'close':
      clearInterval(load);
      void layer.close().then(() => process.exit(0));
      return true;
  }
}

try {
  await layer.start(recorder);
  say({ started: true });
  createInterface({ input: process.stdin })
    .on('line', (line) => {
      const command = JSON.parse(line) as ActorCommand;
      say({ id: command.id, result: handle(command) });
    })
    .on('close', () => process.exit(0));
} catch (error) {
  say({ started: false, error: (error as Error).message });
}
