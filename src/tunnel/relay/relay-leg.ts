/** One socket of ours that goes by a relay: its binding there, and where the relay is. The carrier knows it as its `relay`. */

import type { Carrier, RelayWay } from '../carrier/carrier.js';
import { sameRemote } from '../path/address-record.js';
import type { BindingEvent, RelayBinding } from './relay-binding.js';
import type { RelayConfig } from './relay-config.js';
import { BIND_BYTES, RELAY_MESSAGE } from './relay-messages.js';

/** So many messages without an answer are no accident. */
const SILENT_AFTER = 3;
const out = new Uint8Array(BIND_BYTES);

export class RelayLeg implements RelayWay {
  readonly config: RelayConfig;
  readonly binding: RelayBinding;
  readonly carrier: Carrier;
  readonly #onEvent: (leg: RelayLeg, event: BindingEvent, nowMs: number) => void;
  /** An address record. */
  address: Uint8Array;
  /** What was told last. */
  toldState: RelayBinding['state'] = 'silent';
  toldProblem = '';

  constructor(
    config: RelayConfig,
    binding: RelayBinding,
    carrier: Carrier,
    address: Uint8Array,
    onEvent: (leg: RelayLeg, event: BindingEvent, nowMs: number) => void,
  ) {
    this.config = config;
    this.binding = binding;
    this.carrier = carrier;
    this.address = address;
    this.#onEvent = onEvent;
  }

  get endpoint(): string {
    return this.config.endpoint;
  }

  get seenAs(): string {
    return this.binding.seenAs;
  }

  isAt(addresses: Uint8Array, index: number): boolean {
    return sameRemote(this.address, addresses, index);
  }

  handleRaw(bytes: Uint8Array, addresses: Uint8Array, index: number, nowMs: number): boolean {
    if (bytes[0] !== RELAY_MESSAGE) return false;
    if (!this.isAt(addresses, index)) return true;
    const event = this.binding.handleMessage(bytes, nowMs);
    if (event.type !== 'none') this.#onEvent(this, event, nowMs);
    this.handleTimeout(nowMs);
    return true;
  }

  handleTimeout(nowMs: number): void {
    const length = this.binding.pollTransmit(out, nowMs);
    if (length > 0) this.carrier.sendRaw(this.address, out, length);
  }

  /** The relay need not keep it until it forgets. */
  sayGoodbye(): void {
    const length = this.binding.emitUnbind(out);
    if (length > 0) this.carrier.sendRaw(this.address, out, length);
  }

  /** What keeps the way from carrying, for people; "" when nothing does, or nothing is known yet. */
  get problem(): string {
    const { state, unansweredCount } = this.binding;
    if (state === 'silent' && unansweredCount < SILENT_AFTER) return '';
    return PROBLEMS[state](this.endpoint);
  }
}

const PROBLEMS: Readonly<Record<RelayBinding['state'], (relay: string) => string>> = {
  silent: (relay) => `relay ${relay} does not answer, or does not allow our key`,
  waiting: (relay) => `the other side is not at relay ${relay}`,
  'unknown-peer': (relay) => `relay ${relay} does not allow the key of the other side`,
  full: (relay) => `relay ${relay} has no room for one more session`,
  paired: () => '',
};
