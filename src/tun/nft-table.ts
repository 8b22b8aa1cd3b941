/**
 * Tables of nftables that are a tunnel's own: mptunnel_NAME_PURPOSE. Nobody else's table is ever touched, so there is nothing to merge and nothing to put back: a table of ours is
 * replaced whole, in one transaction, and is gone whole. Each is in the journal before it is made.
 */

import type { NetworkJournal } from './network-journal.js';
import { runNft } from './nft-command.js';

export type NftFamily = 'inet' | 'ip' | 'ip6';

export interface NftTable {
  readonly family: NftFamily;
  /** What it is for, in a word: a part of its name. */
  readonly purpose: string;
  /** Chains, sets and maps, as they stand between the braces of `table FAMILY NAME { }`. */
  readonly body: string;
  /** What of the configuration needs it, as "a [[rule]] with bypass": for messages. */
  readonly neededBy: string;
}

/** Characters of interface names that nft's identifiers cannot have become "/" and their code: no interface name has a "/". */
export function nftTableName(device: string, purpose: string): string {
  const safe = device.replace(/[^A-Za-z0-9_.-]/g, (character) => `/${character.charCodeAt(0).toString(16)}`);
  return `mptunnel_${safe}_${purpose}`;
}

/** Script that leaves the table with just this body, whatever was there. */
export function replaceTableScript(family: NftFamily, name: string, body: string): string {
  return `${removeTableScript(family, name)}table ${family} ${name} {\n${body}\n}\n`;
}

/** Script that leaves no such table, and does not mind when there is none: to add what exists is no error to nft, to delete what does not is one. */
export function removeTableScript(family: NftFamily, name: string): string {
  return `add table ${family} ${name}\ndelete table ${family} ${name}\n`;
}

/** The tables of one device. */
export class NftTables {
  readonly #device: string;
  readonly #journal: NetworkJournal;
  /** "inet NAME" */
  readonly #present = new Set<string>();

  constructor(device: string, journal: NetworkJournal) {
    this.#device = device;
    this.#journal = journal;
  }

  nameOf(purpose: string): string {
    return nftTableName(this.#device, purpose);
  }

  /** Makes the table, in place of an older one of the same family and purpose. Throws HostNetworkError, and what was there before is there still. */
  async apply({ family, purpose, body, neededBy }: NftTable): Promise<void> {
    const name = this.nameOf(purpose);
    const key = `${family} ${name}`;
    const isNew = !this.#present.has(key);
    const ids = isNew ? this.#journal.add([{ kind: 'nft', family, table: name }]) : [];
    try {
      await runNft(replaceTableScript(family, name, body), neededBy);
    } catch (error) {
      this.#journal.cancel(ids);
      throw error;
    }
    this.#present.add(key);
  }

  /** Takes it away, if it is there. Its entry stays in the journal: to undo what is gone is no failure. Throws HostNetworkError. */
  async remove(family: NftFamily, purpose: string): Promise<void> {
    const name = this.nameOf(purpose);
    if (!this.#present.has(`${family} ${name}`)) return;
    await runNft(removeTableScript(family, name), `table ${name}`);
    this.#present.delete(`${family} ${name}`);
  }

  /** Changes within a table that was applied, as "add element inet NAME SET { 192.0.2.1 timeout 60s }". Throws HostNetworkError. */
  async change(script: string, neededBy: string): Promise<void> {
    await runNft(script, neededBy);
  }
}
