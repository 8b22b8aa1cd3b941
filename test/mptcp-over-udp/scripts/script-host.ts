/**
 * Scripts of sends and expects against one MPTCP host in virtual time. The script plays the peer: it injects segments and says which ones the
 * host answers with, and when; a segment that no line expects fails the script. Times are milliseconds since the last `restartTime` (handshake
 * helpers end with one). On failure the trace of both directions is printed.
 */

import t from 'tap';
import type { FourTuple } from '../../../src/mptcp-over-udp/tcp/header-template.js';
import { SYN } from '../../../src/mptcp-over-udp/wire/segment.js';
import type { Flow, SentSegment } from './script-flow.js';
import { ScriptFailure, ScriptMachine, type ScriptOptions } from './script-machine.js';
import {
  CLIENT_ADDRESS,
  CLIENT_ADDRESS_6,
  CLIENT_PORT,
  pathAddress,
  RTT_MS,
  SERVER_ADDRESS,
  SERVER_ADDRESS_6,
  SERVER_PORT,
  tupleOf,
} from './script-network.js';
import { ack, type SegmentSpec, syn, synAck } from './script-segment.js';

export type { ScriptOptions } from './script-machine.js';
export * from './script-network.js';
export * from './script-segment.js';

const MAX_TRACE_LINES = 60;

export interface HandshakeOptions {
  capableFlags?: number;
  /** Window field of the peer's segments of the handshake. */
  win?: number;
  synOptions?: Partial<SegmentSpec>;
}

export class ScriptHost extends ScriptMachine {
  private readonly clientAddress: Uint8Array;
  private readonly serverAddress: Uint8Array;

  constructor(options: ScriptOptions) {
    super(options);
    this.clientAddress = options.ipv6 === true ? CLIENT_ADDRESS_6 : CLIENT_ADDRESS;
    this.serverAddress = options.ipv6 === true ? SERVER_ADDRESS_6 : SERVER_ADDRESS;
  }

  /** The initial subflow. */
  get flow(): Flow {
    return this.flows[this.initialFlow] as Flow;
  }

  // ---- sends and expects on the initial subflow ----

  inject(atMs: number, spec: SegmentSpec): void {
    this.injectOn(this.flow, atMs, spec);
  }

  expect(atMs: number, spec: SegmentSpec, toleranceMs?: number): SentSegment {
    return this.expectOn(this.flow, atMs, spec, toleranceMs);
  }

  // ---- the application ----

  connect(atMs: number): void {
    this.advance(atMs);
    const tuple = tupleOf(this.clientAddress, this.serverAddress, CLIENT_PORT, SERVER_PORT);
    this.addFlow(tuple, 0, false);
    this.note('connect');
    this.app.connection = this.host.connect(tuple, 0, this.app, this.clock.nowMs);
    this.settle();
  }

  /** With Fast Open: what is written at once goes with the SYN where a cookie is known. Another connection each time, from another port. */
  connectFast(atMs: number, bytes = 0, protocol: 'mptcp' | 'tcp' = 'mptcp'): Flow {
    this.advance(atMs);
    this.beginConnection();
    const tuple = tupleOf(this.clientAddress, this.serverAddress, CLIENT_PORT + this.flows.length, SERVER_PORT);
    const flow = this.addFlow(tuple, 0, false);
    this.note(`connect with Fast Open, write ${bytes}`);
    const connection = this.host.connect(tuple, 0, this.app, this.clock.nowMs, { fastOpen: true });
    this.app.connection = connection;
    const [subflow] = connection.subflows;
    if (protocol === 'tcp' && subflow !== undefined) connection.fallbackState.start(subflow);
    if (this.app.write(bytes) !== bytes) this.fail('the send buffer did not take it all');
    this.settle();
    return flow;
  }

  accept(atMs: number): void {
    this.act(atMs, 'accept', () => this.connection.accept());
  }

  reject(atMs: number, reset: boolean): void {
    this.act(atMs, 'reject', () => this.connection.reject(reset, this.clock.nowMs));
  }

  write(atMs: number, length: number): void {
    this.act(atMs, `write ${length}`, () => {
      if (this.app.write(length) !== length) this.fail('the send buffer did not take it all');
    });
  }

  finish(atMs: number): void {
    this.act(atMs, 'finish', () => this.connection.finish());
  }

  abort(atMs: number): void {
    this.act(atMs, 'abort', () => this.connection.abort(this.clock.nowMs));
  }

  /** The reader takes `limit` bytes more. */
  read(atMs: number, limit = Number.POSITIVE_INFINITY): void {
    this.act(atMs, `read ${limit}`, () => {
      this.app.readLimit = this.app.readBytes + limit;
      this.connection.resumeReading();
    });
  }

  setPathUsable(atMs: number, pathId: number, usable: boolean): void {
    this.act(atMs, `path ${pathId} usable ${usable}`, () => this.host.paths.setUsable(pathId, usable, this.clock.nowMs));
  }

  // ---- handshakes; each ends with time 0 ----

  /** A flow of the peer towards the host's listener. */
  listen(): Flow {
    const port = CLIENT_PORT + this.flows.length;
    if (this.flows.length > 0) this.beginConnection();
    return this.addFlow(tupleOf(this.serverAddress, this.clientAddress, SERVER_PORT, port), 0, false);
  }

  /** The host is the server of an established MPTCP connection, one round trip of 20 ms old. */
  server(options: HandshakeOptions = {}): Flow {
    const flow = this.listen();
    const flags = options.capableFlags ?? 0x01;
    const { win = 65_535 } = options;
    this.inject(0, syn({ win, capable: { flags }, ...options.synOptions }));
    this.expect(0, synAckOfHost({ capable: {} }));
    this.inject(RTT_MS, ack({ win, capable: { flags } }));
    this.mptcp = true;
    this.checksums = (flags & 0x80) !== 0 || this.host.checksum;
    this.expectNothing(RTT_MS);
    this.restartTime();
    return flow;
  }

  /** The host is the client; the peer's first DSS has come, so that MPTCP is proved. */
  client(options: HandshakeOptions & { proved?: boolean } = {}): Flow {
    this.connect(0);
    this.expect(0, synOfHost({ capable: {} }));
    this.inject(RTT_MS, synAck({ capable: { flags: options.capableFlags ?? 0x01 }, ...options.synOptions }));
    this.expect(RTT_MS, ack({ capable: { length: 20 } }));
    this.mptcp = true;
    this.checksums = ((options.capableFlags ?? 0) & 0x80) !== 0 || this.host.checksum;
    if (options.proved !== false) this.inject(RTT_MS, ack());
    this.restartTime();
    return this.flow;
  }

  /** Plain TCP: the peer has no MPTCP. */
  plainServer(options: HandshakeOptions = {}): Flow {
    const flow = this.listen();
    const { win = 65_535 } = options;
    this.inject(0, syn({ win, ...options.synOptions }));
    this.expect(0, synAckOfHost({ plain: true }));
    this.inject(RTT_MS, ack({ win }));
    this.expectNothing(RTT_MS);
    this.restartTime();
    return flow;
  }

  plainClient(options: HandshakeOptions = {}): Flow {
    this.connect(0);
    this.expect(0, synOfHost({ capable: {} }));
    this.inject(RTT_MS, synAck(options.synOptions));
    this.expect(RTT_MS, ack({ plain: true }));
    this.restartTime();
    return this.flow;
  }

  /** A flow of the peer on another path, with nothing sent on it yet. */
  joinFlow(pathId = 1, port = 41_000): Flow {
    return this.addFlow(tupleOf(pathAddress(pathId, 1), pathAddress(pathId, 2), SERVER_PORT, port + this.flows.length), pathId, true);
  }

  /** The peer joins with a second subflow; 20 ms pass, time goes on. */
  peerJoins(atMs: number, pathId = 1, backup = false): Flow {
    const flow = this.joinFlow(pathId);
    flow.inject(atMs, syn({ join: { backup } }));
    flow.expect(atMs, synAckOfHost({ join: {} }));
    flow.inject(atMs + RTT_MS, ack({ join: {} }));
    flow.expect(atMs + RTT_MS, ack({ dss: {} }));
    return flow;
  }

  /** The host's join SYN on a path is expected at this time; the flow it opens is returned. */
  expectJoinSyn(atMs: number, pathId = 1, spec: SegmentSpec = synOfHost({ join: {} })): Flow {
    this.advance(atMs);
    const i = this.unclaimed.findIndex((sent) => sent.pathId === pathId && (sent.flags & SYN) !== 0);
    if (i < 0) this.fail(`no SYN of a join on path ${pathId}`);
    const [sent] = this.unclaimed.splice(i, 1) as [SentSegment];
    const [tuple] = this.unclaimedTuples.splice(i, 1) as [FourTuple];
    const flow = this.addFlow(tuple, pathId, true);
    this.learn(flow, sent);
    flow.unexpected.push(sent);
    this.expectOn(flow, atMs, spec);
    return flow;
  }

  /** Joins that the host starts are not this script's matter. */
  unclaim(): void {
    this.unclaimed.length = 0;
    this.unclaimedTuples.length = 0;
  }

  /** The host's join is answered: SYN/ACK, its third ACK, our fourth; 20 ms pass. */
  hostJoins(atMs: number, pathId = 1, backup = false): Flow {
    const flow = this.expectJoinSyn(atMs, pathId);
    flow.inject(atMs + RTT_MS, synAck({ join: { backup } }));
    flow.expect(atMs + RTT_MS, ack({ join: {} }));
    flow.inject(atMs + RTT_MS, ack());
    return flow;
  }
}

/** Expectations of the host's own SYN: which TCP options it carries is not the matter of most scripts. */
export function synOfHost(rest: Partial<SegmentSpec> = {}): SegmentSpec {
  return { flags: SYN, seq: 0, len: 0, ...rest };
}

export function synAckOfHost(rest: Partial<SegmentSpec> = {}): SegmentSpec {
  return { flags: synAck().flags, seq: 0, ack: 1, len: 0, ...rest };
}

/** One script is one test, named for the behaviour. */
export function script(name: string, run: (s: ScriptHost) => void): void;
export function script(name: string, options: ScriptOptions, run: (s: ScriptHost) => void): void;
export function script(name: string, first: ScriptOptions | ((s: ScriptHost) => void), second?: (s: ScriptHost) => void): void {
  const [options, run] = typeof first === 'function' ? [{}, first] : [first, second as (s: ScriptHost) => void];
  const s = new ScriptHost(options);
  try {
    run(s);
    s.end();
    t.pass(name);
  } catch (error) {
    const message =
      error instanceof Error ? (error instanceof ScriptFailure ? error.message : (error.stack ?? error.message)) : String(error);
    for (const line of s.trace.slice(-MAX_TRACE_LINES)) t.comment(line);
    t.fail(name, { because: message });
  }
}
