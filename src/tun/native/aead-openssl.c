// The AEADs of the OpenSSL that Node exports.
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "aead-engine.h"

static void *create(const EVP_CIPHER *cipher, const uint8_t *key, bool seal) {
  EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
  if (context == NULL) return NULL;
  if (EVP_CipherInit_ex(context, cipher, NULL, key, NULL, seal ? 1 : 0) != 1) {
    EVP_CIPHER_CTX_free(context);
    return NULL;
  }
  return context;
}

static void *create_gcm(const uint8_t *key, bool seal) { return create(EVP_aes_256_gcm(), key, seal); }

static void *create_chacha(const uint8_t *key, bool seal) { return create(EVP_chacha20_poly1305(), key, seal); }

static void destroy(void *state) { EVP_CIPHER_CTX_free(state); }

static bool seal_bytes(void *state, const uint8_t *nonce, const uint8_t *header, size_t headerBytes, uint8_t *bytes, size_t length) {
  int n;
  return EVP_EncryptInit_ex(state, NULL, NULL, NULL, nonce) == 1 && EVP_EncryptUpdate(state, NULL, &n, header, (int)headerBytes) == 1 &&
         (length == 0 || EVP_EncryptUpdate(state, bytes, &n, bytes, (int)length) == 1) &&
         EVP_EncryptFinal_ex(state, bytes + length, &n) == 1 &&
         EVP_CIPHER_CTX_ctrl(state, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_BYTES, bytes + length) == 1;
}

static bool open_bytes(void *state, const uint8_t *nonce, const uint8_t *header, size_t headerBytes, const uint8_t *from, size_t length,
                       uint8_t *to) {
  int n;
  return EVP_DecryptInit_ex(state, NULL, NULL, NULL, nonce) == 1 &&
         EVP_CIPHER_CTX_ctrl(state, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_BYTES, (void *)(from + length)) == 1 &&
         EVP_DecryptUpdate(state, NULL, &n, header, (int)headerBytes) == 1 &&
         (length == 0 || EVP_DecryptUpdate(state, to, &n, from, (int)length) == 1) && EVP_DecryptFinal_ex(state, to + length, &n) == 1;
}

const AeadCipher OPENSSL_CIPHERS[AEAD_COUNT] = {
    [AES_256_GCM] = {create_gcm, destroy, seal_bytes, open_bytes},
    [CHACHA20_POLY1305] = {create_chacha, destroy, seal_bytes, open_bytes},
};

const char *openssl_version(void) { return OpenSSL_version(OPENSSL_VERSION_STRING); }
