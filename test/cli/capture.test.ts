import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { CliRunner, finish } from './cli-runner.js';

const SECTION = 0x0a0d0d0a;
const PACKET = 6;

/** Block types; throws when the blocks do not fill the file exactly. */
function blockTypes(bytes: Buffer): number[] {
  const types: number[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32LE(at + 4);
    if (length < 12 || bytes.readUInt32LE(at + length - 4) !== length) throw new Error(`broken block at ${at}`);
    types.push(bytes.readUInt32LE(at));
    at += length;
  }
  return types;
}

t.test('capture', async (t) => {
  const cli = new CliRunner(t);
  await cli.run(['up', cli.config]);

  t.test('stops after exactly --count packets and leaves whole blocks', async (t) => {
    const file = join(cli.folder, 'count.pcapng');
    const result = await cli.run(['capture', 'mpt0', '-w', file, '--count', '25']);
    t.match(result, { code: 0, stdout: '', stderr: `25 packets written to ${file}\n` });
    const types = blockTypes(readFileSync(file));
    t.equal(types[0], SECTION);
    t.equal(types.filter((type) => type === PACKET).length, 25);
  });

  t.test('Ctrl-C, --seconds and the end of the tunnel end the file properly; two captures run at once', async (t) => {
    const files = ['a', 'b', 'c'].map((name) => join(cli.folder, `${name}.pcapng`));
    const interrupted = cli.spawn(['capture', 'mpt0', '-w', files[0]!]);
    const timed = cli.run(['capture', 'mpt0', '-w', files[1]!, '--seconds', '0.1']);
    const interruptedDone = finish(interrupted);
    while (!readSome(files[0]!)) await sleep(5);
    interrupted.kill('SIGINT');
    const open = finish(cli.spawn(['capture', 'mpt0', '-w', files[2]!]));
    while (!readSome(files[2]!)) await sleep(5);
    await cli.run(['down', 'mpt0']);
    for (const result of [await interruptedDone, await timed, await open]) t.match(result, { code: 0, stderr: /^\d+ packets written to / });
    for (const file of files) t.ok(blockTypes(readFileSync(file)).filter((type) => type === PACKET).length > 0, file);
  });

  t.test('a tunnel that is not there, and a file that cannot be written', async (t) => {
    t.match(await cli.run(['capture', 'mpt0', '-w', '/nowhere/x']), { code: 1, stderr: /no tunnel named mpt0 is running/ });
  });
});

function readSome(file: string): boolean {
  try {
    return readFileSync(file).length > 500;
  } catch {
    return false;
  }
}
