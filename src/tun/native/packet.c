#include "packet.h"

#include <arpa/inet.h>

#include "checksum.h"

static const char *shape_ip(const uint8_t *packet, size_t available, size_t hint, uint8_t protocol, PacketShape *out) {
  if (available < IPV4_HEADER_BYTES) return "too short";
  out->version = packet[0] >> 4;
  out->protocol = protocol;
  if (out->version == 4) {
    size_t headerBytes = (size_t)(packet[0] & 0x0f) * 4;
    if (headerBytes < IPV4_HEADER_BYTES) return "bad IPv4 header length";
    if (packet[9] != protocol) return "another protocol";
    if (hint != 0 && hint != headerBytes) return "transport header is elsewhere";
    out->transport = (uint16_t)headerBytes;
    return NULL;
  }
  if (out->version != 6) return "neither IPv4 nor IPv6";
  if (available < IPV6_HEADER_BYTES) return "too short";
  if (hint == 0 || hint == IPV6_HEADER_BYTES) {
    if (packet[6] != protocol) return "another protocol";
    hint = IPV6_HEADER_BYTES;
  }
  if (hint < IPV6_HEADER_BYTES || hint > available) return "transport header is elsewhere";
  out->transport = (uint16_t)hint;
  return NULL;
}

uint8_t packet_protocol(const uint8_t *packet, size_t available) {
  if (available < IPV4_HEADER_BYTES) return PROTOCOL_TCP;
  return (packet[0] >> 4 == 4 ? packet[9] : packet[6]) == PROTOCOL_UDP ? PROTOCOL_UDP : PROTOCOL_TCP;
}

const char *packet_shape(const uint8_t *packet, size_t available, size_t transportHint, uint8_t protocol, PacketShape *out) {
  if (transportHint > 0xff00) return "transport header is elsewhere";
  const char *fault = shape_ip(packet, available, transportHint, protocol, out);
  if (fault != NULL) return fault;
  size_t least = protocol == PROTOCOL_TCP ? TCP_HEADER_BYTES : UDP_HEADER_BYTES;
  if (out->transport + least > available) return "too short";
  size_t bytes = UDP_HEADER_BYTES;
  if (protocol == PROTOCOL_TCP) {
    bytes = (size_t)(packet[out->transport + TCP_DATA_OFFSET] >> 4) * 4;
    if (bytes < TCP_HEADER_BYTES) return "bad TCP data offset";
  }
  if (out->transport + bytes > available) return "too short";
  out->headerBytes = (uint16_t)(out->transport + bytes);
  return NULL;
}

uint64_t packet_pseudo_sum(const uint8_t *packet, const PacketShape *shape, size_t transportBytes) {
  uint64_t sum = (uint64_t)htonl((uint32_t)transportBytes) + htonl(shape->protocol);
  return shape->version == 4 ? checksum_add(sum, packet + 12, 8) : checksum_add(sum, packet + 8, 32);
}

void packet_finish_ip(uint8_t *packet, const PacketShape *shape, size_t packetBytes) {
  if (shape->version == 6) {
    store16(packet + 4, packetBytes - IPV6_HEADER_BYTES);
    return;
  }
  size_t headerBytes = (size_t)(packet[0] & 0x0f) * 4;
  store16(packet + 2, packetBytes);
  store16(packet + 10, 0);
  uint16_t sum = (uint16_t)~checksum_fold(checksum_add(0, packet, headerBytes));
  memcpy(packet + 10, &sum, 2);
}
