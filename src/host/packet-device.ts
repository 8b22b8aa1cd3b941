/** What a host stands on: anything that takes IP packets and gives IP packets. A TUN is one (`tun-device.ts`); so is a pipe in a test. */

/**
 * Takes one packet from the device, borrowed until return; offset and length default to all of it. segmentBytes > 0: a super-packet that stands for TCP
 * segments of that much payload each (its TCP checksum means nothing).
 */
export type ReceivePacket = (packet: Uint8Array, offset?: number, length?: number, segmentBytes?: number) => void;

export interface PacketDevice {
  /** Sends one whole IP packet, borrowed until return. What cannot be sent is dropped. */
  send(packet: Uint8Array): void;
  /** The host calls it once, with where packets are to go. */
  onPacket(receive: ReceivePacket): void;
  /** A device that knows when a batch ends calls this after it: acknowledgements then go out once per batch, not once per turn of the event loop. */
  onBatchEnd?(handle: () => void): void;
  /** A device that can cut super-segments itself (arguments as in `SegmentSink.sendSegments`) is not given them cut. */
  sendSegments?(
    header: Uint8Array,
    headerBytes: number,
    payload: Uint8Array,
    payloadOffset: number,
    payloadBytes: number,
    segmentBytes: number,
  ): void;
  close?(): void;
}
