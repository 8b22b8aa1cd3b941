/**
 * What a relay knows: which hosts it serves, where those wait that want to be called, and the ways between two hosts that both want each other. Sans-IO: datagrams of
 * hosts and times in, answers and connections out. Without a host's proof nothing is answered and nothing is remembered; with it, but from an address that did not
 * show yet that it receives, there is a cookie alone, which is shorter than what asked for it.
 */

import { blake2s } from '../../crypto/blake2s.js';
import { constantTimeEqual } from '../../crypto/keys.js';
import { importPrivateKey } from '../../crypto/x25519.js';
import { NOBODY, relayIdOf, relayKeyOf, textOf } from './relay-identity.js';
import {
  type BindMessage,
  BOUND_BYTES,
  type BoundState,
  COOKIE_BYTES,
  emitBound,
  emitCall,
  emitCookie,
  isSigned,
  parseRelayMessage,
} from './relay-messages.js';

/** A leg of a way, or a waiting host, is forgotten when nothing was heard of it for so long. Hosts come back every quarter of that. */
export const LIFETIME_SECONDS = 60;
const LIFETIME_MS = LIFETIME_SECONDS * 1000;
const COOKIE_SECRET_MS = 120_000;
const SECRET_BYTES = 32;
/** Of an address record: family, zero, port, address. */
const SOURCE_BYTES = 20;

export interface RelayLimits {
  /** Ways, of all hosts together. */
  maxSessions: number;
  /** Ways that one host may have called for. */
  maxSessionsPerHost: number;
}

/** What a relay does with datagrams that are none of its own. */
export interface RelayForwarder {
  /** What comes from one address goes to the other from now on. `a` and `b` are address records, copied. */
  connect(session: number, a: Uint8Array, b: Uint8Array): void;
  disconnect(session: number): void;
}

export interface RelayTableOptions {
  privateKey: Uint8Array;
  /** Public keys of the hosts. */
  allowed: readonly Uint8Array[];
  limits: RelayLimits;
  randomBytes: (count: number) => Uint8Array;
  forwarder: RelayForwarder;
  /** Both are borrowed until return. */
  send: (bytes: Uint8Array, length: number, address: Uint8Array) => void;
  nowMs: number;
}

interface Host {
  readonly id: Uint8Array;
  readonly idText: string;
  readonly key: Uint8Array;
  /** Of ways that it called for. */
  sessions: number;
  waitsAt: Uint8Array | undefined;
  waitsUntilMs: number;
}

interface Leg {
  readonly host: Host;
  address: Uint8Array | undefined;
  untilMs: number;
}

interface Session {
  readonly number: number;
  readonly name: string;
  readonly way: Uint8Array;
  /** The first is the caller's. */
  readonly legs: readonly [Leg, Leg];
  connected: boolean;
}

export class RelayTable {
  readonly counters = {
    /** Messages without the proof of a host that is allowed, and such as make no sense. */
    strangers: 0,
    cookiesSent: 0,
    binds: 0,
    calls: 0,
    /** Ways that were asked for beyond a limit. */
    refusedFull: 0,
    /** Ways to a host that is not allowed here. */
    refusedUnknown: 0,
    sessionsMade: 0,
    sessionsExpired: 0,
  };
  readonly #hosts = new Map<string, Host>();
  readonly #sessions = new Map<string, Session>();
  /** By source address. */
  readonly #legs = new Map<string, { session: Session; leg: Leg }>();
  readonly #options: RelayTableOptions;
  readonly #out = new Uint8Array(BOUND_BYTES);
  #nextNumber = 1;
  #secret: Uint8Array;
  #formerSecret: Uint8Array;
  #secretAtMs: number;

  /** Throws RangeError for a key that is weak or the relay's own. */
  constructor(options: RelayTableOptions) {
    this.#options = options;
    this.#secret = options.randomBytes(SECRET_BYTES);
    this.#formerSecret = this.#secret;
    this.#secretAtMs = options.nowMs;
    const own = importPrivateKey(options.privateKey);
    for (const publicKey of options.allowed) {
      const key = relayKeyOf(own, publicKey);
      if (key === undefined || constantTimeEqual(publicKey, own.publicKey)) throw new RangeError('allowed: a key that no host can have');
      const id = relayIdOf(own.publicKey, publicKey);
      this.#hosts.set(textOf(id), { id, idText: textOf(id), key, sessions: 0, waitsAt: undefined, waitsUntilMs: 0 });
    }
  }

  get sessionCount(): number {
    return this.#sessions.size;
  }

  get connectedCount(): number {
    let count = 0;
    for (const session of this.#sessions.values()) if (session.connected) count++;
    return count;
  }

  get waitingCount(): number {
    let count = 0;
    for (const host of this.#hosts.values()) if (host.waitsAt !== undefined) count++;
    return count;
  }

  /** A message to the relay itself. `source`: an address record. Both are borrowed. */
  handleMessage(bytes: Uint8Array, source: Uint8Array, nowMs: number): void {
    const message = parseRelayMessage(bytes);
    const sender = typeof message !== 'string' && 'sender' in message ? this.#hosts.get(textOf(message.sender)) : undefined;
    if (sender === undefined || !isSigned(bytes, sender.key)) {
      this.counters.strangers++;
      return;
    }
    const bind = message as BindMessage;
    if (!this.#isCookie(bind.cookie, source, nowMs)) {
      if (bind.kind === 'bind') this.#sendCookie(sender, bind, source);
      return;
    }
    if (bind.kind === 'unbind') this.#unbind(sender, bind);
    else if (constantTimeEqual(bind.wanted, NOBODY)) this.#wait(sender, bind, source, nowMs);
    else this.#bind(sender, bind, source, nowMs);
  }

  /** Call every few seconds. */
  handleTimeout(nowMs: number): void {
    for (const host of this.#hosts.values()) if (host.waitsUntilMs <= nowMs) host.waitsAt = undefined;
    for (const session of [...this.#sessions.values()]) {
      for (const leg of session.legs) if (leg.untilMs <= nowMs) this.#leave(session, leg);
      if (session.legs.every(({ address }) => address === undefined)) {
        this.counters.sessionsExpired++;
        this.#end(session);
      }
    }
  }

  #wait(host: Host, { way }: BindMessage, source: Uint8Array, nowMs: number): void {
    this.counters.binds++;
    // It was started anew, or its NAT was: where it was called to is void, and its callers have it called again.
    if (host.waitsAt !== undefined && placeName(host.waitsAt) !== placeName(source)) this.#leaveAll(host);
    host.waitsAt = source.slice();
    host.waitsUntilMs = nowMs + LIFETIME_MS;
    this.#answer(host, 'waiting', way, source);
  }

  #bind(host: Host, bind: BindMessage, source: Uint8Array, nowMs: number): void {
    this.counters.binds++;
    const wanted = this.#hosts.get(textOf(bind.wanted));
    if (wanted === undefined || wanted === host) {
      this.counters.refusedUnknown++;
      this.#answer(host, 'unknown-peer', bind.way, source);
      return;
    }
    const session = this.#sessionOf(host, wanted, bind.way);
    if (session === undefined) {
      this.counters.refusedFull++;
      this.#answer(host, 'full', bind.way, source);
      return;
    }
    const [own, other] = session.legs[0].host === host ? session.legs : [session.legs[1], session.legs[0]];
    this.#occupy(session, own!, source, nowMs);
    this.#connect(session);
    if (other!.address === undefined) this.#call(session, host, wanted);
    this.#answer(host, session.connected ? 'paired' : 'waiting', session.way, source);
  }

  /** The way between the two, in whichever direction it was called for; a new one is `host`'s. Undefined: there are too many. */
  #sessionOf(host: Host, wanted: Host, way: Uint8Array): Session | undefined {
    const wayText = textOf(way);
    const known = this.#sessions.get(host.idText + wanted.idText + wayText) ?? this.#sessions.get(wanted.idText + host.idText + wayText);
    if (known !== undefined) return known;
    const { maxSessions, maxSessionsPerHost } = this.#options.limits;
    if (this.#sessions.size >= maxSessions || host.sessions >= maxSessionsPerHost) return undefined;
    const leg = (of: Host): Leg => ({ host: of, address: undefined, untilMs: 0 });
    const name = host.idText + wanted.idText + wayText;
    const session: Session = { number: this.#nextNumber++, name, way: way.slice(), legs: [leg(host), leg(wanted)], connected: false };
    this.#sessions.set(name, session);
    host.sessions++;
    this.counters.sessionsMade++;
    return session;
  }

  /** The leg is at `source` from now on, and no other is. */
  #occupy(session: Session, leg: Leg, source: Uint8Array, nowMs: number): void {
    leg.untilMs = nowMs + LIFETIME_MS;
    const name = placeName(source);
    const there = this.#legs.get(name);
    if (there?.leg === leg) return;
    if (there !== undefined) this.#leave(there.session, there.leg);
    this.#leave(session, leg);
    leg.address = source.slice();
    this.#legs.set(name, { session, leg });
  }

  #leave(session: Session, leg: Leg): void {
    if (leg.address === undefined) return;
    this.#legs.delete(placeName(leg.address));
    leg.address = undefined;
    if (!session.connected) return;
    session.connected = false;
    this.#options.forwarder.disconnect(session.number);
  }

  #connect(session: Session): void {
    const [{ address: a }, { address: b }] = session.legs;
    if (session.connected || a === undefined || b === undefined) return;
    session.connected = true;
    this.#options.forwarder.connect(session.number, a, b);
  }

  #leaveAll(host: Host): void {
    for (const session of this.#sessions.values()) for (const leg of session.legs) if (leg.host === host) this.#leave(session, leg);
  }

  #end(session: Session): void {
    for (const leg of session.legs) this.#leave(session, leg);
    session.legs[0].host.sessions--;
    this.#sessions.delete(session.name);
  }

  #unbind(host: Host, { wanted, way }: BindMessage): void {
    const [own, other, wayText] = [host.idText, textOf(wanted), textOf(way)];
    const session = this.#sessions.get(own + other + wayText) ?? this.#sessions.get(other + own + wayText);
    if (session !== undefined) this.#end(session);
    else if (constantTimeEqual(wanted, NOBODY)) host.waitsAt = undefined;
  }

  #call(session: Session, caller: Host, wanted: Host): void {
    if (wanted.waitsAt === undefined) return;
    this.counters.calls++;
    const length = emitCall(this.#out, wanted.key, caller.id, session.way);
    this.#options.send(this.#out, length, wanted.waitsAt);
  }

  #answer(host: Host, state: BoundState, way: Uint8Array, to: Uint8Array): void {
    this.#options.send(this.#out, emitBound(this.#out, host.key, state, way, LIFETIME_SECONDS, to), to);
  }

  #sendCookie(host: Host, { way }: BindMessage, to: Uint8Array): void {
    this.counters.cookiesSent++;
    this.#options.send(this.#out, emitCookie(this.#out, host.key, way, cookieOf(this.#secret, to)), to);
  }

  #isCookie(cookie: Uint8Array, source: Uint8Array, nowMs: number): boolean {
    if (nowMs - this.#secretAtMs > COOKIE_SECRET_MS) {
      this.#formerSecret = this.#secret;
      this.#secret = this.#options.randomBytes(SECRET_BYTES);
      this.#secretAtMs = nowMs;
    }
    if (constantTimeEqual(cookie, cookieOf(this.#secret, source))) return true;
    return this.#formerSecret !== this.#secret && constantTimeEqual(cookie, cookieOf(this.#formerSecret, source));
  }
}

function cookieOf(secret: Uint8Array, source: Uint8Array): Uint8Array {
  return blake2s(COOKIE_BYTES, secret, source.subarray(0, SOURCE_BYTES));
}

function placeName(address: Uint8Array): string {
  return textOf(address.subarray(0, SOURCE_BYTES));
}
