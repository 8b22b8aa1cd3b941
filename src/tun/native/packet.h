// IP and transport headers, as far as cutting, joining and checksums need them.
#ifndef MPTUNNEL_PACKET_H
#define MPTUNNEL_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define IPV4_HEADER_BYTES 20
#define IPV6_HEADER_BYTES 40
// IPv4 with all its options and TCP with all of its.
#define MAX_HEADER_BYTES 120

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10
#define TCP_URG 0x20
#define TCP_CWR 0x80

// Offsets within a transport header.
#define TCP_SEQUENCE 4
#define TCP_DATA_OFFSET 12
#define TCP_FLAGS 13
#define TCP_WINDOW 14
#define TCP_CHECKSUM 16
#define TCP_HEADER_BYTES 20
#define UDP_LENGTH 4
#define UDP_CHECKSUM 6
#define UDP_HEADER_BYTES 8

// gso_type of struct virtio_net_hdr.
enum { GSO_NONE = 0, GSO_TCPV4 = 1, GSO_TCPV6 = 4, GSO_UDP_L4 = 5, GSO_ECN = 0x80 };
// Our own, between tun.c and seal.c: every segment of a UDP super-packet has the first one's IPv4 identification.
#define GSO_FIXED_ID 0x40

typedef struct {
  uint8_t version;
  uint8_t protocol;
  // Where the transport header starts, and where its payload does.
  uint16_t transport;
  uint16_t headerBytes;
} PacketShape;

static inline uint16_t load16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }
static inline uint32_t load32(const uint8_t *at) { return (uint32_t)load16(at) << 16 | load16(at + 2); }
static inline void store16(uint8_t *at, size_t value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}
static inline void store32(uint8_t *at, uint32_t value) {
  store16(at, value >> 16);
  store16(at + 2, value & 0xffff);
}

// Of a packet that may be anything, the protocol to ask packet_shape for: PROTOCOL_UDP when its IP header says so, else PROTOCOL_TCP.
uint8_t packet_protocol(const uint8_t *packet, size_t available);
// Reads the headers of a packet of `protocol`. `transportHint` (0: none) tells where the transport header starts, behind IPv6 extension headers.
// NULL, or what is wrong.
const char *packet_shape(const uint8_t *packet, size_t available, size_t transportHint, uint8_t protocol, PacketShape *out);
// Sum of the pseudo header (RFC 9293 3.1, RFC 8200 8.1), in the machine's order as checksum.h keeps it.
uint64_t packet_pseudo_sum(const uint8_t *packet, const PacketShape *shape, size_t transportBytes);
// Writes the IP length, and for IPv4 the header checksum.
void packet_finish_ip(uint8_t *packet, const PacketShape *shape, size_t packetBytes);

#endif
