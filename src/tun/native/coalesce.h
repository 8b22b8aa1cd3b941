// Joining of consecutive TCP segments of one flow, as GRO does: one run at a time, at the end of the arena.
#ifndef MPTUNNEL_COALESCE_H
#define MPTUNNEL_COALESCE_H

#include "packet.h"

typedef struct {
  // The first segment's packet: all payloads follow its header.
  uint8_t *packet;
  PacketShape shape;
  size_t payloadBytes;
  // Payload bytes of every segment but the last.
  size_t segmentBytes;
  uint32_t segments;
  bool open;
} Run;

// Begins a run with a plaintext that may be anything; it is open when more may follow.
void run_begin(Run *run, uint8_t *packet, size_t packetBytes);
// Whether a packet with that much payload could still be added.
bool run_has_room(const Run *run, size_t payloadBytes);
// Whether `header`, run->shape.headerBytes long, of a packet of `packetBytes`, continues the run.
bool run_continues(const Run *run, const uint8_t *header, size_t packetBytes);
// The payload is in its place already; `header` as in run_continues.
void run_append(Run *run, const uint8_t *header, size_t payloadBytes);
// Ends the run: a joined packet's IP header is made right for the whole.
void run_end(Run *run);

#endif
