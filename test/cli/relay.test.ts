import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parseKey } from '../../src/crypto/keys.js';
import { publicKeyOf } from '../../src/crypto/x25519.js';
import { freePort } from '../tunnel/link-pair.js';
import { CliRunner, finish } from './cli-runner.js';

const ONE = 'xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=';
const OTHER = 'R0IhQ3c/fQfNdIL68H5ya1gHThbLkMf+t1RHFnOXMBk=';

t.test('a relay makes its key at the first start, says how it is named, and ends at a signal', async (t) => {
  const cli = new CliRunner(t);
  const key = join(cli.folder, 'state/relay.key');
  const port = await freePort();
  const start = async () => {
    const child = cli.spawn(['relay', '--listen', String(port), '--address', '127.0.0.1', '--key', key, '--allow', ONE, OTHER]);
    const line = await new Promise<string>((resolve) => child.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString())));
    child.kill('SIGTERM');
    const { code, stderr } = await finish(child);
    t.match({ code, stderr }, { code: 0, stderr: '' });
    return line;
  };
  const first = await start();
  const publicKey = Buffer.from(publicKeyOf(parseKey(readFileSync(key, 'utf8'), 'key'))).toString('base64');
  t.equal(first, `relay on UDP port ${port}: hosts name it as via = "THIS_HOST:${port}#${publicKey}"\n`);
  t.equal(statSync(key).mode & 0o777, 0o600, 'its private key is for its owner');
  t.equal(await start(), first, 'and stays');
});

t.test('JSON lines tell what it does', async (t) => {
  const cli = new CliRunner(t);
  const allow = join(cli.folder, 'allow');
  writeFileSync(allow, `# the offices\n${ONE} # north\n\n${OTHER}\n`);
  const port = await freePort();
  const args = ['--listen', String(port), '--address', '127.0.0.1', '--key', join(cli.folder, 'key'), '--allow-file', allow];
  const child = cli.spawn(['relay', ...args, '--json']);
  const lines: string[] = [];
  child.stdout.on('data', (chunk: Buffer) => lines.push(...chunk.toString().trim().split('\n')));
  await new Promise<void>((resolve) => child.stdout.once('data', () => resolve()));
  child.kill('SIGINT');
  await finish(child);
  const [started, stopped] = lines.map((line) => JSON.parse(line));
  t.match(started, { type: 'started', port, sessions: 0, connectedSessions: 0, waitingHosts: 0, counters: { forwardedDatagrams: 0 } });
  t.match(stopped, { type: 'stopped', port });
});

t.test('what it cannot do is one line', async (t) => {
  const cli = new CliRunner(t);
  const key = ['--key', join(cli.folder, 'key')];
  writeFileSync(join(cli.folder, 'broken'), 'no key\n');
  for (const [args, message] of [
    [[...key], /a relay needs the public keys of two hosts at least/],
    [[...key, '--allow', ONE], /of two hosts at least/],
    [[...key, '--allow', ONE, ONE], /of two hosts at least/],
    [[...key, '--allow', ONE, 'abc'], /--allow abc is not a key/],
    [['--key', join(cli.folder, 'broken'), '--allow', ONE, OTHER], /broken is not a key/],
    [['--key', join(cli.folder, 'broken/key'), '--allow', ONE, OTHER], /broken\/key: ENOTDIR/],
    [[...key, '--allow-file', join(cli.folder, 'none')], /none: ENOENT/],
    [[...key, '--allow', ONE, OTHER, '--listen', '0'], /whole number from 1 to 65535/],
    [[...key, '--allow', ONE, OTHER, '--rate', 'fast'], /Give a rate as "20 Mbit\/s"/],
    [[...key, '--allow', ONE, OTHER, '--address', 'relay.example'], /UDP port 5181 cannot be opened: .*address/],
  ] as const) {
    const { code, stdout, stderr } = await cli.run(['relay', ...args]);
    t.match({ code, stdout }, { code: 1, stdout: '' }, String(message));
    t.match(stderr, message);
    t.equal(stderr.trim().split('\n').length, 1);
  }
});
