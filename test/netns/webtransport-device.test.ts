/** By which link a WebTransport connection leaves, and what becomes of it when the link fails. Needs root. */

import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { createLab, type Lab } from '../../src/lab/topology.js';

interface Said {
  said: 'listening' | 'open' | 'datagram' | 'closed';
  port?: number;
  sha256?: number[];
  local?: string;
  remote?: string;
  reason?: string;
  text?: string;
}

/** webtransport-actor.ts in a host of the lab, and what it has said. */
class Actor {
  readonly #child: ChildProcess;
  readonly #said: Said[] = [];
  #wake: () => void = () => undefined;

  constructor(namespace: string) {
    const { NODE_OPTIONS: _, ...env } = process.env;
    const execArgv = ['netns', 'exec', namespace, process.execPath];
    this.#child = fork(fileURLToPath(new URL('webtransport-actor.js', import.meta.url)), [], { env, execPath: 'ip', execArgv });
    this.#child.on('message', (message) => {
      this.#said.push(message as Said);
      this.#wake();
    });
  }

  tell(order: object): void {
    this.#child.send(order);
  }

  /** The next thing of that kind. */
  async hear(said: Said['said']): Promise<Said> {
    for (;;) {
      const at = this.#said.findIndex((one) => one.said === said);
      if (at >= 0) return this.#said.splice(at, 1)[0]!;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

async function withActors(body: (lab: Lab, client: Actor, server: Actor) => Promise<void>): Promise<void> {
  const lab = await createLab({ links: [{ delayMs: 5 }, { delayMs: 5 }] });
  const [client, server] = [new Actor(lab.client.namespace), new Actor(lab.server.namespace)];
  try {
    await body(lab, client, server);
  } finally {
    client.kill();
    server.kill();
    await lab.close();
  }
}

t.test('a connection leaves by its device, and datagrams go both ways', async (t) => {
  await withActors(async (lab, client, server) => {
    server.tell({ order: 'listen' });
    const { port, sha256 } = await server.hear('listening');
    for (const index of [1, 0]) {
      client.tell({ order: 'dial', address: '203.0.113.1', port, sha256, device: `wan${index}` });
      const { local } = await client.hear('open');
      t.match(local, `10.90.${index}.1:`);
      t.equal((await server.hear('open')).remote, local);
      client.tell({ order: 'send', text: `by link ${index}` });
      t.equal((await server.hear('datagram')).text, `by link ${index}`);
      server.tell({ order: 'send', text: 'and back' });
      t.equal((await client.hear('datagram')).text, 'and back');
      // The default route leads out by the first link: nothing has gone there.
      if (index === 1) t.equal((await lab.links[0]!.counters()).upPackets, 0);
      client.tell({ order: 'close' });
      t.match((await server.hear('closed')).reason, /the peer closed the session/);
    }
  });
});

t.test('a link that falls silent ends the connection at both ends', async (t) => {
  await withActors(async (lab, client, server) => {
    server.tell({ order: 'listen' });
    const { port, sha256 } = await server.hear('listening');
    client.tell({ order: 'dial', address: '203.0.113.1', port, sha256, device: 'wan1' });
    await Promise.all([client.hear('open'), server.hear('open')]);
    await lab.links[1]!.blackhole(true);
    const reasons = await Promise.all([client.hear('closed'), server.hear('closed')]);
    for (const { reason } of reasons) t.match(reason, /nothing has come from the peer/);
    client.tell({ order: 'dial', address: '203.0.113.1', port, sha256, device: 'wan1' });
    t.match((await client.hear('closed')).reason, /TCP: no answer/);
    await lab.links[1]!.blackhole(false);
    client.tell({ order: 'dial', address: '203.0.113.1', port, sha256, device: 'wan1' });
    await client.hear('open');
  });
});
