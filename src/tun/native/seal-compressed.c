// Stream segments with compressed headers: cut, sealed and staged; and what JavaScript has to do with it.
#include <stdlib.h>

#include "sender.h"

// Of the unacknowledged packet numbers, so many at most may be outstanding when only the lower bytes of the number are sent: the peer puts the number together
// near the highest that it has seen.
#define SHORT_NUMBERS (1u << 14)
#define LONG_NUMBERS (1u << 22)

static size_t header_bytes(const Sender *sender, size_t datagrams) {
  return sender->packetNumber + datagrams - sender->ackedNumbers < SHORT_NUMBERS ? COMPRESSED_HEADER_BYTES : COMPRESSED_LONG_HEADER_BYTES;
}

static void write_header(const Sender *sender, size_t headerBytes, uint8_t *out) {
  uint8_t *number = out + 3;
  out[0] = TYPE_COMPRESSED | sender->pathId;
  store16(out + 1, sender->sealer->receiverIndex & 0xffff);
  if (headerBytes == COMPRESSED_LONG_HEADER_BYTES) {
    out[0] |= COMPRESSED_LONG;
    *number++ = (uint8_t)(sender->packetNumber >> 16);
  }
  store16(number, sender->packetNumber & 0xffff);
}

// The compressed header for all segments; cut->segmentBytes may come out smaller. False: the segments go with their whole headers, and are cut so that these fit.
static bool plan_compressed(Cut *cut, size_t *headerBytes, Encoded *encoded) {
  Sender *sender = cut->sender;
  if (sender->compressor == NULL) sender->compressor = compressor_create();
  Compressor *compressor = sender->compressor;
  size_t count = cut_count(cut);
  if (!compressor_encode(compressor, sender->packetNumber, cut->header, cut->shape.headerBytes, cut->payloadBytes, cut->segmentBytes, encoded)) return false;
  if (sender->packetNumber + count - sender->ackedNumbers >= LONG_NUMBERS) return false;
  // One more may be cut below.
  *headerBytes = header_bytes(sender, 2 * count + 1);
  size_t outer = *headerBytes + AEAD_TAG_BYTES + encoded->length;
  size_t largest = cut->payloadBytes < cut->segmentBytes ? cut->payloadBytes : cut->segmentBytes;
  if (outer + largest <= sender->maxDatagramBytes) return true;
  outer = *headerBytes + AEAD_TAG_BYTES + COMPRESSED_MAX_BYTES;
  if (outer >= sender->maxDatagramBytes) return false;
  // Another cut may need a longer map: first as if it didn't, then for the worst.
  size_t slack[] = {encoded->length, COMPRESSED_MAX_BYTES};
  for (int i = 0; i < 2; i++) {
    cut->segmentBytes = sender->maxDatagramBytes - *headerBytes - AEAD_TAG_BYTES - slack[i];
    if (!compressor_encode_again(compressor, cut->payloadBytes, cut->segmentBytes, encoded)) return false;
    if (encoded->length <= slack[i]) return true;
  }
  return false;
}

static void cut_compressed(const Cut *cut, size_t headerBytes, Encoded *encoded) {
  Sender *sender = cut->sender;
  size_t count = cut_count(cut);
  for (size_t i = 0, at = 0; i < count; i++) {
    size_t left = cut->payloadBytes - at, bytes = left < cut->segmentBytes ? left : cut->segmentBytes, plainBytes = encoded->length + bytes;
    uint8_t *datagram = stage_reserve(sender->udp, headerBytes + plainBytes + AEAD_TAG_BYTES), *plain = datagram + headerBytes;
    compress_patch(encoded, at, bytes);
    memcpy(plain, encoded->bytes, encoded->length);
    memcpy(plain + encoded->length, cut->payload + at, bytes);
    write_header(sender, headerBytes, datagram);
    sender_seal(sender, datagram, headerBytes, plainBytes);
    at += bytes;
  }
}

bool seal_compressed(Cut *cut) {
  Sender *sender = cut->sender;
  size_t headerBytes, wanted = cut->segmentBytes;
  Encoded encoded;
  if (plan_compressed(cut, &headerBytes, &encoded)) {
    sender->cut.compressed = true;
    sender->cut.overheadBytes = headerBytes + encoded.length + AEAD_TAG_BYTES;
    sender->cut.segmentBytes = cut->segmentBytes;
    cut_compressed(cut, headerBytes, &encoded);
    return true;
  }
  size_t overhead = DATA_OVERHEAD_BYTES + (size_t)cut->shape.headerBytes;
  cut->segmentBytes = wanted;
  if (overhead < sender->maxDatagramBytes && overhead + wanted > sender->maxDatagramBytes) cut->segmentBytes = sender->maxDatagramBytes - overhead;
  return false;
}

// ---- compression, seen from JavaScript ----

napi_value seal_sender_compress(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  size_t argc = 2;
  int64_t bytes;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Sender *sender = sender_get(env, argv[0]);
  if (sender == NULL || !arg_int(env, argv[1], "maxDatagramBytes", 0, MAX_UDP_PAYLOAD, &bytes)) return NULL;
  sender->maxDatagramBytes = (size_t)bytes;
  return NULL;
}

napi_value seal_sender_acked(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  size_t argc = 2;
  int64_t number;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Sender *sender = sender_get(env, argv[0]);
  if (sender == NULL || !arg_int(env, argv[1], "packetNumber", 0, (int64_t)PACKET_NUMBERS - 1, &number)) return NULL;
  // What was never sent was never seen.
  if ((uint64_t)number < sender->packetNumber && (uint64_t)number + 1 > sender->ackedNumbers) sender->ackedNumbers = (uint64_t)number + 1;
  return NULL;
}

enum { CUT_SEGMENT_BYTES, CUT_OVERHEAD_BYTES, CUT_COMPRESSED, CUT_PENDING_BASES, CUT_INTS };

napi_value seal_last_cut(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  size_t argc = 2;
  Ints out;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Sender *sender = sender_get(env, argv[0]);
  if (sender == NULL || !arg_ints(env, argv[1], "out", &out)) return NULL;
  if (out.length < CUT_INTS) {
    throw_range(env, "out must have %d elements", CUT_INTS);
    return NULL;
  }
  out.data[CUT_SEGMENT_BYTES] = (int32_t)sender->cut.segmentBytes;
  out.data[CUT_OVERHEAD_BYTES] = (int32_t)sender->cut.overheadBytes;
  out.data[CUT_COMPRESSED] = sender->cut.compressed;
  out.data[CUT_PENDING_BASES] = sender->compressor == NULL ? 0 : (int32_t)compressor_pending(sender->compressor);
  return NULL;
}

napi_value seal_next_base(napi_env env, napi_callback_info info) {
  napi_value argv[5];
  size_t argc = 5;
  double nowMs, repeatMs;
  Bytes buffer;
  int64_t offset;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Sender *sender = sender_get(env, argv[0]);
  if (sender == NULL) return NULL;
  if (napi_get_value_double(env, argv[1], &nowMs) != napi_ok || napi_get_value_double(env, argv[2], &repeatMs) != napi_ok) {
    throw_type(env, "nowMs and repeatMs must be numbers");
    return NULL;
  }
  if (!arg_bytes(env, argv[3], "out", &buffer) || !arg_int(env, argv[4], "offset", 0, INT32_MAX, &offset)) return NULL;
  if ((size_t)offset > buffer.length || buffer.length - (size_t)offset < BASE_MAX_BYTES) {
    throw_range(env, "out has no room for %d bytes", BASE_MAX_BYTES);
    return NULL;
  }
  return js_number(env, sender->compressor == NULL ? 0 : (double)compressor_next_base(sender->compressor, nowMs, repeatMs, buffer.data + offset));
}

static Sender *get_compressing(napi_env env, napi_value value, napi_value idValue, int64_t *id) {
  Sender *sender = sender_get(env, value);
  if (sender == NULL || !arg_int(env, idValue, "id", 0, UINT16_MAX, id)) return NULL;
  return sender->compressor == NULL ? NULL : sender;
}

napi_value seal_confirm_base(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  size_t argc = 3;
  int64_t id, serial;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Sender *sender = get_compressing(env, argv[0], argv[1], &id);
  if (sender != NULL && arg_int(env, argv[2], "serial", 0, UINT32_MAX, &serial)) compressor_confirm(sender->compressor, (uint16_t)id, (uint32_t)serial);
  return NULL;
}

napi_value seal_lose_base(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  size_t argc = 2;
  int64_t id;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Sender *sender = get_compressing(env, argv[0], argv[1], &id);
  if (sender != NULL) compressor_lose(sender->compressor, (uint16_t)id);
  return NULL;
}
