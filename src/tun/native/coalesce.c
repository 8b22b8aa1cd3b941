#include "coalesce.h"

#include "checksum.h"

#define MAX_IP_BYTES 65535
// Flags that a joined segment may carry; the others speak of the connection's state and stay alone.
#define JOINABLE_FLAGS (TCP_ACK | TCP_PSH | TCP_FIN | TCP_CWR | 0x40)
#define IPV4_DONT_FRAGMENT 0x40

static bool whole_packet(const uint8_t *packet, const PacketShape *shape, size_t packetBytes) {
  if (shape->version == 6) return (size_t)load16(packet + 4) + IPV6_HEADER_BYTES == packetBytes;
  // No fragment: neither MF nor an offset.
  return load16(packet + 2) == packetBytes && (load16(packet + 6) & 0x3fff) == 0;
}

static bool joinable_flags(uint8_t flags) { return (flags & TCP_ACK) != 0 && (flags & ~JOINABLE_FLAGS) == 0; }

// A datagram that carries its checksum, and that no router may cut: what is joined cannot be fragmented any more.
static bool joinable_udp(const uint8_t *packet, const PacketShape *shape, size_t packetBytes) {
  const uint8_t *udp = packet + shape->transport;
  if (shape->version == 4 && (packet[6] & IPV4_DONT_FRAGMENT) == 0) return false;
  return load16(udp + UDP_LENGTH) == packetBytes - shape->transport && load16(udp + UDP_CHECKSUM) != 0;
}

void run_begin(Run *run, uint8_t *packet, size_t packetBytes, RunKind kind) {
  uint8_t protocol = kind == RUN_OWN ? PROTOCOL_TCP : packet_protocol(packet, packetBytes);
  run->open = false;
  run->segments = 0;
  if (packet_shape(packet, packetBytes, 0, protocol, &run->shape) != NULL || !whole_packet(packet, &run->shape, packetBytes)) return;
  bool tcp = protocol == PROTOCOL_TCP;
  uint8_t flags = tcp ? packet[run->shape.transport + TCP_FLAGS] : 0;
  size_t payloadBytes = packetBytes - run->shape.headerBytes;
  if (payloadBytes == 0 || !(tcp ? joinable_flags(flags) : joinable_udp(packet, &run->shape, packetBytes))) return;
  run->packet = packet;
  run->payloadBytes = payloadBytes;
  run->segmentBytes = payloadBytes;
  run->segments = 1;
  run->kind = kind;
  run->verified = false;
  run->open = (flags & (TCP_FIN | TCP_PSH)) == 0;
}

bool run_has_room(const Run *run, size_t payloadBytes) {
  return payloadBytes > 0 && payloadBytes <= run->segmentBytes &&
         run->shape.headerBytes + run->payloadBytes + payloadBytes <= MAX_IP_BYTES;
}

// What the next identification adds to the one before: 0, 1, or something that no run has.
static uint16_t id_step(const Run *run, const uint8_t *header) {
  uint16_t step = (uint16_t)(load16(header + 4) - load16(run->packet + 4));
  if (run->segments == 1) return step;
  return step == (uint16_t)(run->segments * run->idStep) ? run->idStep : UINT16_MAX;
}

// RFC 6864: the identification of what is never fragmented means nothing, so it may stand still there.
static bool id_follows(const Run *run, const uint8_t *header) {
  uint16_t step = id_step(run, header);
  if (run->kind == RUN_OWN) return step == 0;
  return step == 1 || (step == 0 && (header[6] & IPV4_DONT_FRAGMENT) != 0);
}

// All of the IP header but its length and checksum.
static bool same_ip(const Run *run, const uint8_t *header) {
  const uint8_t *first = run->packet;
  if (run->shape.version == 6) return memcmp(first, header, 4) == 0 && memcmp(first + 6, header + 6, IPV6_HEADER_BYTES - 6) == 0;
  return memcmp(first, header, 2) == 0 && id_follows(run, header) && memcmp(first + 6, header + 6, 4) == 0 &&
         memcmp(first + 12, header + 12, run->shape.transport - 12u) == 0;
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
  if (!same_ip(run, header) || !whole_packet(header, &run->shape, packetBytes)) return false;
  const uint8_t *transport = header + run->shape.transport;
  if (run->shape.protocol == PROTOCOL_TCP) return tcp_follows(run, transport);
  return memcmp(run->packet + run->shape.transport, transport, 4) == 0 && joinable_udp(header, &run->shape, packetBytes);
}

static bool checksum_right(const PacketShape *shape, const uint8_t *header, const uint8_t *payload, size_t payloadBytes) {
  size_t transportBytes = (size_t)(shape->headerBytes - shape->transport);
  uint64_t sum = packet_pseudo_sum(header, shape, transportBytes + payloadBytes);
  sum = checksum_add(sum, header + shape->transport, transportBytes);
  return checksum_fold(checksum_add(sum, payload, payloadBytes)) == 0xffff;
}

bool run_checksums_right(Run *run, const uint8_t *header, const uint8_t *payload, size_t payloadBytes) {
  if (run->kind == RUN_OWN) return true;
  if (!run->verified) run->verified = checksum_right(&run->shape, run->packet, run->packet + run->shape.headerBytes, run->segmentBytes);
  return run->verified && checksum_right(&run->shape, header, payload, payloadBytes);
}

static void append(Run *run, uint8_t ending, size_t payloadBytes) {
  run->payloadBytes += payloadBytes;
  run->segments++;
  if (ending != 0 || payloadBytes < run->segmentBytes) run->open = false;
}

static uint8_t end_flags(Run *run, uint8_t flags) {
  run->packet[run->shape.transport + TCP_FLAGS] |= flags & (TCP_FIN | TCP_PSH);
  return flags & (TCP_FIN | TCP_PSH);
}

void run_append(Run *run, const uint8_t *header, size_t payloadBytes) {
  if (run->shape.version == 4 && run->segments == 1) run->idStep = (uint8_t)id_step(run, header);
  append(run, run->shape.protocol == PROTOCOL_TCP ? end_flags(run, header[run->shape.transport + TCP_FLAGS]) : 0, payloadBytes);
}

void run_append_own(Run *run, uint8_t flags, size_t payloadBytes) { append(run, end_flags(run, flags), payloadBytes); }

void run_end(Run *run) {
  if (run->segments > 1) {
    size_t packetBytes = run->shape.headerBytes + run->payloadBytes;
    packet_finish_ip(run->packet, &run->shape, packetBytes);
    if (run->shape.protocol == PROTOCOL_UDP) store16(run->packet + run->shape.transport + UDP_LENGTH, packetBytes - run->shape.transport);
  }
  run->segments = 0;
  run->open = false;
}
