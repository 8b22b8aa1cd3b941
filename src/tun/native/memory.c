#include "memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_MAX_BYTES (2 * 1024 * 1024)
#define QUEUE_MAX_DATAGRAMS 4096
#define QUEUE_FIRST_BYTES (64 * 1024)
#define QUEUE_FIRST_DATAGRAMS 64

// Datagrams back to back: number `first` begins at `begin`. Both buffers grow to their maximum at most.
typedef struct {
  uint8_t *bytes;
  uint32_t *lengths;
  size_t capacity, begin, end;
  size_t slots, first, last;
} Queue;

struct MemoryPort {
  // What datagrams out of it are said to have come from.
  Target remote;
  int port;
  Queue in, out;
};

static void queue_free(Queue *queue) {
  free(queue->bytes);
  free(queue->lengths);
}

void memory_free(MemoryPort *memory) {
  if (memory == NULL) return;
  queue_free(&memory->in);
  queue_free(&memory->out);
  free(memory);
}

int memory_port(const MemoryPort *memory) { return memory->port; }

static size_t queue_count(const Queue *queue) { return queue->last - queue->first; }

static void queue_compact(Queue *queue) {
  if (queue->first == 0) return;
  memmove(queue->bytes, queue->bytes + queue->begin, queue->end - queue->begin);
  memmove(queue->lengths, queue->lengths + queue->first, queue_count(queue) * sizeof *queue->lengths);
  queue->end -= queue->begin;
  queue->last -= queue->first;
  queue->begin = queue->first = 0;
}

static size_t grown(size_t now, size_t first, size_t wanted) {
  size_t next = now == 0 ? first : now;
  while (next < wanted) next *= 2;
  return next;
}

static void queue_grow(Queue *queue, size_t bytes) {
  queue->capacity = grown(queue->capacity, QUEUE_FIRST_BYTES, queue->end + bytes);
  queue->slots = grown(queue->slots, QUEUE_FIRST_DATAGRAMS, queue->last + 1);
  queue->bytes = realloc(queue->bytes, queue->capacity);
  queue->lengths = realloc(queue->lengths, queue->slots * sizeof *queue->lengths);
  if (queue->bytes == NULL || queue->lengths == NULL) abort();
}

static bool queue_push(Queue *queue, const uint8_t *bytes, size_t length) {
  if (queue->end - queue->begin + length > QUEUE_MAX_BYTES || queue_count(queue) == QUEUE_MAX_DATAGRAMS) return false;
  if (queue->end + length > queue->capacity || queue->last == queue->slots) {
    queue_compact(queue);
    if (queue->end + length > queue->capacity || queue->last == queue->slots) queue_grow(queue, length);
  }
  memcpy(queue->bytes + queue->end, bytes, length);
  queue->lengths[queue->last++] = (uint32_t)length;
  queue->end += length;
  return true;
}

// The first datagram; it lies there until the next push.
static const uint8_t *queue_shift(Queue *queue, size_t *length) {
  const uint8_t *bytes = queue->bytes + queue->begin;
  *length = queue->lengths[queue->first++];
  queue->begin += *length;
  if (queue->first == queue->last) queue->begin = queue->end = queue->first = queue->last = 0;
  return bytes;
}

void memory_flush(Udp *udp) {
  Stage *stage = &udp->stage;
  for (size_t i = 0; i < stage->runCount; i++) {
    const StageRun *run = &stage->runs[i];
    for (uint32_t at = 0; at < run->length; at += run->segmentBytes) {
      uint32_t left = run->length - at;
      uint32_t length = left < run->segmentBytes ? left : run->segmentBytes;
      if (queue_push(&udp->memory->out, stage->bytes + run->offset + at, length)) udp->sentDatagrams++;
      else udp_refused(udp, 1, ENOBUFS);
    }
  }
  stage->used = 0;
  stage->runCount = 0;
}

int memory_fill(const Udp *udp, Inbox *inbox) {
  MemoryPort *memory = udp->memory;
  size_t count = 0;
  for (; count < INBOX_MESSAGES && queue_count(&memory->in) > 0; count++) {
    size_t length;
    const uint8_t *bytes = queue_shift(&memory->in, &length);
    memcpy(inbox->pieces[count].iov_base, bytes, length);
    memcpy(&inbox->names[count], &memory->remote.name, memory->remote.nameBytes);
    inbox->messages[count] = (struct mmsghdr){.msg_hdr = {.msg_name = &inbox->names[count], .msg_namelen = memory->remote.nameBytes},
                                              .msg_len = (unsigned)length};
  }
  inbox->next = inbox->offset = 0;
  inbox->count = count;
  return count == 0 ? -EAGAIN : (int)count;
}

static void dispose(Handle *handle) {
  Udp *udp = (Udp *)handle;
  channel_dispose(&udp->channel);
  udp_free(udp);
}

napi_value memory_open(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  size_t argc = 2;
  int64_t port;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  if (!arg_int(env, argv[1], "port", 0, 65535, &port)) return NULL;
  const Udp any = {.family = 6};
  Target remote;
  if (!udp_target(env, &any, argv[0], &remote)) return NULL;
  Udp *udp = channel_new(sizeof *udp);
  udp->family = 6;
  udp->maxSegments = 1;
  udp->memory = calloc(1, sizeof *udp->memory);
  if (udp->memory == NULL) abort();
  udp->memory->remote = remote;
  udp->memory->port = (int)port;
  return channel_open(env, &udp->channel, KIND_UDP, dispose, NULL, NULL);
}

static Udp *memory_handle(napi_env env, napi_value value) {
  Udp *udp = handle_get(env, value, KIND_UDP);
  if (udp == NULL || udp->memory != NULL) return udp;
  throw_type(env, "port is a socket");
  return NULL;
}

napi_value memory_put(napi_env env, napi_callback_info info) {
  napi_value argv[4];
  size_t argc = 4;
  Bytes bytes;
  Ints lengths;
  int64_t count;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Udp *udp = memory_handle(env, argv[0]);
  if (udp == NULL || !arg_bytes(env, argv[1], "bytes", &bytes) || !arg_ints(env, argv[2], "lengths", &lengths)) return NULL;
  if (!arg_int(env, argv[3], "count", 0, (int64_t)lengths.length, &count)) return NULL;
  size_t at = 0;
  double dropped = 0;
  for (int64_t i = 0; i < count; i++) {
    int32_t length = lengths.data[i];
    if (length < 0 || length > MAX_UDP_PAYLOAD || (size_t)length > bytes.length - at) {
      throw_range(env, "lengths: more than bytes has, or than a datagram may have");
      return NULL;
    }
    if (!queue_push(&udp->memory->in, bytes.data + at, (size_t)length)) dropped++;
    at += (size_t)length;
  }
  return js_number(env, dropped);
}

napi_value memory_take(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  size_t argc = 3;
  Bytes out;
  Ints lengths;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Udp *udp = memory_handle(env, argv[0]);
  if (udp == NULL || !arg_bytes(env, argv[1], "out", &out) || !arg_ints(env, argv[2], "lengths", &lengths)) return NULL;
  Queue *queue = &udp->memory->out;
  size_t used = 0, count = 0;
  while (count < lengths.length && queue_count(queue) > 0 && queue->lengths[queue->first] <= out.length - used) {
    size_t length;
    const uint8_t *bytes = queue_shift(queue, &length);
    memcpy(out.data + used, bytes, length);
    lengths.data[count++] = (int32_t)length;
    used += length;
  }
  return js_number(env, (double)count);
}

napi_value memory_waiting(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  size_t argc = 1;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  const Udp *udp = memory_handle(env, argv[0]);
  if (udp == NULL) return NULL;
  size_t inInbox = udp->inbox == NULL ? 0 : udp->inbox->count - udp->inbox->next;
  return js_number(env, (double)(queue_count(&udp->memory->in) + inInbox));
}
