/**
 * Everything that a tunnel does to its host's network: addresses and settings of its device, routes, rules, sysctls, tables of nftables. All of it goes
 * through `ip` and `nft`, all of it is in the journal before it happens, and `undo` leaves the host as it was found.
 */

import { answerTable } from './answer-table.js';
import { findForwardBlockers } from './forward-filter.js';
import { enableForwarding } from './forwarding.js';
import { type BatchFailure, type BatchFamily, HostNetworkError, queryIp, ROUTE_PROTOCOL, runIpBatch, runIpBatchAll } from './ip-command.js';
import { formatIp, formatPrefix, type IpFamily, parsePrefix } from './ip-prefix.js';
import { forwardLanReplies } from './lan-forwarding.js';
import { journalOwner, meansGone, NetworkJournal, readSysctl, setSysctl, type UndoEntry, undoJournal } from './network-journal.js';
import { NftTables } from './nft-table.js';
import { PathAddresses } from './path-addresses.js';
import { firstPriority, freeMark, readRules } from './policy-rules.js';
import { linesNotInForce, notPermitted } from './prepared-device.js';
import { RouteKeeper } from './route-keeper.js';
import { type PolicyGroup, planPolicy, planRoutes, type RoutePlan } from './route-plan.js';
import { ensureRunDirectory, runFiles } from './run-directory.js';
import { WholeHost, type WholeHostPlan } from './whole-host.js';

export { HostNetworkError } from './ip-command.js';
export { undoJournal } from './network-journal.js';

export interface HostNetworkPlan extends WholeHostPlan {
  /** The tunnel's device; it exists. */
  readonly device: string;
  /** "10.77.0.2/24" */
  readonly addresses: readonly string[];
  readonly mtuBytes: number;
  /** Allowed IPs of all peers. */
  readonly routes: readonly string[];
  /** Interfaces that the configuration names for its paths; empty: the kernel's choice. */
  readonly uplinks: readonly string[];
  /** IP addresses (without ports) of the peers' endpoints, as far as they are known. */
  readonly outerAddresses: readonly string[];
  /** What comes from the device's own addresses goes into the tunnel, wherever else the default route leads: answers to connections that came by the tunnel. */
  readonly answersByTunnel?: boolean;
}

export interface AppliedNetwork {
  /** SO_MARK for every socket that carries outer packets; 0: none is needed. */
  readonly mark: number;
}

export interface HostNetworkOptions {
  /** Default: NAME.journal in the run directory, NAME being the device's. */
  journalFile?: string;
  /** Receives one line for each thing that works less well than it could. */
  warn?: (message: string) => void;
}

/** FACTS: the default of 500 drops the tail of a burst of super-packets. */
const TX_QUEUE_PACKETS = 10_000;
/** A 64 KB super-packet and our overhead would need two sends. */
const GSO_MAX_BYTES = 60_000;

interface Link {
  readonly ifname: string;
  readonly ifindex: number;
  readonly flags: readonly string[];
  readonly mtu: number;
  readonly txqlen?: number;
  readonly gso_max_size?: number;
  readonly inet6_addr_gen_mode?: string;
  readonly addr_info?: readonly { local: string; prefixlen: number }[];
}

interface Change {
  readonly line: string;
  readonly undo: UndoEntry;
}

export class HostNetwork {
  readonly #journalFile: string | undefined;
  readonly #warn: (message: string) => void;
  #applied: string | undefined;
  #plan: HostNetworkPlan | undefined;
  #journal: NetworkJournal | undefined;
  #tables: NftTables | undefined;
  #keeper: RouteKeeper | undefined;
  #wholeHost: WholeHost | undefined;
  readonly #laterUplinks = new Set<string>();
  /** 0: nothing goes past the tunnel by a mark. */
  #mark = 0;
  #isBypassable = false;
  /** From which nothing is forwarded but answers. */
  #guardedUplinks = new Set<string>();

  constructor(options: HostNetworkOptions = {}) {
    this.#journalFile = options.journalFile;
    this.#warn = options.warn ?? (() => {});
  }

  /**
   * Makes the plan true. Leftovers of a dead process under the same journal are undone first. When a step fails, what was done is undone and
   * HostNetworkError tells why. Call before the sockets are opened: they need the mark.
   */
  async apply(plan: HostNetworkPlan): Promise<AppliedNetwork> {
    if (this.#applied !== undefined) throw new TypeError('apply was called before: undo first');
    const journalFile = this.#journalFile ?? runFiles(plan.device, ensureRunDirectory()).journal;
    await this.#undoLeftovers(journalFile, plan.device);
    await requireInterfaces(plan.uplinks, plan.device);
    this.#journal = NetworkJournal.create(journalFile);
    this.#tables = new NftTables(plan.device, this.#journal);
    this.#keeper = new RouteKeeper(this.#warn);
    this.#wholeHost = new WholeHost(plan, journalFile, this.#journal, this.#tables, this.#warn);
    this.#applied = journalFile;
    this.#plan = plan;
    this.#isBypassable = false;
    this.#guardedUplinks = new Set();
    try {
      const routes = planRoutes(plan.routes, plan.addresses, plan.outerAddresses);
      const mark = routes.policy.length > 0 || plan.killSwitch !== undefined ? await freeMark(Math.max(1, routes.policy.length)) : 0;
      // Before anything changes: a kill switch that a crash has left is replaced without a gap.
      await this.#wholeHost.engage(mark);
      await this.#setUpDevice(plan);
      await this.#route(plan, routes, mark);
      await this.#wholeHost.apply();
      this.#mark = mark;
      return { mark };
    } catch (error) {
      await this.undo();
      throw error;
    }
  }

  /** An uplink that came after `apply`; without one that is in force nothing happens. */
  addUplink(device: string): void {
    this.#laterUplinks.add(device);
    if (this.#applied !== undefined) this.#loosen(device);
  }

  /** Call when interfaces, routes or rules of the host have changed: devices that came anew have forgotten their settings, and rules may have been removed. */
  async refresh(): Promise<void> {
    const plan = this.#plan;
    if (plan === undefined || this.#applied === undefined) return;
    await this.#keeper?.check();
    if (this.#applied === undefined) return;
    await this.#loosenReversePathFilter(plan, true);
    for (const uplink of this.#laterUplinks) this.#loosen(uplink, true);
    await this.#forwardLanReplies(plan);
    await this.#wholeHost?.refresh();
  }

  /** The tunnel's own tables of nftables; `undo` takes them away. */
  get tables(): NftTables {
    if (this.#tables === undefined || this.#applied === undefined) throw new TypeError('tables before apply');
    return this.#tables;
  }

  /** The host becomes a router; `undo` takes it back. */
  async enableForwarding(families: readonly IpFamily[]): Promise<void> {
    if (this.#journal === undefined || this.#applied === undefined) throw new TypeError('enableForwarding before apply');
    await enableForwarding({ journal: this.#journal, families, warn: this.#warn });
  }

  /** Chains of firewalls that drop what is forwarded and know nothing of the device. */
  findForwardBlockers(): Promise<string[]> {
    return findForwardBlockers(this.#plan?.device ?? '');
  }

  /**
   * Makes sure that whatever carries the mark which is returned goes past the tunnel: prefixes that have their routes in the main table go over to tables of their own, without a
   * moment in which they have none. Those of peers that come later do not. Throws HostNetworkError.
   */
  async makeBypassable(): Promise<number> {
    const plan = this.#plan;
    if (plan === undefined || this.#applied === undefined) throw new TypeError('makeBypassable before apply');
    if (this.#isBypassable) return this.#mark;
    const { main } = planRoutes(plan.routes, plan.addresses, plan.outerAddresses);
    const groups = planPolicy(main);
    const firstTable = await freeMark(Math.max(1, groups.length));
    if (this.#mark === 0) this.#mark = firstTable;
    await this.#addPolicy(plan, groups, this.#mark, firstTable);
    await this.#removeFromMain(main, plan.device);
    if (plan.answersByTunnel === true) await this.#passMarkedByMain(plan);
    this.#isBypassable = true;
    await this.#loosenReversePathFilter(plan);
    await this.#forwardLanReplies(plan);
    return this.#mark;
  }

  /** Routes for a peer that came later. What lies within the device's own prefixes needs none. Throws HostNetworkError. */
  async addRoutes(prefixes: readonly string[]): Promise<void> {
    const plan = this.#plan;
    if (plan === undefined) throw new TypeError('addRoutes before apply');
    const { main, policy } = planRoutes(prefixes, plan.addresses, plan.outerAddresses);
    const covering = policy[0]?.prefixes[0];
    if (covering !== undefined)
      throw new HostNetworkError('needs-restart', `${covering} cannot be routed to a peer while the tunnel runs: restart it`);
    const added = main.map((prefix) => routeChange(prefix, plan.device, 'main'));
    await this.#change(0, added, plan);
    this.#keeper?.keep(0, linesOf(added));
  }

  /** Takes back those of a peer that leaves, as far as they are there. */
  async removeRoutes(prefixes: readonly string[]): Promise<void> {
    const plan = this.#plan;
    if (plan === undefined || this.#applied === undefined) return;
    const { main } = planRoutes(prefixes, plan.addresses, plan.outerAddresses);
    if (main.length > 0) await this.#removeFromMain(main, plan.device);
  }

  /** Their entries stay in the journal: to undo what is gone is no failure. */
  async #removeFromMain(prefixes: readonly string[], device: string): Promise<void> {
    const changes = prefixes.map((prefix) => routeChange(prefix, device, 'main'));
    this.#keeper?.drop(linesOf(changes));
    const lines = changes.flatMap(({ undo }) => (undo.kind === 'ip' ? [undo.line] : []));
    for (const reason of await runIpBatchAll(0, lines)) if (!meansGone(reason)) this.#warn(`not undone: ${reason}`);
  }

  /** Addresses that come and go with paths; what is there is taken back with the rest. After `apply`. */
  pathAddresses(): PathAddresses {
    if (this.#plan === undefined || this.#journal === undefined) throw new TypeError('pathAddresses before apply');
    return new PathAddresses(this.#plan.device, this.#journal);
  }

  /** Takes everything back. Idempotent; does not throw for things that are gone already. */
  async undo(): Promise<void> {
    const journalFile = this.#applied;
    if (journalFile === undefined) return;
    this.#applied = undefined;
    await this.#keeper?.stop();
    await this.#wholeHost?.stop();
    for (const failure of await undoJournal(journalFile)) this.#warn(`not undone: ${failure}`);
  }

  async #undoLeftovers(journalFile: string, device: string): Promise<void> {
    const owner = journalOwner(journalFile);
    if (owner !== undefined)
      throw new HostNetworkError(
        'busy',
        `the network of ${device} is in the hands of process ${owner}: stop it first (\`mptunnel down ${device}\`)`,
      );
    for (const failure of await undoJournal(journalFile)) this.#warn(`left over from a crash, not undone: ${failure}`);
  }

  async #setUpDevice(plan: HostNetworkPlan): Promise<void> {
    const name = plan.device;
    const before = (await queryIp<Link>(['-d', 'link', 'show', 'dev', name]))[0];
    const addresses = (await queryIp<Link>(['addr', 'show', 'dev', name]))[0]?.addr_info ?? [];
    if (before === undefined) throw new HostNetworkError('no-interface', `interface ${name} does not exist`);
    const device = { name, index: before.ifindex };
    const onDevice = (line: string, undo: string): Change => ({ line, undo: { kind: 'ip', family: 0, line: undo, device } });
    const present = new Set(addresses.map((info) => `${info.local}/${info.prefixlen}`));
    // IPv6 tolerates no address below 1280, so the MTU comes first; a tunnel has no neighbours, so duplicate detection is left out.
    const changes = [
      ...(before.mtu === plan.mtuBytes
        ? []
        : [onDevice(`link set dev ${name} mtu ${plan.mtuBytes}`, `link set dev ${name} mtu ${before.mtu}`)]),
      ...plan.addresses
        .map((address) => parsePrefix(address)!)
        .filter((prefix) => !present.has(formatPrefix(prefix)))
        .map((prefix) => {
          const address = formatPrefix(prefix);
          return onDevice(`addr add ${address} dev ${name}${prefix.family === 6 ? ' nodad' : ''}`, `addr del ${address} dev ${name}`);
        }),
    ];
    if (!before.flags.includes('UP')) changes.push(onDevice(`link set dev ${name} up`, `link set dev ${name} down`));
    // A tunnel has no link: a link-local address would only bring router solicitations into it. Where there is no IPv6 there is no such mode.
    const genMode = before.inet6_addr_gen_mode;
    if (genMode !== undefined && genMode !== 'none')
      await this.#tryChanges(0, [onDevice(`link set dev ${name} addrgenmode none`, `link set dev ${name} addrgenmode ${genMode}`)]);
    await this.#change(0, changes, plan);
    this.#keeper!.keep(0, linesOf(changes.filter(({ line }) => line.startsWith('addr add '))));
    await this.#tune(before, onDevice);
  }

  /** What makes it faster: without it works. */
  async #tune({ ifname: name, txqlen, gso_max_size: gsoMaxBytes }: Link, onDevice: (line: string, undo: string) => Change): Promise<void> {
    if (txqlen !== TX_QUEUE_PACKETS) {
      const queue = onDevice(`link set dev ${name} txqueuelen ${TX_QUEUE_PACKETS}`, `link set dev ${name} txqueuelen ${txqlen ?? 500}`);
      const failure = await this.#tryChanges(0, [queue]);
      if (failure !== undefined) this.#warn(`txqueuelen of ${name} stays as it is (${failure.reason}): bursts may lose their end`);
    }
    if (gsoMaxBytes === undefined || gsoMaxBytes === GSO_MAX_BYTES) return;
    const gso = onDevice(`link set dev ${name} gso_max_size ${GSO_MAX_BYTES}`, `link set dev ${name} gso_max_size ${gsoMaxBytes}`);
    const failure = await this.#tryChanges(0, [gso]);
    if (failure !== undefined) this.#warn(`gso_max_size of ${name} stays as it is (${failure.reason}): super-packets may need two sends`);
  }

  async #route(plan: HostNetworkPlan, routes: RoutePlan, mark: number): Promise<void> {
    const main = routes.main.map((prefix) => routeChange(prefix, plan.device, 'main'));
    await this.#change(0, main, plan);
    this.#keeper!.keep(0, linesOf(main));
    if (routes.policy.length > 0) await this.#addPolicy(plan, routes.policy, mark, mark);
    if (plan.answersByTunnel === true) await this.#routeAnswers(plan, routes.policy, mark);
    await this.#loosenReversePathFilter(plan);
  }

  /** Routes go in before the rules that lead to them: in between, nothing is unreachable. */
  async #addPolicy(plan: HostNetworkPlan, groups: readonly PolicyGroup[], mark: number, firstTable: number): Promise<void> {
    const rules = { 4: await readRules(4), 6: await readRules(6) };
    for (const family of [4, 6] as const) {
      const mine = groups.map((group, index) => ({ ...group, table: firstTable + index })).filter((group) => group.family === family);
      if (mine.length === 0) continue;
      const routes = mine.flatMap((group) => group.prefixes.map((prefix) => routeChange(prefix, plan.device, String(group.table))));
      await this.#change(family, routes, plan);
      const priority = firstPriority(rules[family], 2 * mine.length);
      const lines = mine.flatMap((group, index) => [
        `priority ${priority + 2 * index} from all lookup main suppress_prefixlength ${group.prefixLength} protocol ${ROUTE_PROTOCOL}`,
        `priority ${priority + 2 * index + 1} not from all fwmark ${mark} lookup ${group.table} protocol ${ROUTE_PROTOCOL}`,
      ]);
      // In this order there is no moment without a route: the first rule of a pair changes nothing by itself.
      const added = lines.map((line) => ruleChange(family, line));
      await this.#change(family, added, plan);
      this.#keeper!.keep(family, linesOf([...routes, ...added]));
    }
  }

  /** What has the tunnel's address goes into it, unless it is marked. */
  async #passMarkedByMain(plan: HostNetworkPlan): Promise<void> {
    for (const family of [4, 6] as const) {
      const priority = firstPriority(await readRules(family), 1);
      const rule = ruleChange(family, `priority ${priority} from all fwmark ${this.#mark} lookup main protocol ${ROUTE_PROTOCOL}`);
      await this.#change(family, [rule], plan);
      this.#keeper!.keep(family, linesOf([rule]));
    }
  }

  /** Where the tunnel is the default route by itself, nothing is missing. A more precise route of the main table counts here too: a LAN stays a LAN. */
  async #routeAnswers(plan: HostNetworkPlan, policy: readonly PolicyGroup[], mark: number): Promise<void> {
    // Packets from anywhere come out of the device, also from where its routes do not lead.
    this.#loosen(plan.device);
    const families = ([4, 6] as const).filter(
      (family) =>
        plan.addresses.some((address) => parsePrefix(address)!.family === family) &&
        !policy.some((group) => group.family === family && group.prefixLength === 0),
    );
    if (families.length === 0) return;
    const rules = { 4: await readRules(4), 6: await readRules(6) };
    const table = await freeMark(1, [mark]);
    for (const family of families) {
      const route = routeChange(family === 4 ? '0.0.0.0/0' : '::/0', plan.device, String(table));
      await this.#change(0, [route], plan);
      const own = plan.addresses.map((address) => parsePrefix(address)!).filter((prefix) => prefix.family === family);
      const selectors = [...own.map(({ bytes }) => `from ${formatIp(bytes)}`), `from all fwmark ${table}`];
      const first = firstPriority(rules[family], 2 * selectors.length);
      const lines = selectors.flatMap((selector, index) => [
        `priority ${first + 2 * index} ${selector} lookup main suppress_prefixlength 0 protocol ${ROUTE_PROTOCOL}`,
        `priority ${first + 2 * index + 1} ${selector} lookup ${table} protocol ${ROUTE_PROTOCOL}`,
      ]);
      const added = lines.map((line) => ruleChange(family, line));
      await this.#change(family, added, plan);
      this.#keeper!.keep(family, linesOf([route, ...added]));
    }
    try {
      await this.tables.apply(answerTable({ device: plan.device, addresses: plan.addresses, families, mark: table }));
    } catch (error) {
      // The addresses of the device are answered from without it.
      this.#warn(
        `answers of hosts behind this one, and of UDP services on all addresses, go beside the tunnel: ${(error as Error).message}`,
      );
    }
  }

  /**
   * Strict reverse-path filtering (rp_filter 1) drops the peer's answers on every uplink but the one that the main table prefers, and on all of
   * them once the default route leads into the tunnel. Loose mode on the uplinks is what multihoming needs. (src_valid_mark would need
   * a firewall that restores the mark on incoming packets, and would not help a second uplink.)
   */
  async #loosenReversePathFilter(plan: HostNetworkPlan, isAgain = false): Promise<void> {
    const { policy } = planRoutes(plan.routes, plan.addresses, plan.outerAddresses);
    const defaultLike = policy.some((group) => group.family === 4);
    const others = this.#isBypassable || (defaultLike && plan.uplinks.length === 0) ? await defaultRouteDevices() : [];
    for (const uplink of new Set([...plan.uplinks, ...others])) this.#loosen(uplink, isAgain);
  }

  /** By which uplink a LAN host's packet leaves that bypasses, the routes say at any moment. */
  async #forwardLanReplies({ lan, device, uplinks }: HostNetworkPlan): Promise<void> {
    if (lan === undefined || !this.#isBypassable) return;
    const all = new Set([...uplinks, ...this.#laterUplinks, ...(await defaultRouteDevices())]);
    for (const inside of [device, ...lan.interfaces]) all.delete(inside);
    if (this.#applied === undefined) return;
    await forwardLanReplies([...all], { journal: this.#journal!, tables: this.#tables!, warn: this.#warn }, this.#guardedUplinks);
  }

  /** `isAgain`: what hangs on other tunnels was noted the first time. */
  #loosen(uplink: string, isAgain = false): void {
    const path = rpFilterPath(uplink);
    const previous = readSysctl(path);
    // The kernel takes the larger of "all" and the interface's own. 2: by another tunnel perhaps, which may go before we do.
    const inForce = Math.max(Number(readSysctl(rpFilterPath('all'))), Number(previous));
    if (previous === undefined || (inForce !== 1 && (previous !== '2' || isAgain))) return;
    try {
      setSysctl(this.#journal!, path, '2');
    } catch (error) {
      this.#warn(`${path} cannot be set to 2 (${(error as NodeJS.ErrnoException).code}): answers on ${uplink} may be dropped by rp_filter`);
    }
  }

  async #change(family: BatchFamily, changes: readonly Change[], plan: HostNetworkPlan): Promise<void> {
    const failure = await this.#tryChanges(family, changes);
    if (failure === undefined) return;
    if (!/Operation not permitted/.test(failure.reason)) throw await explain(changes[failure.index]?.line ?? '', failure.reason, plan);
    // The device may be one that root has made for this user, with all that belongs to it.
    const missing = await linesNotInForce(linesOf(changes.slice(failure.index)), plan.device);
    if (missing.length > 0) throw notPermitted(family, missing);
  }

  async #tryChanges(family: BatchFamily, changes: readonly Change[]): Promise<BatchFailure | undefined> {
    const ids = this.#journal!.add(changes.map((change) => change.undo));
    const failure = await runIpBatch(
      family,
      changes.map((change) => change.line),
    );
    if (failure !== undefined) this.#journal!.cancel(ids.slice(failure.index));
    return failure;
  }
}

/** Throws HostNetworkError for the first that is not there, naming those that are and could be meant (not the tunnel's own). */
export async function requireInterfaces(names: readonly string[], tunnelDevice?: string): Promise<void> {
  const present = (await queryIp<{ ifname: string }>(['link', 'show'])).map((link) => link.ifname);
  const missing = names.find((name) => !present.includes(name));
  if (missing === undefined) return;
  const others = present.filter((name) => name !== 'lo' && name !== tunnelDevice).join(', ') || 'none but lo';
  throw new HostNetworkError('no-interface', `interface ${missing} does not exist; interfaces here: ${others}`);
}

/** The interface that has this address, for a path that is configured by address alone. Throws HostNetworkError when none has it. */
export async function interfaceOfAddress(address: string): Promise<string> {
  const wanted = parsePrefix(address);
  const links = await queryIp<Link>(['addr', 'show']);
  const addresses = links.flatMap((link) => (link.addr_info ?? []).map((info) => ({ name: link.ifname, text: info.local })));
  const found = addresses.find(({ text }) => wanted !== undefined && formatPrefix(parsePrefix(text)!) === formatPrefix(wanted));
  if (found !== undefined) return found.name;
  const others = addresses
    .filter(({ name }) => name !== 'lo')
    .map(({ name, text }) => `${text} (${name})`)
    .join(', ');
  throw new HostNetworkError('no-interface', `no interface has the address ${address}; addresses here: ${others || 'none'}`);
}

function linesOf(changes: readonly Change[]): string[] {
  return changes.map(({ line }) => line);
}

function routeChange(prefix: string, device: string, table: string): Change {
  const route = `${prefix} dev ${device} table ${table} proto ${ROUTE_PROTOCOL}`;
  return { line: `route add ${route}`, undo: { kind: 'ip', family: 0, line: `route del ${route}` } };
}

function ruleChange(family: IpFamily, rule: string): Change {
  return { line: `rule add ${rule}`, undo: { kind: 'ip', family, line: `rule del ${rule}` } };
}

async function defaultRouteDevices(): Promise<string[]> {
  const routes = await queryIp<{ dev?: string; nexthops?: { dev: string }[] }>(['-4', 'route', 'show', 'default']);
  return [...new Set(routes.flatMap((route) => [route.dev, ...(route.nexthops ?? []).map((hop) => hop.dev)]))].filter(
    (device) => device !== undefined,
  );
}

function rpFilterPath(device: string): string {
  return `/proc/sys/net/ipv4/conf/${device}/rp_filter`;
}

async function explain(line: string, reason: string, plan: HostNetworkPlan): Promise<HostNetworkError> {
  const subject = line.split(' ')[2] ?? '';
  if (line.startsWith('route add') && /File exists/.test(reason)) {
    const holder = (await queryIp<{ dev?: string }>(['route', 'show', subject]))[0]?.dev;
    const where = holder === undefined ? '' : ` (it leads to ${holder})`;
    return new HostNetworkError(
      'route-exists',
      `a route to ${subject} exists already${where}: remove it, or take ${subject} out of allowed_ips`,
    );
  }
  if (subject.includes(':') && /Permission denied|not supported|disabled/.test(reason)) {
    const key = line.startsWith('addr add') ? 'address' : 'allowed_ips';
    return new HostNetworkError(
      'ipv6-disabled',
      `${subject} cannot be set: IPv6 is switched off here: take it out of ${key}, or set net.ipv6.conf.all.disable_ipv6=0`,
    );
  }
  return new HostNetworkError('ip-failed', `\`ip ${line}\` failed for ${plan.device}: ${reason}`);
}
