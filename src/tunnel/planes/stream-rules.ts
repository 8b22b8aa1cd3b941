/** The rules for TCP that is terminated: whether it is, on which paths its subflows run, and by which scheduler. */

import type { MptcpConnection } from '../../mptcp-over-udp/mptcp/connection.js';
import type { PathPolicy } from '../../mptcp-over-udp/mptcp/path-policy.js';
import type { Scheduler } from '../../mptcp-over-udp/scheduler/scheduler.js';
import { SCHEDULERS } from '../../mptcp-over-udp/scheduler/schedulers.js';
import type { FourTuple } from '../../mptcp-over-udp/tcp/header-template.js';
import { createIpPacketFacts, type IpPacketFacts, PROTOCOL_TCP, parseIpPacket } from '../../mptcp-over-udp/wire/ip-header.js';
import type { RulePlane, StreamConfig } from '../config.js';
import type { PathLink } from '../link.js';
import type { FlowRule, FlowRules } from '../steering/flow-rules.js';

/** What is known of a connection's first packet beside its addresses. */
interface Origin {
  readonly dscpEcn: number;
  /** Keys of the host conditions that it fitted. */
  readonly held: ReadonlySet<string>;
}

/** How a connection goes. */
export interface StreamRoute {
  /** Number of the rule, -1: none. */
  readonly rule: number;
  readonly pathPolicy: PathPolicy | undefined;
  /** undefined: the host's. */
  readonly scheduler: Scheduler | undefined;
}

const NO_RULE: StreamRoute = { rule: -1, pathPolicy: undefined, scheduler: undefined };
const UNKNOWN_ORIGIN: Origin = { dscpEcn: 0, held: new Set() };
/** IPv6 is the larger. */
const ADDRESS_ROOM_BYTES = 16;

export class StreamRules {
  readonly #rules: FlowRules;
  readonly #steer: StreamConfig['steer'];
  readonly #facts = createIpPacketFacts();
  readonly #addresses = new Uint8Array(2 * ADDRESS_ROOM_BYTES);
  readonly #redundant = SCHEDULERS.redundant();
  readonly #priority = SCHEDULERS.priority();
  readonly #origins = new WeakMap<MptcpConnection, Origin>();
  readonly #numbers = new WeakMap<MptcpConnection, number>();
  /** Of the SYN that was judged last. */
  #rule = -1;
  #origin: Origin = UNKNOWN_ORIGIN;

  constructor(rules: FlowRules, steer: StreamConfig['steer']) {
    this.#rules = rules;
    this.#steer = steer;
  }

  /** May any TCP out of the TUN be terminated, beside the connections that are? */
  get mayTerminate(): boolean {
    return this.#steer === 'aggregate' || this.#rules.hasPlane('stream');
  }

  /** Where the SYN, a packet out of the TUN, goes. What was found is kept for `routeOfSyn`. */
  judgeSyn(bytes: Uint8Array, offset: number, length: number): RulePlane {
    this.#rule = -1;
    this.#origin = UNKNOWN_ORIGIN;
    const usual = this.#steer === 'aggregate' ? 'stream' : 'datagram';
    const facts = this.#facts;
    if (this.#rules.isEmpty || parseIpPacket(bytes, offset, length, facts) !== '') return usual;
    this.#origin = { dscpEcn: facts.dscpEcn, held: this.#rules.heldConditions(bytes, facts) };
    this.#rule = this.#rules.match(bytes, facts, false, this.#origin.held);
    return (this.#rule < 0 ? undefined : this.#rules.rule(this.#rule).plane) ?? usual;
  }

  /** For the connection of the SYN that was judged just now. */
  routeOfSyn(links: readonly (PathLink | undefined)[]): StreamRoute {
    return this.#route(this.#rule, links);
  }

  /** The connection that was opened for that SYN. */
  note(connection: MptcpConnection, route: StreamRoute): void {
    this.#origins.set(connection, this.#origin);
    this.#numbers.set(connection, route.rule);
  }

  /** One that the peer opened, or one that is under way when rules change. Noted. */
  routeOf(connection: MptcpConnection, links: readonly (PathLink | undefined)[]): StreamRoute {
    if (this.#rules.isEmpty) return this.#noted(connection, NO_RULE);
    const { dscpEcn, held } = this.#origins.get(connection) ?? UNKNOWN_ORIGIN;
    const rule = this.#rules.match(this.#addresses, this.#factsOf(connection.tuple, dscpEcn), false, held);
    return this.#noted(connection, this.#route(rule, links));
  }

  /** Number of the rule that the connection goes by, -1: none. */
  ruleNumber(connection: MptcpConnection): number {
    return this.#numbers.get(connection) ?? -1;
  }

  #noted(connection: MptcpConnection, route: StreamRoute): StreamRoute {
    this.#numbers.set(connection, route.rule);
    return route;
  }

  #route(number: number, links: readonly (PathLink | undefined)[]): StreamRoute {
    if (number < 0) return NO_RULE;
    const rule = this.#rules.rule(number);
    return { rule: number, pathPolicy: policyOf(rule, links), scheduler: this.#schedulerOf(rule) };
  }

  /** `min-delay` and `aggregate` are what every scheduler of [stream] is for. */
  #schedulerOf({ streamMode }: FlowRule): Scheduler | undefined {
    if (streamMode === 'redundant') return this.#redundant;
    return streamMode === 'priority' ? this.#priority : undefined;
  }

  /** A connection as a packet from this side would have it. */
  #factsOf({ ipVersion, localAddress, localPort, remoteAddress, remotePort }: FourTuple, dscpEcn: number): IpPacketFacts {
    const facts = this.#facts;
    this.#addresses.set(localAddress);
    this.#addresses.set(remoteAddress, ADDRESS_ROOM_BYTES);
    facts.version = ipVersion;
    facts.protocol = PROTOCOL_TCP;
    facts.dscpEcn = dscpEcn;
    facts.addressBytes = ipVersion === 4 ? 4 : 16;
    facts.sourceAddressOffset = 0;
    facts.destinationAddressOffset = ADDRESS_ROOM_BYTES;
    facts.hasPorts = true;
    facts.isFragment = false;
    facts.sourcePort = localPort;
    facts.destinationPort = remotePort;
    return facts;
  }
}

/** undefined: every path, as the paths themselves say. */
function policyOf({ paths, streamMode }: FlowRule, links: readonly (PathLink | undefined)[]): PathPolicy | undefined {
  const oneAtATime = streamMode === 'active-standby';
  if (paths === undefined) return oneAtATime ? { rank: (pathId) => pathId, oneAtATime, isNamed: false } : undefined;
  const rank = (pathId: number): number => {
    const name = links[pathId]?.name;
    return name === undefined ? -1 : paths.indexOf(name);
  };
  return { rank, oneAtATime, isNamed: true };
}
