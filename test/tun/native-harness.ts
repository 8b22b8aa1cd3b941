/** Shared by the tests of the native addon: a network namespace of their own, address records, headers, and a receiver that waits. */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import * as native from '../../src/tun/native.js';

const INSIDE = 'MPTUNNEL_TEST_NAMESPACE';

/**
 * Runs the calling test file again inside a fresh network namespace. True there; false in the process that waited for it, which has
 * nothing left to do but to end with the same exit code. `environment` gives more variables to the run inside.
 */
export function inOwnNamespace(moduleUrl: string, environment: () => Record<string, string> = () => ({})): boolean {
  if (process.env[INSIDE] !== undefined) {
    run('ip', 'link', 'set', 'lo', 'mtu', '9000', 'up');
    return true;
  }
  if (process.getuid?.() !== 0) {
    console.log('TAP version 14\nnot ok 1 - makes a network namespace and devices: needs root\n1..1');
    process.exitCode = 1;
    return false;
  }
  const file = fileURLToPath(moduleUrl);
  const child = spawnSync('unshare', ['--net', process.execPath, ...process.execArgv, file, ...process.argv.slice(2)], {
    stdio: 'inherit',
    env: { ...process.env, ...environment(), [INSIDE]: '1' },
  });
  // Not through tap: the child has printed the whole TAP.
  process.exit(child.status ?? 1);
}

/** Runs to its end; throws with what it said when it fails. */
export function run(command: string, ...args: string[]): string {
  const result = spawnSync(command, args, { encoding: 'utf8' });
  if (result.status !== 0) throw new Error(`${command} ${args.join(' ')}: ${result.error?.message ?? result.stderr}`);
  return result.stdout;
}

const IPV4 = /^\d+\.\d+\.\d+\.\d+$/;

/** Address record (see ADDRESS_BYTES). Addresses: dotted, or the 16 bytes of IPv6 as "::" and the last group only. */
export function addressRecord(remote: string, port: number, local?: string): Uint8Array {
  const record = Buffer.alloc(native.ADDRESS_BYTES);
  record[0] = IPV4.test(remote) ? 4 : 6;
  record.writeUInt16BE(port, 2);
  record.set(addressBytes(remote), 4);
  if (local !== undefined) record.set(addressBytes(local), 20);
  return record;
}

export function addressBytes(text: string): Uint8Array {
  if (IPV4.test(text)) return Uint8Array.from(text.split('.').map(Number));
  const [left = '', right = ''] = text.split('::');
  const groups = (part: string) => (part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16)));
  const [head, tail] = [groups(left), groups(right)];
  const all = [...head, ...Array.from({ length: 8 - head.length - tail.length }, () => 0), ...tail];
  return Uint8Array.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}

export interface HeaderFields {
  sequenceNumber?: number;
  acknowledgmentNumber?: number;
  flags?: number;
  window?: number;
  options?: Uint8Array;
  trafficClass?: number;
  sourcePort?: number;
  destinationPort?: number;
  source?: string;
  destination?: string;
}

/** IP + TCP header with lengths and checksums left zero, as the engine hands it down. */
export function tcpHeader(family: 4 | 6, fields: HeaderFields = {}): Buffer {
  const options = fields.options ?? Buffer.from('0101080a0102030405060708', 'hex');
  const transport = family === 4 ? 20 : 40;
  const header = Buffer.alloc(transport + 20 + options.length);
  const trafficClass = fields.trafficClass ?? 0;
  if (family === 4) {
    header[0] = 0x45;
    header[1] = trafficClass;
    header[6] = 0x40;
    header[8] = 64;
    header[9] = 6;
    header.set(addressBytes(fields.source ?? '10.9.0.1'), 12);
    header.set(addressBytes(fields.destination ?? '10.9.0.2'), 16);
  } else {
    header[0] = 0x60 | (trafficClass >> 4);
    header[1] = (trafficClass << 4) & 0xf0;
    header[6] = 6;
    header[7] = 64;
    header.set(addressBytes(fields.source ?? 'fd00::1'), 8);
    header.set(addressBytes(fields.destination ?? 'fd00::2'), 24);
  }
  header.writeUInt16BE(fields.sourcePort ?? 40000, transport);
  header.writeUInt16BE(fields.destinationPort ?? 443, transport + 2);
  header.writeUInt32BE(fields.sequenceNumber ?? 1000, transport + 4);
  header.writeUInt32BE(fields.acknowledgmentNumber ?? 77, transport + 8);
  header[transport + 12] = (5 + options.length / 4) << 4;
  header[transport + 13] = fields.flags ?? 0x10;
  header.writeUInt16BE(fields.window ?? 512, transport + 14);
  header.set(options, transport + 20);
  return header;
}

export interface Received {
  kind: number;
  bytes: Buffer;
  segmentBytes: number;
  datagrams: number;
  type: number;
  pathId: number;
  receiverIndex: number;
  packetNumber: number;
  address: Buffer;
  wireBytes: number;
  headerLength: number;
}

/** Buffers for `receive`, and what it returned as objects. */
export class Receiver {
  readonly arena: Uint8Array;
  readonly descriptors: Int32Array;
  readonly addresses: Uint8Array;
  readonly rounds: number;

  constructor({ arenaBytes = 1 << 20, descriptors = 512, addresses = 64, rounds = 4 } = {}) {
    this.arena = new Uint8Array(arenaBytes);
    this.descriptors = new Int32Array(descriptors * native.RX_DESCRIPTOR_INTS);
    this.addresses = new Uint8Array(addresses * native.ADDRESS_BYTES);
    this.rounds = rounds;
  }

  once(udp: native.UdpHandle, table: native.OpenTableHandle): Received[] {
    const count = native.loadNative().receive(udp, table, this.arena, this.descriptors, this.addresses, this.rounds);
    if (count < 0) throw new Error(`receive: ${count}`);
    return Array.from({ length: count }, (_, i) => this.#read(i));
  }

  /** Until `enough` says so or nothing has come for a while. Loopback delivers within the send, so this waits only when a test is about to fail. */
  until(udp: native.UdpHandle, table: native.OpenTableHandle, enough: (all: Received[]) => boolean): Received[] {
    const all: Received[] = [];
    for (let idleRounds = 0; idleRounds < 50 && !enough(all); ) {
      const got = this.once(udp, table);
      all.push(...got);
      if (got.length > 0) idleRounds = 0;
      else if (idleRounds++ > 2) pauseMs(2);
    }
    return all;
  }

  datagrams(udp: native.UdpHandle, table: native.OpenTableHandle, count: number): Received[] {
    return this.until(udp, table, (all) => all.reduce((sum, one) => sum + one.datagrams, 0) >= count);
  }

  #read(index: number): Received {
    const d = this.descriptors.subarray(index * native.RX_DESCRIPTOR_INTS, (index + 1) * native.RX_DESCRIPTOR_INTS);
    const field = (at: number) => d[at]!;
    const offset = field(native.RX_OFFSET);
    const at = field(native.RX_ADDRESS) * native.ADDRESS_BYTES;
    return {
      kind: field(native.RX_KIND),
      bytes: Buffer.from(this.arena.slice(offset, offset + field(native.RX_LENGTH))),
      segmentBytes: field(native.RX_SEGMENT_BYTES),
      datagrams: field(native.RX_DATAGRAMS),
      type: field(native.RX_TYPE),
      pathId: field(native.RX_PATH_ID),
      receiverIndex: field(native.RX_RECEIVER_INDEX) >>> 0,
      packetNumber: field(native.RX_PACKET_NUMBER_HIGH) * 2 ** 32 + (field(native.RX_PACKET_NUMBER_LOW) >>> 0),
      address: Buffer.from(this.addresses.slice(at, at + native.ADDRESS_BYTES)),
      wireBytes: field(native.RX_WIRE_BYTES),
      headerLength: field(native.RX_HEADER_LENGTH),
    };
  }
}

export function pauseMs(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

export function openUdp(
  family: 4 | 6,
  address: string,
  extra: { ipv6Only?: boolean; device?: string; mark?: number } = {},
): native.UdpHandle {
  return native.loadNative().udpOpen({
    family,
    address,
    port: 0,
    receiveBufferBytes: 8 << 20,
    sendBufferBytes: 8 << 20,
    ...extra,
  });
}

/** Deterministic bytes that are not periodic in any segment size. */
export function pattern(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length);
  let state = (seed * 2654435761 + 1) >>> 0;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

/** Uniform integers below a bound, from a seed. */
export function generator(seed: number): (bound: number) => number {
  let state = seed >>> 0 || 1;
  return (bound) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state % bound;
  };
}
