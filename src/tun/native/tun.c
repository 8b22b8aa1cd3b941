// The TUN device: packets with a virtio_net_hdr in front, which carries segmentation and checksum work over.
#include "tun.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

// After <net/if.h>, which defines what this would define again.
#include <linux/if_tun.h>

#include "checksum.h"
#include "packet.h"

#define TUN_DESCRIPTOR_INTS 8
#define MIN_SLOT_BYTES 1600
#define MIN_SLOT_BYTES_OFFLOADS 65600
#define MAX_IP_BYTES 65535

enum { GSO_NONE = 0, GSO_TCPV4 = 1, GSO_TCPV6 = 4, GSO_UDP_L4 = 5, GSO_ECN = 0x80, NEEDS_CSUM = 1 };

// struct virtio_net_hdr of the kernel, in the machine's byte order.
typedef struct {
  uint8_t flags;
  uint8_t gsoType;
  uint16_t headerLength;
  uint16_t gsoSize;
  uint16_t csumStart;
  uint16_t csumOffset;
} VnetHeader;

static void dispose(Handle *handle) { channel_dispose((Channel *)handle); }

static const char *configure(Tun *tun) {
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
  memcpy(request.ifr_name, tun->name, IFNAMSIZ);
  tun->channel.fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tun->channel.fd < 0) return "open";
  if (ioctl(tun->channel.fd, TUNSETIFF, &request) < 0) return "TUNSETIFF";
  memcpy(tun->name, request.ifr_name, IFNAMSIZ);
  int headerBytes = sizeof(VnetHeader);
  if (ioctl(tun->channel.fd, TUNSETVNETHDRSZ, &headerBytes) < 0) return "TUNSETVNETHDRSZ";
  unsigned long offloads = tun->offloads ? TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 : 0;
  if (ioctl(tun->channel.fd, TUNSETOFFLOAD, offloads) < 0) return "TUNSETOFFLOAD";
  return NULL;
}

napi_value tun_open(napi_env env, napi_callback_info info) {
  napi_value argv[1], value;
  size_t argc = 1;
  char name[IFNAMSIZ] = {0};
  bool offloads;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  if (!arg_property(env, argv[0], "name", &value) || !arg_text(env, value, "name", name, sizeof name)) return NULL;
  if (!arg_property(env, argv[0], "offloads", &value) || !arg_bool(env, value, "offloads", &offloads)) return NULL;
  Tun *tun = channel_new(sizeof *tun);
  tun->offloads = offloads;
  memcpy(tun->name, name, sizeof name);
  return channel_open(env, &tun->channel, KIND_TUN, dispose, configure(tun), name);
}

napi_value tun_name(napi_env env, napi_callback_info info) {
  Tun *tun = handle_only(env, info, KIND_TUN);
  napi_value result = NULL;
  if (tun != NULL) napi_create_string_utf8(env, tun->name, strnlen(tun->name, IFNAMSIZ), &result);
  return result;
}

napi_value tun_fd(napi_env env, napi_callback_info info) { return channel_fd(env, info, KIND_TUN); }

napi_value tun_close(napi_env env, napi_callback_info info) { return handle_close_only(env, info, KIND_TUN); }

// Headers of a super-packet, 0 for another one: the kernel's hdr_len says how much of it is linear, not how long the headers are.
static int32_t header_length(const VnetHeader *vnet, const uint8_t *packet, size_t length) {
  PacketShape shape;
  uint8_t protocol = vnet->gsoType == GSO_UDP_L4 ? PROTOCOL_UDP : PROTOCOL_TCP;
  if (vnet->gsoType == GSO_NONE || packet_shape(packet, length, vnet->csumStart, protocol, &shape) != NULL) return 0;
  return shape.headerBytes;
}

// Length of the packet read into `slot`, 0 when it was longer than the slot (then it is lost), or -errno.
static ssize_t read_one(const Tun *tun, VnetHeader *vnet, uint8_t *slot, size_t slotBytes) {
  uint8_t overflow;
  struct iovec parts[3] = {{vnet, sizeof *vnet}, {slot, slotBytes}, {&overflow, 1}};
  ssize_t n;
  do n = readv(tun->channel.fd, parts, 3);
  while (n < 0 && errno == EINTR);
  if (n < 0) return -errno;
  n -= (ssize_t)sizeof *vnet;
  return n <= 0 || (size_t)n > slotBytes ? 0 : n;
}

static void describe(int32_t *descriptor, size_t offset, size_t length, const VnetHeader *vnet, const uint8_t *packet) {
  bool needsChecksum = vnet->flags & NEEDS_CSUM;
  descriptor[0] = (int32_t)offset;
  descriptor[1] = (int32_t)length;
  descriptor[2] = vnet->flags;
  descriptor[3] = vnet->gsoType;
  descriptor[4] = vnet->gsoType == GSO_NONE ? 0 : vnet->gsoSize;
  descriptor[5] = needsChecksum ? vnet->csumStart : 0;
  descriptor[6] = needsChecksum ? vnet->csumOffset : 0;
  descriptor[7] = header_length(vnet, packet, length);
}

napi_value tun_read(napi_env env, napi_callback_info info) {
  napi_value argv[5];
  size_t argc = 5;
  Bytes arena;
  Ints descriptors;
  int64_t slotBytes, maxPackets;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Tun *tun = handle_get(env, argv[0], KIND_TUN);
  if (tun == NULL || !arg_bytes(env, argv[1], "arena", &arena) || !arg_ints(env, argv[4], "descriptors", &descriptors)) return NULL;
  int64_t least = tun->offloads ? MIN_SLOT_BYTES_OFFLOADS : MIN_SLOT_BYTES;
  if (!arg_int(env, argv[2], "slotBytes", least, INT32_MAX, &slotBytes)) return NULL;
  if (!arg_int(env, argv[3], "maxPackets", 0, INT32_MAX, &maxPackets)) return NULL;
  if (maxPackets > 0 && (int64_t)arena.length / slotBytes < maxPackets) throw_range(env, "arena is smaller than maxPackets slots");
  else if ((int64_t)descriptors.length / TUN_DESCRIPTOR_INTS < maxPackets) throw_range(env, "descriptors is smaller than maxPackets");
  else {
    int64_t count = 0;
    while (count < maxPackets) {
      VnetHeader vnet;
      size_t offset = (size_t)(count * slotBytes);
      ssize_t n = read_one(tun, &vnet, arena.data + offset, (size_t)slotBytes);
      if (n == 0) continue;
      if (n < 0) return js_number(env, count == 0 && n != -EAGAIN ? (double)n : (double)count);
      describe(descriptors.data + count * TUN_DESCRIPTOR_INTS, offset, (size_t)n, &vnet, arena.data + offset);
      count++;
    }
    return js_number(env, (double)count);
  }
  return NULL;
}

static napi_value write_parts(napi_env env, const Tun *tun, const struct iovec *parts, int count) {
  ssize_t n;
  do n = writev(tun->channel.fd, parts, count);
  while (n < 0 && errno == EINTR);
  return js_number(env, n < 0 ? -errno : 0);
}

napi_value tun_write_packet(napi_env env, napi_callback_info info) {
  napi_value argv[8];
  size_t argc = 8;
  Bytes buffer, packet;
  int64_t gsoType, gsoSize, csumStart, csumOffset;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Tun *tun = handle_get(env, argv[0], KIND_TUN);
  if (tun == NULL || !arg_bytes(env, argv[1], "packet", &buffer)) return NULL;
  if (!arg_piece(env, &buffer, argv[2], argv[3], "packet", MAX_IP_BYTES + IPV6_HEADER_BYTES, &packet)) return NULL;
  if (!arg_int(env, argv[4], "gsoType", 0, 255, &gsoType) || !arg_int(env, argv[5], "gsoSize", 0, 65535, &gsoSize) ||
      !arg_int(env, argv[6], "csumStart", 0, 65535, &csumStart) || !arg_int(env, argv[7], "csumOffset", 0, 65535, &csumOffset)) {
    return NULL;
  }
  if (csumStart > 0 && (size_t)(csumStart + csumOffset + 2) > packet.length) {
    throw_range(env, "csumStart and csumOffset are outside of the packet");
    return NULL;
  }
  VnetHeader vnet = {csumStart > 0 ? NEEDS_CSUM : 0, (uint8_t)gsoType, 0, (uint16_t)gsoSize, (uint16_t)csumStart, (uint16_t)csumOffset};
  vnet.headerLength = (uint16_t)header_length(&vnet, packet.data, packet.length);
  struct iovec parts[2] = {{&vnet, sizeof vnet}, {packet.data, packet.length}};
  return write_parts(env, tun, parts, 2);
}

// The kernel finishes the TCP checksum: it wants the folded, uncomplemented pseudo-header sum in its place.
static VnetHeader segments_header(uint8_t *header, const PacketShape *shape, size_t payloadBytes, size_t segmentBytes) {
  uint8_t *tcp = header + shape->transport;
  bool cut = payloadBytes > segmentBytes;
  VnetHeader vnet = {NEEDS_CSUM, GSO_NONE, shape->headerBytes, 0, shape->transport, TCP_CHECKSUM};
  if (cut) {
    vnet.gsoType = (shape->version == 4 ? GSO_TCPV4 : GSO_TCPV6) | (tcp[TCP_FLAGS] & TCP_CWR ? GSO_ECN : 0);
    vnet.gsoSize = (uint16_t)segmentBytes;
  }
  packet_finish_ip(header, shape, shape->headerBytes + payloadBytes);
  uint16_t sum = checksum_fold(packet_pseudo_sum(header, shape, shape->headerBytes - shape->transport + payloadBytes));
  memcpy(tcp + TCP_CHECKSUM, &sum, 2);
  return vnet;
}

napi_value tun_write_segments(napi_env env, napi_callback_info info) {
  napi_value argv[7];
  size_t argc = 7;
  Bytes template, buffer, payload;
  int64_t headerBytes, segmentBytes;
  PacketShape shape;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Tun *tun = handle_get(env, argv[0], KIND_TUN);
  if (tun == NULL || !arg_bytes(env, argv[1], "header", &template) || !arg_bytes(env, argv[3], "payload", &buffer)) return NULL;
  if (!arg_int(env, argv[2], "headerBytes", 0, MAX_HEADER_BYTES, &headerBytes)) return NULL;
  if (!arg_piece(env, &buffer, argv[4], argv[5], "payload", MAX_IP_BYTES - (size_t)headerBytes, &payload)) return NULL;
  if (!arg_int(env, argv[6], "segmentBytes", payload.length > 0 ? 1 : 0, INT32_MAX, &segmentBytes)) return NULL;
  if ((size_t)headerBytes > template.length) {
    throw_range(env, "headerBytes is beyond the header's %zu bytes", template.length);
    return NULL;
  }
  const char *fault = packet_shape(template.data, (size_t)headerBytes, 0, PROTOCOL_TCP, &shape);
  if (fault != NULL || shape.headerBytes != headerBytes) {
    throw_range(env, "header: %s", fault != NULL ? fault : "headerBytes is not the length of its IP and TCP header");
    return NULL;
  }
  uint8_t header[MAX_HEADER_BYTES];
  memcpy(header, template.data, shape.headerBytes);
  VnetHeader vnet = segments_header(header, &shape, payload.length, (size_t)segmentBytes);
  struct iovec parts[3] = {{&vnet, sizeof vnet}, {header, shape.headerBytes}, {payload.data, payload.length}};
  return write_parts(env, tun, parts, payload.length > 0 ? 3 : 2);
}
