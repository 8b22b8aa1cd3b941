/**
 * The rules as far as they reach beyond the planes: the table of nftables for `fwmark`, `user` and `bypass`, and what addresses domains have. The planes ask here what packets
 * do not tell.
 */

import { Resolver } from 'node:dns/promises';
import type { IpPacketFacts } from '../mptcp-over-udp/wire/ip-header.js';
import { formatIp, parseIp } from '../tun/ip-prefix.js';
import type { NativeAddon } from '../tun/native.js';
import type { NftTables } from '../tun/nft-table.js';
import type { RuleConfig } from './config.js';
import { parseDnsAnswer } from './steering/dns-answer.js';
import type { DnsListener } from './steering/dns-watch.js';
import { DomainBook } from './steering/domain-book.js';
import type { RuleKnowledge } from './steering/flow-rules.js';
import { KernelDomains } from './steering/kernel-domains.js';
import { needsNft, nftNeed, rulesTableBody } from './steering/nft-rules.js';
import { OwnerSets } from './steering/owner-sets.js';
import { ResolveSchedule } from './steering/resolve-schedule.js';

const TABLE_FAMILY = 'inet';
const TABLE_PURPOSE = 'rules';
const RESOLVE_TIMEOUT_MS = 3_000;
/** An answer waits no longer for the kernel to know its addresses. */
const MAX_HOLD_MS = 250;
const MAX_HELD_COUNT = 64;
const LONGEST_TIMER_MS = 60_000;

export interface ResolvedAddress {
  readonly address: string;
  readonly ttlSeconds: number;
}

export interface RulesInForceOptions {
  device: string;
  /** Of the device, "10.77.0.2/24". */
  addresses: readonly string[];
  /** Behind them there are hosts that use the tunnel through this one. */
  lanInterfaces?: readonly string[];
  native: Pick<NativeAddon, 'nftOpen' | 'nftHasElement' | 'nftClose'>;
  tables: () => Pick<NftTables, 'nameOf' | 'apply' | 'remove' | 'change'>;
  /** Makes sure that what carries the mark goes past the tunnel; the mark. */
  makeBypassable: () => Promise<number>;
  /** An answer of DNS that was held back goes on to who asked. */
  deliver: (packet: Uint8Array, segmentBytes: number) => void;
  warn: (message: string) => void;
  /** Default: the host's resolver. Rejects when there is no answer. */
  resolve?: (name: string) => Promise<readonly ResolvedAddress[]>;
}

export class RulesInForce implements RuleKnowledge, DnsListener {
  readonly #options: RulesInForceOptions;
  readonly #book = new DomainBook();
  readonly #schedule = new ResolveSchedule();
  readonly #kernel: KernelDomains;
  #rules: readonly RuleConfig[] = [];
  #owners: OwnerSets | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Lets answers go on that are held back. */
  #held: (() => void)[] = [];
  #heldTimer: NodeJS.Timeout | undefined;
  /** Changes of the table, one after the other. */
  #work: Promise<void> = Promise.resolve();
  /** The last change of a set failed: said once. */
  #isFailing = false;
  #closed = false;

  constructor(options: RulesInForceOptions) {
    this.#options = options;
    this.#kernel = new KernelDomains();
  }

  get hasDomains(): boolean {
    return this.#rules.some(({ domains }) => domains !== undefined);
  }

  get counters() {
    return { domainAddresses: this.#book.addressCount, ...this.#owners?.counters };
  }

  /** Before the planes go by them. Throws HostNetworkError, and the kernel goes by the rules from before. */
  async apply(rules: readonly RuleConfig[]): Promise<void> {
    const nowMs = performance.now();
    const domains = new Set(rules.flatMap((rule) => [...(rule.domains ?? [])]));
    const before = this.#rules.flatMap((rule) => [...(rule.domains ?? [])]);
    this.#book.setPatterns([...before, ...domains]);
    await this.#serially(() => this.#applyTable(rules));
    this.#rules = rules;
    this.#book.setPatterns(domains);
    this.#schedule.setNames(
      [...domains].filter((domain) => !domain.startsWith('*.')),
      nowMs,
    );
    this.#resolveDue();
  }

  /** The table stays: whoever undoes the host's network takes it away. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#heldTimer);
    this.#owners?.close();
    this.#owners = undefined;
  }

  // ---- for the rules ----

  holds(condition: number, bytes: Uint8Array, facts: IpPacketFacts): boolean {
    return this.#owners?.holds(condition, bytes, facts) ?? false;
  }

  hasAddress(domains: readonly string[], bytes: Uint8Array, at: number, addressBytes: number): boolean {
    return this.#book.has(domains, bytes, at, addressBytes, performance.now());
  }

  // ---- from answers of DNS ----

  /** True: the kernel does not know its addresses yet, and whoever asked would be faster. */
  learn(bytes: Uint8Array, offset: number, length: number): boolean {
    const answer = parseDnsAnswer(bytes, offset, length);
    if (typeof answer === 'string') return false;
    let isNews = false;
    for (const { names, address, ttlSeconds } of answer) if (this.#learn(names, address, ttlSeconds)) isNews = true;
    return isNews && this.#held.length < MAX_HELD_COUNT;
  }

  hold(packet: Uint8Array, segmentBytes: number): void {
    this.whenKnown(() => this.#options.deliver(packet, segmentBytes));
  }

  whenKnown(goOn: () => void): void {
    this.#held.push(goOn);
    this.#heldTimer ??= setTimeout(() => this.#releaseHeld(), MAX_HOLD_MS);
  }

  /** True: the kernel must hear of it first. */
  #learn(names: readonly string[], address: Uint8Array, ttlSeconds: number): boolean {
    const patterns = this.#book.patternsOf(names);
    if (patterns.length === 0) return false;
    const nowMs = performance.now();
    const untilMs = this.#book.learn(patterns, address, ttlSeconds, nowMs);
    const news = this.#kernel.note(patterns, formatIp(address), untilMs, nowMs);
    if (news !== 'nothing') this.#tellKernelSoon();
    return news === 'new';
  }

  /** One script for all that one turn of the event loop brings. */
  #tellKernelSoon(): void {
    setImmediate(() => {
      if (!this.#kernel.hasNews) return;
      void this.#serially(() => this.#tellKernel()).finally(() => this.#releaseHeld());
    });
  }

  async #tellKernel(): Promise<void> {
    if (this.#closed) return;
    const { tables, warn } = this.#options;
    const name = tables().nameOf(TABLE_PURPOSE);
    const script = this.#kernel.takeScript(`${TABLE_FAMILY} ${name}`, performance.now());
    if (script === '') return;
    try {
      await tables().change(script, 'a [[rule]] with domain and bypass');
      this.#isFailing = false;
    } catch (error) {
      this.#kernel.forget();
      if (this.#isFailing) return;
      this.#isFailing = true;
      warn(`addresses of a [[rule]]'s domain did not get into nftables: ${(error as Error).message}`);
    }
  }

  #releaseHeld(): void {
    clearTimeout(this.#heldTimer);
    this.#heldTimer = undefined;
    const held = this.#held;
    this.#held = [];
    if (this.#closed) return;
    for (const goOn of held) goOn();
  }

  // ---- the table ----

  async #applyTable(rules: readonly RuleConfig[]): Promise<void> {
    if (this.#closed) return;
    const { device, addresses, lanInterfaces = [], tables, native } = this.#options;
    if (!needsNft(rules)) {
      await tables().remove(TABLE_FAMILY, TABLE_PURPOSE);
      this.#owners?.close();
      this.#owners = undefined;
      this.#kernel.setRules([], () => [], 0);
      return;
    }
    const mark = rules.some(({ bypass }) => bypass === true) ? await this.#options.makeBypassable() : 0;
    const nowMs = performance.now();
    const known = new Map(rules.map((rule) => [rule, this.#book.addressesOf(rule.domains ?? [], nowMs)]));
    const addressesOf = (rule: RuleConfig) => known.get(rule) ?? [];
    const body = rulesTableBody({ device, addresses, lanInterfaces, rules, mark, addressesOf });
    await tables().apply({ family: TABLE_FAMILY, purpose: TABLE_PURPOSE, body, neededBy: nftNeed(rules) });
    this.#kernel.setRules(rules, addressesOf, nowMs);
    this.#tellWhatCameMeanwhile(rules);
    this.#owners ??= new OwnerSets(native, tables().nameOf(TABLE_PURPOSE));
  }

  /** Answers may have come while the table was made. */
  #tellWhatCameMeanwhile(rules: readonly RuleConfig[]): void {
    const nowMs = performance.now();
    for (const { domains } of rules) {
      for (const { address, remainingMs } of this.#book.addressesOf(domains ?? [], nowMs))
        this.#kernel.note(domains ?? [], address, nowMs + remainingMs, nowMs);
    }
    if (this.#kernel.hasNews) this.#tellKernelSoon();
  }

  #serially(work: () => Promise<void>): Promise<void> {
    const result = this.#work.then(work);
    this.#work = result.catch(() => undefined);
    return result;
  }

  // ---- names that we ask for ourselves ----

  #resolveDue(): void {
    if (this.#closed) return;
    for (const name of this.#schedule.takeDue(performance.now())) void this.#resolve(name);
    this.#armTimer();
  }

  async #resolve(name: string): Promise<void> {
    const resolve = this.#options.resolve ?? resolveByHost;
    const found = await resolve(name).catch(() => undefined);
    if (this.#closed) return;
    for (const { address, ttlSeconds } of found ?? []) {
      const bytes = parseIp(address);
      if (bytes !== undefined) this.#learn([name], bytes, ttlSeconds);
    }
    const ttlSeconds = found === undefined || found.length === 0 ? undefined : Math.min(...found.map((one) => one.ttlSeconds));
    this.#schedule.handleAnswer(name, ttlSeconds, performance.now());
    this.#armTimer();
  }

  #armTimer(): void {
    clearTimeout(this.#timer);
    const nowMs = performance.now();
    this.#book.expire(nowMs);
    const inMs = this.#schedule.nextTimeoutMs() - nowMs;
    if (!this.hasDomains) return;
    this.#timer = setTimeout(() => this.#resolveDue(), Math.min(LONGEST_TIMER_MS, Math.max(0, inMs)));
    this.#timer.unref();
  }
}

/** A new resolver each time: the host's servers may have changed. One family alone is an answer too. */
async function resolveByHost(name: string): Promise<ResolvedAddress[]> {
  const resolver = new Resolver({ timeout: RESOLVE_TIMEOUT_MS, tries: 2 });
  const answers = await Promise.allSettled([resolver.resolve4(name, { ttl: true }), resolver.resolve6(name, { ttl: true })]);
  const found = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
  if (found.length === 0) throw new Error(`${name} has no address`);
  return found.map(({ address, ttl }) => ({ address, ttlSeconds: ttl }));
}
