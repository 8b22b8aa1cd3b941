/* Stands for a libIPSec_MB that the addon must refuse: of FAKE_VERSION, with functions where 1.3.0 has them that seal to what AES and ChaCha20 never are. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

unsigned imb_get_version(void) { return FAKE_VERSION; }
const char *imb_get_version_str(void) { return "fake"; }
void *alloc_mb_mgr(uint64_t flags) {
  (void)flags;
  return calloc(1, 4096);
}
void free_mb_mgr(void *manager) { free(manager); }

static void pre(const void *key, void *expanded) {
  (void)key;
  (void)expanded;
}
static void crypt(const void *expanded, void *scratch, uint8_t *out, const uint8_t *in, uint64_t length, const uint8_t *nonce, const uint8_t *associated,
                  uint64_t associatedBytes, uint8_t *tag, uint64_t tagBytes) {
  (void)expanded, (void)scratch, (void)nonce, (void)associated, (void)associatedBytes;
  memmove(out, in, length);
  memset(tag, 0, tagBytes);
}
static int nothing(void) { return 0; }

static void put(uint8_t *manager, int at, void *function) { memcpy(manager + at, &function, sizeof function); }

void init_mb_mgr_auto(void *opaque, int *architecture) {
  uint8_t *manager = opaque;
  *architecture = 0;
  put(manager, 272, (void *)crypt);
  put(manager, 296, (void *)crypt);
  put(manager, 464, (void *)pre);
  for (int at = 920; at <= 944; at += 8) put(manager, at, (void *)nothing);
}
