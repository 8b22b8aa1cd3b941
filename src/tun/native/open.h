#ifndef MPTUNNEL_OPEN_H
#define MPTUNNEL_OPEN_H

#include "aead.h"
#include "handle.h"
#include "replay.h"
#include "seal.h"

typedef struct Opener {
  struct Opener *next;
  AeadContext *aead;
  uint32_t receiverIndex;
  // Made when the first packet of the path has proven to be authentic.
  ReplayWindow *windows[MAX_PATHS];
} Opener;

typedef struct {
  uint64_t datagrams, bytes, badTag, replayed, unknown, truncated;
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

napi_value open_create_table(napi_env env, napi_callback_info info);
napi_value open_add_opener(napi_env env, napi_callback_info info);
napi_value open_remove_opener(napi_env env, napi_callback_info info);
napi_value open_close_table(napi_env env, napi_callback_info info);
napi_value open_counters(napi_env env, napi_callback_info info);

// receive.c
napi_value open_receive(napi_env env, napi_callback_info info);

#endif
