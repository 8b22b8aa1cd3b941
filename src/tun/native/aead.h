// AES-256-GCM and ChaCha20-Poly1305: one context per key and direction, a new nonce per packet. Two engines make the same bytes: OpenSSL, which
// Node exports and is always there, and intel-ipsec-mb, where it is installed. Which one is taken is what this machine does faster.
#ifndef MPTUNNEL_AEAD_H
#define MPTUNNEL_AEAD_H

#include "arguments.h"

#define AEAD_KEY_BYTES 32
#define AEAD_NONCE_BYTES 12
#define AEAD_TAG_BYTES 16

typedef struct AeadContext AeadContext;

// Reads {aead, key, engine?} of an options object. NULL with an exception pending.
AeadContext *aead_from_options(napi_env env, napi_value options, bool seal);
// Wipes the key.
void aead_free(AeadContext *context);
// In place; the tag goes behind the bytes.
bool aead_seal(AeadContext *context, const uint8_t *nonce, const uint8_t *header, size_t headerBytes, uint8_t *bytes, size_t length);
// `from` holds `length` bytes of ciphertext and the tag. False: forged; then `to` holds garbage.
bool aead_open(AeadContext *context, const uint8_t *nonce, const uint8_t *header, size_t headerBytes, const uint8_t *from, size_t length,
               uint8_t *to);

napi_value aead_measure(napi_env env, napi_callback_info info);
napi_value aead_once(napi_env env, napi_callback_info info);
napi_value aead_use_engine(napi_env env, napi_callback_info info);

#endif
