/**
 * Where the engine's segments go: the line below the planes, or the TUN. A super-segment is handed down as one header
 * template and one piece of payload; who implements this cuts it (natively on the hot path, `wire/cut-segments.ts` in tests and captures).
 */
export interface SegmentSink {
  /**
   * `header[0 .. headerBytes)` is the IP + TCP header, options included, of the first segment: ports, sequence number, flags, window and options are final;
   * IP lengths and both checksums are not. Segment i carries payload bytes [i * segmentBytes, (i + 1) * segmentBytes), the last one what remains,
   * with sequence number + i * segmentBytes and the options repeated; FIN and PSH belong to the last, CWR to the first. payloadBytes may be 0.
   * All buffers are borrowed until return.
   */
  sendSegments(
    pathId: number,
    header: Uint8Array,
    headerBytes: number,
    payload: Uint8Array,
    payloadOffset: number,
    payloadBytes: number,
    segmentBytes: number,
  ): void;
}
