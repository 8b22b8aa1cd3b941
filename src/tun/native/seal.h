#ifndef MPTUNNEL_SEAL_H
#define MPTUNNEL_SEAL_H

#include "aead.h"
#include "handle.h"

// The data datagram, shared with open.c: type, pathId, receiverIndex (4), packetNumber (6), ciphertext, tag.
#define DATA_HEADER_BYTES 12
#define DATA_OVERHEAD_BYTES (DATA_HEADER_BYTES + AEAD_TAG_BYTES)
#define MAX_PATHS 32
// Packet numbers are below this: a nonce never repeats.
#define PACKET_NUMBERS (1ULL << 48)

// The nonce: 3 zero bytes, pathId, 2 zero bytes, packetNumber.
static inline void data_nonce(const uint8_t *header, uint8_t *nonce) {
  for (int i = 0; i < 6; i++) nonce[i] = 0;
  nonce[3] = header[1];
  for (int i = 0; i < 6; i++) nonce[6 + i] = header[6 + i];
}

napi_value seal_create_sealer(napi_env env, napi_callback_info info);
napi_value seal_destroy_sealer(napi_env env, napi_callback_info info);
napi_value seal_create_sender(napi_env env, napi_callback_info info);
napi_value seal_sender_set_target(napi_env env, napi_callback_info info);
napi_value seal_sender_packet_number(napi_env env, napi_callback_info info);
napi_value seal_segments(napi_env env, napi_callback_info info);
napi_value seal_packet(napi_env env, napi_callback_info info);

#endif
