#include "contexts.h"

#include <stdlib.h>

// Flows are found by all of their header that is no field: 4 in a bucket, the one that was not used for the longest time makes room.
#define BUCKETS 64
#define WAYS 4
#define FLOWS (BUCKETS * WAYS)
// Flags that speak of one segment, not of the flow.
#define TRANSIENT_FLAGS (TCP_PSH | TCP_FIN | TCP_CWR)

// A flow gets a base when it has sent so much,
#define FIRST_BASE_DATAGRAMS 8
// a fresh one when that would have spared so many bytes, somewhat more than a base costs (twice as many after each that spared nothing),
#define FRESH_BASE_SPARES_BYTES 300
#define FRESH_BASE_SPARES_MAX_BYTES (1 << 18)
// or when a number has moved so far, of 12 MB that 3 bytes reach.
#define FRESH_BASE_BYTES (4 << 20)
// A flow that was used so lately is not pushed out by another: one with a base, one without.
#define HELD_DATAGRAMS 4096
#define HELD_NEW_DATAGRAMS 1024
// The peer never confirmed: ask no more for a while.
#define MAX_TRIES 6
#define TRY_AGAIN_DATAGRAMS 4096

typedef struct {
  HeaderFields fields;
  uint32_t serial;
  uint16_t id;
  bool exists;
} SenderBase;

typedef struct {
  uint64_t hash;
  uint64_t usedAt;
  Header header;
  // What we compress with, and what will take its place once it is confirmed.
  SenderBase current, next;
  double sentMs;
  uint32_t tries;
  uint32_t datagrams;
  // Of `datagrams`: when the newest base was made, and until when none is wanted.
  uint32_t freshAt, quietUntil;
  uint32_t freshSparesBytes;
  // Spared by a base of today since the newest was made.
  uint32_t spareBytes;
  // What a fresh base would have spared in the latest header, and whether a fresh one has come since.
  uint8_t staleBytes;
  bool isNew;
  // Sequence number less subflow sequence number where a mapping begins: the least that was seen, as a segment further in has more.
  uint32_t origin;
  bool knowsOrigin;
  // Where compressor->flows has it.
  uint16_t place;
} Flow;

struct Compressor {
  // Made when they are needed: many peers have few flows.
  Flow *flows[FLOWS];
  // Place of the flow plus one, by id.
  uint16_t owners[CONTEXT_IDS];
  uint32_t nextSerial;
  size_t pending;
  size_t nextPending;
  // What compressor_encode was about.
  Header header;
  Flow *flow;
};

Compressor *compressor_create(void) {
  Compressor *compressor = calloc(1, sizeof *compressor);
  if (compressor == NULL) abort();
  return compressor;
}

void compressor_free(Compressor *compressor) {
  if (compressor == NULL) return;
  for (int i = 0; i < FLOWS; i++) free(compressor->flows[i]);
  free(compressor);
}

size_t compressor_pending(const Compressor *compressor) { return compressor->pending; }

// ---- ids ----

// The first few make the shortest headers, of segments with data only.
static int allocate_id(Compressor *compressor, const Flow *flow, bool hasPayload) {
  for (int i = 0; i < CONTEXT_IDS; i++) {
    int id = hasPayload ? i : CONTEXT_IDS - 1 - i;
    if (compressor->owners[id] != 0) continue;
    compressor->owners[id] = (uint16_t)(flow->place + 1);
    return id;
  }
  return -1;
}

static Flow *owner_of(const Compressor *compressor, size_t id) {
  return id < CONTEXT_IDS && compressor->owners[id] != 0 ? compressor->flows[compressor->owners[id] - 1] : NULL;
}

static void drop_current(Compressor *compressor, Flow *flow) {
  if (flow->current.exists) compressor->owners[flow->current.id] = 0;
  flow->current.exists = false;
}

static void drop_next(Compressor *compressor, Flow *flow) {
  if (!flow->next.exists) return;
  compressor->owners[flow->next.id] = 0;
  flow->next.exists = false;
  compressor->pending--;
}

static void make_base(Compressor *compressor, Flow *flow, const HeaderFields *fields, bool hasPayload) {
  int id = allocate_id(compressor, flow, hasPayload);
  if (id < 0) return;
  flow->next = (SenderBase){*fields, ++compressor->nextSerial, (uint16_t)id, true};
  flow->next.fields.flags &= (uint8_t)~TRANSIENT_FLAGS;
  flow->freshAt = flow->datagrams;
  flow->spareBytes = 0;
  flow->tries = 0;
  compressor->pending++;
}

// ---- flows ----

static uint64_t hash_masked(const uint8_t *masked, size_t bytes) {
  uint64_t hash = bytes;
  for (size_t at = 0; at < bytes; at += 8) {
    uint64_t word;
    memcpy(&word, masked + at, 8);
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    hash ^= hash >> 32;
  }
  return hash;
}

static Flow *take_place(Compressor *compressor, size_t bucket, uint64_t packetNumber) {
  Flow *oldest = NULL;
  for (size_t place = bucket; place < bucket + WAYS; place++) {
    Flow *flow = compressor->flows[place];
    if (flow == NULL) {
      flow = compressor->flows[place] = calloc(1, sizeof *flow);
      if (flow == NULL) abort();
      flow->place = (uint16_t)place;
      return flow;
    }
    if (oldest == NULL || flow->usedAt < oldest->usedAt) oldest = flow;
  }
  uint64_t held = oldest->current.exists || oldest->next.exists ? HELD_DATAGRAMS : HELD_NEW_DATAGRAMS;
  if (packetNumber - oldest->usedAt < held) return NULL;
  drop_current(compressor, oldest);
  drop_next(compressor, oldest);
  uint16_t place = oldest->place;
  memset(oldest, 0, sizeof *oldest);
  oldest->place = place;
  return oldest;
}

static Flow *find_flow(Compressor *compressor, const Header *header, uint64_t packetNumber) {
  uint64_t hash = hash_masked(header->masked, header->layout.headerBytes);
  size_t bucket = (hash >> 40) % BUCKETS * WAYS;
  for (size_t place = bucket; place < bucket + WAYS; place++) {
    Flow *flow = compressor->flows[place];
    if (flow != NULL && flow->hash == hash && flow->header.layout.headerBytes == header->layout.headerBytes &&
        memcmp(flow->header.masked, header->masked, MASKED_BYTES) == 0) {
      return flow;
    }
  }
  Flow *flow = take_place(compressor, bucket, packetNumber);
  if (flow == NULL) return NULL;
  flow->hash = hash;
  flow->header = *header;
  flow->freshSparesBytes = FRESH_BASE_SPARES_BYTES;
  return flow;
}

static bool moved_far(const HeaderLayout *layout, const HeaderFields *fields, const HeaderFields *base) {
  int32_t seq = (int32_t)(fields->seq - base->seq), ack = (int32_t)(fields->ack - base->ack);
  int64_t dsn = (int64_t)(fields->dsn - base->dsn);
  if (layout->dsnBytes == 4) dsn = (int32_t)dsn;
  // With several paths the DSN moves faster than what is sent here.
  int64_t moved[] = {seq, ack, dsn};
  for (int i = 0; i < 3; i++) if (moved[i] > FRESH_BASE_BYTES || moved[i] < -(FRESH_BASE_BYTES / 2)) return true;
  return false;
}

// A place in a mapping is told from the base on, so a base has to be the header of a mapping's first segment: repetitions may begin further in.
static bool begins_mapping(Flow *flow, const HeaderFields *fields) {
  if (flow->header.layout.dsn == 0) return true;
  uint32_t origin = fields->seq - fields->ssn;
  if (!flow->knowsOrigin || (int32_t)(origin - flow->origin) < 0) flow->origin = origin;
  flow->knowsOrigin = true;
  return origin == flow->origin;
}

// Whether it is time for a fresh base, after a super-segment was encoded, or could not be.
static bool wants_base(const Flow *flow, const HeaderFields *fields, bool encoded) {
  if (flow->next.exists || (int32_t)(flow->datagrams - flow->quietUntil) < 0) return false;
  if (!flow->current.exists) return flow->datagrams >= FIRST_BASE_DATAGRAMS;
  uint32_t since = flow->datagrams - flow->freshAt;
  if (!encoded) return since >= FIRST_BASE_DATAGRAMS;
  if (moved_far(&flow->header.layout, fields, &flow->current.fields)) return true;
  return flow->spareBytes >= flow->freshSparesBytes;
}

static void note_encoded(Flow *flow, uint32_t datagrams, uint8_t staleBytes) {
  flow->spareBytes += datagrams * staleBytes;
  if (flow->isNew && flow->staleBytes > 0) {
    if (staleBytes < flow->staleBytes) flow->freshSparesBytes = FRESH_BASE_SPARES_BYTES;
    else if (flow->freshSparesBytes < FRESH_BASE_SPARES_MAX_BYTES) flow->freshSparesBytes *= 2;
  }
  flow->isNew = false;
  flow->staleBytes = staleBytes;
}

static bool encode_with(Flow *flow, const HeaderFields *fields, size_t payloadBytes, size_t segmentBytes, Encoded *out) {
  flow->header.fields = flow->current.fields;
  return compress_encode(&flow->header, flow->current.id, fields, payloadBytes, segmentBytes, out);
}

bool compressor_encode(Compressor *compressor, uint64_t packetNumber, const uint8_t *header, size_t headerBytes, size_t payloadBytes,
                       size_t segmentBytes, Encoded *out) {
  compressor->flow = NULL;
  if (!header_parse(header, headerBytes, &compressor->header)) return false;
  Flow *flow = find_flow(compressor, &compressor->header, packetNumber);
  if (flow == NULL) return false;
  const HeaderFields *fields = &compressor->header.fields;
  compressor->flow = flow;
  flow->usedAt = packetNumber;
  uint32_t datagrams = 1 + (uint32_t)(segmentBytes == 0 ? 0 : payloadBytes / segmentBytes);
  flow->datagrams += datagrams;
  bool encoded = flow->current.exists && encode_with(flow, fields, payloadBytes, segmentBytes, out);
  if (encoded) note_encoded(flow, datagrams, out->staleBytes);
  if (begins_mapping(flow, fields) && wants_base(flow, fields, encoded)) make_base(compressor, flow, fields, payloadBytes > 0);
  return encoded;
}

bool compressor_encode_again(Compressor *compressor, size_t payloadBytes, size_t segmentBytes, Encoded *out) {
  return encode_with(compressor->flow, &compressor->header.fields, payloadBytes, segmentBytes, out);
}

// ---- agreement ----

static size_t write_base(const Flow *flow, uint8_t *out) {
  store32(out, flow->next.serial);
  store16(out + 4, flow->next.id);
  header_write(&flow->header, &flow->next.fields, flow->header.layout.headerBytes, out + BASE_PREFIX_BYTES);
  return BASE_PREFIX_BYTES + flow->header.layout.headerBytes;
}

size_t compressor_next_base(Compressor *compressor, double nowMs, double repeatMs, uint8_t *out) {
  size_t left = compressor->pending;
  for (size_t i = 0; i < CONTEXT_IDS && left > 0; i++) {
    size_t id = (compressor->nextPending + i) % CONTEXT_IDS;
    Flow *flow = owner_of(compressor, id);
    if (flow == NULL || !flow->next.exists || flow->next.id != id) continue;
    left--;
    if (flow->tries > 0 && nowMs - flow->sentMs < repeatMs * (double)(1u << (flow->tries - 1))) continue;
    compressor->nextPending = id + 1;
    if (flow->tries == MAX_TRIES) {
      drop_next(compressor, flow);
      flow->quietUntil = flow->datagrams + TRY_AGAIN_DATAGRAMS;
      continue;
    }
    flow->tries++;
    flow->sentMs = nowMs;
    return write_base(flow, out);
  }
  return 0;
}

bool compressor_confirm(Compressor *compressor, uint16_t id, uint32_t serial) {
  Flow *flow = owner_of(compressor, id);
  if (flow == NULL || !flow->next.exists || flow->next.id != id || flow->next.serial != serial) return false;
  drop_current(compressor, flow);
  flow->current = flow->next;
  flow->next.exists = false;
  flow->isNew = true;
  compressor->pending--;
  return true;
}

void compressor_lose(Compressor *compressor, uint16_t id) {
  Flow *flow = owner_of(compressor, id);
  if (flow != NULL && flow->current.exists && flow->current.id == id) drop_current(compressor, flow);
}

// ---- the receiver's ----

Decompressor *decompressor_create(void) {
  Decompressor *decompressor = calloc(1, sizeof *decompressor);
  if (decompressor == NULL) abort();
  return decompressor;
}

void decompressor_free(Decompressor *decompressor) {
  if (decompressor == NULL) return;
  for (int id = 0; id < CONTEXT_IDS; id++) free(decompressor->bases[id]);
  free(decompressor);
}

BaseResult decompressor_install(Decompressor *decompressor, uint64_t packetNumber, const uint8_t *bytes, size_t length) {
  if (length < BASE_PREFIX_BYTES) return BASE_MALFORMED;
  uint32_t serial = load32(bytes);
  uint16_t id = load16(bytes + 4);
  Header header;
  if (id >= CONTEXT_IDS || !header_parse(bytes + BASE_PREFIX_BYTES, length - BASE_PREFIX_BYTES, &header)) return BASE_MALFORMED;
  ReceiverBase *base = decompressor->bases[id];
  if (base == NULL) {
    base = decompressor->bases[id] = malloc(sizeof *base);
    if (base == NULL) abort();
  } else if (serial == base->serial) {
    // A repetition: the confirmation was lost, or is under way.
    return BASE_STORED;
  } else if (serial < base->serial) {
    return BASE_STALE;
  }
  *base = (ReceiverBase){header, serial, packetNumber};
  return BASE_STORED;
}
