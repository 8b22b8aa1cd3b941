/**
 * Addresses, routes and rules have other enemies than a crash: a network manager that starts anew removes those that it does not know (systemd-networkd does so unless it is
 * told ManageForeignRoutes=no and ManageForeignRoutingPolicyRules=no), and a device that goes down and up has lost its routes and IPv6 addresses. What is missing is put back.
 */

import { type BatchFamily, runIpBatchAll } from './ip-command.js';

export class RouteKeeper {
  readonly #warn: (message: string) => void;
  #kept: { family: BatchFamily; lines: readonly string[] }[] = [];
  #checking: Promise<void> | undefined;
  #checkAgain = false;
  #stopped = false;

  constructor(warn: (message: string) => void) {
    this.#warn = warn;
  }

  /** "rule add ...", "route add ...", in the order in which they are to be made: such that the same a second time is refused, and changes nothing. */
  keep(family: BatchFamily, lines: readonly string[]): void {
    if (lines.length > 0) this.#kept.push({ family, lines });
  }

  /** They are to be missing from now on. */
  drop(lines: readonly string[]): void {
    const gone = new Set(lines);
    this.#kept = this.#kept.map(({ family, lines: kept }) => ({ family, lines: kept.filter((line) => !gone.has(line)) }));
  }

  /** Call when something may have changed. One check at a time; what comes meanwhile asks for one more. */
  check(): Promise<void> {
    if (this.#checking !== undefined) {
      this.#checkAgain = true;
      return this.#checking;
    }
    this.#checking = this.#checkAll().finally(() => {
      this.#checking = undefined;
    });
    return this.#checking;
  }

  /** Nothing is put back any more, once this has resolved. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#checking;
  }

  async #checkAll(): Promise<void> {
    do {
      this.#checkAgain = false;
      let restoredCount = 0;
      for (const { family, lines } of this.#kept) {
        if (this.#stopped) return;
        restoredCount += lines.length - (await runIpBatchAll(family, lines)).length;
      }
      if (restoredCount > 0)
        this.#warn(`${restoredCount} of the tunnel's addresses, routes and rules had been removed by another program: they are back`);
    } while (this.#checkAgain && !this.#stopped);
  }
}
