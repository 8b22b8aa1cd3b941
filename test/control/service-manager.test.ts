import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { connectServiceManager } from '../../src/control/service-manager.js';
import { systemdUnit } from '../../src/control/systemd-unit.js';
import { loadNative } from '../../src/tun/native.js';
import { startNotifyReceiver } from './notify-receiver.js';

async function until(holds: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !holds(); i++) await sleep(20);
}

for (const [what, name] of [
  ['a path', undefined],
  ['an abstract name', `@mptunnel-test-${process.pid}`],
] as const) {
  t.test(`systemd hears that we are ready, alive and stopping, at ${what}`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'mpt-notify-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const receiver = await startNotifyReceiver(folder, name);
    t.teardown(() => receiver.close());
    const environment: NodeJS.ProcessEnv = {
      NOTIFY_SOCKET: receiver.socket,
      WATCHDOG_USEC: '60000',
      WATCHDOG_PID: String(process.pid),
      HOME: '/',
    };
    const manager = connectServiceManager(environment);
    t.same(environment, { HOME: '/' }, 'what we start is not the service');
    manager.ready('up\nand well');
    await until(() => receiver.heard.filter((line) => line === 'WATCHDOG=1').length >= 2);
    manager.stopping();
    await until(() => receiver.heard.some((line) => line.startsWith('STOPPING=1')));
    const first = receiver.heard.filter((line) => line !== 'WATCHDOG=1');
    t.equal(first[0], 'READY=1 STATUS=up and well');
    t.match(first[1], /^STOPPING=1 STATUS=/);
    t.ok(receiver.heard.filter((line) => line === 'WATCHDOG=1').length >= 2, 'the watchdog, again and again');
  });
}

t.test('without a service manager nobody is told, and a manager that is gone is no failure', async (t) => {
  connectServiceManager({}).ready('up');
  connectServiceManager({ NOTIFY_SOCKET: '/nowhere/at/all' }).ready('up');
  t.ok(loadNative().notifyService('/nowhere/at/all', 'READY=1', -1) < 0);
  t.ok(loadNative().notifyService('relative', 'READY=1', -1) < 0);
});

t.test('the unit gives CAP_NET_ADMIN and nothing else', async (t) => {
  const unit = systemdUnit('/usr/bin/mptunnel');
  t.match(unit, /^ExecStart=\/usr\/bin\/mptunnel up %i --foreground --timeout 0$/m);
  t.match(unit, /^CapabilityBoundingSet=CAP_NET_ADMIN$/m);
  t.match(unit, /^AmbientCapabilities=CAP_NET_ADMIN$/m);
  t.match(unit, /^Type=notify$/m);
});
