/** The paths of a running tunnel: those that it was told of, those that it finds, what they may carry yet and how fast they are. */

import type { LinkFacts } from '../tun/link-watch.js';
import { AutoPaths } from './auto-paths.js';
import { BudgetFile } from './budget/budget-file.js';
import { BUDGET_TICK_MS, BudgetKeeper } from './budget/budget-keeper.js';
import type { AutoPathsConfig, PathConfig } from './config.js';
import type { EventHub } from './event-hub.js';
import type { PathChange, PathLink, PeerLink } from './link.js';
import type { CountingLinkLayer } from './link-layer.js';
import { PathRateMeter, RATE_SAMPLE_MS } from './path-rates.js';
import { TunnelError } from './tunnel-api.js';

export interface TunnelPathsOptions {
  /** Name of the tunnel and of its device. */
  device: string;
  /** Throws TunnelError while the tunnel is not up. */
  link: () => CountingLinkLayer;
  peers: () => readonly PeerLink[];
  events: EventHub;
  /** An interface that a path leaves by. */
  addUplink: (name: string) => void;
  /** What was changed is to be seen on the wire. */
  drive: () => void;
}

export class TunnelPaths {
  readonly rates = new PathRateMeter();
  budgets: BudgetKeeper | undefined;
  /** Of this host, as they were heard of last. */
  links: readonly LinkFacts[] = [];
  readonly #options: TunnelPathsOptions;
  #auto: AutoPaths | undefined;
  #budgetTicks: NodeJS.Timeout | undefined;
  #rateSampling: NodeJS.Timeout | undefined;

  constructor(options: TunnelPathsOptions) {
    this.#options = options;
  }

  /** Without those that are automatic. */
  get explicit(): readonly PathConfig[] {
    return this.#options.link().pathConfigs.filter(({ name }) => this.#auto?.has(name) !== true);
  }

  async add(path: PathConfig): Promise<string> {
    const { device, link, addUplink, drive } = this.#options;
    if (path.interface === device)
      throw new TunnelError('path-is-tunnel', `${path.interface} is the tunnel itself: name the interface of an uplink.`);
    const problem = await link().addPath(path);
    if (path.interface !== undefined) addUplink(path.interface);
    drive();
    return problem;
  }

  remove(name: string): void {
    this.#options.link().removePath(name);
    this.#auto?.noteRemoved(name);
    this.#options.drive();
  }

  change(name: string, change: PathChange): void {
    this.#options.link().changePath(name, change);
    this.budgets?.tick();
    this.#options.drive();
  }

  setAuto(config: AutoPathsConfig | undefined, explicit: readonly PathConfig[]): void {
    const { device, peers, events } = this.#options;
    if (!peers().some((peer) => peer.initiator)) return;
    if (config !== undefined && this.#auto !== undefined) {
      this.#auto.reconfigure(config, explicit);
      return;
    }
    this.#auto?.end();
    this.#auto =
      config &&
      new AutoPaths({
        config,
        explicit,
        device,
        add: (path) => this.add(path),
        setBackup: (name, backup) => this.change(name, { backup }),
        remove: (name) => this.remove(name),
        warn: (message) => events.log.warn(message),
      });
    this.#auto?.update(this.links);
  }

  /** The interfaces that this host has now. */
  handleLinks(links: readonly LinkFacts[]): void {
    this.links = links;
    this.#auto?.update(links);
  }

  handleRemoved(path: PathLink): void {
    this.budgets?.handlePathRemoved(path);
  }

  /** From now on budgets are kept and rates are measured. */
  watch(): void {
    const { device, link, peers, events, drive } = this.#options;
    const started = link();
    this.budgets = new BudgetKeeper({
      paths: () => started.pathConfigs,
      peers: () => started.peers,
      restrict: (name, restriction, reason) => {
        started.restrictPath(name, restriction, reason);
        drive();
      },
      emit: (occurrence) => events.emit(occurrence),
      file: new BudgetFile(device, (message) => events.log.warn(message)),
    });
    this.budgets.tick();
    this.#budgetTicks = setInterval(() => this.budgets?.tick(), BUDGET_TICK_MS);
    this.#rateSampling = setInterval(() => this.rates.sample(peers(), performance.now()), RATE_SAMPLE_MS);
  }

  async close(): Promise<void> {
    clearInterval(this.#rateSampling);
    clearInterval(this.#budgetTicks);
    this.#auto?.close();
    await this.budgets?.close();
  }
}
