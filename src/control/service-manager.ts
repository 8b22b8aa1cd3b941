/** What systemd hears of a daemon that it started with Type=notify (sd_notify(3)): ready, how it is, that it is alive, that it stops. */

import { loadNative } from '../tun/native.js';

export interface ServiceManager {
  /** The first time the service counts as started; `status` is what `systemctl status` shows. */
  ready(status: string): void;
  stopping(): void;
}

const NOBODY: ServiceManager = { ready: () => {}, stopping: () => {} };
const MICROSECONDS_PER_MS = 1000;

/**
 * From NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, which are taken out of `environment`: what we start is not the service. Without a socket nobody is told.
 * The watchdog hears from us twice in its time, as long as the event loop turns.
 */
export function connectServiceManager(environment: NodeJS.ProcessEnv = process.env): ServiceManager {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: watchdogText, WATCHDOG_PID: watchdogPid } = environment;
  for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete environment[name];
  if (socket === undefined || socket === '') return NOBODY;
  const native = loadNative();
  const tell = (state: string): void => void native.notifyService(socket, state, -1);
  const watchdogMs = Number(watchdogText ?? 0) / MICROSECONDS_PER_MS;
  const isWatched = watchdogMs > 0 && (watchdogPid === undefined || Number(watchdogPid) === process.pid);
  if (isWatched) setInterval(tell, watchdogMs / 2, 'WATCHDOG=1').unref();
  return {
    ready: (status) => tell(`READY=1\nSTATUS=${status.replaceAll('\n', ' ')}`),
    stopping: () => tell('STOPPING=1\nSTATUS=taking back routes and addresses'),
  };
}
