import t from 'tap';
import { dssChecksum } from '../../src/mptcp-over-udp/wire/checksum.js';
import { emitFastclose } from '../../src/mptcp-over-udp/wire/fastclose.js';
import * as seg from '../../src/mptcp-over-udp/wire/segment.js';
import { hex, tcpPacket } from '../mptcp-over-udp/wire/packets.js';
import { DataStream, SubflowLedger } from './data-ledger.js';
import { checkMptcp } from './mptcp-checker.js';
import { scriptedTrace, type TraceBend } from './scripted-trace.js';

function check(checksums: boolean, bend?: TraceBend): ReturnType<typeof checkMptcp> {
  return checkMptcp(scriptedTrace(checksums, bend).map((packet) => packet.bytes));
}

t.test('a right trace has no fault, and everything in it was verified', async (t) => {
  const plain = check(false);
  t.strictSame(plain.faults, []);
  t.match(plain, { connections: 1, joins: 1, checksums: 0, addAddrs: 1, closed: 1 });
  t.strictSame(plain.subflows, [
    {
      connection: 0,
      flow: '10.77.0.2:40000 > 198.51.100.1:443',
      isJoin: false,
      upBytes: 16,
      downBytes: 0,
      upFreshBytes: 16,
      downFreshBytes: 0,
    },
    {
      connection: 0,
      flow: '10.77.1.2:40001 > 198.51.100.1:443',
      isJoin: true,
      upBytes: 19,
      downBytes: 6,
      upFreshBytes: 19,
      downFreshBytes: 6,
    },
  ]);
  const checked = check(true);
  t.strictSame(checked.faults, []);
  t.match(checked, { connections: 1, joins: 1, checksums: 5, addAddrs: 1, closed: 1 });
});

t.test('each thing bent is found, and named', async (t) => {
  const bends: readonly [keyof TraceBend, boolean, RegExp][] = [
    ['joinSynAckHmac', false, /MP_JOIN SYN\/ACK: HMAC wrong/],
    ['joinAckHmac', false, /MP_JOIN ACK: HMAC wrong/],
    ['addAddrHmac', false, /ADD_ADDR: HMAC wrong/],
    ['keyEcho', false, /does not echo the peer's key/],
    ['token', false, /which nobody has/],
    ['dssChecksum', true, /DSS checksum of \(dsn \+8, ssn 1, length 19\)/],
    ['payloadByte', true, /DSS checksum of \(dsn \+8, ssn 1, length 19\)/],
    ['mappingChanged', false, /contradicts/],
    ['dsnGap', false, /without a gap/],
    ['ackBeyond', false, /DATA_ACK of offset 9, but only 8/],
    ['finUnacknowledged', false, /DATA_FIN was never acknowledged/],
    ['dataBeforeFourthAck', false, /data on a join before the fourth ACK/],
    ['checksumMissing', true, /checksum is present other than negotiated/],
    ['checksumMissing', false, /checksum is present other than negotiated/],
    ['mappingMissing', false, /9 bytes never got a mapping/],
  ];
  for (const [bend, checksums, expected] of bends) {
    const { faults, joins } = check(checksums, { [bend]: true });
    t.match(faults.join('\n'), expected, bend);
    if (bend.startsWith('join')) t.equal(joins, bend === 'joinAckHmac' ? 0 : 1);
  }
});

t.test('a wrong TCP checksum and a malformed option are found', async (t) => {
  const packets = scriptedTrace(false).map((packet) => packet.bytes);
  packets[3]![packets[3]!.length - 1]! ^= 1;
  t.strictSame(checkMptcp(packets).faults, ['packet 4: TCP checksum wrong']);
  t.strictSame(checkMptcp(packets, { tcpChecksums: false }).faults, []);
  t.strictSame(checkMptcp([tcpPacket({ flags: seg.ACK, options: hex('1e052001') })]).faults, ['packet 1: malformed MPTCP option']);
});

t.test('a DATA_FIN merged into a mapping that was sent without it is no fault, another length is', async (t) => {
  const stream = new DataStream(1, 2);
  const payload = hex('0102030405');
  const checksumOf = (dataLength: number): number => dssChecksum(1, 3, 1, dataLength, payload, 0, payload.length);
  for (const [payloadBytes, dataLength, checksum, expected] of [
    [5, 6, checksumOf(6), 0],
    [5, 6, checksumOf(6) ^ 1, 1],
    [5, 6, checksumOf(5), 1],
    [6, 6, checksumOf(6), 1],
  ] as const) {
    const ledger = new SubflowLedger(stream);
    const faults: string[] = [];
    ledger.addMapping({ ssn: 1, dsn: 1, payloadBytes: 5, dataLength: 5, checksum: checksumOf(5) }, (fault) => faults.push(fault));
    ledger.addMapping({ ssn: 1, dsn: 1, payloadBytes, dataLength, checksum }, (fault) => faults.push(fault));
    t.equal(faults.length, expected, faults.join());
  }
});

t.test('data is fresh where it went first, whatever the order and however often it is repeated', async (t) => {
  const stream = new DataStream(0, 0);
  const report = (fault: string): void => {
    t.fail(fault);
  };
  const seen = new Set<number>();
  const pieces = [
    [11, 21],
    [31, 41],
    [15, 35],
    [1, 5],
    [50, 60],
    [45, 55],
    [1, 60],
    [3, 62],
    [70, 80],
    [70, 80],
    [62, 90],
  ] as const;
  for (const [start, end] of pieces) {
    let fresh = 0;
    for (let at = start; at < end; at++) {
      if (!seen.has(at)) fresh++;
      seen.add(at);
    }
    t.equal(stream.carry(start, end, report), fresh, `[${start}, ${end})`);
  }
  t.equal(stream.frontier, 90);
});

t.test('retransmissions of the same packets are no fault', async (t) => {
  const packets = scriptedTrace(true).flatMap((packet) => [packet.bytes, packet.bytes]);
  const report = checkMptcp(packets);
  t.strictSame(report.faults, []);
  t.match(report, { connections: 1, joins: 1, closed: 1 });
});

t.test("MP_FASTCLOSE must carry the receiver's key, and ends the wait for DATA_FIN", async (t) => {
  const packets = scriptedTrace(false, { finUnacknowledged: true }).map((packet) => packet.bytes);
  const fastclose = (key: string): Uint8Array => {
    const options = new Uint8Array(12);
    emitFastclose(options, 0, hex(key));
    const flags = seg.RST | seg.ACK;
    return tcpPacket({ source: hex('0a4d0002'), destination: hex('c6336401'), sourcePort: 40000, destinationPort: 443, flags, options });
  };
  t.strictSame(checkMptcp([...packets, fastclose('f0f1f2f3f4f5f6f7')]).faults, []);
  t.match(checkMptcp([...packets, fastclose('f0f1f2f3f4f5f6f0')]).faults, [/MP_FASTCLOSE with a key/]);
});

t.test('plain TCP, and a peer that answers without MP_CAPABLE, are no connections', async (t) => {
  const packets = scriptedTrace(false).map((packet) => packet.bytes);
  const synAck = tcpPacket({
    source: hex('c6336401'),
    destination: hex('0a4d0002'),
    sourcePort: 443,
    destinationPort: 40000,
    flags: seg.SYN | seg.ACK,
  });
  const data = tcpPacket({
    source: hex('0a4d0002'),
    destination: hex('c6336401'),
    sourcePort: 40000,
    destinationPort: 443,
    flags: seg.ACK,
    payload: hex('00'),
  });
  t.match(checkMptcp([packets[0]!, synAck, data]), { connections: 0, joins: 0, faults: [] });
});
