/**
 * Names that a gateway resolves for who has no TUN, in messages between peers: the client asks, and asks again while no answer comes; the gateway asks its host's resolver.
 * What comes of it may be dialled through the tunnel only, so a name is seen as the gateway sees it.
 */

import { lookup } from 'node:dns/promises';
import { parseIp } from '../../tun/ip-prefix.js';
import type { PeerLink } from '../link.js';
import type { PeerMessage } from '../session/slow-control.js';

export type Resolve = Extract<PeerMessage, { kind: 'resolve' }>;
export type Resolved = Extract<PeerMessage, { kind: 'resolved' }>;

export class NameError extends Error {
  /** ENOTFOUND, ETIMEDOUT, EAI_AGAIN. */
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.name = 'NameError';
    this.code = code;
  }
}

const ASK_EVERY_MS = 1000;
const ASKS = 4;
const KEEP_MS = 30_000;
const KEEP_MAX_COUNT = 1024;
const MAX_WAITING = 256;
const ADDRESSES_MAX_COUNT = 16;
/** At once, for one peer. */
const MAX_UNDER_WAY = 64;

interface Question {
  readonly id: number;
  readonly answer: Promise<readonly string[]>;
  readonly settle: (message: Resolved | undefined) => void;
}

/** Asks. */
export class NameClient {
  readonly #send: (message: Resolve) => boolean;
  readonly #waiting = new Map<string, Question>();
  readonly #known = new Map<string, { addresses: readonly string[]; untilMs: number }>();
  #nextId = 1;

  /** `send`: to the gateway. */
  constructor(send: (message: Resolve) => boolean) {
    this.#send = send;
  }

  /** As the gateway prefers them. Rejects with NameError. */
  resolve(name: string): Promise<readonly string[]> {
    const wanted = name.toLowerCase().replace(/\.$/, '');
    const known = this.#known.get(wanted);
    if (known !== undefined && known.untilMs > performance.now()) return Promise.resolve(known.addresses);
    const waiting = this.#waiting.get(wanted);
    if (waiting !== undefined) return waiting.answer;
    if (wanted.length === 0 || wanted.length > 253) return Promise.reject(new NameError('ENOTFOUND', `"${name}" is no name of a host`));
    if (this.#waiting.size >= MAX_WAITING) return Promise.reject(new NameError('EAI_AGAIN', 'too many names are being resolved'));
    return this.#ask(wanted).answer;
  }

  handleAnswer(message: Resolved): void {
    for (const question of this.#waiting.values()) if (question.id === message.id) question.settle(message);
  }

  close(): void {
    for (const question of [...this.#waiting.values()]) question.settle(undefined);
  }

  #ask(name: string): Question {
    const id = this.#nextId++ % 2 ** 31;
    let settle: Question['settle'] = () => {};
    const answer = new Promise<readonly string[]>((resolve, reject) => {
      let asks = 0;
      const ask = (): void => {
        if (asks++ === ASKS) settle(undefined);
        else this.#send({ kind: 'resolve', id, name });
      };
      const timer = setInterval(ask, ASK_EVERY_MS);
      settle = (message) => {
        clearInterval(timer);
        this.#waiting.delete(name);
        if (message === undefined)
          reject(new NameError('ETIMEDOUT', `${name}: the gateway does not say what it stands for (is it an older version?)`));
        else if (message.addresses.length === 0) reject(new NameError('ENOTFOUND', `${name}: the gateway knows no such name`));
        else resolve(this.#keep(name, message.addresses));
      };
      ask();
    });
    const question = { id, answer, settle };
    this.#waiting.set(name, question);
    return question;
  }

  #keep(name: string, addresses: readonly string[]): readonly string[] {
    if (this.#known.size >= KEEP_MAX_COUNT) this.#known.delete(this.#known.keys().next().value!);
    this.#known.set(name, { addresses, untilMs: performance.now() + KEEP_MS });
    return addresses;
  }
}

export interface NameServerOptions {
  /** May connections of peers reach it? */
  permits: (address: Uint8Array) => boolean;
  send: (peer: PeerLink, message: Resolved) => void;
  /** Default: the host's resolver. */
  lookup?: (name: string) => Promise<readonly string[]>;
}

/** Answers. */
export class NameServer {
  readonly #options: NameServerOptions;
  readonly #underWay = new Map<PeerLink, Set<string>>();

  constructor(options: NameServerOptions) {
    this.#options = options;
  }

  async handleQuestion(peer: PeerLink, { id, name }: Resolve): Promise<void> {
    let names = this.#underWay.get(peer);
    if (names === undefined) {
      names = new Set();
      this.#underWay.set(peer, names);
    }
    // Who gets none asks again.
    if (names.has(name) || names.size >= MAX_UNDER_WAY) return;
    names.add(name);
    const addresses = await (this.#options.lookup ?? hostLookup)(name).catch(() => []);
    names.delete(name);
    if (names.size === 0) this.#underWay.delete(peer);
    const permitted = addresses.filter((address) => {
      const bytes = parseIp(address);
      return bytes !== undefined && this.#options.permits(bytes);
    });
    this.#options.send(peer, { kind: 'resolved', id, addresses: permitted.slice(0, ADDRESSES_MAX_COUNT) });
  }
}

async function hostLookup(name: string): Promise<string[]> {
  return (await lookup(name, { all: true })).map(({ address }) => address);
}
