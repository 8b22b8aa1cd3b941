/**
 * What systemd hears of a daemon that it started with Type=notify (sd_notify(3)): ready, how it is, that it is alive, that it stops. And what it keeps for the next start: with
 * FileDescriptorStoreMax= the descriptors that we give it outlive us, and come back as those of a socket unit do (sd_listen_fds(3)).
 */

import { closeSync } from 'node:fs';
import { loadNative } from '../tun/native.js';
import type { DescriptorStore } from '../tunnel/descriptor-store.js';

export interface ServiceManager {
  readonly descriptors: DescriptorStore;
  /** The first time the service counts as started; `status` is what `systemctl status` shows. What was left to us and nobody took is closed. */
  ready(status: string): void;
  stopping(): void;
  /** There is to be no next start. */
  forgetDescriptors(): void;
}

const MICROSECONDS_PER_MS = 1000;
/** SD_LISTEN_FDS_START. */
const FIRST_DESCRIPTOR = 3;
const VARIABLES = ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES', 'LISTEN_PID'];

/**
 * From NOTIFY_SOCKET, WATCHDOG_* and LISTEN_*, which are taken out of `environment`: what we start is not the service. Without a socket nobody is told, and nothing is kept.
 * The watchdog hears from us twice in its time, as long as the event loop turns.
 */
export function connectServiceManager(environment: NodeJS.ProcessEnv = process.env): ServiceManager {
  const { NOTIFY_SOCKET: socket = '', WATCHDOG_USEC: watchdogText, WATCHDOG_PID: watchdogPid } = environment;
  const inherited = inheritedDescriptors(environment);
  for (const name of VARIABLES) delete environment[name];
  const tell = (state: string, descriptor = -1): void => {
    if (socket !== '') loadNative().notifyService(socket, state, descriptor);
  };
  const watchdogMs = Number(watchdogText ?? 0) / MICROSECONDS_PER_MS;
  const isWatched = socket !== '' && watchdogMs > 0 && (watchdogPid === undefined || Number(watchdogPid) === process.pid);
  if (isWatched) setInterval(tell, watchdogMs / 2, 'WATCHDOG=1').unref();
  const kept = new Set(inherited.keys());
  return {
    descriptors: {
      take: (name) => {
        const descriptor = inherited.get(name);
        inherited.delete(name);
        return descriptor;
      },
      keep: (name, descriptor) => {
        // What was left to us under that name may be another one.
        if (kept.has(name)) tell(`FDSTOREREMOVE=1\nFDNAME=${name}`);
        kept.add(name);
        tell(`FDSTORE=1\nFDNAME=${name}\nFDPOLL=0`, descriptor);
      },
    },
    ready: (status) => {
      for (const [name, descriptor] of inherited) {
        closeSync(descriptor);
        kept.delete(name);
        tell(`FDSTOREREMOVE=1\nFDNAME=${name}`);
      }
      inherited.clear();
      tell(`READY=1\nSTATUS=${status.replaceAll('\n', ' ')}`);
    },
    stopping: () => tell('STOPPING=1\nSTATUS=taking back routes and addresses'),
    forgetDescriptors: () => {
      for (const name of kept) tell(`FDSTOREREMOVE=1\nFDNAME=${name}`);
      kept.clear();
    },
  };
}

/** Name -> descriptor. Of several with one name the last counts: the others are closed. */
function inheritedDescriptors({ LISTEN_FDS: count, LISTEN_FDNAMES: names = '', LISTEN_PID: pid }: NodeJS.ProcessEnv): Map<string, number> {
  const inherited = new Map<string, number>();
  if (Number(pid) !== process.pid) return inherited;
  const list = names.split(':');
  for (let i = 0; i < Number(count ?? 0); i++) {
    const name = list[i] ?? `unknown${i}`;
    const earlier = inherited.get(name);
    if (earlier !== undefined) closeSync(earlier);
    inherited.set(name, FIRST_DESCRIPTOR + i);
  }
  return inherited;
}
