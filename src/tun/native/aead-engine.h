// What an AEAD engine is to aead.c. Engines know nothing of JavaScript.
#ifndef MPTUNNEL_AEAD_ENGINE_H
#define MPTUNNEL_AEAD_ENGINE_H

#include "aead.h"

typedef enum { AES_256_GCM, CHACHA20_POLY1305, AEAD_COUNT } Aead;

// One AEAD of one engine.
typedef struct {
  // State for one key and direction; NULL when the engine refuses.
  void *(*create)(const uint8_t *key, bool seal);
  // Wipes the key.
  void (*destroy)(void *state);
  // As aead_seal and aead_open.
  bool (*seal)(void *state, const uint8_t *nonce, const uint8_t *header, size_t headerBytes, uint8_t *bytes, size_t length);
  bool (*open)(void *state, const uint8_t *nonce, const uint8_t *header, size_t headerBytes, const uint8_t *from, size_t length, uint8_t *to);
} AeadCipher;

extern const AeadCipher OPENSSL_CIPHERS[AEAD_COUNT];
const char *openssl_version(void);

// NULL: cannot be used, and `*problem` says why. Loads the library at the first call; not thread safe.
const AeadCipher *ipsec_mb_load(const char **problem);
// Of the loaded library.
const char *ipsec_mb_version(void);

#endif
