#ifndef MPTUNNEL_SEAL_H
#define MPTUNNEL_SEAL_H

#include "aead.h"
#include "handle.h"

// The first byte of a data datagram with its whole header.
enum { TYPE_STREAM = 0x10, TYPE_DATAGRAM = 0x11, TYPE_CONTROL = 0x12 };
// The data datagram, shared with open.c: type, pathId, receiverIndex (4), packetNumber (6), ciphertext, tag.
#define DATA_HEADER_BYTES 12
#define DATA_OVERHEAD_BYTES (DATA_HEADER_BYTES + AEAD_TAG_BYTES)
// The compressed segment: 1, long 1, 0, pathId 5 bits; lower half of receiverIndex (2); lower end of packetNumber (2, long: 3), ciphertext, tag.
#define TYPE_COMPRESSED 0x80
#define TYPE_COMPRESSED_MASK 0xc0
#define COMPRESSED_LONG 0x20
#define COMPRESSED_PATH 0x1f
#define COMPRESSED_HEADER_BYTES 5
#define COMPRESSED_LONG_HEADER_BYTES 6
#define MAX_PATHS 32
// Packet numbers are below this: a nonce never repeats.
#define PACKET_NUMBERS (1ULL << 48)

// The nonce: 3 zero bytes, pathId, 2 zero bytes, packetNumber.
static inline void packet_nonce(uint8_t pathId, uint64_t packetNumber, uint8_t *nonce) {
  for (int i = 0; i < 6; i++) nonce[i] = 0;
  nonce[3] = pathId;
  for (int i = 11; i >= 6; i--, packetNumber >>= 8) nonce[i] = (uint8_t)packetNumber;
}

napi_value seal_create_sealer(napi_env env, napi_callback_info info);
napi_value seal_destroy_sealer(napi_env env, napi_callback_info info);
napi_value seal_create_sender(napi_env env, napi_callback_info info);
napi_value seal_sender_set_target(napi_env env, napi_callback_info info);
napi_value seal_sender_packet_number(napi_env env, napi_callback_info info);
napi_value seal_segments(napi_env env, napi_callback_info info);
napi_value seal_packet(napi_env env, napi_callback_info info);
napi_value seal_sender_compress(napi_env env, napi_callback_info info);
napi_value seal_sender_acked(napi_env env, napi_callback_info info);
napi_value seal_last_cut(napi_env env, napi_callback_info info);
napi_value seal_next_base(napi_env env, napi_callback_info info);
napi_value seal_confirm_base(napi_env env, napi_callback_info info);
napi_value seal_lose_base(napi_env env, napi_callback_info info);

#endif
