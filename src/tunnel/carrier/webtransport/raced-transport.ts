/**
 * A dialled WebTransport that goes over HTTP/3 where UDP gets through, and else over HTTP/2 (in the manner of RFC 8305): HTTP/3 has a head start, who opens first carries, and the
 * other is closed. Should nothing come back over HTTP/3 later on, HTTP/2 is tried beside it: when that opens, UDP is what fails, and the transport ends, to be dialled anew. A link
 * that is dead for both is no reason to.
 */

import type { DialOptions, DialTransport, Transport, TransportAddress, TransportCounters, TransportEvents } from '../transport.js';
import type { Http3Memory } from './http3-memory.js';
import { SilenceWatch } from './silence-watch.js';

const HEAD_START_MS = 300;
/** What HTTP/3 has left once HTTP/2 has failed: whom the server refuses shall not wait for UDP that is blocked. */
const LAST_CHANCE_MS = 2000;
const LOOK_EVERY_MS = 250;
/** Without an answer for so long, HTTP/2 is tried; and when that has opened, HTTP/3 has had so long. */
const DOUBT_MS = 1000;
const VERDICT_MS = 1500;
/** The owner has doubted it for so long. */
const DOUBTED_MS = 750;
const NO_COUNTERS: TransportCounters = { sentDatagrams: 0, receivedDatagrams: 0, droppedDatagrams: 0 };

type Protocol = 'HTTP/3' | 'HTTP/2';

export interface RaceOptions {
  /** undefined: there is none here. */
  readonly dialHttp3: DialTransport | undefined;
  readonly dialHttp2: DialTransport;
  readonly memory: Http3Memory;
  /** It is over, whoever ended it. */
  readonly onGone: (transport: RacedTransport) => void;
}

export class RacedTransport implements Transport {
  readonly kind = 'webtransport';
  readonly #race: RaceOptions;
  readonly #options: DialOptions;
  readonly #events: TransportEvents;
  readonly #way: string;
  /** Those that are under way. */
  readonly #racers = new Map<Protocol, Transport>();
  readonly #tried = new Set<Protocol>();
  readonly #reasons: string[] = [];
  #winner: Transport | undefined;
  #headStart: NodeJS.Timeout | undefined;
  #lastChance: NodeJS.Timeout | undefined;
  #looks: NodeJS.Timeout | undefined;
  /** Beside HTTP/3, to see whether it would do better. */
  #probe: { readonly transport: Transport; isOpen: boolean } | undefined;
  /** When the owner began to doubt it; Infinity: it does not. */
  #doubtSinceMs = Infinity;
  #closed = false;

  constructor(race: RaceOptions, options: DialOptions, events: TransportEvents) {
    this.#race = race;
    this.#options = options;
    this.#events = events;
    this.#way = wayOf(options);
    if (race.dialHttp3 === undefined || !race.memory.isWorthATry(this.#way, performance.now())) {
      this.#start('HTTP/2', race.dialHttp2);
      return;
    }
    this.#start('HTTP/3', race.dialHttp3);
    this.#headStart = setTimeout(() => this.#startHttp2(), HEAD_START_MS);
  }

  get protocol(): string | undefined {
    return this.#winner?.protocol;
  }

  get maxDatagramBytes(): number {
    return this.#winner?.maxDatagramBytes ?? 0;
  }

  get local(): TransportAddress {
    return this.#winner?.local ?? { address: this.#options.localAddress ?? '', port: 0 };
  }

  get remote(): TransportAddress {
    return this.#winner?.remote ?? { address: this.#options.address, port: this.#options.port };
  }

  get counters(): TransportCounters {
    return this.#winner?.counters ?? NO_COUNTERS;
  }

  sendDatagrams(bytes: Uint8Array, lengths: Int32Array, count: number): void {
    this.#winner?.sendDatagrams(bytes, lengths, count);
  }

  doubt(): void {
    if (this.#doubtSinceMs === Infinity) this.#doubtSinceMs = performance.now();
  }

  trust(): void {
    this.#doubtSinceMs = Infinity;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#headStart);
    clearTimeout(this.#lastChance);
    clearInterval(this.#looks);
    this.#endProbe();
    for (const transport of this.#racers.values()) transport.close();
    this.#racers.clear();
    this.#race.onGone(this);
  }

  #startHttp2(): void {
    clearTimeout(this.#headStart);
    if (!this.#closed && this.#winner === undefined && !this.#tried.has('HTTP/2')) this.#start('HTTP/2', this.#race.dialHttp2);
  }

  #start(protocol: Protocol, dial: DialTransport): void {
    const events: TransportEvents = {
      onOpen: () => this.#handleOpen(protocol),
      onDatagrams: (bytes, lengths, count) => {
        if (!this.#closed) this.#events.onDatagrams(bytes, lengths, count);
      },
      onClose: (reason) => this.#handleClose(protocol, reason),
    };
    this.#tried.add(protocol);
    this.#racers.set(protocol, dial(this.#freshOptions(), events));
  }

  /** A proof is good for one connection. */
  #freshOptions(): DialOptions {
    const { freshProof, proof } = this.#options;
    return { ...this.#options, proof: freshProof?.() ?? proof };
  }

  #handleOpen(protocol: Protocol): void {
    const transport = this.#racers.get(protocol);
    if (this.#closed || this.#winner !== undefined || transport === undefined) return;
    this.#winner = transport;
    clearTimeout(this.#headStart);
    clearTimeout(this.#lastChance);
    if (protocol === 'HTTP/3') {
      this.#race.memory.handleSuccess(this.#way);
      this.#watch();
    } else if (this.#racers.has('HTTP/3') || this.#reasons.length > 0) {
      this.#race.memory.handleFailure(this.#way, performance.now());
    }
    for (const [other, loser] of this.#racers) {
      if (other === protocol) continue;
      loser.close();
      this.#racers.delete(other);
    }
    this.#events.onOpen();
  }

  #handleClose(protocol: Protocol, reason: string): void {
    const transport = this.#racers.get(protocol);
    if (this.#closed || transport === undefined) return;
    this.#racers.delete(protocol);
    if (this.#winner === undefined) {
      this.#reasons.push(`${protocol}: ${reason}`);
      if (protocol === 'HTTP/3') this.#startHttp2();
      if (this.#racers.size === 0) this.#end(this.#reasons.join('; '));
      else if (protocol === 'HTTP/2') this.#lastChance = setTimeout(() => this.#giveHttp3Up(), LAST_CHANCE_MS);
    } else {
      this.#end(reason);
    }
  }

  #giveHttp3Up(): void {
    this.#racers.get('HTTP/3')?.close();
    this.#handleClose('HTTP/3', 'no answer');
  }

  #end(reason: string): void {
    if (this.#closed) return;
    this.close();
    this.#events.onClose(reason);
  }

  // ---- while it goes over HTTP/3 ----

  #watch(): void {
    const watch = new SilenceWatch();
    this.#looks = setInterval(() => {
      const { sentDatagrams, droppedDatagrams, receivedDatagrams } = this.counters;
      const nowMs = performance.now();
      const silentMs = watch.look(sentDatagrams + droppedDatagrams, receivedDatagrams, nowMs);
      // What still comes the other way says nothing of ours.
      const doubtedMs = Math.max(0, nowMs - this.#doubtSinceMs);
      this.#judge(silentMs, doubtedMs);
    }, LOOK_EVERY_MS).unref();
  }

  #judge(silentMs: number, doubtedMs: number): void {
    if (silentMs === 0 && doubtedMs === 0) {
      this.#endProbe();
    } else if (this.#probe === undefined) {
      if (silentMs >= DOUBT_MS || doubtedMs > 0) this.#startProbe();
    } else if (this.#probe.isOpen && (silentMs >= VERDICT_MS || doubtedMs >= DOUBTED_MS)) {
      this.#race.memory.handleFailure(this.#way, performance.now());
      this.#end('HTTP/3 gets no answer, while HTTP/2 does');
    }
  }

  #startProbe(): void {
    const transport = this.#race.dialHttp2(this.#freshOptions(), {
      onOpen: () => {
        if (this.#probe !== undefined) this.#probe.isOpen = true;
      },
      onDatagrams: () => undefined,
      onClose: () => {
        this.#probe = undefined;
      },
    });
    this.#probe = { transport, isOpen: false };
  }

  #endProbe(): void {
    this.#probe?.transport.close();
    this.#probe = undefined;
  }
}

/** By which link, and to whom. */
function wayOf({ device = '', localAddress = '', deviceAddress = '', address, port }: DialOptions): string {
  return [device, localAddress, deviceAddress, address, port].join(' ');
}
