// Receiving: every datagram in the socket's inbox is opened straight into the caller's arena.
#include <errno.h>
#include <stdlib.h>

#include "coalesce.h"
#include "loop.h"
#include "open.h"
#include "udp.h"

#define MIN_ARENA_BYTES (256 * 1024)
// Below this no further round begins: it could not take one full message.
#define MIN_ROOM_BYTES (70 * 1024)
#define RX_DESCRIPTOR_INTS 16

enum {
  RX_KIND, RX_OFFSET, RX_LENGTH, RX_SEGMENT_BYTES, RX_DATAGRAMS, RX_TYPE, RX_PATH_ID, RX_RECEIVER_INDEX,
  RX_PACKET_NUMBER_HIGH, RX_PACKET_NUMBER_LOW, RX_ADDRESS, RX_WIRE_BYTES, RX_HEADER_LENGTH, RX_COMPRESSED
};
enum { KIND_RAW = 0, KIND_PACKET = 1, KIND_UNKNOWN_BASE = 2 };

typedef struct {
  OpenTable *table;
  uint8_t *arena;
  size_t arenaBytes;
  size_t used;
  int32_t *descriptors;
  size_t descriptorMax;
  size_t descriptorCount;
  uint8_t *addresses;
  size_t addressMax;
  size_t addressCount;
  // The open run is the last descriptor, and ends where `used` is.
  Run run;
  const Opener *runOpener;
  // The run's segments came with compressed headers: with this base, its first one with these fields, in so many bytes. NULL: with whole headers.
  const ReceiverBase *runBase;
  HeaderFields runFields;
  size_t runCompressedBytes;
} Batch;

typedef struct {
  const uint8_t *bytes;
  size_t length;
  int32_t address;
  // Of data.
  size_t headerBytes;
  uint64_t packetNumber;
  uint8_t pathId;
} Datagram;

static size_t plain_bytes(const Datagram *datagram) { return datagram->length - datagram->headerBytes - AEAD_TAG_BYTES; }

static int32_t *add_descriptor(Batch *batch, const Datagram *datagram, int32_t kind, size_t offset, size_t length) {
  int32_t *descriptor = batch->descriptors + RX_DESCRIPTOR_INTS * batch->descriptorCount++;
  memset(descriptor, 0, RX_DESCRIPTOR_INTS * sizeof *descriptor);
  descriptor[RX_KIND] = kind;
  descriptor[RX_OFFSET] = (int32_t)offset;
  descriptor[RX_LENGTH] = (int32_t)length;
  descriptor[RX_DATAGRAMS] = 1;
  descriptor[RX_TYPE] = datagram->bytes[0];
  descriptor[RX_ADDRESS] = datagram->address;
  descriptor[RX_WIRE_BYTES] = (int32_t)datagram->length;
  batch->used = offset + length;
  return descriptor;
}

static void set_packet_number(int32_t *descriptor, uint64_t number) {
  descriptor[RX_PACKET_NUMBER_HIGH] = (int32_t)(number >> 32);
  descriptor[RX_PACKET_NUMBER_LOW] = (int32_t)(uint32_t)number;
}

static uint64_t get_packet_number(const int32_t *descriptor) {
  return (uint64_t)(uint32_t)descriptor[RX_PACKET_NUMBER_HIGH] << 32 | (uint32_t)descriptor[RX_PACKET_NUMBER_LOW];
}

static size_t next_offset(const Batch *batch) { return (batch->used + 15) & ~(size_t)15; }

static void hand_up_raw(Batch *batch, const Datagram *datagram) {
  size_t offset = next_offset(batch);
  run_end(&batch->run);
  memcpy(batch->arena + offset, datagram->bytes, datagram->length);
  add_descriptor(batch, datagram, KIND_RAW, offset, datagram->length);
}

static bool authentic(Batch *batch, const Opener *opener, const Datagram *datagram, uint8_t *to) {
  uint8_t nonce[AEAD_NONCE_BYTES];
  packet_nonce(datagram->pathId, datagram->packetNumber, nonce);
  if (aead_open(opener->aead, nonce, datagram->bytes, datagram->headerBytes, datagram->bytes + datagram->headerBytes, plain_bytes(datagram), to)) {
    return true;
  }
  batch->table->counters.badTag++;
  return false;
}

static void mark_seen(Opener *opener, const Datagram *datagram) {
  ReplayWindow **window = &opener->windows[datagram->pathId];
  if (*window == NULL) *window = calloc(1, sizeof **window);
  if (*window == NULL) abort();
  replay_mark(*window, datagram->packetNumber);
}

static int32_t *add_opened(Batch *batch, const Opener *opener, const Datagram *datagram, int32_t kind, size_t offset, size_t length) {
  run_end(&batch->run);
  int32_t *descriptor = add_descriptor(batch, datagram, kind, offset, length);
  descriptor[RX_PATH_ID] = datagram->pathId;
  descriptor[RX_RECEIVER_INDEX] = (int32_t)opener->receiverIndex;
  set_packet_number(descriptor, datagram->packetNumber);
  return descriptor;
}

static RunKind run_kind(const Datagram *datagram) { return datagram->bytes[0] == TYPE_STREAM ? RUN_OWN : RUN_FOREIGN; }

static void open_alone(Batch *batch, Opener *opener, const Datagram *datagram) {
  size_t offset = next_offset(batch);
  if (!authentic(batch, opener, datagram, batch->arena + offset)) return;
  mark_seen(opener, datagram);
  add_opened(batch, opener, datagram, KIND_PACKET, offset, plain_bytes(datagram));
  if (datagram->bytes[0] == TYPE_CONTROL) return;
  run_begin(&batch->run, batch->arena + offset, plain_bytes(datagram), run_kind(datagram));
  batch->runOpener = opener;
  batch->runBase = NULL;
}

static void join_descriptor(Batch *batch, const Datagram *datagram, size_t payloadBytes) {
  int32_t *descriptor = batch->descriptors + RX_DESCRIPTOR_INTS * (batch->descriptorCount - 1);
  uint64_t number = datagram->packetNumber;
  descriptor[RX_LENGTH] += (int32_t)payloadBytes;
  descriptor[RX_SEGMENT_BYTES] = (int32_t)batch->run.segmentBytes;
  descriptor[RX_HEADER_LENGTH] = batch->run.shape.headerBytes;
  descriptor[RX_DATAGRAMS]++;
  descriptor[RX_WIRE_BYTES] += (int32_t)datagram->length;
  if (number > get_packet_number(descriptor)) set_packet_number(descriptor, number);
  batch->used += payloadBytes;
}

// The datagram's header bytes are decrypted over the end of the run's last payload, which is put back afterwards: so the payload falls into its place
// behind it, and nothing moves in the common case.
static void open_into_run(Batch *batch, Opener *opener, const Datagram *datagram) {
  uint8_t saved[MAX_HEADER_BYTES], header[MAX_HEADER_BYTES];
  size_t headerBytes = batch->run.shape.headerBytes, length = plain_bytes(datagram);
  uint8_t *at = batch->arena + batch->used - headerBytes;
  memcpy(saved, at, headerBytes);
  bool valid = authentic(batch, opener, datagram, at);
  memcpy(header, at, headerBytes);
  if (!valid) {
    memcpy(at, saved, headerBytes);
    return;
  }
  mark_seen(opener, datagram);
  // The run's own header may be among the saved bytes when its payload is shorter than that: compare with all in place.
  size_t offset = next_offset(batch);
  memcpy(at, saved, headerBytes);
  if (run_continues(&batch->run, header, length) && run_checksums_right(&batch->run, header, at + headerBytes, length - headerBytes)) {
    run_append(&batch->run, header, length - headerBytes);
    join_descriptor(batch, datagram, length - headerBytes);
    return;
  }
  memmove(batch->arena + offset + headerBytes, at + headerBytes, length - headerBytes);
  memcpy(batch->arena + offset, header, headerBytes);
  add_opened(batch, opener, datagram, KIND_PACKET, offset, length);
  run_begin(&batch->run, batch->arena + offset, length, run_kind(datagram));
}

static bool is_compressed(const Datagram *datagram) { return (datagram->bytes[0] & TYPE_COMPRESSED_MASK) == TYPE_COMPRESSED; }

static bool may_join(const Batch *batch, const Opener *opener, const Datagram *datagram) {
  bool compressed = is_compressed(datagram);
  if (!batch->run.open || batch->runOpener != opener || compressed != (batch->runBase != NULL)) return false;
  const int32_t *last = batch->descriptors + RX_DESCRIPTOR_INTS * (batch->descriptorCount - 1);
  if (!compressed && last[RX_TYPE] != datagram->bytes[0]) return false;
  if (last[RX_PATH_ID] != datagram->pathId || last[RX_ADDRESS] != datagram->address) return false;
  size_t length = plain_bytes(datagram), headerBytes = compressed ? batch->runCompressedBytes : batch->run.shape.headerBytes;
  return length > headerBytes && run_has_room(&batch->run, length - headerBytes);
}

// ---- compressed headers ----

// The segment names a base that we don't have, or tells what can't be: the peer shall hear of it.
static void refuse(Batch *batch, const Opener *opener, const Datagram *datagram, int id) {
  batch->table->counters.unknownBase++;
  int32_t *descriptor = add_opened(batch, opener, datagram, KIND_UNKNOWN_BASE, next_offset(batch), 0);
  descriptor[RX_TYPE] = TYPE_STREAM;
  descriptor[RX_SEGMENT_BYTES] = id;
}

// A plaintext with a compressed header of `compressedBytes` at `at` begins a run of its own: its whole header is written in front of the payload, at
// most MAX_HEADER_BYTES before `at`.
static void begin_compressed(Batch *batch, const Opener *opener, const Datagram *datagram, const ReceiverBase *base, const HeaderFields *fields, uint8_t *at,
                             size_t compressedBytes) {
  size_t headerBytes = base->header.layout.headerBytes, length = headerBytes + plain_bytes(datagram) - compressedBytes;
  uint8_t *packet = at + compressedBytes - headerBytes;
  header_write(&base->header, fields, length, packet);
  int32_t *descriptor = add_opened(batch, opener, datagram, KIND_PACKET, (size_t)(packet - batch->arena), length);
  descriptor[RX_TYPE] = TYPE_STREAM;
  descriptor[RX_COMPRESSED] = 1;
  run_begin(&batch->run, packet, length, RUN_OWN);
  batch->runOpener = opener;
  batch->runBase = base;
  batch->runFields = *fields;
  batch->runCompressedBytes = compressedBytes;
}

static void handle_compressed(Batch *batch, Opener *opener, const Datagram *datagram, uint8_t *at) {
  size_t length = plain_bytes(datagram);
  int id = compress_id(at, length);
  const ReceiverBase *base = decompressor_find(opener->decompressors[datagram->pathId], id, datagram->packetNumber);
  HeaderFields fields;
  size_t compressedBytes = base == NULL ? 0 : compress_decode(&base->header, at, length, &fields);
  if (compressedBytes == 0) refuse(batch, opener, datagram, id);
  else begin_compressed(batch, opener, datagram, base, &fields, at, compressedBytes);
}

// Where a compressed segment is opened: with room for its whole header in front, and so that the payload is aligned if the header takes as many bytes as the
// latest did.
static uint8_t *compressed_place(const Batch *batch) {
  size_t payload = next_offset(batch) + MAX_HEADER_BYTES + batch->runCompressedBytes;
  return batch->arena + ((payload + 63) & ~(size_t)63) - batch->runCompressedBytes;
}

static void open_compressed(Batch *batch, Opener *opener, const Datagram *datagram) {
  uint8_t *at = compressed_place(batch);
  if (!authentic(batch, opener, datagram, at)) return;
  mark_seen(opener, datagram);
  handle_compressed(batch, opener, datagram, at);
}

// All but sequence number and flags, and these as run_continues has it.
static bool fields_continue(const Batch *batch, const HeaderFields *fields) {
  const HeaderFields *first = &batch->runFields;
  uint8_t ignored = TCP_FIN | TCP_PSH | TCP_CWR;
  return fields->seq == first->seq + (uint32_t)batch->run.payloadBytes && ((fields->flags ^ first->flags) & ~ignored) == 0 &&
         (fields->flags & TCP_CWR) == 0 && fields->ack == first->ack && fields->window == first->window && fields->tsVal == first->tsVal &&
         fields->tsEcr == first->tsEcr && fields->dataAck == first->dataAck && fields->dsn == first->dsn && fields->ssn == first->ssn &&
         fields->dataLength == first->dataLength;
}

// As open_into_run, but that the header takes as many bytes as the run's first one did, as it does within a super-segment.
static void open_compressed_into_run(Batch *batch, Opener *opener, const Datagram *datagram) {
  uint8_t saved[COMPRESSED_MAX_BYTES];
  size_t expected = batch->runCompressedBytes, length = plain_bytes(datagram);
  uint8_t *at = batch->arena + batch->used - expected;
  memcpy(saved, at, expected);
  bool valid = authentic(batch, opener, datagram, at);
  if (!valid) {
    memcpy(at, saved, expected);
    return;
  }
  mark_seen(opener, datagram);
  const ReceiverBase *base = decompressor_find(opener->decompressors[datagram->pathId], compress_id(at, length), datagram->packetNumber);
  HeaderFields fields;
  if (base == batch->runBase && compress_decode(&base->header, at, length, &fields) == expected && fields_continue(batch, &fields)) {
    memcpy(at, saved, expected);
    run_append_own(&batch->run, fields.flags, length - expected);
    join_descriptor(batch, datagram, length - expected);
    return;
  }
  uint8_t *place = compressed_place(batch);
  memmove(place, at, length);
  memcpy(at, saved, expected);
  handle_compressed(batch, opener, datagram, place);
}

// Near the highest number seen (RFC 9000, A.3).
static uint64_t expand_number(const ReplayWindow *window, uint64_t number, unsigned bytes) {
  uint64_t expected = window == NULL ? 0 : window->next, range = UINT64_C(1) << (8 * bytes);
  uint64_t candidate = (expected & ~(range - 1)) | number;
  if (candidate + range / 2 <= expected) return candidate + range;
  return candidate > expected + range / 2 && candidate >= range ? candidate - range : candidate;
}

// Reads the header of a datagram of a data type, and finds its key. NULL: it has none.
static Opener *identify(const OpenTable *table, Datagram *datagram) {
  const uint8_t *bytes = datagram->bytes;
  if (!is_compressed(datagram)) {
    datagram->headerBytes = DATA_HEADER_BYTES;
    if (datagram->length < DATA_OVERHEAD_BYTES || bytes[1] >= MAX_PATHS) return NULL;
    datagram->pathId = bytes[1];
    datagram->packetNumber = (uint64_t)load16(bytes + 6) << 32 | load32(bytes + 8);
    return open_table_find(table, load32(bytes + 2));
  }
  bool isLong = bytes[0] & COMPRESSED_LONG;
  datagram->headerBytes = isLong ? COMPRESSED_LONG_HEADER_BYTES : COMPRESSED_HEADER_BYTES;
  if (datagram->length < datagram->headerBytes + AEAD_TAG_BYTES) return NULL;
  Opener *opener = open_table_find_short(table, load16(bytes + 1));
  if (opener == NULL) return NULL;
  datagram->pathId = bytes[0] & COMPRESSED_PATH;
  uint64_t number = isLong ? (uint64_t)bytes[3] << 16 | load16(bytes + 4) : load16(bytes + 3);
  datagram->packetNumber = expand_number(opener->windows[datagram->pathId], number, isLong ? 3 : 2);
  return datagram->packetNumber < PACKET_NUMBERS ? opener : NULL;
}

static void handle_datagram(Batch *batch, Datagram *datagram) {
  ReceiveCounters *counters = &batch->table->counters;
  const uint8_t *bytes = datagram->bytes;
  counters->datagrams++;
  counters->bytes += datagram->length;
  if (datagram->length == 0) {
    counters->unknown++;
    return;
  }
  bool compressed = is_compressed(datagram);
  if (!compressed && (bytes[0] < TYPE_STREAM || bytes[0] > TYPE_CONTROL)) {
    hand_up_raw(batch, datagram);
    return;
  }
  Opener *opener = identify(batch->table, datagram);
  if (opener == NULL) {
    counters->unknown++;
    return;
  }
  const ReplayWindow *window = opener->windows[datagram->pathId];
  if (window != NULL && !replay_acceptable(window, datagram->packetNumber)) {
    counters->replayed++;
    return;
  }
  bool joins = may_join(batch, opener, datagram);
  if (compressed) (joins ? open_compressed_into_run : open_compressed)(batch, opener, datagram);
  else (joins ? open_into_run : open_alone)(batch, opener, datagram);
}

// Whether the datagram fits whatever it turns out to be.
static bool has_room(const Batch *batch, size_t datagramBytes) {
  return batch->descriptorCount < batch->descriptorMax && next_offset(batch) + 2 * MAX_HEADER_BYTES + datagramBytes <= batch->arenaBytes;
}

// Index of the record among the caller's addresses, or -1 when there is no room for a new one.
static int32_t address_index(Batch *batch, const uint8_t *record) {
  for (size_t i = batch->addressCount; i-- > 0;) {
    if (memcmp(batch->addresses + i * ADDRESS_BYTES, record, ADDRESS_BYTES) == 0) return (int32_t)i;
  }
  if (batch->addressCount == batch->addressMax) return -1;
  memcpy(batch->addresses + batch->addressCount * ADDRESS_BYTES, record, ADDRESS_BYTES);
  return (int32_t)batch->addressCount++;
}

// False: no room; the rest of the message stays in the inbox.
static bool handle_message(Batch *batch, Inbox *inbox) {
  struct mmsghdr *message = &inbox->messages[inbox->next];
  size_t length = message->msg_len;
  if (message->msg_hdr.msg_flags & MSG_TRUNC) {
    batch->table->counters.truncated++;
    return true;
  }
  uint8_t record[ADDRESS_BYTES] = {0};
  size_t segmentBytes = inbox_describe(inbox, record);
  int32_t address = address_index(batch, record);
  if (address < 0) return false;
  do {
    size_t left = length - inbox->offset;
    Datagram datagram = {.bytes = (uint8_t *)inbox->pieces[inbox->next].iov_base + inbox->offset,
                         .length = left < segmentBytes ? left : segmentBytes,
                         .address = address};
    if (!has_room(batch, datagram.length)) return false;
    handle_datagram(batch, &datagram);
    inbox->offset += datagram.length;
  } while (inbox->offset < length);
  return true;
}

static bool drain_inbox(Batch *batch, Inbox *inbox) {
  while (!inbox_empty(inbox)) {
    if (!handle_message(batch, inbox)) return false;
    inbox->next++;
    inbox->offset = 0;
  }
  return true;
}

// 0, or -errno of a receive that failed for another reason than that nothing is there.
static int receive_rounds(Batch *batch, const Udp *udp, Inbox *inbox, int64_t rounds) {
  if (!drain_inbox(batch, inbox)) return 0;
  for (int64_t i = 0; i < rounds; i++) {
    if (batch->arenaBytes - batch->used < MIN_ROOM_BYTES || batch->descriptorCount == batch->descriptorMax) return 0;
    int wanted = inbox_wanted(inbox), count = inbox_fill(udp, inbox);
    if (count < 0) return count == -EAGAIN ? 0 : count;
    if (!drain_inbox(batch, inbox) || count < wanted) return 0;
  }
  return 0;
}

static napi_value receive_into(napi_env env, Batch *batch, Udp *udp, int64_t rounds) {
  if (udp->inbox == NULL) udp->inbox = inbox_create();
  Inbox *inbox = udp->inbox;
  int error = inbox->error;
  inbox->error = 0;
  if (error == 0) error = receive_rounds(batch, udp, inbox, rounds);
  run_end(&batch->run);
  if (error != 0 && batch->descriptorCount > 0) {
    inbox->error = error;
    error = 0;
  }
  if (udp->channel.watcher != NULL) watcher_set_pending(udp->channel.watcher, udp_has_pending(udp));
  return js_number(env, error != 0 ? error : (double)batch->descriptorCount);
}

napi_value open_receive(napi_env env, napi_callback_info info) {
  napi_value argv[6];
  size_t argc = 6;
  Bytes arena, addresses;
  Ints descriptors;
  int64_t rounds;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Udp *udp = handle_get(env, argv[0], KIND_UDP);
  OpenTable *table = udp == NULL ? NULL : handle_get(env, argv[1], KIND_OPEN_TABLE);
  if (table == NULL || !arg_bytes(env, argv[2], "arena", &arena) || !arg_ints(env, argv[3], "descriptors", &descriptors)) return NULL;
  if (!arg_bytes(env, argv[4], "addresses", &addresses) || !arg_int(env, argv[5], "rounds", 1, INT32_MAX, &rounds)) return NULL;
  if (arena.length < MIN_ARENA_BYTES || arena.length > INT32_MAX) {
    throw_range(env, "arena must have at least %d bytes, and less than 2 GB", MIN_ARENA_BYTES);
  } else if (descriptors.length < RX_DESCRIPTOR_INTS || addresses.length < ADDRESS_BYTES) {
    throw_range(env, "descriptors and addresses must have room for one at least");
  } else {
    Batch batch = {.table = table,
                   .arena = arena.data,
                   .arenaBytes = arena.length,
                   .descriptors = descriptors.data,
                   .descriptorMax = descriptors.length / RX_DESCRIPTOR_INTS,
                   .addresses = addresses.data,
                   .addressMax = addresses.length / ADDRESS_BYTES};
    return receive_into(env, &batch, udp, rounds);
  }
  return NULL;
}
