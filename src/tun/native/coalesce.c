#include "coalesce.h"

#define MAX_IP_BYTES 65535
// Flags that a joined segment may carry; the others speak of the connection's state and stay alone.
#define JOINABLE_FLAGS (TCP_ACK | TCP_PSH | TCP_FIN | TCP_CWR | 0x40)

static bool whole_packet(const uint8_t *packet, const PacketShape *shape, size_t packetBytes) {
  if (shape->version == 6) return (size_t)load16(packet + 4) + IPV6_HEADER_BYTES == packetBytes;
  // No fragment: neither MF nor an offset.
  return load16(packet + 2) == packetBytes && (load16(packet + 6) & 0x3fff) == 0;
}

static bool joinable_flags(uint8_t flags) { return (flags & TCP_ACK) != 0 && (flags & ~JOINABLE_FLAGS) == 0; }

void run_begin(Run *run, uint8_t *packet, size_t packetBytes) {
  run->open = false;
  run->segments = 0;
  if (packet_shape(packet, packetBytes, 0, PROTOCOL_TCP, &run->shape) != NULL || !whole_packet(packet, &run->shape, packetBytes)) return;
  uint8_t flags = packet[run->shape.transport + TCP_FLAGS];
  size_t payloadBytes = packetBytes - run->shape.headerBytes;
  if (payloadBytes == 0 || !joinable_flags(flags)) return;
  run->packet = packet;
  run->payloadBytes = payloadBytes;
  run->segmentBytes = payloadBytes;
  run->segments = 1;
  run->open = (flags & (TCP_FIN | TCP_PSH)) == 0;
}

bool run_has_room(const Run *run, size_t payloadBytes) {
  return payloadBytes > 0 && payloadBytes <= run->segmentBytes &&
         run->shape.headerBytes + run->payloadBytes + payloadBytes <= MAX_IP_BYTES;
}

// All of the IP header but its length and checksum.
static bool same_ip(const Run *run, const uint8_t *header) {
  const uint8_t *first = run->packet;
  if (run->shape.version == 6) return memcmp(first, header, 4) == 0 && memcmp(first + 6, header + 6, IPV6_HEADER_BYTES - 6) == 0;
  return memcmp(first, header, 2) == 0 && memcmp(first + 4, header + 4, 6) == 0 && memcmp(first + 12, header + 12, run->shape.transport - 12u) == 0;
}

// Ports, acknowledgment number, data offset, window, urgent pointer and options are equal; the sequence number follows.
static bool tcp_follows(const Run *run, const uint8_t *tcp) {
  const uint8_t *first = run->packet + run->shape.transport;
  size_t headerBytes = (size_t)(run->shape.headerBytes - run->shape.transport);
  uint8_t ignored = TCP_FIN | TCP_PSH | TCP_CWR;
  return memcmp(first, tcp, 4) == 0 && load32(tcp + TCP_SEQUENCE) == load32(first + TCP_SEQUENCE) + (uint32_t)run->payloadBytes &&
         memcmp(first + 8, tcp + 8, 5) == 0 && ((first[TCP_FLAGS] ^ tcp[TCP_FLAGS]) & ~ignored) == 0 && (tcp[TCP_FLAGS] & TCP_CWR) == 0 &&
         memcmp(first + TCP_WINDOW, tcp + TCP_WINDOW, 2) == 0 && memcmp(first + 18, tcp + 18, headerBytes - 18) == 0;
}

bool run_continues(const Run *run, const uint8_t *header, size_t packetBytes) {
  // same_ip needs a run that was not touched: IP length and checksum of the first packet are written by run_end only.
  return same_ip(run, header) && whole_packet(header, &run->shape, packetBytes) && tcp_follows(run, header + run->shape.transport);
}

void run_append(Run *run, const uint8_t *header, size_t payloadBytes) {
  uint8_t ending = header[run->shape.transport + TCP_FLAGS] & (TCP_FIN | TCP_PSH);
  run->packet[run->shape.transport + TCP_FLAGS] |= ending;
  run->payloadBytes += payloadBytes;
  run->segments++;
  if (ending != 0 || payloadBytes < run->segmentBytes) run->open = false;
}

void run_end(Run *run) {
  if (run->segments > 1) packet_finish_ip(run->packet, &run->shape, run->shape.headerBytes + run->payloadBytes);
  run->segments = 0;
  run->open = false;
}
