/** Reads pcap and pcapng files, both byte orders, down to IP packets: raw IP, Ethernet, and Linux cooked captures. */

export interface CapturedPacket {
  /** From the IP header on; may carry a trailer behind the IP length. */
  bytes: Uint8Array;
  timeMicroseconds: number;
  interfaceName: string;
}

const ETHERTYPE_VLAN = 0x8100;

/** The IP packet within a frame, or undefined when it holds none. */
function ipWithin(linkType: number, frame: Uint8Array): Uint8Array | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const isIp = (type: number): boolean => type === 0x0800 || type === 0x86dd;
  if (linkType === 101 || linkType === 12 || linkType === 228 || linkType === 229) return frame;
  if (linkType === 1 && frame.length >= 18) {
    const isTagged = view.getUint16(12) === ETHERTYPE_VLAN;
    return isIp(view.getUint16(isTagged ? 16 : 12)) ? frame.subarray(isTagged ? 18 : 14) : undefined;
  }
  if (linkType === 113 && frame.length >= 16) return isIp(view.getUint16(14)) ? frame.subarray(16) : undefined;
  if (linkType === 276 && frame.length >= 20) return isIp(view.getUint16(0)) ? frame.subarray(20) : undefined;
  return undefined;
}

/** Throws on what is no capture, or one that is cut off in a block header. */
export function readCapture(file: Uint8Array): CapturedPacket[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  return view.getUint32(0) === 0x0a0d0d0a ? readPcapng(file, view) : readPcap(file, view);
}

function readPcap(file: Uint8Array, view: DataView): CapturedPacket[] {
  const magic = view.getUint32(0);
  const little = magic === 0xd4c3b2a1 || magic === 0x4d3cb2a1;
  if (!little && magic !== 0xa1b2c3d4 && magic !== 0xa1b23c4d) throw new Error('neither pcap nor pcapng');
  const isNanoseconds = magic === 0x4d3cb2a1 || magic === 0xa1b23c4d;
  const linkType = view.getUint32(20, little) & 0xffff;
  const packets: CapturedPacket[] = [];
  for (let at = 24; at + 16 <= file.length; ) {
    const capturedBytes = view.getUint32(at + 8, little);
    const fraction = view.getUint32(at + 4, little);
    const bytes = ipWithin(linkType, file.subarray(at + 16, at + 16 + capturedBytes));
    const timeMicroseconds = view.getUint32(at, little) * 1e6 + (isNanoseconds ? Math.floor(fraction / 1000) : fraction);
    if (bytes !== undefined) packets.push({ bytes, timeMicroseconds, interfaceName: '' });
    at += 16 + capturedBytes;
  }
  return packets;
}

interface CaptureInterface {
  linkType: number;
  name: string;
  unitsPerMicrosecond: number;
}

function readPcapng(file: Uint8Array, view: DataView): CapturedPacket[] {
  const packets: CapturedPacket[] = [];
  let interfaces: CaptureInterface[] = [];
  let little = true;
  for (let at = 0; at + 12 <= file.length; ) {
    const isSection = view.getUint32(at) === 0x0a0d0d0a;
    if (isSection) {
      little = view.getUint32(at + 8, true) === 0x1a2b3c4d;
      interfaces = [];
    }
    const type = view.getUint32(at, little);
    const length = view.getUint32(at + 4, little);
    if (length < 12 || length % 4 !== 0 || at + length > file.length) throw new Error(`pcapng block at ${at} has length ${length}`);
    if (view.getUint32(at + length - 4, little) !== length) throw new Error(`pcapng block at ${at}: its two lengths differ`);
    if (!isSection && type === 1) interfaces.push(readInterface(file, view, at, length, little));
    if (!isSection && type === 6) {
      const captureInterface = interfaces[view.getUint32(at + 8, little)];
      if (captureInterface === undefined) throw new Error(`pcapng packet at ${at} names an interface that is not described`);
      const units = view.getUint32(at + 12, little) * 2 ** 32 + view.getUint32(at + 16, little);
      const bytes = ipWithin(captureInterface.linkType, file.subarray(at + 28, at + 28 + view.getUint32(at + 20, little)));
      const timeMicroseconds = Math.floor(units / captureInterface.unitsPerMicrosecond);
      if (bytes !== undefined) packets.push({ bytes, timeMicroseconds, interfaceName: captureInterface.name });
    }
    at += length;
  }
  return packets;
}

function readInterface(file: Uint8Array, view: DataView, at: number, length: number, little: boolean): CaptureInterface {
  const found: CaptureInterface = { linkType: view.getUint16(at + 8, little), name: '', unitsPerMicrosecond: 1 };
  for (let option = at + 16; option + 4 <= at + length - 4; ) {
    const code = view.getUint16(option, little);
    const bytes = view.getUint16(option + 2, little);
    if (code === 0) break;
    if (code === 2) found.name = new TextDecoder().decode(file.subarray(option + 4, option + 4 + bytes));
    if (code === 9 && view.getUint8(option + 4) < 0x80) found.unitsPerMicrosecond = 10 ** (view.getUint8(option + 4) - 6);
    option += 4 + ((bytes + 3) & ~3);
  }
  return found;
}
