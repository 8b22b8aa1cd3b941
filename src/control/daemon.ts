/** The life of a running tunnel: takes its name, starts it, serves the control socket, and takes everything back at the end. */

import { releaseKillSwitch } from '../tun/kill-switch.js';
import { undoJournal } from '../tun/network-journal.js';
import { runFiles } from '../tun/run-directory.js';
import type { TunnelConfig } from '../tunnel/config.js';
import { loadConfig } from '../tunnel/config-file.js';
import { Enrolment } from '../tunnel/gateway/enrolment.js';
import { describePolicy } from '../tunnel/path-policy.js';
import type { TunnelStatus } from '../tunnel/status.js';
import type { StartTunnel, Tunnel, TunnelLog } from '../tunnel/tunnel-api.js';
import { TapFan } from './capture-stream.js';
import type { ChangeReply, ChangeRequest } from './change-requests.js';
import { ControlError } from './control-protocol.js';
import { type ControlServer, listenControl } from './control-socket.js';
import { EventFan } from './event-stream.js';
import { claimInstance, cleanLeftovers, isHeldBack } from './instance.js';
import { type MetricsServer, serveMetrics } from './metrics-server.js';
import { formatMetrics } from './metrics-text.js';
import { type PeerRequest, servePeerRequest } from './peer-requests.js';
import { connectServiceManager } from './service-manager.js';

export interface DaemonOptions {
  config: TunnelConfig;
  /** Absolute. */
  configFile: string;
  /** How long a client may take to get through; 0: for ever. */
  readyTimeoutMs: number;
  startTunnel: StartTunnel;
  log: TunnelLog;
  onReady: () => void;
  /** What becomes of the file's configuration when it is read again. Default: it is taken as it is. */
  adapt?: (config: TunnelConfig) => TunnelConfig;
  /** What serves programs of this host while the tunnel runs, from when it is up; resolves to what ends that. `stop` ends the daemon. */
  startService?: (tunnel: Tunnel, stop: (reason: string) => void) => Promise<() => Promise<void>>;
}

/** What ends a daemon from outside. */
export interface StopRequests {
  /** Resolves at the first request. */
  readonly first: Promise<string>;
  /** Resolves at the second: whoever asks twice does not want to wait. */
  readonly second: Promise<string>;
  request(reason: string): void;
  /** SIGHUP to a daemon, until it is set nothing. With a terminal it ends the program instead: the terminal was closed. */
  onReload: (() => void) | undefined;
  /** Gives the signals back. */
  release(): void;
}

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
/** A goodbye to peers and a few `ip` calls take a fraction of it. */
const CLOSE_TIMEOUT_MS = 10_000;
/** The longest that a timer can hold. */
const FOREVER_MS = 0x7fff_ffff;

/** From now on signals ask, and do not kill. */
export function listenForStop(): StopRequests {
  const waiting: ((reason: string) => void)[] = [];
  const first = new Promise<string>((resolve) => waiting.push(resolve));
  const second = new Promise<string>((resolve) => waiting.push(resolve));
  const request = (reason: string): void => waiting.shift()?.(reason);
  const handleHangUp = (): void => {
    if (process.stderr.isTTY || process.stdin.isTTY) request('SIGHUP');
    else requests.onReload?.();
  };
  for (const signal of SIGNALS) process.on(signal, request);
  process.on('SIGHUP', handleHangUp);
  const release = (): void => {
    for (const signal of SIGNALS) process.off(signal, request);
    process.off('SIGHUP', handleHangUp);
  };
  const requests: StopRequests = { first, second, request, onReload: undefined, release };
  return requests;
}

/**
 * Resolves when the tunnel was stopped and nothing of it is left; rejects when it could not be started, with nothing left either. The process should
 * end then, whatever else may still run in it.
 */
export async function runDaemon(options: DaemonOptions, stop: StopRequests = listenForStop()): Promise<void> {
  const { name } = options.config.interface;
  await claimInstance(name, options.configFile, (message) => options.log.warn(message));
  const life = new TunnelLife(options, stop);
  try {
    await life.live();
  } finally {
    await life.end();
    stop.release();
  }
}

class TunnelLife {
  readonly #options: DaemonOptions;
  readonly #stop: StopRequests;
  readonly #startedMs = performance.now();
  readonly #fan: TapFan;
  readonly #events = new EventFan();
  readonly #manager = connectServiceManager();
  #control: ControlServer | undefined;
  #metrics: MetricsServer | undefined;
  #starting: Promise<Tunnel> | undefined;
  #tunnel: Tunnel | undefined;
  #enrolment: Enrolment | undefined;
  #endService: (() => Promise<void>) | undefined;
  #stopping = false;
  #stopReason: string | undefined;
  readonly #wasHeldBack: boolean;
  #lastChange: Promise<unknown> = Promise.resolve();
  /** What is said of a tunnel that is there is an event of it, too, and so reaches `mptunnel events`. */
  readonly #log: TunnelLog = {
    info: (message) => (this.#tunnel === undefined ? this.#options.log.info(message) : this.#tunnel.report({ type: 'notice', message })),
    warn: (message) => (this.#tunnel === undefined ? this.#options.log.warn(message) : this.#tunnel.report({ type: 'warning', message })),
  };

  constructor(options: DaemonOptions, stop: StopRequests) {
    this.#options = options;
    this.#stop = stop;
    this.#wasHeldBack = isHeldBack(options.config.interface.name);
    void stop.first.then((reason) => {
      this.#stopReason = reason;
    });
    this.#fan = new TapFan((tap) => this.#tunnel?.setTap(tap));
  }

  async live(): Promise<void> {
    const { config, log, readyTimeoutMs } = this.#options;
    const files = runFiles(config.interface.name);
    this.#control = await listenControl(files.socket, {
      status: () => this.#status(),
      stop: () => {
        // Whoever says so wants no restart; a signal may be the first half of one.
        this.#manager.forgetDescriptors();
        this.#stop.request('`mptunnel down`');
      },
      connections: (query) => this.#tunnel?.connections(query) ?? { total: 0, connections: [] },
      change: (request) => this.#change(request),
      managePeers: (request) => this.#managePeers(request),
      addTap: (tap) => this.#fan.add(tap),
      removeTap: (tap) => this.#fan.remove(tap),
      addEventReader: (reader, last) => this.#events.add(reader, last),
      removeEventReader: (reader) => this.#events.remove(reader),
    });
    if (config.metrics !== undefined) this.#metrics = await serveMetrics(config.metrics, () => formatMetrics(this.#status()));
    this.#starting = this.#options.startTunnel({ config, log, descriptors: this.#manager.descriptors });
    this.#tunnel = await this.#unlessStopped(this.#starting);
    if (this.#tunnel === undefined) return;
    this.#fan.attach();
    this.#events.attach(this.#tunnel);
    this.#enrolment = new Enrolment({ config, configFile: this.#options.configFile, tunnel: this.#tunnel, log: this.#log });
    await this.#enrolment.start();
    // A service that may wait for its server as long as it takes is started now.
    if (readyTimeoutMs === 0) this.#manager.ready('waiting for the peer');
    const ready = this.#tunnel.ready(readyTimeoutMs === 0 ? FOREVER_MS : readyTimeoutMs).then(() => true);
    if ((await this.#unlessStopped(ready)) === undefined) return;
    this.#endService = await this.#options.startService?.(this.#tunnel, (reason) => this.#stop.request(reason));
    this.#stop.onReload = () => void this.#change({ command: 'reload' }).catch(() => {});
    this.#manager.ready('up');
    this.#options.onReady();
    await this.#stop.first;
  }

  /** Also after a failure, and while something hangs: nothing may be left behind. */
  async end(): Promise<void> {
    this.#stopping = true;
    this.#manager.stopping();
    this.#enrolment?.close();
    const { name } = this.#options.config.interface;
    const overdue = new Promise<string>((resolve) => setTimeout(resolve, CLOSE_TIMEOUT_MS, 'took too long').unref());
    const closed = this.#close().then(
      () => undefined,
      (error: unknown) => `failed: ${(error as Error).message}`,
    );
    const fault = await Promise.race([closed, overdue, this.#stop.second]);
    if (fault !== undefined) this.#log.warn(`closing ${name} was cut short (${fault})`);
    for (const failure of await undoJournal(runFiles(name).journal)) this.#log.warn(`not undone: ${failure}`);
    await this.#metrics?.close();
    await this.#control?.close();
    await cleanLeftovers(name);
    // What was in force when this process began was left by a crash, and holds until somebody says `down`.
    if (this.#stopReason !== undefined || !this.#wasHeldBack)
      for (const failure of await releaseKillSwitch(runFiles(name).killSwitch)) this.#options.log.warn(`not undone: ${failure}`);
  }

  async #close(): Promise<void> {
    const ended = this.#endService?.();
    // A start that was overtaken by the wish to stop still has to be waited for, or its device would stay.
    const tunnel = this.#tunnel ?? (await this.#starting?.catch(() => undefined));
    await tunnel?.close(this.#stopReason);
    await ended;
  }

  /** One after another: each finds what the one before has left. */
  #change(request: ChangeRequest): Promise<ChangeReply> {
    const result = this.#lastChange.then(() => this.#changeNow(request));
    this.#lastChange = result.catch(() => {});
    return result;
  }

  async #changeNow(request: ChangeRequest): Promise<ChangeReply> {
    const tunnel = this.#tunnel;
    if (tunnel === undefined || this.#stopping) throw new ControlError('not-up', 'the tunnel is not up yet: try again in a moment');
    switch (request.command) {
      case 'path-add': {
        const problem = await tunnel.addPath(request.path);
        tunnel.report({ type: 'configuration', what: `path ${request.path.name}: added` });
        return { done: [`path ${request.path.name}: added${problem === '' ? '' : `, waits: ${problem}`}`], left: [] };
      }
      case 'path-remove':
        tunnel.removePath(request.name);
        return { done: [`path ${request.name}: removed`], left: [] };
      case 'path-set':
        tunnel.changePath(request.name, request.change);
        tunnel.report({ type: 'configuration', what: `path ${request.name}: ${describePolicy(request.change)}` });
        return { done: [`path ${request.name}: changed`], left: [] };
      case 'peer-set':
        tunnel.changePeer(request.name, request.change);
        tunnel.report({ type: 'configuration', what: `peer ${request.name}: ${describePolicy(request.change)}` });
        return { done: [`peer ${request.name}: changed`], left: [] };
      case 'reload':
        return this.#reload(tunnel);
    }
  }

  /** A faulty file changes nothing. */
  async #reload(tunnel: Tunnel): Promise<ChangeReply> {
    const { configFile } = this.#options;
    try {
      const { adapt = (config) => config } = this.#options;
      const { done, left } = await tunnel.reconfigure(adapt(loadConfig(configFile, (message) => this.#log.warn(message))));
      for (const line of done) tunnel.report({ type: 'configuration', what: `reload: ${line}` });
      for (const what of left) tunnel.report({ type: 'warning', message: `reload: ${what} differs, and is in force only after a restart` });
      if (done.length === 0 && left.length === 0) tunnel.report({ type: 'configuration', what: 'reload: nothing has changed' });
      return { done, left };
    } catch (error) {
      tunnel.report({ type: 'warning', message: `reload: nothing was changed: ${(error as Error).message}` });
      throw error;
    }
  }

  async #managePeers(request: PeerRequest): Promise<unknown> {
    if (this.#enrolment === undefined) throw new ControlError('starting', 'the tunnel is still starting: try again');
    return servePeerRequest(this.#enrolment, request);
  }

  #unlessStopped<T>(work: Promise<T>): Promise<T | undefined> {
    work.catch(() => {});
    return Promise.race([work, this.#stop.first.then(() => undefined)]);
  }

  #status(): TunnelStatus {
    const starting: TunnelStatus = {
      name: this.#options.config.interface.name,
      state: 'starting',
      pid: process.pid,
      uptimeMs: performance.now() - this.#startedMs,
      peers: [],
      connections: 0,
      counters: {},
    };
    const status = this.#tunnel?.status() ?? starting;
    return this.#stopping ? { ...status, state: 'stopping' } : status;
  }
}
