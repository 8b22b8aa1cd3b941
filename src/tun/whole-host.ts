/** What a tunnel that carries the whole host, or hosts behind it, does beside routes: the kill switch, the host's DNS, forwarding for a LAN. */

import { dirname } from 'node:path';
import { type DnsPlace, dnsPlace, hasDns, takeDns } from './host-dns.js';
import { engageKillSwitch, killSwitchCover, releaseKillSwitch } from './kill-switch.js';
import { forwardLan, type LanOptions, lanTable } from './lan-forwarding.js';
import type { NetworkJournal } from './network-journal.js';
import type { NftTables } from './nft-table.js';
import type { DnsSettings } from './resolv-conf.js';
import { runFiles } from './run-directory.js';

export interface WholeHostPlan {
  /** Allowed IPs of all peers leave by the tunnel or not at all, but for the prefixes in `allow`; absent: no kill switch. */
  readonly killSwitch?: { readonly allow: readonly string[] };
  /** Absent: the host's name resolution stays as it is. */
  readonly dns?: DnsSettings;
  /** Absent: nobody behind this host uses the tunnel. */
  readonly lan?: LanOptions;
}

interface TunnelPlan extends WholeHostPlan {
  readonly device: string;
  readonly addresses: readonly string[];
  readonly mtuBytes: number;
  readonly routes: readonly string[];
}

export class WholeHost {
  readonly #plan: TunnelPlan;
  readonly #journal: NetworkJournal;
  readonly #tables: NftTables;
  readonly #warn: (message: string) => void;
  readonly #dnsPlace: DnsPlace;
  readonly #killSwitchFile: string;
  #refreshing: Promise<void> = Promise.resolve();
  #stopped = false;
  #toldOfDns = false;

  /** `journalFile` is that of `journal`: other files of the tunnel lie beside it. */
  constructor(plan: TunnelPlan, journalFile: string, journal: NetworkJournal, tables: NftTables, warn: (message: string) => void) {
    this.#plan = plan;
    this.#journal = journal;
    this.#tables = tables;
    this.#warn = warn;
    this.#dnsPlace = dnsPlace(dirname(journalFile));
    this.#killSwitchFile = runFiles(plan.device, dirname(journalFile)).killSwitch;
  }

  /** The kill switch is as the plan wants it; `mark` is that of outer packets. Throws HostNetworkError. */
  async engage(mark: number): Promise<void> {
    const { killSwitch, device, routes, lan } = this.#plan;
    if (killSwitch === undefined) {
      for (const failure of await releaseKillSwitch(this.#killSwitchFile)) this.#warn(`the kill switch of before stays: ${failure}`);
      return;
    }
    const { allow } = killSwitch;
    await engageKillSwitch(this.#killSwitchFile, {
      device,
      mark,
      covered: killSwitchCover(routes),
      allow,
      lanInterfaces: lan?.interfaces ?? [],
    });
  }

  /** Throws HostNetworkError. */
  async apply(): Promise<void> {
    const { lan, dns, device } = this.#plan;
    if (lan !== undefined) {
      await this.#tables.apply(lanTable(this.#plan, lan));
      await forwardLan(this.#plan, lan, this.#journal, this.#warn);
    }
    if (dns === undefined) return;
    this.#journal.add([{ kind: 'dns', ...this.#dnsPlace, tunnel: device }]);
    for (const note of await takeDns(this.#dnsPlace, device, dns)) this.#warn(note);
  }

  /** What hangs on devices that came anew. */
  refresh(): Promise<void> {
    this.#refreshing = this.#refreshing.then(() => this.#refreshNow());
    return this.#refreshing;
  }

  /** Nothing is changed any more, once this has resolved. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#refreshing;
  }

  async #refreshNow(): Promise<void> {
    if (this.#stopped) return;
    const { lan, dns } = this.#plan;
    if (lan !== undefined) await forwardLan(this.#plan, lan, this.#journal, this.#warn, true);
    if (dns === undefined || this.#toldOfDns || hasDns(this.#dnsPlace)) return;
    this.#toldOfDns = true;
    this.#warn(
      `${this.#dnsPlace.file} was changed by another program: names are no longer asked at ${dns.servers.join(', ')}, and the change stays`,
    );
  }
}
