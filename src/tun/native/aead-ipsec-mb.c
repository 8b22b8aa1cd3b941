// The AEADs of intel-ipsec-mb, loaded at run time where it is installed: nothing of it is needed to build. Its multi-buffer jobs bring nothing here, since
// one AES-GCM packet keeps all units of the CPU busy (measured, 1400 bytes: 112 ns alone, 114 as a job), so the single calls are used.
#include "aead-engine.h"

#if defined(__x86_64__)

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

// The library's manager is a struct of its header; what is needed of it are these pointers, at the same offsets in every version of VERSIONS. Another
// version may have them elsewhere and is refused.
enum {
  AT_GCM256_ENC = 272, AT_GCM256_DEC = 296, AT_GCM256_PRE = 464,
  AT_CHACHA_INIT = 920, AT_CHACHA_ENC_UPDATE = 928, AT_CHACHA_DEC_UPDATE = 936, AT_CHACHA_FINALIZE = 944
};
// As imb_get_version tells: of Debian 12, Ubuntu 24.04 and Debian 13.
static const unsigned VERSIONS[] = {0x10300, 0x10500, 0x20000};
static const char *const FILES[] = {"libIPSec_MB.so.2", "libIPSec_MB.so.1"};

// struct gcm_key_data has 1008 bytes in 1.3.0 and 1264 in 2.0.0; gcm_context_data 88; chacha20_poly1305_context_data 192.
#define EXPANDED_KEY_BYTES 2048
#define SCRATCH_BYTES 512

typedef void (*GcmPre)(const void *key, void *expanded);
typedef void (*GcmCrypt)(const void *expanded, void *scratch, uint8_t *out, const uint8_t *in, uint64_t length, const uint8_t *nonce,
                         const uint8_t *associated, uint64_t associatedBytes, uint8_t *tag, uint64_t tagBytes);
typedef int (*ChachaInit)(const void *key, void *scratch, const void *nonce, const void *associated, uint64_t associatedBytes);
typedef int (*ChachaUpdate)(const void *key, void *scratch, void *out, const void *in, uint64_t length);
typedef int (*ChachaFinalize)(void *scratch, void *tag, uint64_t tagBytes);

static struct {
  const char *version;
  GcmPre gcmPre;
  GcmCrypt gcmSeal, gcmOpen;
  ChachaInit chachaInit;
  ChachaUpdate chachaSeal, chachaOpen;
  ChachaFinalize chachaFinalize;
} library;

typedef struct {
  _Alignas(64) uint8_t key[EXPANDED_KEY_BYTES];
  _Alignas(64) uint8_t scratch[SCRATCH_BYTES];
} State;

static State *new_state(void) {
  State *state = aligned_alloc(64, sizeof *state);
  if (state != NULL) memset(state, 0, sizeof *state);
  return state;
}

static void *create_gcm(const uint8_t *key, bool seal) {
  (void)seal;
  State *state = new_state();
  if (state != NULL) library.gcmPre(key, state->key);
  return state;
}

static void *create_chacha(const uint8_t *key, bool seal) {
  (void)seal;
  State *state = new_state();
  if (state != NULL) memcpy(state->key, key, AEAD_KEY_BYTES);
  return state;
}

static void destroy(void *state) {
  if (state == NULL) return;
  explicit_bzero(state, sizeof(State));
  free(state);
}

// In a time that does not depend on where they differ.
static bool same_tag(const uint8_t *a, const uint8_t *b) {
  uint64_t one[2], other[2];
  memcpy(one, a, AEAD_TAG_BYTES);
  memcpy(other, b, AEAD_TAG_BYTES);
  return ((one[0] ^ other[0]) | (one[1] ^ other[1])) == 0;
}

static bool seal_gcm(void *opaque, const uint8_t *nonce, const uint8_t *header, size_t headerBytes, uint8_t *bytes, size_t length) {
  State *state = opaque;
  library.gcmSeal(state->key, state->scratch, bytes, bytes, length, nonce, header, headerBytes, bytes + length, AEAD_TAG_BYTES);
  return true;
}

static bool open_gcm(void *opaque, const uint8_t *nonce, const uint8_t *header, size_t headerBytes, const uint8_t *from, size_t length,
                     uint8_t *to) {
  State *state = opaque;
  uint8_t tag[AEAD_TAG_BYTES];
  library.gcmOpen(state->key, state->scratch, to, from, length, nonce, header, headerBytes, tag, sizeof tag);
  return same_tag(tag, from + length);
}

static bool seal_chacha(void *opaque, const uint8_t *nonce, const uint8_t *header, size_t headerBytes, uint8_t *bytes, size_t length) {
  State *state = opaque;
  library.chachaInit(state->key, state->scratch, nonce, header, headerBytes);
  library.chachaSeal(state->key, state->scratch, bytes, bytes, length);
  library.chachaFinalize(state->scratch, bytes + length, AEAD_TAG_BYTES);
  return true;
}

static bool open_chacha(void *opaque, const uint8_t *nonce, const uint8_t *header, size_t headerBytes, const uint8_t *from, size_t length,
                        uint8_t *to) {
  State *state = opaque;
  uint8_t tag[AEAD_TAG_BYTES];
  library.chachaInit(state->key, state->scratch, nonce, header, headerBytes);
  library.chachaOpen(state->key, state->scratch, to, from, length);
  library.chachaFinalize(state->scratch, tag, sizeof tag);
  return same_tag(tag, from + length);
}

static const AeadCipher CIPHERS[AEAD_COUNT] = {
    [AES_256_GCM] = {create_gcm, destroy, seal_gcm, open_gcm},
    [CHACHA20_POLY1305] = {create_chacha, destroy, seal_chacha, open_chacha},
};

// POSIX lets a pointer to a function travel as one to an object; C has only memcpy for it.
static bool take(void *out, const void *from) {
  memcpy(out, from, sizeof(void *));
  void *pointer;
  memcpy(&pointer, from, sizeof pointer);
  return pointer != NULL;
}

static bool find(void *handle, const char *name, void *out) {
  void *symbol = dlsym(handle, name);
  return take(out, &symbol);
}

static bool is_known(unsigned version) {
  for (size_t i = 0; i < sizeof VERSIONS / sizeof *VERSIONS; i++) {
    if (VERSIONS[i] == version) return true;
  }
  return false;
}

// The manager itself is only needed to learn which functions are right for this CPU: single calls keep nothing in it.
static const char *take_functions(void *handle) {
  void *(*allocate)(uint64_t flags);
  void (*initialise)(void *manager, int *architecture);
  void (*release)(void *manager);
  if (!find(handle, "alloc_mb_mgr", &allocate) || !find(handle, "init_mb_mgr_auto", &initialise) || !find(handle, "free_mb_mgr", &release)) {
    return "the library has no manager";
  }
  uint8_t *manager = allocate(0);
  if (manager == NULL) return "the library has no memory";
  // Whatever it refuses to set stays NULL.
  static const size_t PLACES[] = {AT_GCM256_ENC,        AT_GCM256_DEC,        AT_GCM256_PRE,     AT_CHACHA_INIT,
                                  AT_CHACHA_ENC_UPDATE, AT_CHACHA_DEC_UPDATE, AT_CHACHA_FINALIZE};
  for (size_t i = 0; i < sizeof PLACES / sizeof *PLACES; i++) memset(manager + PLACES[i], 0, sizeof(void *));
  int architecture;
  initialise(manager, &architecture);
  bool complete = take(&library.gcmPre, manager + AT_GCM256_PRE) && take(&library.gcmSeal, manager + AT_GCM256_ENC) &&
                  take(&library.gcmOpen, manager + AT_GCM256_DEC) && take(&library.chachaInit, manager + AT_CHACHA_INIT) &&
                  take(&library.chachaSeal, manager + AT_CHACHA_ENC_UPDATE) && take(&library.chachaOpen, manager + AT_CHACHA_DEC_UPDATE) &&
                  take(&library.chachaFinalize, manager + AT_CHACHA_FINALIZE);
  release(manager);
  return complete ? NULL : "the library does not support this CPU";
}

static const char *take_library(void *handle) {
  unsigned (*number)(void);
  const char *(*text)(void);
  if (!find(handle, "imb_get_version", &number) || !find(handle, "imb_get_version_str", &text)) return "the library does not tell its version";
  if (!is_known(number())) return "the library is of a version that is not known (1.3.0, 1.5.0 and 2.0.0 are)";
  library.version = text();
  return take_functions(handle);
}

enum { CHECK_BYTES = 2100 };

// Both engines must make the same of every length around the block sizes, and refuse what was changed.
static bool agrees(Aead aead, size_t length) {
  uint8_t key[AEAD_KEY_BYTES], nonce[AEAD_NONCE_BYTES], header[AEAD_NONCE_BYTES];
  uint8_t plain[CHECK_BYTES], ours[CHECK_BYTES + AEAD_TAG_BYTES], theirs[CHECK_BYTES + AEAD_TAG_BYTES], opened[CHECK_BYTES];
  for (size_t i = 0; i < sizeof key; i++) key[i] = (uint8_t)(i * 7 + length);
  for (size_t i = 0; i < sizeof nonce; i++) nonce[i] = header[i] = (uint8_t)(i * 5 + length);
  for (size_t i = 0; i < length; i++) ours[i] = theirs[i] = plain[i] = (uint8_t)(i * 11 + length);
  void *sealer = CIPHERS[aead].create(key, true), *opener = CIPHERS[aead].create(key, false);
  void *reference = OPENSSL_CIPHERS[aead].create(key, true);
  bool good = sealer != NULL && opener != NULL && reference != NULL;
  good = good && CIPHERS[aead].seal(sealer, nonce, header, sizeof header, ours, length);
  good = good && OPENSSL_CIPHERS[aead].seal(reference, nonce, header, sizeof header, theirs, length);
  good = good && memcmp(ours, theirs, length + AEAD_TAG_BYTES) == 0;
  good = good && CIPHERS[aead].open(opener, nonce, header, sizeof header, theirs, length, opened) && memcmp(opened, plain, length) == 0;
  theirs[length + AEAD_TAG_BYTES - 1] ^= 1;
  good = good && !CIPHERS[aead].open(opener, nonce, header, sizeof header, theirs, length, opened);
  CIPHERS[aead].destroy(sealer);
  CIPHERS[aead].destroy(opener);
  OPENSSL_CIPHERS[aead].destroy(reference);
  return good;
}

static const char *check(void) {
  static const size_t LENGTHS[] = {0, 1, 15, 16, 17, 63, 64, 65, 255, 256, 257, 1023, 1400, CHECK_BYTES};
  for (size_t i = 0; i < sizeof LENGTHS / sizeof *LENGTHS; i++) {
    if (!agrees(AES_256_GCM, LENGTHS[i]) || !agrees(CHACHA20_POLY1305, LENGTHS[i])) return "the library does not seal as OpenSSL does";
  }
  return NULL;
}

const AeadCipher *ipsec_mb_load(const char **problem) {
  static bool loaded;
  static const char *found = "libIPSec_MB is not installed (Debian: libipsec-mb1 or libipsec-mb2)";
  for (size_t i = 0; !loaded && i < sizeof FILES / sizeof *FILES; i++) {
    void *handle = dlopen(FILES[i], RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) continue;
    found = take_library(handle);
    if (found == NULL) found = check();
    if (found == NULL) break;
    dlclose(handle);
  }
  loaded = true;
  *problem = found;
  return found == NULL ? CIPHERS : NULL;
}

const char *ipsec_mb_version(void) { return library.version; }

#else

const AeadCipher *ipsec_mb_load(const char **problem) {
  *problem = "it is for x86-64 only";
  return NULL;
}

const char *ipsec_mb_version(void) { return ""; }

#endif
