import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { TapFan } from '../../src/control/capture-stream.js';
import { ControlClient } from '../../src/control/control-client.js';
import { encodeFrame, FrameDecoder } from '../../src/control/control-frames.js';
import { type ControlServer, listenControl } from '../../src/control/control-socket.js';
import { EventFan } from '../../src/control/event-stream.js';
import type { ConnectionView } from '../../src/tunnel/connections.js';
import { EventHub } from '../../src/tunnel/event-hub.js';
import type { PacketTap, PathLink } from '../../src/tunnel/link.js';
import type { TunnelStatus } from '../../src/tunnel/status.js';

const STATUS: TunnelStatus = { name: 'mpt0', state: 'up', pid: 1, uptimeMs: 5, peers: [], connections: 0, counters: { a: 1 } };
const PATH = { id: 0, name: 'dsl', local: 'a', remote: 'b' } as PathLink;

class Daemon {
  readonly socket: string;
  stops = 0;
  tap: PacketTap | undefined;
  server!: ControlServer;
  readonly events = new EventFan();
  readonly #fan = new TapFan((tap) => {
    this.tap = tap;
  });

  constructor(t: Test) {
    const folder = mkdtempSync(join(tmpdir(), 'mpt-ctl-'));
    this.socket = join(folder, 'x.sock');
    t.teardown(async () => {
      await this.server.close();
      rmSync(folder, { recursive: true });
    });
  }

  async listen(): Promise<this> {
    this.server = await listenControl(this.socket, {
      managePeers: async () => [],
      status: () => STATUS,
      stop: () => this.stops++,
      connections: ({ offset, limit }) => ({ total: 3, connections: [{ id: offset }, { id: limit }] as ConnectionView[] }),
      change: async () => ({ done: [], left: [] }),
      addTap: (tap) => this.#fan.add(tap),
      removeTap: (tap) => this.#fan.remove(tap),
      addEventReader: (reader, last) => this.events.add(reader, last),
      removeEventReader: (reader) => this.events.remove(reader),
    });
    return this;
  }

  packet(bytes: number): void {
    const packet = new Uint8Array(bytes);
    this.tap?.onPacket('in', PATH, 'datagram', packet, 0, packet.length, packet, 0, 0, 0);
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turn();
}

t.test('status and stop are answered; the socket is for its owner and goes with the server', async (t) => {
  const daemon = await new Daemon(t).listen();
  t.equal(statSync(daemon.socket).mode & 0o777, 0o600);
  const client = await ControlClient.connect(daemon.socket);
  t.same(await client.status(), STATUS);
  t.match(await client.connections({ order: 'rate', offset: 7, limit: 9 }), { total: 3, connections: [{ id: 7 }, { id: 9 }] });
  await client.stop();
  t.equal(daemon.stops, 1);
  await daemon.server.close();
  t.notOk(existsSync(daemon.socket));
  await t.rejects(client.status(), { code: 'gone' });
  await t.rejects(ControlClient.connect(daemon.socket), { code: 'not-running' });
});

t.test("a dead daemon's socket file is replaced", async (t) => {
  const daemon = new Daemon(t);
  writeFileSync(daemon.socket, '');
  await daemon.listen();
  const client = await ControlClient.connect(daemon.socket);
  t.same(await client.status(), STATUS);
  client.close();
});

t.test('garbage gets one answer and the end; others are served on', async (t) => {
  const daemon = await new Daemon(t).listen();
  const client = await ControlClient.connect(daemon.socket);
  const garbage: Uint8Array[] = [
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    Buffer.from([0, 0, 0, 1, 0xc1]),
    Buffer.from([0xff, 0xff, 0xff, 0xff]),
    encodeFrame({ id: 1, command: 'reboot' }),
    encodeFrame({ id: 1, command: 'connections', order: 'rate', offset: 0, limit: 201 }),
    encodeFrame({ id: 1, command: 'connections', order: 'size', offset: 0, limit: 20 }),
    encodeFrame({ id: 1, command: 'events', last: 1 }),
    encodeFrame({ command: 'status' }),
    Buffer.concat([encodeFrame({ id: 7, command: 'status' }), Buffer.from([0, 0, 0, 0])]),
  ];
  for (const bytes of garbage) {
    const socket = connect(daemon.socket);
    const received: Buffer[] = [];
    socket.on('data', (chunk) => received.push(chunk));
    socket.write(bytes);
    await once(socket, 'close');
    const replies = new FrameDecoder().push(Buffer.concat(received));
    t.match((replies as unknown[]).at(-1), { ok: false, code: 'bad-request' });
  }
  t.same(await client.status(), STATUS);
  client.close();
});

t.test('connections are bounded in number', async (t) => {
  const daemon = await new Daemon(t).listen();
  const sockets = Array.from({ length: 80 }, () => connect(daemon.socket).on('error', () => {}));
  let closed = 0;
  for (const socket of sockets) socket.on('close', () => closed++);
  await until(() => closed === 16);
  for (const socket of sockets) socket.destroy();
});

t.test('a capture ends after count packets, by cancel, or with the daemon, and takes its tap away', async (t) => {
  const daemon = await new Daemon(t).listen();
  const client = await ControlClient.connect(daemon.socket);
  let bytes = 0;
  const counted = client.capture(3, (chunk) => (bytes += chunk.length));
  await until(() => daemon.tap !== undefined);
  for (let i = 0; i < 10; i++) daemon.packet(100);
  t.same(await counted.done, { packets: 3, droppedPackets: 0 });
  t.equal(daemon.tap, undefined);
  t.ok(bytes > 300);

  const cancelled = client.capture(0, () => {});
  await until(() => daemon.tap !== undefined);
  await t.rejects(client.capture(0, () => {}).done, { code: 'busy' });
  daemon.packet(100);
  cancelled.cancel();
  t.same(await cancelled.done, { packets: 1, droppedPackets: 0 });

  const open = client.capture(0, () => {});
  await until(() => daemon.tap !== undefined);
  daemon.packet(100);
  daemon.packet(100);
  await daemon.server.close();
  t.same(await open.done, { packets: 2, droppedPackets: 0 });
});

t.test('a reader that vanishes takes its tap along', async (t) => {
  const daemon = await new Daemon(t).listen();
  const client = await ControlClient.connect(daemon.socket);
  client.capture(0, () => {}).done.catch(() => {});
  await until(() => daemon.tap !== undefined);
  client.close();
  await until(() => daemon.tap === undefined);
  t.pass();
});

t.test('a reader that does not keep up: the queue is bounded, what is dropped is counted, blocks stay whole', async (t) => {
  const daemon = await new Daemon(t).listen();
  const client = await ControlClient.connect(daemon.socket);
  const chunks: Uint8Array[] = [];
  const running = client.capture(0, (chunk) => chunks.push(chunk));
  await until(() => daemon.tap !== undefined);
  client.pause();
  const total = 1200;
  for (let i = 0; i < total; i++) {
    daemon.packet(20_000);
    if (i % 20 === 0) await turn();
  }
  running.cancel();
  client.resume();
  const { packets, droppedPackets } = await running.done;
  t.equal(packets + droppedPackets, total);
  t.ok(droppedPackets > 0 && packets > 300, `${packets} kept, ${droppedPackets} dropped`);
  const file = Buffer.concat(chunks);
  t.ok(file.length < 10 << 20, 'no more than the queue and the kernel hold');
  let found = 0;
  let at = 0;
  for (; at < file.length; at += file.readUInt32LE(at + 4)) if (file.readUInt32LE(at) === 6) found++;
  t.equal(at, file.length);
  t.equal(found, packets);
  client.close();
});

class EventDaemon extends Daemon {
  readonly hub = new EventHub({ info: () => {}, warn: () => {} });

  constructor(t: Test) {
    super(t);
    const { hub } = this;
    this.events.attach({ onEvent: (listener) => hub.listen(listener), recentEvents: hub.recent });
  }
}

function lines(chunks: readonly Uint8Array[]): { sequence: number; message?: string }[] {
  const text = Buffer.concat(chunks).toString();
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line));
}

t.test('events: the last ones, then new ones, until cancelled or until the daemon ends', async (t) => {
  const daemon = await new EventDaemon(t).listen();
  for (const message of ['a', 'b', 'c']) daemon.hub.emit({ type: 'notice', message });
  const client = await ControlClient.connect(daemon.socket);
  const past: Uint8Array[] = [];
  t.same(await client.events(2, false, (chunk) => past.push(chunk)).done, { events: 2, droppedEvents: 0 });
  t.match(lines(past), [
    { type: 'notice', message: 'b', sequence: 2, time: /^\d{4}-.*Z$/, monotonicMs: Number },
    { message: 'c', sequence: 3 },
  ]);

  const followed: Uint8Array[] = [];
  const running = client.events(1, true, (chunk) => followed.push(chunk));
  await until(() => followed.length === 1);
  await t.rejects(client.events(0, true, () => {}).done, { code: 'busy' });
  daemon.hub.emit({ type: 'notice', message: 'd' });
  running.cancel();
  t.same(await running.done, { events: 2, droppedEvents: 0 });
  t.same(
    lines(followed).map(({ message }) => message),
    ['c', 'd'],
  );

  const open = client.events(0, true, () => {});
  await client.status();
  await daemon.server.close();
  t.same(await open.done, { events: 0, droppedEvents: 0 });
});

t.test('a reader of events that does not keep up: what is dropped is counted and shows as a gap', async (t) => {
  const daemon = await new EventDaemon(t).listen();
  const client = await ControlClient.connect(daemon.socket);
  const chunks: Uint8Array[] = [];
  const running = client.events(0, true, (chunk) => chunks.push(chunk));
  await client.status();
  client.pause();
  const total = 4000;
  for (let i = 0; i < total; i++) {
    daemon.hub.emit({ type: 'notice', message: 'x'.repeat(1000) });
    if (i % 50 === 0) await turn();
  }
  client.resume();
  await until(() => chunks.length > 0);
  running.cancel();
  const { events, droppedEvents } = await running.done;
  t.ok(droppedEvents > 0, `${droppedEvents} dropped`);
  t.equal(events + droppedEvents, total);
  t.equal(lines(chunks).length, events, 'lines are whole');
  client.close();
});
