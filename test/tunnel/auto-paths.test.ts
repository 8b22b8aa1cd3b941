import { mock } from 'node:test';
import t from 'tap';
import type { LinkFacts } from '../../src/tun/link-watch.js';
import { AutoPaths, matchesPattern } from '../../src/tunnel/auto-paths.js';
import type { AutoPathsConfig, PathConfig } from '../../src/tunnel/config.js';

const link = (name: string, more: Partial<LinkFacts> = {}): LinkFacts => ({
  name,
  usable: true,
  hasDefaultRoute: true,
  kind: '',
  isLoopback: false,
  ...more,
});

class Harness {
  readonly events: string[] = [];
  readonly auto: AutoPaths;
  refuse = false;

  constructor(config: Partial<AutoPathsConfig> = {}, explicit: PathConfig[] = []) {
    this.auto = new AutoPaths({
      config: { ...config, include: config.include, exclude: config.exclude ?? [] },
      explicit,
      device: 'mpt0',
      add: async ({ name, backup }) => {
        if (this.refuse) throw new Error('no');
        this.events.push(`+${name}${backup === true ? ' (backup)' : ''}`);
      },
      setBackup: (name, backup) => this.events.push(`${name}: ${backup ? 'backup' : 'free'}`),
      remove: (name) => this.events.push(`-${name}`),
      warn: (message) => this.events.push(message),
    });
  }

  update(...links: LinkFacts[]): string {
    this.auto.update(links);
    return this.events.splice(0).join(' ');
  }
}

t.test('interfaces with a default route become paths, tunnels and loopback do not', async (t) => {
  const harness = new Harness({ exclude: ['docker*'] }, [{ name: 'dsl', interface: 'eth1', address: undefined }]);
  const links = [
    link('lo', { isLoopback: true }),
    link('mpt0', { kind: 'tun' }),
    link('tun3', { kind: 'tun' }),
    link('wg0', { kind: 'wireguard' }),
    link('docker0', { kind: 'bridge' }),
    link('eth0'),
    link('eth1'),
    link('eth2', { hasDefaultRoute: false }),
    link('eth3', { usable: false }),
    link('ppp0'),
  ];
  t.equal(harness.update(...links), '+eth0 +ppp0');
  t.equal(harness.update(...links), '', 'once');
});

t.test('include names all that count, tunnels too, but never our own', async (t) => {
  const harness = new Harness({ include: ['*wan*', 'mpt*'], exclude: ['wan9'] });
  t.equal(harness.update(link('wan0', { kind: 'tun' }), link('wan9'), link('eth0'), link('mpt0')), '+wan0');
});

t.test('an interface that vanishes takes its path along after a while; one without carrier keeps it', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const harness = new Harness();
  harness.update(link('eth0'), link('usb0'));
  t.equal(harness.update(link('eth0', { usable: false, hasDefaultRoute: false })), '');
  mock.timers.tick(4_000);
  t.equal(harness.update(link('eth0'), link('usb0')), '', 'it came back in time');
  mock.timers.tick(60_000);
  t.equal(harness.update(link('eth0'), link('usb0')), '');
  harness.update(link('eth0'));
  mock.timers.tick(5_000);
  t.equal(harness.update(link('eth0')), '-usb0');
  t.equal(harness.update(link('eth0'), link('usb0')), '+usb0', 'and is a path again when it returns');
  harness.update(link('eth0', { hasDefaultRoute: false }), link('usb0'));
  mock.timers.tick(29_000);
  t.equal(harness.update(link('eth0', { hasDefaultRoute: false }), link('usb0')), '', 'a lease is renewed');
  mock.timers.tick(1_000);
  t.equal(harness.update(link('usb0')), '-eth0');
});

t.test('a path that was removed by hand stays away until its interface was', async (t) => {
  const harness = new Harness();
  harness.update(link('eth0'), link('usb0'));
  harness.auto.noteRemoved('usb0');
  t.equal(harness.update(link('eth0'), link('usb0')), '');
  t.equal(harness.update(link('eth0')), '');
  t.equal(harness.update(link('eth0'), link('usb0')), '+usb0');
  harness.auto.close();
});

t.test('another configuration takes effect at once', async (t) => {
  const harness = new Harness();
  harness.update(link('eth0'), link('usb0'));
  harness.auto.reconfigure({ include: undefined, exclude: ['usb*'] }, []);
  t.equal(harness.events.splice(0).join(' '), '-usb0');
  harness.auto.reconfigure({ include: undefined, exclude: [] }, [{ name: 'cable', interface: 'eth0', address: undefined }]);
  t.equal(harness.events.splice(0).join(' '), '+usb0 -eth0');
  harness.auto.end();
  t.equal(harness.events.join(' '), '-usb0');
});

t.test('what could not become a path is tried again at the next change', async (t) => {
  const harness = new Harness();
  harness.refuse = true;
  harness.update(link('eth0'));
  await new Promise((resolve) => setImmediate(resolve));
  t.match(harness.events.splice(0).join(' '), /interface eth0 does not become a path: no/);
  harness.refuse = false;
  t.equal(harness.update(link('eth0')), '+eth0');
});

t.test('patterns', async (t) => {
  t.ok(matchesPattern('docker*', 'docker0'));
  t.ok(matchesPattern('*', 'eth0'));
  t.ok(matchesPattern('eth0.7', 'eth0.7'));
  t.notOk(matchesPattern('eth0.7', 'eth0x7'), 'a dot is a dot');
  t.notOk(matchesPattern('wan', 'wan0'));
});

t.test('an interface that is seen without its route before it vanishes goes no later for that', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const harness = new Harness();
  harness.update(link('eth0'), link('usb0'));
  harness.update(link('eth0'), link('usb0', { hasDefaultRoute: false }));
  harness.update(link('eth0'));
  mock.timers.tick(5_000);
  t.equal(harness.update(link('eth0')), '-usb0');
});

t.test(
  'metered interfaces are backups, no paths, or paths as any, and a changed configuration holds for those that are there',
  async (t) => {
    const metered = { include: undefined, exclude: [], meteredInterfaces: ['ww*'] };
    const harness = new Harness({ ...metered, metered: 'backup' });
    const links = [link('eth0'), link('wwan0')];
    t.equal(harness.update(...links), '+eth0 +wwan0 (backup)');
    const reconfigured = (config: AutoPathsConfig): string => {
      harness.auto.reconfigure(config, []);
      return harness.events.splice(0).join(' ');
    };
    t.equal(reconfigured({ ...metered, metered: 'use' }), 'wwan0: free');
    t.equal(reconfigured({ ...metered, metered: 'backup', meteredInterfaces: ['eth0'] }), 'eth0: backup');
    t.equal(reconfigured({ ...metered, metered: 'exclude' }), '-wwan0 eth0: free');
    t.equal(reconfigured({ include: undefined, exclude: [] }), '+wwan0');
  },
);
