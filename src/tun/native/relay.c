// Forwarding by source address: what comes from one place of a pair goes to the other, byte for byte. Datagrams that GRO joined leave as one UDP_SEGMENT run.
#include "relay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "udp.h"

// Of an address record: family, zero, port, address.
#define PLACE_BYTES 20
#define DESCRIPTOR_INTS 3
// Longer ones are none of a relay's own: garbage shall not take their room.
#define MESSAGE_MAX_BYTES 64
#define FIRST_SLOTS 64
// Of IP and UDP, which a rate counts.
#define HEADER_BYTES 28
#define BURST_NS 250000000ULL
#define NS_PER_SECOND 1000000000ULL
#define MAX_BYTES_PER_SEC (1LL << 40)

// What a pair may still carry, both ways together.
typedef struct {
  uint64_t bytesPerSec;
  uint64_t leftBytes;
  uint64_t atNs;
  uint32_t references;
} Allowance;

typedef struct {
  // NULL: a free slot.
  Allowance *allowance;
  uint8_t place[PLACE_BYTES];
  Target target;
} Outlet;

typedef struct {
  Handle handle;
  Udp *udp;
  // Open addressing, a power of two of slots, half of them free at least.
  Outlet *slots;
  size_t slotCount;
  size_t used;
  uint64_t seed;
  uint64_t forwardedDatagrams, forwardedBytes, unknownSources, overRate, droppedMessages;
} Relay;

static void drop_allowance(Allowance *allowance) {
  if (--allowance->references == 0) free(allowance);
}

static void dispose(Handle *handle) {
  Relay *relay = (Relay *)handle;
  for (size_t i = 0; i < relay->slotCount; i++) {
    if (relay->slots[i].allowance != NULL) drop_allowance(relay->slots[i].allowance);
  }
  free(relay->slots);
  relay->slots = NULL;
  relay->slotCount = relay->used = 0;
  handle_release(&relay->udp->channel.handle);
}

// Seeded, so that nobody can choose addresses that meet in one slot.
static size_t slot_of(const Relay *relay, const uint8_t *place) {
  uint64_t hash = relay->seed, words[3] = {0};
  memcpy(words, place, PLACE_BYTES);
  for (int i = 0; i < 3; i++) {
    hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15ULL;
    hash ^= hash >> 32;
  }
  return (size_t)hash & (relay->slotCount - 1);
}

// The slot of that place, or the free one where it would be.
static Outlet *find(const Relay *relay, const uint8_t *place) {
  size_t at = slot_of(relay, place);
  while (relay->slots[at].allowance != NULL && memcmp(relay->slots[at].place, place, PLACE_BYTES) != 0) at = (at + 1) & (relay->slotCount - 1);
  return &relay->slots[at];
}

static void grow(Relay *relay) {
  Outlet *old = relay->slots;
  size_t oldCount = relay->slotCount;
  relay->slotCount = oldCount == 0 ? FIRST_SLOTS : oldCount * 2;
  relay->slots = calloc(relay->slotCount, sizeof *relay->slots);
  if (relay->slots == NULL) abort();
  for (size_t i = 0; i < oldCount; i++) {
    if (old[i].allowance != NULL) *find(relay, old[i].place) = old[i];
  }
  free(old);
}

static void set_outlet(Relay *relay, const uint8_t *place, const Target *target, Allowance *allowance) {
  if (2 * (relay->used + 1) > relay->slotCount) grow(relay);
  Outlet *outlet = find(relay, place);
  if (outlet->allowance == NULL) relay->used++;
  else drop_allowance(outlet->allowance);
  memcpy(outlet->place, place, PLACE_BYTES);
  outlet->target = *target;
  outlet->allowance = allowance;
  allowance->references++;
}

// Closes the gap, so that what lies behind it is still found.
static void remove_outlet(Relay *relay, const uint8_t *place) {
  if (relay->slotCount == 0) return;
  Outlet *outlet = find(relay, place);
  if (outlet->allowance == NULL) return;
  drop_allowance(outlet->allowance);
  relay->used--;
  size_t mask = relay->slotCount - 1, gap = (size_t)(outlet - relay->slots);
  for (size_t at = (gap + 1) & mask; relay->slots[at].allowance != NULL; at = (at + 1) & mask) {
    size_t home = slot_of(relay, relay->slots[at].place);
    // Between its home and where it lies there is no gap: it stays.
    if (((at - home) & mask) < ((at - gap) & mask)) continue;
    relay->slots[gap] = relay->slots[at];
    gap = at;
  }
  relay->slots[gap].allowance = NULL;
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

static uint64_t burst_bytes(uint64_t bytesPerSec) { return bytesPerSec / (NS_PER_SECOND / BURST_NS); }

static bool take(Allowance *allowance, size_t bytes, uint64_t nowNs) {
  if (allowance->bytesPerSec == 0) return true;
  uint64_t passedNs = nowNs - allowance->atNs;
  uint64_t mostBytes = burst_bytes(allowance->bytesPerSec);
  // What has come in less than a millisecond is rounded away: it comes with the next one.
  if (passedNs >= BURST_NS) allowance->leftBytes = mostBytes;
  else if (passedNs >= 1000000) allowance->leftBytes += allowance->bytesPerSec * (passedNs / 1000) / 1000000;
  if (passedNs >= 1000000) allowance->atNs = nowNs;
  if (allowance->leftBytes > mostBytes) allowance->leftBytes = mostBytes;
  if (bytes > allowance->leftBytes) return false;
  allowance->leftBytes -= bytes;
  return true;
}

napi_value relay_create(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  size_t argc = 2;
  Bytes seed;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Udp *udp = handle_get(env, argv[0], KIND_UDP);
  if (udp == NULL || !arg_bytes(env, argv[1], "seed", &seed)) return NULL;
  if (seed.length != sizeof(uint64_t) || udp->memory != NULL) {
    throw_range(env, "seed must have 8 bytes, and udp must be a socket");
    return NULL;
  }
  Relay *relay = calloc(1, sizeof *relay);
  if (relay == NULL) abort();
  memcpy(&relay->seed, seed.data, sizeof relay->seed);
  relay->udp = udp;
  handle_retain(&udp->channel.handle);
  return handle_wrap(env, &relay->handle, KIND_RELAY, dispose);
}

static bool arg_place(napi_env env, napi_value value, const char *name, Bytes *out) {
  if (!arg_bytes(env, value, name, out)) return false;
  return out->length == ADDRESS_BYTES || throw_range(env, "%s must have %d bytes", name, ADDRESS_BYTES);
}

napi_value relay_connect(napi_env env, napi_callback_info info) {
  napi_value argv[4];
  size_t argc = 4;
  Bytes a, b;
  Target toA, toB;
  int64_t rate;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Relay *relay = handle_get(env, argv[0], KIND_RELAY);
  if (relay == NULL || !arg_place(env, argv[1], "a", &a) || !arg_place(env, argv[2], "b", &b)) return NULL;
  if (!udp_target(env, relay->udp, argv[1], &toA) || !udp_target(env, relay->udp, argv[2], &toB)) return NULL;
  if (!arg_int(env, argv[3], "bytesPerSec", 0, MAX_BYTES_PER_SEC, &rate)) return NULL;
  Allowance *allowance = calloc(1, sizeof *allowance);
  if (allowance == NULL) abort();
  *allowance = (Allowance){.bytesPerSec = (uint64_t)rate, .leftBytes = burst_bytes((uint64_t)rate), .atNs = now_ns(), .references = 1};
  set_outlet(relay, a.data, &toB, allowance);
  set_outlet(relay, b.data, &toA, allowance);
  drop_allowance(allowance);
  return NULL;
}

napi_value relay_disconnect(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  size_t argc = 2;
  Bytes place;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Relay *relay = handle_get(env, argv[0], KIND_RELAY);
  if (relay != NULL && arg_place(env, argv[1], "place", &place)) remove_outlet(relay, place.data);
  return NULL;
}

// What is for the relay itself, on its way to JavaScript.
typedef struct {
  Bytes arena;
  Ints descriptors;
  Bytes addresses;
  uint8_t mark;
  size_t usedBytes;
  size_t count;
} Handover;

static void hand_over(Relay *relay, Handover *over, const uint8_t *bytes, size_t length, const uint8_t *record) {
  size_t at = over->count;
  if (length > MESSAGE_MAX_BYTES || over->usedBytes + length > over->arena.length || (at + 1) * DESCRIPTOR_INTS > over->descriptors.length ||
      (at + 1) * ADDRESS_BYTES > over->addresses.length) {
    relay->droppedMessages++;
    return;
  }
  memcpy(over->arena.data + over->usedBytes, bytes, length);
  memcpy(over->addresses.data + at * ADDRESS_BYTES, record, ADDRESS_BYTES);
  over->descriptors.data[at * DESCRIPTOR_INTS] = (int32_t)over->usedBytes;
  over->descriptors.data[at * DESCRIPTOR_INTS + 1] = (int32_t)length;
  over->descriptors.data[at * DESCRIPTOR_INTS + 2] = (int32_t)at;
  over->usedBytes += length;
  over->count++;
}

static void handle_datagram(Relay *relay, Handover *over, Outlet *outlet, const uint8_t *bytes, size_t length, const uint8_t *record, uint64_t nowNs) {
  if (bytes[0] == over->mark) {
    hand_over(relay, over, bytes, length, record);
  } else if (outlet == NULL) {
    relay->unknownSources++;
  } else if (!take(outlet->allowance, length + HEADER_BYTES, nowNs)) {
    relay->overRate++;
  } else {
    relay->forwardedDatagrams++;
    relay->forwardedBytes += length;
    memcpy(stage_reserve(relay->udp, length), bytes, length);
    stage_commit(relay->udp, &outlet->target, length);
  }
}

static void handle_message(Relay *relay, Handover *over, uint64_t nowNs) {
  Inbox *inbox = relay->udp->inbox;
  uint8_t record[ADDRESS_BYTES] = {0};
  size_t segmentBytes = inbox_describe(inbox, record);
  Outlet *outlet = relay->slotCount == 0 ? NULL : find(relay, record);
  if (outlet != NULL && outlet->allowance == NULL) outlet = NULL;
  const uint8_t *bytes = inbox->pieces[inbox->next].iov_base;
  size_t left = inbox->messages[inbox->next].msg_len;
  while (left > 0) {
    size_t length = left < segmentBytes ? left : segmentBytes;
    handle_datagram(relay, over, outlet, bytes, length, record, nowNs);
    bytes += length;
    left -= length;
  }
  inbox->next++;
}

// Rounds of recvmmsg and sendmmsg. 0, or -errno.
static int forward_rounds(Relay *relay, Handover *over, int64_t rounds) {
  Udp *udp = relay->udp;
  for (int64_t round = 0; round < rounds; round++) {
    int wanted = inbox_wanted(udp->inbox), count = inbox_fill(udp, udp->inbox);
    if (count < 0) return count == -EAGAIN ? 0 : count;
    uint64_t nowNs = now_ns();
    while (!inbox_empty(udp->inbox)) handle_message(relay, over, nowNs);
    stage_flush(udp);
    if (count < wanted) return 0;
  }
  return 0;
}

napi_value relay_forward(napi_env env, napi_callback_info info) {
  napi_value argv[6];
  size_t argc = 6;
  Handover over = {0};
  int64_t rounds, mark;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Relay *relay = handle_get(env, argv[0], KIND_RELAY);
  if (relay == NULL || !arg_int(env, argv[1], "mark", 0, 255, &mark) || !arg_bytes(env, argv[2], "arena", &over.arena)) return NULL;
  if (!arg_ints(env, argv[3], "descriptors", &over.descriptors) || !arg_bytes(env, argv[4], "addresses", &over.addresses)) return NULL;
  if (!arg_int(env, argv[5], "rounds", 1, 1024, &rounds)) return NULL;
  if (relay->udp->channel.handle.closed) {
    throw_type(env, "the socket of the relay is closed");
    return NULL;
  }
  over.mark = (uint8_t)mark;
  if (relay->udp->inbox == NULL) relay->udp->inbox = inbox_create();
  int error = forward_rounds(relay, &over, rounds);
  return js_number(env, error < 0 && over.count == 0 ? error : (double)over.count);
}

napi_value relay_counters(napi_env env, napi_callback_info info) {
  Relay *relay = handle_only(env, info, KIND_RELAY);
  napi_value result = NULL;
  if (relay == NULL || napi_create_object(env, &result) != napi_ok) return NULL;
  napi_set_named_property(env, result, "forwardedDatagrams", js_number(env, (double)relay->forwardedDatagrams));
  napi_set_named_property(env, result, "forwardedBytes", js_number(env, (double)relay->forwardedBytes));
  napi_set_named_property(env, result, "unknownSources", js_number(env, (double)relay->unknownSources));
  napi_set_named_property(env, result, "overRate", js_number(env, (double)relay->overRate));
  napi_set_named_property(env, result, "droppedMessages", js_number(env, (double)relay->droppedMessages));
  return result;
}

napi_value relay_close(napi_env env, napi_callback_info info) { return handle_close_only(env, info, KIND_RELAY); }
