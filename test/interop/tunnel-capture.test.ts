/** What `mptunnel capture` writes on both sides during a two-path transfer is MPTCP without fault to tshark and to our own checker. */

import { execFile } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { WEB_ADDRESS, WEB_ADDRESS_V6 } from '../../src/lab/topology.js';
import { runTraffic, startTrafficServer } from '../../src/lab/traffic.js';
import { CLIENT_ADDRESS, createTunnelRig, PROGRAM, type TunnelRig, until } from '../netns/tunnel-rig.js';
import { checkMptcp } from './mptcp-checker.js';
import { readCapture } from './read-capture.js';

type Test = Pick<typeof t, 'equal' | 'match' | 'ok' | 'strictSame'>;

const run = promisify(execFile);
/** Queues that no start-up overruns: what is looked for is the form of what we send, and tshark warns of every loss. */
const LINKS = [
  { rateBitsPerSec: 50e6, delayMs: 5, queuePackets: 2000 },
  { rateBitsPerSec: 30e6, delayMs: 15, queuePackets: 2000 },
];
const BYTES = 3_000_000;
/** Of some three thousand frames. */
const MAX_SEQUENCE_NOTES = 60;
/** None that tshark has a protocol for: it would look for faults in the payload. */
const PORT = 47_077;
const SIDES = ['client', 'server'] as const;

t.setTimeout(120_000);

/** Values of fields of the packets that a display filter leaves: one row a packet. */
async function fields(file: string, filter: string, ...names: string[]): Promise<string[][]> {
  const args = ['-r', file, '-Y', filter, '-T', 'fields', '-E', 'occurrence=a', ...names.flatMap((name) => ['-e', name])];
  const { stdout } = await run('tshark', args, { maxBuffer: 256 << 20 });
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split('\t'));
}

/** Runs `traffic` while both sides capture; resolves to the files. */
async function captureDuring(rig: TunnelRig, name: string, traffic: () => Promise<unknown>): Promise<string[]> {
  const captures = SIDES.map((side) => {
    const file = join(rig.lab.folder, `${name}-${side}.pcapng`);
    const environment = `MPTUNNEL_RUN_DIR=${join(rig.lab.folder, side)}`;
    const command = [environment, process.execPath, PROGRAM, 'capture', 'mpt0', '-w', file];
    return { file, child: rig.lab[side].spawn('env', command) };
  });
  // The section header comes when the daemon has set the tap.
  for (const { file } of captures) await until('the capture runs', async () => existsSync(file) && statSync(file).size > 0, 5000);
  await traffic();
  const idle = async () => (await rig.status('client')).connections + (await rig.status('server')).connections === 0;
  await until('all connections are closed', idle, 10_000);
  for (const { child } of captures) child.kill('SIGINT');
  for (const { child } of captures) t.equal(await child.exited, 0, 'the capture ends in good order');
  return captures.map(({ file }) => file);
}

t.test('a two-path transfer', async (t) => {
  const rig = await createTunnelRig({ links: LINKS });
  t.teardown(() => rig.close());
  await startTrafficServer(rig.lab.web, PORT);
  const client = rig.lab.client;
  const transfers = {
    'download, IPv4': () => runTraffic(client, { op: 'download', host: WEB_ADDRESS, port: PORT, bytes: BYTES }),
    'upload, IPv4': () => runTraffic(client, { op: 'upload', host: WEB_ADDRESS, port: PORT, bytes: BYTES }),
    'download, IPv6': () => runTraffic(client, { op: 'download', host: WEB_ADDRESS_V6, port: PORT, bytes: BYTES }),
  };
  for (const [index, [name, transfer]] of Object.entries(transfers).entries()) {
    const files = await captureDuring(rig, String(index), transfer);
    for (const [i, file] of files.entries()) {
      await t.test(`${name}, as the ${SIDES[i]} captured it`, async (t) => {
        await checkWithTshark(t, file, name.includes('IPv6') ? '' : CLIENT_ADDRESS);
        checkWithOurs(t, file, name.startsWith('download'));
      });
    }
  }
});

async function checkWithTshark(t: Test, file: string, clientAddress: string): Promise<void> {
  const capable = await fields(file, 'tcp.options.mptcp.subtype == 0 && tcp.flags.syn == 1', 'tcp.flags.ack', 'ip.src', 'ip.dst');
  t.strictSame(
    capable.map(([ack]) => ack),
    ['0', '1'],
    'one MP_CAPABLE handshake: SYN and SYN/ACK',
  );
  if (clientAddress !== '') t.strictSame(capable[0]!.slice(1), [clientAddress, WEB_ADDRESS], 'it says where to connect');
  const keys = await fields(
    file,
    'tcp.options.mptcp.subtype == 0',
    'tcp.flags.syn',
    'tcp.flags.ack',
    'tcp.options.mptcp.sendkey',
    'tcp.options.mptcp.recvkey',
  );
  const synAck = keys.find(([syn, ack]) => syn === '1' && ack === '1')!;
  const third = keys.find(([syn]) => syn === '0')!;
  t.equal(third[3], synAck[2], 'the third ACK echoes the key of the SYN/ACK');

  const joins = await fields(
    file,
    'tcp.options.mptcp.subtype == 1',
    'tcp.flags.syn',
    'tcp.flags.ack',
    'tcp.options.mptcp.recvtok',
    'mptcp.expected_token',
    'tcp.stream',
  );
  t.strictSame([...new Set(joins.map(([syn, ack]) => `${syn}${ack}`))], ['10', '11', '01'], 'one MP_JOIN: SYN, SYN/ACK, ACK');
  t.equal(new Set(joins.map((row) => row[4])).size, 1, 'on one other subflow');
  const tokens = await fields(file, 'mptcp.expected_token', 'mptcp.expected_token');
  t.ok(
    tokens.some(([text]) => text!.split(',').includes(joins[0]![2]!)),
    'its token is the one of the key',
  );

  const streams = await fields(file, 'mptcp.stream', 'mptcp.stream', 'tcp.stream');
  t.equal(new Set(streams.map(([stream]) => stream)).size, 1, 'tshark sees one MPTCP connection');
  t.equal(new Set(streams.map((row) => row[1])).size, 2, 'of two subflows');
  const data = await fields(file, 'tcp.options.mptcp.subtype == 2 && tcp.len > 0', 'tcp.stream');
  t.equal(new Set(data.map(([stream]) => stream)).size, 2, 'DSS with data on both');
  t.strictSame(
    await fields(file, 'tcp.len > 0 && !(tcp.options.mptcp.subtype in {0, 2})', 'frame.number'),
    [],
    'no data without a mapping: a DSS, or the MP_CAPABLE of the first data',
  );
  t.strictSame(await fields(file, '_ws.malformed', 'frame.number'), [], 'nothing malformed');
  // Probes and repetitions come of two hosts that share a busy machine: tshark notes them in the group "Sequence", which says nothing of the form.
  const warnings = await fields(file, '_ws.expert.severity >= "Warning"', 'frame.number', '_ws.expert.group', '_ws.expert.message');
  const sequence = warnings.filter((row) => /\b33554432\b|0x0*2000000|Sequence/.test(row[1] ?? ''));
  t.strictSame(warnings.filter((row) => !sequence.includes(row)).slice(0, 5), [], 'no expert warning');
  t.ok(sequence.length < MAX_SEQUENCE_NOTES, `${sequence.length} notes of probes and repetitions`);
}

function checkWithOurs(t: Test, file: string, isDownload: boolean): void {
  const report = checkMptcp(readCapture(readFileSync(file)).map(({ bytes }) => bytes));
  t.strictSame(report.faults, [], 'our checker finds no fault');
  t.match(report, { connections: 1, joins: 1, closed: 1 }, 'keys agree, HMACs of the join verified, both DATA_FINs acknowledged');
  t.equal(report.subflows.length, 2, 'two subflows');
  for (const { flow, upBytes, downBytes } of report.subflows) t.ok((isDownload ? downBytes : upBytes) > BYTES / 10, `data on ${flow}`);
}
