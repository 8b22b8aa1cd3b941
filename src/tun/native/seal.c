// Sealers, senders, and the cutting of super-packets: every segment is finished, sealed in place in the staging area, and waits for the flush.
#include "seal.h"

#include <stdlib.h>

#include "checksum.h"
#include "packet.h"
#include "sender.h"

#define MAX_PLAINTEXT (MAX_UDP_PAYLOAD - DATA_OVERHEAD_BYTES)

static void dispose_sealer(Handle *handle) {
  Sealer *sealer = (Sealer *)handle;
  aead_free(sealer->aead);
  sealer->aead = NULL;
}

static void dispose_sender(Handle *handle) {
  Sender *sender = (Sender *)handle;
  handle_release(&sender->udp->channel.handle);
  handle_release(&sender->sealer->handle);
  compressor_free(sender->compressor);
}

napi_value seal_create_sealer(napi_env env, napi_callback_info info) {
  napi_value argv[1], value;
  size_t argc = 1;
  int64_t receiverIndex;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  if (!arg_property(env, argv[0], "receiverIndex", &value) || !arg_int(env, value, "receiverIndex", 0, UINT32_MAX, &receiverIndex)) return NULL;
  AeadContext *aead = aead_from_options(env, argv[0], true);
  if (aead == NULL) return NULL;
  Sealer *sealer = calloc(1, sizeof *sealer);
  if (sealer == NULL) abort();
  sealer->aead = aead;
  sealer->receiverIndex = (uint32_t)receiverIndex;
  return handle_wrap(env, &sealer->handle, KIND_SEALER, dispose_sealer);
}

napi_value seal_destroy_sealer(napi_env env, napi_callback_info info) { return handle_close_only(env, info, KIND_SEALER); }

napi_value seal_create_sender(napi_env env, napi_callback_info info) {
  napi_value argv[4];
  size_t argc = 4;
  int64_t pathId;
  Target target;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Udp *udp = handle_get(env, argv[0], KIND_UDP);
  Sealer *sealer = udp == NULL ? NULL : handle_get(env, argv[1], KIND_SEALER);
  if (sealer == NULL || !arg_int(env, argv[2], "pathId", 0, MAX_PATHS - 1, &pathId) || !udp_target(env, udp, argv[3], &target)) return NULL;
  if (sealer->paths & 1u << pathId) {
    throw_range(env, "pathId %d has a sender of this sealer already", (int)pathId);
    return NULL;
  }
  Sender *sender = calloc(1, sizeof *sender);
  if (sender == NULL) abort();
  sender->udp = udp;
  sender->sealer = sealer;
  sender->target = target;
  sender->pathId = (uint8_t)pathId;
  sealer->paths |= 1u << pathId;
  handle_retain(&udp->channel.handle);
  handle_retain(&sealer->handle);
  return handle_wrap(env, &sender->handle, KIND_SENDER, dispose_sender);
}

Sender *sender_get(napi_env env, napi_value value) {
  Sender *sender = handle_get(env, value, KIND_SENDER);
  if (sender != NULL && sender->sealer->handle.closed) {
    throw_type(env, "the sender's sealer is destroyed");
    return NULL;
  }
  return sender;
}

static Sender *get_sending_sender(napi_env env, napi_value value) {
  Sender *sender = sender_get(env, value);
  if (sender != NULL && sender->udp->channel.handle.closed) {
    throw_type(env, "the sender's udp is closed");
    return NULL;
  }
  return sender;
}

napi_value seal_sender_set_target(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  size_t argc = 3;
  Target target;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Sender *sender = sender_get(env, argv[0]);
  Udp *udp = sender == NULL ? NULL : handle_get(env, argv[1], KIND_UDP);
  if (udp == NULL || !udp_target(env, udp, argv[2], &target)) return NULL;
  handle_retain(&udp->channel.handle);
  handle_release(&sender->udp->channel.handle);
  sender->udp = udp;
  sender->target = target;
  return NULL;
}

napi_value seal_sender_packet_number(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  size_t argc = 1;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Sender *sender = sender_get(env, argv[0]);
  return sender == NULL ? NULL : js_number(env, (double)sender->packetNumber);
}

static bool check_packet_numbers(napi_env env, const Sender *sender, size_t datagrams) {
  if (sender->packetNumber + datagrams <= PACKET_NUMBERS) return true;
  return throw_range(env, "the sender's packet numbers are used up: rekey");
}

static void write_data_header(const Sender *sender, uint8_t type, uint8_t *out) {
  out[0] = type;
  out[1] = sender->pathId;
  store32(out + 2, sender->sealer->receiverIndex);
  store16(out + 6, sender->packetNumber >> 32);
  store32(out + 8, (uint32_t)sender->packetNumber);
}

void sender_seal(Sender *sender, uint8_t *datagram, size_t headerBytes, size_t plainBytes) {
  uint8_t nonce[AEAD_NONCE_BYTES];
  // The number is spent whatever happens next.
  packet_nonce(sender->pathId, sender->packetNumber++, nonce);
  // OpenSSL fails here only when memory is corrupt; going on could send plaintext.
  if (!aead_seal(sender->sealer->aead, nonce, datagram, headerBytes, datagram + headerBytes, plainBytes)) abort();
  stage_commit(sender->udp, &sender->target, headerBytes + plainBytes + AEAD_TAG_BYTES);
}

// With its whole header.
static void seal_staged(Sender *sender, uint8_t type, uint8_t *datagram, size_t plainBytes) {
  write_data_header(sender, type, datagram);
  sender_seal(sender, datagram, DATA_HEADER_BYTES, plainBytes);
}

// What differs between the segments of one TCP super-segment: sequence number, FIN and PSH (the last), CWR (the first).
static void patch_tcp(const Cut *cut, uint8_t *tcp, size_t at, bool last) {
  store32(tcp + TCP_SEQUENCE, load32(cut->header + cut->shape.transport + TCP_SEQUENCE) + (uint32_t)at);
  if (at > 0) tcp[TCP_FLAGS] &= (uint8_t)~TCP_CWR;
  if (!last) tcp[TCP_FLAGS] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
  store16(tcp + TCP_CHECKSUM, 0);
}

static void patch_udp(uint8_t *udp, size_t bytes) {
  store16(udp + UDP_LENGTH, UDP_HEADER_BYTES + bytes);
  store16(udp + UDP_CHECKSUM, 0);
}

// Segment `index`: payload bytes [at, at + bytes), written, checksummed and sealed in the staging area.
static void cut_segment(const Cut *cut, size_t index, size_t at, size_t bytes) {
  const PacketShape *shape = &cut->shape;
  size_t packetBytes = shape->headerBytes + bytes;
  uint8_t *datagram = stage_reserve(cut->sender->udp, packetBytes + DATA_OVERHEAD_BYTES);
  uint8_t *packet = datagram + DATA_HEADER_BYTES, *transport = packet + shape->transport;
  memcpy(packet, cut->header, shape->headerBytes);
  if (shape->version == 4) store16(packet + 4, (uint16_t)(cut->id + index * cut->idStep));
  packet_finish_ip(packet, shape, packetBytes);
  bool tcp = shape->protocol == PROTOCOL_TCP;
  if (tcp) patch_tcp(cut, transport, at, at + bytes == cut->payloadBytes);
  else patch_udp(transport, bytes);
  uint64_t sum = packet_pseudo_sum(packet, shape, packetBytes - shape->transport);
  sum = checksum_add(sum, transport, (size_t)(shape->headerBytes - shape->transport));
  sum = checksum_copy(sum, packet + shape->headerBytes, cut->payload + at, bytes);
  uint16_t checksum = (uint16_t)~checksum_fold(sum);
  // RFC 768: zero means that there is none.
  if (!tcp && checksum == 0) checksum = 0xffff;
  memcpy(transport + (tcp ? TCP_CHECKSUM : UDP_CHECKSUM), &checksum, 2);
  seal_staged(cut->sender, cut->type, datagram, packetBytes);
}

static size_t cut_all(const Cut *cut) {
  size_t count = cut_count(cut);
  for (size_t i = 0, at = 0; i < count; i++) {
    size_t left = cut->payloadBytes - at;
    size_t bytes = left < cut->segmentBytes ? left : cut->segmentBytes;
    cut_segment(cut, i, at, bytes);
    at += bytes;
  }
  return count;
}

static bool check_template(napi_env env, const Bytes *header, size_t headerBytes, PacketShape *shape) {
  if (headerBytes > header->length) return throw_range(env, "headerBytes is beyond the header's %zu bytes", header->length);
  const char *fault = packet_shape(header->data, headerBytes, 0, PROTOCOL_TCP, shape);
  if (fault != NULL) return throw_range(env, "header: %s", fault);
  if (shape->headerBytes != headerBytes) return throw_range(env, "headerBytes is not the length of its IP and TCP header");
  return true;
}

napi_value seal_segments(napi_env env, napi_callback_info info) {
  napi_value argv[8];
  size_t argc = 8;
  Bytes header, buffer, payload;
  int64_t type, headerBytes, segmentBytes;
  Cut cut = {0};
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  cut.sender = get_sending_sender(env, argv[0]);
  if (cut.sender == NULL || !arg_int(env, argv[1], "type", 0, 255, &type) || !arg_bytes(env, argv[2], "header", &header)) return NULL;
  if (!arg_int(env, argv[3], "headerBytes", 0, MAX_HEADER_BYTES, &headerBytes) || !arg_bytes(env, argv[4], "payload", &buffer)) return NULL;
  if (!arg_piece(env, &buffer, argv[5], argv[6], "payload", UINT32_MAX, &payload)) return NULL;
  if (!arg_int(env, argv[7], "segmentBytes", payload.length > 0 ? 1 : 0, INT32_MAX, &segmentBytes)) return NULL;
  if (!check_template(env, &header, (size_t)headerBytes, &cut.shape)) return NULL;
  cut.type = (uint8_t)type;
  cut.header = header.data;
  cut.payload = payload.data;
  cut.payloadBytes = payload.length;
  cut.segmentBytes = (size_t)segmentBytes;
  Sender *sender = cut.sender;
  // Whole headers, or room for them, may make several of one.
  if (!check_packet_numbers(env, sender, sender->maxDatagramBytes > 0 ? cut.payloadBytes + 1 : cut_count(&cut))) return NULL;
  uint64_t first = sender->packetNumber;
  if (sender->maxDatagramBytes > 0 && type == TYPE_STREAM && seal_compressed(&cut)) return js_number(env, (double)(sender->packetNumber - first));
  size_t largest = payload.length < cut.segmentBytes ? payload.length : cut.segmentBytes;
  if ((size_t)headerBytes + largest > MAX_PLAINTEXT) {
    throw_range(env, "segmentBytes: a segment must not exceed %d bytes", MAX_PLAINTEXT);
    return NULL;
  }
  sender->cut.compressed = false;
  sender->cut.overheadBytes = (size_t)headerBytes + DATA_OVERHEAD_BYTES;
  sender->cut.segmentBytes = cut.segmentBytes;
  return js_number(env, (double)cut_all(&cut));
}

typedef struct {
  uint8_t type;
  uint8_t gsoType;
  size_t gsoSize;
  size_t csumStart;
  size_t csumOffset;
} PacketWork;

// A single packet as it is, but for a checksum that the kernel left to us: its field holds the pseudo-header sum.
static size_t seal_single(Sender *sender, const Bytes *packet, const PacketWork *work) {
  uint8_t *datagram = stage_reserve(sender->udp, packet->length + DATA_OVERHEAD_BYTES);
  uint8_t *copy = datagram + DATA_HEADER_BYTES;
  memcpy(copy, packet->data, packet->length);
  if (work->csumStart > 0) {
    uint16_t checksum = (uint16_t)~checksum_fold(checksum_add(0, copy + work->csumStart, packet->length - work->csumStart));
    if (checksum == 0 && work->csumOffset == UDP_CHECKSUM) checksum = 0xffff;
    memcpy(copy + work->csumStart + work->csumOffset, &checksum, 2);
  }
  seal_staged(sender, work->type, datagram, packet->length);
  return 1;
}

// A GSO packet as the TUN gave it. False when its headers are not what its GSO type says, or the segments do not fit into datagrams.
static bool shape_super_packet(Cut *cut, const Bytes *packet, const PacketWork *work) {
  uint8_t gso = work->gsoType & (uint8_t) ~(GSO_ECN | GSO_FIXED_ID);
  if ((gso != GSO_TCPV4 && gso != GSO_TCPV6 && gso != GSO_UDP_L4) || work->gsoSize == 0) return false;
  uint8_t protocol = gso == GSO_UDP_L4 ? PROTOCOL_UDP : PROTOCOL_TCP;
  if (packet_shape(packet->data, packet->length, work->csumStart, protocol, &cut->shape) != NULL) return false;
  if ((gso == GSO_TCPV4 && cut->shape.version != 4) || (gso == GSO_TCPV6 && cut->shape.version != 6)) return false;
  cut->type = work->type;
  cut->header = packet->data;
  cut->payload = packet->data + cut->shape.headerBytes;
  cut->payloadBytes = packet->length - cut->shape.headerBytes;
  cut->segmentBytes = work->gsoSize;
  if (cut->shape.version == 4) {
    cut->id = load16(packet->data + 4);
    cut->idStep = work->gsoType & GSO_FIXED_ID ? 0 : 1;
  }
  size_t largest = cut->payloadBytes < cut->segmentBytes ? cut->payloadBytes : cut->segmentBytes;
  return cut->shape.headerBytes + largest <= MAX_PLAINTEXT;
}

static bool read_work(napi_env env, const napi_value *argv, PacketWork *out) {
  int64_t type, gsoType, gsoSize, csumStart, csumOffset;
  if (!arg_int(env, argv[1], "type", 0, 255, &type) || !arg_int(env, argv[5], "gsoType", 0, 255, &gsoType) ||
      !arg_int(env, argv[6], "gsoSize", 0, 65535, &gsoSize) || !arg_int(env, argv[7], "csumStart", 0, 65535, &csumStart) ||
      !arg_int(env, argv[8], "csumOffset", 0, 65535, &csumOffset)) {
    return false;
  }
  *out = (PacketWork){(uint8_t)type, (uint8_t)gsoType, (size_t)gsoSize, (size_t)csumStart, (size_t)csumOffset};
  return true;
}

napi_value seal_packet(napi_env env, napi_callback_info info) {
  napi_value argv[9];
  size_t argc = 9;
  Bytes buffer, packet;
  PacketWork work;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Sender *sender = get_sending_sender(env, argv[0]);
  if (sender == NULL || !arg_bytes(env, argv[2], "packet", &buffer) || !read_work(env, argv, &work)) return NULL;
  bool single = work.gsoType == GSO_NONE;
  if (!arg_piece(env, &buffer, argv[3], argv[4], "packet", single ? MAX_PLAINTEXT : 131072, &packet)) return NULL;
  if (work.csumStart > 0 && work.csumStart + work.csumOffset + 2 > packet.length) {
    throw_range(env, "csumStart and csumOffset are outside of the packet");
    return NULL;
  }
  if (single) return check_packet_numbers(env, sender, 1) ? js_number(env, (double)seal_single(sender, &packet, &work)) : NULL;
  Cut cut = {.sender = sender};
  if (!shape_super_packet(&cut, &packet, &work)) return js_number(env, 0);
  if (!check_packet_numbers(env, sender, cut_count(&cut))) return NULL;
  return js_number(env, (double)cut_all(&cut));
}
