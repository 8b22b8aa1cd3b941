// Joining of consecutive segments of one flow, as GRO does: one run at a time, at the end of the arena.
#ifndef MPTUNNEL_COALESCE_H
#define MPTUNNEL_COALESCE_H

#include "packet.h"

// RUN_OWN: TCP segments of our own stack, with nothing but the sequence number counting up. RUN_FOREIGN: packets of other hosts, TCP or UDP, whose IPv4
// identification counts up or stands still; only checksums that are right may be joined, since the joined packet gets a new one.
typedef enum { RUN_OWN, RUN_FOREIGN } RunKind;

typedef struct {
  // The first segment's packet: all payloads follow its header.
  uint8_t *packet;
  PacketShape shape;
  size_t payloadBytes;
  // Payload bytes of every segment but the last.
  size_t segmentBytes;
  uint32_t segments;
  RunKind kind;
  // What each IPv4 identification adds to the one before: 0 or 1. Known from the second segment on.
  uint8_t idStep;
  // The first segment's checksum was right.
  bool verified;
  bool open;
} Run;

// Begins a run with a plaintext that may be anything; it is open when more may follow.
void run_begin(Run *run, uint8_t *packet, size_t packetBytes, RunKind kind);
// Whether a packet with that much payload could still be added.
bool run_has_room(const Run *run, size_t payloadBytes);
// Whether `header`, run->shape.headerBytes long, of a packet of `packetBytes`, continues the run.
bool run_continues(const Run *run, const uint8_t *header, size_t packetBytes);
// Of what continues the run: whether its checksum, and the first segment's, are right. The stack's own are not asked.
bool run_checksums_right(Run *run, const uint8_t *header, const uint8_t *payload, size_t payloadBytes);
// The payload is in its place already; `header` as in run_continues.
void run_append(Run *run, const uint8_t *header, size_t payloadBytes);
// The same for a segment of our own stack of which only the flags are known yet, the rest being as run_continues wants it.
void run_append_own(Run *run, uint8_t flags, size_t payloadBytes);
// Ends the run: a joined packet's lengths and its IP header checksum are made right for the whole.
void run_end(Run *run);

#endif
