// The open table: receive keys by receiver index, with one replay window per path.
#include "open.h"

#include <stdlib.h>

#define FIRST_BUCKETS 16

static size_t bucket_of(const OpenTable *table, uint32_t receiverIndex) {
  // Our side chose the index, so a multiplication spreads well enough. Of the lower half alone: compressed segments say no more.
  return ((receiverIndex & 0xffff) * 2654435769u) >> 7 & (table->bucketCount - 1);
}

Opener *open_table_find(const OpenTable *table, uint32_t receiverIndex) {
  Opener *opener = table->buckets[bucket_of(table, receiverIndex)];
  while (opener != NULL && opener->receiverIndex != receiverIndex) opener = opener->next;
  return opener;
}

Opener *open_table_find_short(const OpenTable *table, uint16_t shortIndex) {
  Opener *opener = table->buckets[bucket_of(table, shortIndex)];
  while (opener != NULL && !(opener->compressed && (opener->receiverIndex & 0xffff) == shortIndex)) opener = opener->next;
  return opener;
}

static void free_opener(Opener *opener) {
  aead_free(opener->aead);
  for (int i = 0; i < MAX_PATHS; i++) {
    free(opener->windows[i]);
    decompressor_free(opener->decompressors[i]);
  }
  free(opener);
}

static void insert(OpenTable *table, Opener *opener) {
  Opener **bucket = &table->buckets[bucket_of(table, opener->receiverIndex)];
  opener->next = *bucket;
  *bucket = opener;
}

static void grow(OpenTable *table) {
  Opener **old = table->buckets;
  size_t oldCount = table->bucketCount;
  table->bucketCount = oldCount * 2;
  table->buckets = calloc(table->bucketCount, sizeof *table->buckets);
  if (table->buckets == NULL) abort();
  for (size_t i = 0; i < oldCount; i++) {
    for (Opener *opener = old[i], *next; opener != NULL; opener = next) {
      next = opener->next;
      insert(table, opener);
    }
  }
  free(old);
}

static void dispose(Handle *handle) {
  OpenTable *table = (OpenTable *)handle;
  for (size_t i = 0; i < table->bucketCount; i++) {
    for (Opener *opener = table->buckets[i], *next; opener != NULL; opener = next) {
      next = opener->next;
      free_opener(opener);
    }
  }
  free(table->buckets);
  table->buckets = NULL;
  table->bucketCount = 0;
}

napi_value open_create_table(napi_env env, napi_callback_info info) {
  (void)info;
  OpenTable *table = calloc(1, sizeof *table);
  if (table == NULL) abort();
  table->bucketCount = FIRST_BUCKETS;
  table->buckets = calloc(table->bucketCount, sizeof *table->buckets);
  if (table->buckets == NULL) abort();
  return handle_wrap(env, &table->handle, KIND_OPEN_TABLE, dispose);
}

napi_value open_add_opener(napi_env env, napi_callback_info info) {
  napi_value argv[2], value;
  size_t argc = 2;
  int64_t receiverIndex;
  bool compressed = false;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  OpenTable *table = handle_get(env, argv[0], KIND_OPEN_TABLE);
  if (table == NULL || !arg_property(env, argv[1], "receiverIndex", &value)) return NULL;
  if (!arg_int(env, value, "receiverIndex", 0, UINT32_MAX, &receiverIndex)) return NULL;
  if (!arg_property(env, argv[1], "compressed", &value) || (value != NULL && !arg_bool(env, value, "compressed", &compressed))) return NULL;
  if (compressed && open_table_find_short(table, (uint16_t)receiverIndex) != NULL) {
    throw_range(env, "the lower half of receiverIndex %u is in the table already", (uint32_t)receiverIndex);
    return NULL;
  }
  if (open_table_find(table, (uint32_t)receiverIndex) != NULL) {
    throw_range(env, "receiverIndex %u is in the table already", (uint32_t)receiverIndex);
    return NULL;
  }
  AeadContext *aead = aead_from_options(env, argv[1], false);
  if (aead == NULL) return NULL;
  Opener *opener = calloc(1, sizeof *opener);
  if (opener == NULL) abort();
  opener->aead = aead;
  opener->receiverIndex = (uint32_t)receiverIndex;
  opener->compressed = compressed;
  if (++table->openerCount > table->bucketCount) grow(table);
  insert(table, opener);
  return NULL;
}

napi_value open_remove_opener(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  size_t argc = 2;
  int64_t receiverIndex;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  OpenTable *table = handle_get(env, argv[0], KIND_OPEN_TABLE);
  if (table == NULL || !arg_int(env, argv[1], "receiverIndex", 0, UINT32_MAX, &receiverIndex)) return NULL;
  Opener **link = &table->buckets[bucket_of(table, (uint32_t)receiverIndex)];
  while (*link != NULL && (*link)->receiverIndex != (uint32_t)receiverIndex) link = &(*link)->next;
  Opener *opener = *link;
  if (opener == NULL) return NULL;
  *link = opener->next;
  free_opener(opener);
  table->openerCount--;
  return NULL;
}

napi_value open_close_table(napi_env env, napi_callback_info info) { return handle_close_only(env, info, KIND_OPEN_TABLE); }

napi_value open_counters(napi_env env, napi_callback_info info) {
  napi_value result;
  OpenTable *table = handle_only(env, info, KIND_OPEN_TABLE);
  if (table == NULL || napi_create_object(env, &result) != napi_ok) return NULL;
  const ReceiveCounters *counters = &table->counters;
  napi_set_named_property(env, result, "datagrams", js_number(env, (double)counters->datagrams));
  napi_set_named_property(env, result, "bytes", js_number(env, (double)counters->bytes));
  napi_set_named_property(env, result, "badTag", js_number(env, (double)counters->badTag));
  napi_set_named_property(env, result, "replayed", js_number(env, (double)counters->replayed));
  napi_set_named_property(env, result, "unknown", js_number(env, (double)counters->unknown));
  napi_set_named_property(env, result, "truncated", js_number(env, (double)counters->truncated));
  napi_set_named_property(env, result, "unknownBase", js_number(env, (double)counters->unknownBase));
  return result;
}

napi_value open_install_base(napi_env env, napi_callback_info info) {
  napi_value argv[7];
  size_t argc = 7;
  int64_t receiverIndex, pathId, packetNumber;
  Bytes buffer, base;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  OpenTable *table = handle_get(env, argv[0], KIND_OPEN_TABLE);
  if (table == NULL || !arg_int(env, argv[1], "receiverIndex", 0, UINT32_MAX, &receiverIndex)) return NULL;
  if (!arg_int(env, argv[2], "pathId", 0, MAX_PATHS - 1, &pathId)) return NULL;
  if (!arg_int(env, argv[3], "packetNumber", 0, (int64_t)PACKET_NUMBERS - 1, &packetNumber)) return NULL;
  if (!arg_bytes(env, argv[4], "base", &buffer) || !arg_piece(env, &buffer, argv[5], argv[6], "base", UINT32_MAX, &base)) return NULL;
  Opener *opener = open_table_find(table, (uint32_t)receiverIndex);
  if (opener == NULL || !opener->compressed) return js_number(env, BASE_STALE);
  if (opener->decompressors[pathId] == NULL) opener->decompressors[pathId] = decompressor_create();
  return js_number(env, decompressor_install(opener->decompressors[pathId], (uint64_t)packetNumber, base.data, base.length));
}
