/** Hosts of a lab with a folder for configurations and a run directory each, where `mptunnel` is run by hand. */

import { mkdirSync, mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import type { Lab } from '../../src/lab/topology.js';
import type { ListedPeer, MadeInvite } from '../../src/tunnel/gateway/enrolment.js';
import { PROGRAM } from './tunnel-rig.js';

type Side = 'client' | 'server' | 'web';

export class Hosts {
  readonly lab: Lab;
  readonly etc: Readonly<Record<string, string>>;

  constructor(lab: Lab) {
    this.lab = lab;
    this.etc = Object.fromEntries(['client', 'server', 'web', 'second'].map((role) => [role, mkdtempSync(join(lab.folder, `${role}-`))]));
    for (const role of ['client', 'server', 'web', 'second']) mkdirSync(join(this.etc[role]!, 'run'), { mode: 0o700 });
  }

  /** `run`: whose run directory, where two daemons share a host. */
  async mptunnel(side: Side, args: readonly string[], options: { run?: string; input?: string; timeoutMs?: number } = {}) {
    const own = this.etc[options.run ?? side]!;
    const environment = [`MPTUNNEL_RUN_DIR=${join(own, 'run')}`, `MPTUNNEL_STATE_DIR=${join(own, 'state')}`, 'NODE_OPTIONS='];
    const { input, timeoutMs = 90_000 } = options;
    return this.lab[side].run('env', [...environment, process.execPath, PROGRAM, ...args], {
      timeoutMs,
      ...(input === undefined ? {} : { input }),
    });
  }

  /** Standard error of a command that must fail. */
  async fails(side: Side, args: readonly string[], options: { input?: string } = {}): Promise<string> {
    try {
      await this.mptunnel(side, args, options);
    } catch (error) {
      return String((error as Error).message);
    }
    throw new Error(`mptunnel ${args.join(' ')} did not fail`);
  }

  async invite(peer: string, ...options: string[]): Promise<MadeInvite> {
    return JSON.parse((await this.mptunnel('server', ['invite', 'mpt0', peer, '--json', ...options])).stdout) as MadeInvite;
  }

  async peers(): Promise<ListedPeer[]> {
    const { stdout } = await this.mptunnel('server', ['peer', 'list', 'mpt0', '--json']);
    return stdout
      .trim()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as ListedPeer);
  }

  async close(): Promise<void> {
    await this.mptunnel('client', ['down', 'mpt0']).catch(() => undefined);
    await this.mptunnel('client', ['down', 'mpt1'], { run: 'second' }).catch(() => undefined);
    await this.mptunnel('web', ['down', 'mpt0']).catch(() => undefined);
    await this.mptunnel('server', ['down', 'mpt0']).catch(() => undefined);
    await this.lab.close();
  }
}
