import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { loadConfig } from '../../src/tunnel/config-file.js';
import { CliRunner } from './cli-runner.js';

t.test('init server writes a configuration that loads, for its owner alone, and overwrites nothing', async (t) => {
  const cli = new CliRunner(t);
  const dir = mkdtempSync(join(tmpdir(), 'mpt-init-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const made = await cli.run(['init', 'server', '--dir', dir, '--endpoint', 'vpn.example.org', '--listen-port', '7000']);
  t.match(made, { code: 0, stderr: '' });
  t.match(made.stdout, /ufw allow 7000\/udp/, 'what the firewall needs');
  t.match(made.stdout, /mptunnel up .*mpt0\.toml\n {2}sudo mptunnel invite mpt0 laptop\n$/, 'what comes next');
  const config = loadConfig(join(dir, 'mpt0.toml'), (warning) => t.fail(warning));
  t.match(config.interface, { name: 'mpt0', listenPort: 7000, publicEndpoint: 'vpn.example.org' });
  t.match(config.interface.addresses[0], /^10\.\d+\.0\.1\/24$/);
  t.match(config.interface.addresses[1], /^fd[0-9a-f]{2}:[0-9a-f:]+::1\/64$/);
  t.same(config.peers, [], 'it waits for its first peer');
  t.same(config.egress, { mode: 'socket', allow: [], nat: true });
  t.notMatch(made.stdout, /sysctl|masquerade/, 'nothing is left to be typed but the UDP port');
  for (const file of ['mpt0.toml', 'mpt0.key']) t.equal(statSync(join(dir, file)).mode & 0o777, 0o600, file);
  t.equal(statSync(join(dir, 'mpt0.peers.d')).mode & 0o777, 0o700);

  const key = readFileSync(join(dir, 'mpt0.key'), 'utf8');
  const again = await cli.run(['init', 'server', '--dir', dir]);
  t.match(again, { code: 1, stdout: '', stderr: /^mptunnel: .*mpt0\.toml exists already and stays as it is.*\n$/ });
  t.equal(readFileSync(join(dir, 'mpt0.key'), 'utf8'), key);

  const json = await cli.run(['init', 'server', '--dir', dir, '--name', 'two', '--address', '10.9.0.1/24', '--json']);
  t.match(JSON.parse(json.stdout), { name: 'two', addresses: ['10.9.0.1/24'], listenPort: 5180, configFile: join(dir, 'two.toml') });
});

t.test('init server writes nothing when an option cannot be right', async (t) => {
  const cli = new CliRunner(t);
  const cases: [string[], RegExp][] = [
    [['--name', 'far-too-long-a-name'], /--name .* longer than the 15 characters/],
    [['--address', '10.9.0.1/99'], /10\.9\.0\.1\/99/],
    [['--listen-port', '0'], /Give a port from 1 to 65535/],
    [['--endpoint', 'not a host'], /"not a host" is no address that clients could reach/],
  ];
  for (const [args, message] of cases) {
    const dir = join(cli.folder, 'none');
    const result = await cli.run(['init', 'server', '--dir', dir, ...args]);
    t.match(result, { code: 1, stdout: '', stderr: message }, args.join(' '));
    t.throws(() => statSync(dir), { code: 'ENOENT' });
  }
});

t.test('peers beside the configuration are its peers; a file that is wrong is named with its line', async (t) => {
  const cli = new CliRunner(t);
  const dir = mkdtempSync(join(tmpdir(), 'mpt-init-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  t.match(await cli.run(['init', 'server', '--dir', dir]), { code: 0 });
  const file = (name: string, text: string) => writeFileSync(join(dir, 'mpt0.peers.d', name), text);
  const key = (letter: string) => Buffer.alloc(32, letter).toString('base64');
  const load = () => loadConfig(join(dir, 'mpt0.toml'), () => {});
  file('laptop.toml', `public_key = "${key('a')}"\nallowed_ips = ["10.77.0.2/32"]\n`);
  file('phone.toml', `public_key = "${key('b')}"\npreshared_key = "${key('c')}"\nallowed_ips = ["10.77.0.3"]\n`);
  file('.phone.toml.swp', 'an editor is at work');
  file('README', 'no peer');
  t.match(load().peers, [
    { name: 'laptop', allowedIps: ['10.77.0.2/32'] },
    { name: 'phone', allowedIps: ['10.77.0.3/32'] },
  ]);
  const refused: [string, RegExp][] = [
    ['public_key = "x"\n', /third\.toml:1: public_key is not a key/],
    ['\nalowed_ips = []\n', /third\.toml:2: alowed_ips is not known: did you mean "allowed_ips"/],
    ['allowed_ips = []\n', /third\.toml: public_key is missing/],
    [`public_key = "${key('a')}"\n`, /third\.toml:1: public_key is that of peer "laptop" too/],
    [`public_key = "${key('d')}"\nallowed_ips = ["10.77.0.3/32"]\n`, /third\.toml:2: allowed_ips 10\.77\.0\.3\/32 belongs to peer "phone"/],
    [`name = "else"\npublic_key = "${key('d')}"\n`, /third\.toml:1: name is "else", but the file's name says "third"/],
    ['public_key = \n', /third\.toml:1: is not valid TOML/],
  ];
  for (const [text, message] of refused) {
    file('third.toml', text);
    t.throws(load, { message }, text);
  }
});
