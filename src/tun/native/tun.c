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
#include "coalesce.h"
#include "packet.h"

// Linux 6.2.
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

#define MIN_SLOT_BYTES 1600
#define MIN_SLOT_BYTES_OFFLOADS 65600
#define MAX_IP_BYTES 65535
// What a further packet may need in the arena of a batch: the largest one, and the gap before it.
#define BATCH_ROOM_BYTES (MAX_IP_BYTES + IPV6_HEADER_BYTES + 16)

// Fields of a descriptor.
enum { TUN_OFFSET, TUN_LENGTH, TUN_FLAGS, TUN_GSO_TYPE, TUN_GSO_SIZE, TUN_CSUM_START, TUN_CSUM_OFFSET, TUN_HEADER_LENGTH, TUN_DESCRIPTOR_INTS };
enum { NEEDS_CSUM = 1 };

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

enum { TUN_KIND = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR };

// A descriptor from elsewhere: it must be a TUN of that name, as we would have opened it.
static const char *adopt(Tun *tun) {
  struct ifreq request = {0};
  if (channel_adopt(&tun->channel) < 0) return "fcntl";
  if (ioctl(tun->channel.fd, TUNGETIFF, &request) < 0) return "TUNGETIFF";
  if (strncmp(request.ifr_name, tun->name, IFNAMSIZ) == 0 && (request.ifr_flags & (TUN_KIND | IFF_TAP)) == TUN_KIND) return NULL;
  errno = EINVAL;
  return "TUNGETIFF";
}

static const char *create(Tun *tun) {
  struct ifreq request = {.ifr_flags = TUN_KIND};
  memcpy(request.ifr_name, tun->name, IFNAMSIZ);
  tun->channel.fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tun->channel.fd < 0) return "open";
  if (ioctl(tun->channel.fd, TUNSETIFF, &request) < 0) return "TUNSETIFF";
  memcpy(tun->name, request.ifr_name, IFNAMSIZ);
  return NULL;
}

static const char *configure(Tun *tun) {
  const char *failed = tun->channel.fd >= 0 ? adopt(tun) : create(tun);
  if (failed != NULL) return failed;
  int headerBytes = sizeof(VnetHeader);
  if (ioctl(tun->channel.fd, TUNSETVNETHDRSZ, &headerBytes) < 0) return "TUNSETVNETHDRSZ";
  unsigned long offloads = tun->offloads ? TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 : 0;
  if (tun->offloads && ioctl(tun->channel.fd, TUNSETOFFLOAD, offloads | TUN_F_USO4 | TUN_F_USO6) == 0) return NULL;
  tun->noUdpSegments = tun->offloads;
  return ioctl(tun->channel.fd, TUNSETOFFLOAD, offloads) < 0 ? "TUNSETOFFLOAD" : NULL;
}

napi_value tun_open(napi_env env, napi_callback_info info) {
  napi_value argv[1], value;
  size_t argc = 1;
  char name[IFNAMSIZ] = {0};
  bool offloads;
  int64_t descriptor = -1;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  if (!arg_property(env, argv[0], "name", &value) || !arg_text(env, value, "name", name, sizeof name)) return NULL;
  if (!arg_property(env, argv[0], "offloads", &value) || !arg_bool(env, value, "offloads", &offloads)) return NULL;
  if (!arg_property(env, argv[0], "descriptor", &value)) return NULL;
  if (value != NULL && !arg_int(env, value, "descriptor", 0, INT32_MAX, &descriptor)) return NULL;
  Tun *tun = channel_new(sizeof *tun);
  tun->channel.fd = (int)descriptor;
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

// readv or writev, anew when a signal came first. Bytes, or -errno.
static ssize_t transfer(const Tun *tun, ssize_t (*call)(int, const struct iovec *, int), const struct iovec *parts, int count) {
  ssize_t n;
  do n = call(tun->channel.fd, parts, count);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

// 0, or -errno.
static int write_parts(const Tun *tun, const struct iovec *parts, int count) {
  ssize_t n = transfer(tun, writev, parts, count);
  return n < 0 ? (int)n : 0;
}

// Length of the packet read into `slot`, 0 when it was longer than the slot (then it is lost), or -errno.
static ssize_t read_one(const Tun *tun, VnetHeader *vnet, uint8_t *slot, size_t slotBytes) {
  uint8_t overflow;
  struct iovec parts[3] = {{vnet, sizeof *vnet}, {slot, slotBytes}, {&overflow, 1}};
  ssize_t n = transfer(tun, readv, parts, 3);
  if (n < 0) return n;
  n -= (ssize_t)sizeof *vnet;
  return n <= 0 || (size_t)n > slotBytes ? 0 : n;
}

static void describe(int32_t *descriptor, size_t offset, size_t length, const VnetHeader *vnet, const uint8_t *packet) {
  bool needsChecksum = vnet->flags & NEEDS_CSUM;
  descriptor[TUN_OFFSET] = (int32_t)offset;
  descriptor[TUN_LENGTH] = (int32_t)length;
  descriptor[TUN_FLAGS] = vnet->flags;
  descriptor[TUN_GSO_TYPE] = vnet->gsoType;
  descriptor[TUN_GSO_SIZE] = vnet->gsoType == GSO_NONE ? 0 : vnet->gsoSize;
  descriptor[TUN_CSUM_START] = needsChecksum ? vnet->csumStart : 0;
  descriptor[TUN_CSUM_OFFSET] = needsChecksum ? vnet->csumOffset : 0;
  descriptor[TUN_HEADER_LENGTH] = header_length(vnet, packet, length);
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

// A batch as it is being read: the packets lie one after the other in the arena, and the last one may be a run of datagrams.
typedef struct {
  Bytes arena;
  size_t used;
  int32_t *descriptors;
  size_t max, count;
  Run run;
} ReadBatch;

static size_t batch_next(const ReadBatch *batch) { return (batch->used + 15) & ~(size_t)15; }

static void batch_add(ReadBatch *batch, size_t offset, size_t length, const VnetHeader *vnet) {
  run_end(&batch->run);
  describe(batch->descriptors + batch->count++ * TUN_DESCRIPTOR_INTS, offset, length, vnet, batch->arena.data + offset);
  batch->used = offset + length;
  if (vnet->gsoType != GSO_NONE) return;
  run_begin(&batch->run, batch->arena.data + offset, length, RUN_FOREIGN);
  // Single segments of TCP are acknowledgements, and what is sent while there is nothing to batch.
  if (batch->run.shape.protocol != PROTOCOL_UDP) batch->run.open = false;
}

static bool batch_may_join(ReadBatch *batch, const VnetHeader *vnet, const uint8_t *header, size_t length) {
  Run *run = &batch->run;
  const int32_t *last = batch->descriptors + (batch->count - 1) * TUN_DESCRIPTOR_INTS;
  size_t headerBytes = run->shape.headerBytes;
  if (vnet->gsoType != GSO_NONE || vnet->flags != last[TUN_FLAGS] || length <= headerBytes || !run_has_room(run, length - headerBytes)) return false;
  if (!run_continues(run, header, length)) return false;
  // A checksum that is left to us cannot be wrong.
  return vnet->flags & NEEDS_CSUM || run_checksums_right(run, header, batch->arena.data + batch->used, length - headerBytes);
}

static void batch_join(ReadBatch *batch, const uint8_t *header, size_t payloadBytes) {
  Run *run = &batch->run;
  int32_t *last = batch->descriptors + (batch->count - 1) * TUN_DESCRIPTOR_INTS;
  run_append(run, header, payloadBytes);
  last[TUN_LENGTH] += (int32_t)payloadBytes;
  last[TUN_GSO_TYPE] = GSO_UDP_L4 | (run->shape.version == 4 && run->idStep == 0 ? GSO_FIXED_ID : 0);
  last[TUN_GSO_SIZE] = (int32_t)run->segmentBytes;
  last[TUN_CSUM_START] = run->shape.transport;
  last[TUN_CSUM_OFFSET] = UDP_CHECKSUM;
  last[TUN_HEADER_LENGTH] = run->shape.headerBytes;
  batch->used += payloadBytes;
}

// As read_one, but the packet is expected to continue the run: its header is kept apart, and its payload falls into its place behind the last one.
static ssize_t read_into_run(const Tun *tun, ReadBatch *batch) {
  VnetHeader vnet;
  uint8_t header[MAX_HEADER_BYTES];
  size_t headerBytes = batch->run.shape.headerBytes;
  struct iovec parts[3] = {
      {&vnet, sizeof vnet}, {header, headerBytes}, {batch->arena.data + batch->used, batch->arena.length - batch->used}};
  ssize_t n = transfer(tun, readv, parts, 3);
  if (n < 0) return n;
  n -= (ssize_t)sizeof vnet;
  if (n <= 0) return 0;
  size_t length = (size_t)n;
  if (batch_may_join(batch, &vnet, header, length)) {
    batch_join(batch, header, length - headerBytes);
    return n;
  }
  size_t offset = batch_next(batch), first = length < headerBytes ? length : headerBytes;
  memmove(batch->arena.data + offset + first, batch->arena.data + batch->used, length - first);
  memcpy(batch->arena.data + offset, header, first);
  batch_add(batch, offset, length, &vnet);
  return n;
}

static ssize_t read_next(const Tun *tun, ReadBatch *batch) {
  if (batch->run.open) return read_into_run(tun, batch);
  VnetHeader vnet;
  size_t offset = batch_next(batch);
  ssize_t n = read_one(tun, &vnet, batch->arena.data + offset, batch->arena.length - offset);
  if (n > 0) batch_add(batch, offset, (size_t)n, &vnet);
  return n;
}

napi_value tun_read_batch(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  size_t argc = 3;
  Ints descriptors;
  ReadBatch batch = {0};
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Tun *tun = handle_get(env, argv[0], KIND_TUN);
  if (tun == NULL || !arg_bytes(env, argv[1], "arena", &batch.arena) || !arg_ints(env, argv[2], "descriptors", &descriptors)) return NULL;
  if (batch.arena.length < BATCH_ROOM_BYTES || batch.arena.length > INT32_MAX || descriptors.length < TUN_DESCRIPTOR_INTS) {
    throw_range(env, "arena must have at least %d bytes and less than 2 GB, descriptors room for one", BATCH_ROOM_BYTES);
    return NULL;
  }
  batch.descriptors = descriptors.data;
  batch.max = descriptors.length / TUN_DESCRIPTOR_INTS;
  ssize_t n = 0;
  // The last descriptor may still grow, but nothing may need another one.
  while (n >= 0 && batch.count < batch.max && batch.arena.length - batch.used >= BATCH_ROOM_BYTES) n = read_next(tun, &batch);
  run_end(&batch.run);
  return js_number(env, batch.count == 0 && n < 0 && n != -EAGAIN ? (double)n : (double)batch.count);
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
  return js_number(env, write_parts(tun, parts, 2));
}

// The kernel finishes the checksum: it wants the folded, uncomplemented pseudo-header sum in its place.
static VnetHeader segments_header(uint8_t *header, const PacketShape *shape, size_t payloadBytes, size_t segmentBytes) {
  uint8_t *transport = header + shape->transport;
  bool tcp = shape->protocol == PROTOCOL_TCP;
  size_t transportBytes = shape->headerBytes - shape->transport + payloadBytes;
  VnetHeader vnet = {NEEDS_CSUM, GSO_NONE, shape->headerBytes, 0, shape->transport, tcp ? TCP_CHECKSUM : UDP_CHECKSUM};
  if (payloadBytes > segmentBytes) {
    vnet.gsoType = GSO_UDP_L4;
    if (tcp) vnet.gsoType = (shape->version == 4 ? GSO_TCPV4 : GSO_TCPV6) | (transport[TCP_FLAGS] & TCP_CWR ? GSO_ECN : 0);
    vnet.gsoSize = (uint16_t)segmentBytes;
  }
  packet_finish_ip(header, shape, shape->headerBytes + payloadBytes);
  if (!tcp) store16(transport + UDP_LENGTH, transportBytes);
  uint16_t sum = checksum_fold(packet_pseudo_sum(header, shape, transportBytes));
  memcpy(transport + vnet.csumOffset, &sum, 2);
  return vnet;
}

static int write_segments(const Tun *tun, uint8_t *header, const PacketShape *shape, const uint8_t *payload, size_t payloadBytes, size_t segmentBytes) {
  VnetHeader vnet = segments_header(header, shape, payloadBytes, segmentBytes);
  struct iovec parts[3] = {{&vnet, sizeof vnet}, {header, shape->headerBytes}, {(void *)payload, payloadBytes}};
  return write_parts(tun, parts, payloadBytes > 0 ? 3 : 2);
}

// Where the kernel takes no UDP super-packets. 0, or the first error.
static int write_datagrams(const Tun *tun, uint8_t *header, const PacketShape *shape, const uint8_t *payload, size_t payloadBytes, size_t segmentBytes) {
  int result = 0;
  uint16_t id = load16(header + 4);
  for (size_t at = 0; at < payloadBytes; at += segmentBytes, id++) {
    size_t bytes = payloadBytes - at < segmentBytes ? payloadBytes - at : segmentBytes;
    if (shape->version == 4) store16(header + 4, id);
    int error = write_segments(tun, header, shape, payload + at, bytes, segmentBytes);
    if (error != 0 && result == 0) result = error;
  }
  return result;
}

napi_value tun_write_joined(napi_env env, napi_callback_info info) {
  napi_value argv[5];
  size_t argc = 5;
  Bytes buffer, packet;
  int64_t segmentBytes;
  PacketShape shape;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Tun *tun = handle_get(env, argv[0], KIND_TUN);
  if (tun == NULL || !arg_bytes(env, argv[1], "packet", &buffer)) return NULL;
  if (!arg_piece(env, &buffer, argv[2], argv[3], "packet", MAX_IP_BYTES + IPV6_HEADER_BYTES, &packet)) return NULL;
  if (!arg_int(env, argv[4], "segmentBytes", 1, UINT16_MAX, &segmentBytes)) return NULL;
  uint8_t protocol = packet_protocol(packet.data, packet.length);
  bool udp = protocol == PROTOCOL_UDP;
  const char *fault = packet_shape(packet.data, packet.length, 0, protocol, &shape);
  if (fault != NULL) {
    throw_range(env, "packet: %s", fault);
    return NULL;
  }
  uint8_t *payload = packet.data + shape.headerBytes;
  size_t payloadBytes = packet.length - shape.headerBytes;
  int result = udp && tun->noUdpSegments ? -EINVAL : write_segments(tun, packet.data, &shape, payload, payloadBytes, (size_t)segmentBytes);
  if (udp && result == -EINVAL) {
    tun->noUdpSegments = true;
    result = write_datagrams(tun, packet.data, &shape, payload, payloadBytes, (size_t)segmentBytes);
  }
  return js_number(env, result);
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
  return js_number(env, write_segments(tun, header, &shape, payload.data, payload.length, (size_t)segmentBytes));
}
