#include "aead.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "aead-engine.h"

struct AeadContext {
  const AeadCipher *cipher;
  void *state;
};

typedef enum { OPENSSL, IPSEC_MB, ENGINE_COUNT, FASTEST = ENGINE_COUNT } Engine;

static const char *const AEAD_NAMES[AEAD_COUNT] = {"aes-256-gcm", "chacha20-poly1305"};
static const char *const ENGINE_NAMES[ENGINE_COUNT + 1] = {"openssl", "ipsec-mb", "fastest"};

// Written once, by load_engines, but for `chosen`, which every thread of Node may set to what it already is.
static struct {
  pthread_once_t once;
  // NULL: not there, and ipsecMbProblem says why.
  const AeadCipher *ciphers[ENGINE_COUNT];
  const char *ipsecMbProblem;
  double sealNs[ENGINE_COUNT][AEAD_COUNT];
  Engine fastest[AEAD_COUNT];
  Engine chosen;
} engines = {.once = PTHREAD_ONCE_INIT, .chosen = FASTEST};

static AeadContext *aead_new(const AeadCipher *cipher, const uint8_t *key, bool seal) {
  AeadContext *context = malloc(sizeof *context);
  if (context == NULL) abort();
  *context = (AeadContext){cipher, cipher->create(key, seal)};
  if (context->state != NULL) return context;
  free(context);
  return NULL;
}

void aead_free(AeadContext *context) {
  if (context == NULL) return;
  context->cipher->destroy(context->state);
  free(context);
}

bool aead_seal(AeadContext *context, const uint8_t *nonce, const uint8_t *header, size_t headerBytes, uint8_t *bytes, size_t length) {
  return context->cipher->seal(context->state, nonce, header, headerBytes, bytes, length);
}

bool aead_open(AeadContext *context, const uint8_t *nonce, const uint8_t *header, size_t headerBytes, const uint8_t *from, size_t length,
               uint8_t *to) {
  return context->cipher->open(context->state, nonce, header, headerBytes, from, length, to);
}

static double measure_cipher(const AeadCipher *cipher) {
  enum { BYTES = 1400, ROUNDS = 64, TRIES = 6 };
  uint8_t packet[BYTES + AEAD_TAG_BYTES] = {0}, key[AEAD_KEY_BYTES] = {0}, nonce[AEAD_NONCE_BYTES] = {0}, header[12] = {0};
  AeadContext *context = aead_new(cipher, key, true);
  if (context == NULL) abort();
  double best = 1e9;
  // The best of a few tries: a preempted one says nothing about the CPU. The key is all zero and protects nothing.
  for (int try = 0; try < TRIES; try++) {
    uint64_t start = uv_hrtime();
    for (int i = 0; i < ROUNDS; i++) {
      nonce[11] = (uint8_t)i;
      if (!aead_seal(context, nonce, header, sizeof header, packet, BYTES)) abort();
    }
    double each = (double)(uv_hrtime() - start) / ROUNDS;
    if (each < best) best = each;
  }
  aead_free(context);
  return best;
}

static void load_engines(void) {
  engines.ciphers[OPENSSL] = OPENSSL_CIPHERS;
  engines.ciphers[IPSEC_MB] = ipsec_mb_load(&engines.ipsecMbProblem);
  for (int aead = 0; aead < AEAD_COUNT; aead++) {
    for (int engine = 0; engine < ENGINE_COUNT; engine++) {
      if (engines.ciphers[engine] == NULL) continue;
      engines.sealNs[engine][aead] = measure_cipher(&engines.ciphers[engine][aead]);
      if (engines.sealNs[engine][aead] < engines.sealNs[engines.fastest[aead]][aead]) engines.fastest[aead] = (Engine)engine;
    }
  }
}

static Engine engine_for(Aead aead) { return engines.chosen == FASTEST ? engines.fastest[aead] : engines.chosen; }

// One of `names`, by its index. False with an exception pending.
static bool arg_name(napi_env env, napi_value value, const char *what, const char *const *names, int count, int *out) {
  char name[32];
  if (!arg_text(env, value, what, name, sizeof name)) return false;
  for (*out = 0; *out < count; (*out)++) {
    if (strcmp(name, names[*out]) == 0) return true;
  }
  if (names == AEAD_NAMES) return throw_range(env, "%s must be %s or %s", what, names[0], names[1]);
  return throw_range(env, "%s must be %s, %s or %s", what, names[0], names[1], names[2]);
}

// An engine that can be used, or FASTEST. False with an exception pending.
static bool arg_engine(napi_env env, napi_value value, const char *what, Engine *out) {
  int index;
  char message[200];
  if (!arg_name(env, value, what, ENGINE_NAMES, ENGINE_COUNT + 1, &index)) return false;
  *out = (Engine)index;
  if (*out == FASTEST || engines.ciphers[*out] != NULL) return true;
  snprintf(message, sizeof message, "%s: %s cannot be used: %s", what, ENGINE_NAMES[*out], engines.ipsecMbProblem);
  napi_throw_error(env, "ERR_AEAD_ENGINE", message);
  return false;
}

AeadContext *aead_from_options(napi_env env, napi_value options, bool seal) {
  napi_value value;
  int aead;
  Bytes key;
  Engine engine = FASTEST;
  pthread_once(&engines.once, load_engines);
  if (!arg_property(env, options, "aead", &value) || !arg_name(env, value, "aead", AEAD_NAMES, AEAD_COUNT, &aead)) return NULL;
  if (!arg_property(env, options, "engine", &value) || (value != NULL && !arg_engine(env, value, "engine", &engine))) return NULL;
  if (!arg_property(env, options, "key", &value) || !arg_bytes(env, value, "key", &key)) return NULL;
  if (key.length != AEAD_KEY_BYTES) {
    throw_range(env, "key must have %d bytes", AEAD_KEY_BYTES);
    return NULL;
  }
  if (engine == FASTEST) engine = engine_for((Aead)aead);
  AeadContext *context = aead_new(&engines.ciphers[engine][aead], key.data, seal);
  if (context == NULL) napi_throw_error(env, NULL, "the AEAD engine refused the key");
  return context;
}

napi_value aead_use_engine(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  size_t argc = 1;
  Engine engine;
  pthread_once(&engines.once, load_engines);
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  if (arg_engine(env, argv[0], "engine", &engine)) engines.chosen = engine;
  return NULL;
}

napi_value aead_once(napi_env env, napi_callback_info info) {
  napi_value argv[5], result;
  size_t argc = 5;
  bool seal;
  Bytes nonce, associated, bytes;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  if (!arg_bool(env, argv[1], "seal", &seal) || !arg_bytes(env, argv[2], "nonce", &nonce)) return NULL;
  if (!arg_bytes(env, argv[3], "associatedData", &associated) || !arg_bytes(env, argv[4], "bytes", &bytes)) return NULL;
  if (nonce.length != AEAD_NONCE_BYTES || associated.length > INT16_MAX || bytes.length < AEAD_TAG_BYTES || bytes.length > INT32_MAX) {
    throw_range(env, "nonce must have %d bytes, associatedData at most %d, bytes room for the tag", AEAD_NONCE_BYTES, INT16_MAX);
    return NULL;
  }
  AeadContext *context = aead_from_options(env, argv[0], seal);
  if (context == NULL) return NULL;
  size_t length = bytes.length - AEAD_TAG_BYTES;
  bool good = seal ? aead_seal(context, nonce.data, associated.data, associated.length, bytes.data, length)
                   : aead_open(context, nonce.data, associated.data, associated.length, bytes.data, length, bytes.data);
  aead_free(context);
  napi_get_boolean(env, good, &result);
  return result;
}

static void set_text(napi_env env, napi_value object, const char *name, const char *text) {
  napi_value value;
  if (napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &value) == napi_ok) napi_set_named_property(env, object, name, value);
}

napi_value aead_measure(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value result;
  char text[64];
  pthread_once(&engines.once, load_engines);
  if (napi_create_object(env, &result) != napi_ok) return NULL;
  const struct {
    const char *ns, *engine;
  } properties[AEAD_COUNT] = {{"aes256gcmNs", "aes256gcmEngine"}, {"chacha20Poly1305Ns", "chacha20Poly1305Engine"}};
  for (int aead = 0; aead < AEAD_COUNT; aead++) {
    Engine engine = engine_for((Aead)aead);
    napi_set_named_property(env, result, properties[aead].ns, js_number(env, engines.sealNs[engine][aead]));
    snprintf(text, sizeof text, "%s %s", ENGINE_NAMES[engine], engine == OPENSSL ? openssl_version() : ipsec_mb_version());
    set_text(env, result, properties[aead].engine, text);
  }
  return result;
}
