#ifndef MPTUNNEL_OPEN_H
#define MPTUNNEL_OPEN_H

#include "aead.h"
#include "contexts.h"
#include "handle.h"
#include "replay.h"
#include "seal.h"

typedef struct Opener {
  struct Opener *next;
  AeadContext *aead;
  uint32_t receiverIndex;
  // Compressed segments name it by the lower half of its index; the caller sees to it that no other such opener has the same.
  bool compressed;
  // Made when the first packet of the path has proven to be authentic.
  ReplayWindow *windows[MAX_PATHS];
  // Made with the first base.
  Decompressor *decompressors[MAX_PATHS];
} Opener;

typedef struct {
  uint64_t datagrams, bytes, badTag, replayed, unknown, truncated, unknownBase;
} ReceiveCounters;

typedef struct {
  Handle handle;
  // Chained hash table of a power of two.
  Opener **buckets;
  size_t bucketCount;
  size_t openerCount;
  ReceiveCounters counters;
} OpenTable;

Opener *open_table_find(const OpenTable *table, uint32_t receiverIndex);
// The opener of compressed segments with that lower half of the index.
Opener *open_table_find_short(const OpenTable *table, uint16_t shortIndex);

napi_value open_create_table(napi_env env, napi_callback_info info);
napi_value open_add_opener(napi_env env, napi_callback_info info);
napi_value open_remove_opener(napi_env env, napi_callback_info info);
napi_value open_close_table(napi_env env, napi_callback_info info);
napi_value open_counters(napi_env env, napi_callback_info info);
napi_value open_install_base(napi_env env, napi_callback_info info);

// receive.c
napi_value open_receive(napi_env env, napi_callback_info info);

#endif
