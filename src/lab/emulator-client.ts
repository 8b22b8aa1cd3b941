/** The lab's side of the emulator process: requests by line, replies by id. */

import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { EmulatorReply, EmulatorRequest } from './emulator.js';
import type { LinkCounters } from './lab-api.js';
import { LabError, type NamespaceHost } from './namespaces.js';

const EMULATOR_PROGRAM = fileURLToPath(new URL('./emulator.js', import.meta.url));
const MAX_ERROR_TEXT = 4096;

export class EmulatorClient {
  private readonly child: ChildProcess;
  private readonly pending = new Map<number, { resolve: (reply: EmulatorReply) => void; reject: (error: Error) => void }>();
  private nextId = 1;
  private errorText = '';
  private ended = false;

  constructor(host: NamespaceHost) {
    this.child = host.spawnPiped(process.execPath, [EMULATOR_PROGRAM]);
    createInterface({ input: this.child.stdout! }).on('line', (line) => {
      const reply = JSON.parse(line) as EmulatorReply;
      this.pending.get(reply.id)?.resolve(reply);
      this.pending.delete(reply.id);
    });
    this.child.stderr!.on('data', (chunk: Buffer) => {
      this.errorText = (this.errorText + chunk.toString()).slice(-MAX_ERROR_TEXT);
    });
    this.child.stdin!.on('error', () => undefined);
    this.child.on('error', (error) => this.fail(error.message));
    this.child.on('close', (code) => this.fail(`ended with ${code}: ${this.errorText}`));
  }

  async request(request: EmulatorRequest): Promise<LinkCounters | undefined> {
    if (this.ended) throw new LabError('emulator-ended', `The link emulator has ended: ${this.errorText}`);
    const id = this.nextId++;
    const reply = await new Promise<EmulatorReply>((resolve, reject) => {
      this.pending.set(id, { resolve, reject });
      this.child.stdin!.write(`${JSON.stringify({ id, ...request })}\n`);
    });
    if (reply.error !== undefined) throw new LabError('emulator-refused', `The link emulator refused "${request.op}": ${reply.error}`);
    return reply.counters;
  }

  /** It ends by itself when its input does. */
  close(): void {
    this.child.stdin!.end();
  }

  private fail(reason: string): void {
    this.ended = true;
    for (const { reject } of this.pending.values()) reject(new LabError('emulator-ended', `The link emulator ${reason}`));
    this.pending.clear();
  }
}
