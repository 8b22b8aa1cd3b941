/** The numbers under which a peer's numbered flows are sent: 2048 flow ids, each with a sequence number that goes on whoever uses it. */

import { FLOW_IDS, SEQUENCE_NUMBERS } from '../session/flow-trailer.js';
import type { FlowTable } from './flow-table.js';

/** Ids looked at before one is taken from a flow that lives. */
const LOOKS = 16;
const NOBODY = -1;

export class FlowIds {
  readonly #table: FlowTable;
  readonly #sequences = new Uint16Array(FLOW_IDS);
  /** Slot in the flow table. */
  readonly #owners = new Int32Array(FLOW_IDS).fill(NOBODY);
  #next: number;

  /** `seed`: where ids and numbers begin, so that a new process does not seem to repeat what an old one sent. */
  constructor(table: FlowTable, seed: number) {
    this.#table = table;
    this.#next = seed % FLOW_IDS;
    this.#sequences.fill((seed >>> 11) % SEQUENCE_NUMBERS);
  }

  /** The id of the flow in this slot, kept from packet to packet unless another flow needed it. */
  idOf(slot: number): number {
    const current = this.#table.flowId(slot);
    if (current >= 0 && this.#owners[current] === slot) return current;
    const id = this.#findFree();
    this.#owners[id] = slot;
    this.#table.setFlowId(slot, id);
    return id;
  }

  nextSequence(id: number): number {
    return this.#sequences[id]!++;
  }

  #findFree(): number {
    for (let look = 0; look < LOOKS; look++) {
      const id = this.#next;
      this.#next = (id + 1) % FLOW_IDS;
      const owner = this.#owners[id]!;
      if (owner === NOBODY || this.#table.flowId(owner) !== id) return id;
    }
    const id = this.#next;
    this.#next = (id + 1) % FLOW_IDS;
    return id;
  }
}
