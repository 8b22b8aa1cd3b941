/** Addresses of the tunnel's device that come and go with paths, each an endpoint of the kernel's MPTCP path manager. Journaled; the journal's undo takes back what is there. */

import { HostNetworkError, queryIp, runIpBatch } from './ip-command.js';
import {
  addEndpointLine,
  changeEndpointLine,
  freeEndpointId,
  readSubflowsLimit,
  SUBFLOWS_LIMIT_MAX,
  setLimitLine,
  undoPathManager,
} from './mptcp-path-manager.js';
import type { NetworkJournal, UndoEntry } from './network-journal.js';

interface Held {
  readonly endpointId: number;
  readonly journalIds: readonly number[];
}

export class PathAddresses {
  readonly #device: string;
  readonly #journal: NetworkJournal;
  readonly #held = new Map<string, Held>();
  #limitIsSet = false;

  constructor(device: string, journal: NetworkJournal) {
    this.#device = device;
    this.#journal = journal;
  }

  /** A connection may have `count` subflows beside its first; a limit that is higher stays. Once. Throws HostNetworkError. */
  async allowSubflows(count: number): Promise<void> {
    const wanted = Math.min(count, SUBFLOWS_LIMIT_MAX);
    const previous = await readSubflowsLimit();
    if (this.#limitIsSet || previous >= wanted) return;
    this.#limitIsSet = true;
    await this.#change(setLimitLine(wanted), { kind: 'mptcp-limit', previous, ours: wanted });
  }

  /** An address without a prefix length. Connections under way get a subflow from it. Throws HostNetworkError. */
  async add(address: string, backup: boolean): Promise<void> {
    if (this.#held.has(address)) throw new TypeError(`${address} is there already`);
    const device = this.#device;
    const index = (await queryIp<{ ifindex: number }>(['link', 'show', 'dev', device]))[0]?.ifindex;
    if (index === undefined) throw new HostNetworkError('no-interface', `interface ${device} does not exist`);
    const host = hostPrefix(address);
    // Deprecated: what does not ask for this address goes on from the device's own.
    const line = `addr add ${host} dev ${device}${address.includes(':') ? ' nodad preferred_lft 0' : ''}`;
    const removal = `addr del ${host} dev ${device}`;
    const addressId = await this.#change(line, { kind: 'ip', family: 0, line: removal, device: { name: device, index } });
    try {
      const endpointId = await freeEndpointId(new Set([...this.#held.values()].map((held) => held.endpointId)));
      const endpoint: UndoEntry = { kind: 'mptcp-endpoint', id: endpointId, address };
      const journalId = await this.#change(addEndpointLine(address, endpointId, device, backup), endpoint);
      this.#held.set(address, { endpointId, journalIds: [addressId, journalId] });
    } catch (error) {
      await runIpBatch(0, [removal]);
      this.#journal.cancel([addressId]);
      throw error;
    }
  }

  /** Its subflows end; their connections go on over the others. Throws HostNetworkError. */
  async remove(address: string): Promise<void> {
    const held = this.#held.get(address);
    if (held === undefined) return;
    const fault = await undoPathManager({ kind: 'mptcp-endpoint', id: held.endpointId, address });
    if (fault !== '') throw new HostNetworkError('ip-failed', `the MPTCP endpoint ${address} cannot be removed: ${fault}`);
    await runIpBatch(0, [`addr del ${hostPrefix(address)} dev ${this.#device}`]);
    this.#journal.cancel(held.journalIds);
    this.#held.delete(address);
  }

  /** Subflows from it are backups from now on (MP_PRIO), or no longer. Throws HostNetworkError. */
  async setBackup(address: string, backup: boolean): Promise<void> {
    const held = this.#held.get(address);
    if (held !== undefined) await this.#run(changeEndpointLine(held.endpointId, backup));
  }

  async #change(line: string, undo: UndoEntry): Promise<number> {
    const ids = this.#journal.add([undo]);
    try {
      await this.#run(line);
    } catch (error) {
      this.#journal.cancel(ids);
      throw error;
    }
    return ids[0]!;
  }

  async #run(line: string): Promise<void> {
    const failure = await runIpBatch(0, [line]);
    if (failure !== undefined) throw new HostNetworkError('ip-failed', `\`ip ${line}\` failed: ${failure.reason}`);
  }
}

function hostPrefix(address: string): string {
  return `${address}/${address.includes(':') ? 128 : 32}`;
}
