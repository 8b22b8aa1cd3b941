#include "raw.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "loop.h"
#include "udp.h"

typedef struct {
  Bytes out, addresses;
  Ints lengths;
  size_t used, count;
} RawBatch;

// False: no room; the rest of the message stays in the inbox.
static bool take_message(Inbox *inbox, RawBatch *batch) {
  struct mmsghdr *message = &inbox->messages[inbox->next];
  if (message->msg_hdr.msg_flags & MSG_TRUNC) return true;
  uint8_t record[ADDRESS_BYTES] = {0};
  size_t segmentBytes = inbox_describe(inbox, record);
  while (inbox->offset < message->msg_len) {
    size_t left = message->msg_len - inbox->offset;
    size_t bytes = left < segmentBytes ? left : segmentBytes;
    if (batch->count == batch->lengths.length || bytes > batch->out.length - batch->used) return false;
    if ((batch->count + 1) * ADDRESS_BYTES > batch->addresses.length) return false;
    memcpy(batch->out.data + batch->used, (uint8_t *)inbox->pieces[inbox->next].iov_base + inbox->offset, bytes);
    memcpy(batch->addresses.data + batch->count * ADDRESS_BYTES, record, ADDRESS_BYTES);
    batch->lengths.data[batch->count++] = (int32_t)bytes;
    batch->used += bytes;
    inbox->offset += bytes;
  }
  return true;
}

static bool take_inbox(Inbox *inbox, RawBatch *batch) {
  while (!inbox_empty(inbox)) {
    if (!take_message(inbox, batch)) return false;
    inbox->next++;
    inbox->offset = 0;
  }
  return true;
}

napi_value raw_receive(napi_env env, napi_callback_info info) {
  napi_value argv[4];
  size_t argc = 4;
  RawBatch batch = {0};
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Udp *udp = handle_get(env, argv[0], KIND_UDP);
  if (udp == NULL || !arg_bytes(env, argv[1], "out", &batch.out) || !arg_ints(env, argv[2], "lengths", &batch.lengths)) return NULL;
  if (!arg_bytes(env, argv[3], "addresses", &batch.addresses)) return NULL;
  if (batch.out.length < MAX_UDP_PAYLOAD || batch.lengths.length < 1 || batch.addresses.length < ADDRESS_BYTES) {
    throw_range(env, "out, lengths and addresses must have room for one datagram at least");
    return NULL;
  }
  if (udp->inbox == NULL) udp->inbox = inbox_create();
  int error = 0;
  if (take_inbox(udp->inbox, &batch)) {
    int count = inbox_fill(udp, udp->inbox);
    if (count < 0 && count != -EAGAIN) error = count;
    if (count > 0) take_inbox(udp->inbox, &batch);
  }
  if (udp->channel.watcher != NULL) watcher_set_pending(udp->channel.watcher, udp_has_pending(udp));
  return js_number(env, batch.count > 0 ? (double)batch.count : error);
}

napi_value raw_stage(napi_env env, napi_callback_info info) {
  napi_value argv[5];
  size_t argc = 5;
  Bytes buffer, bytes;
  Target target;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Udp *udp = handle_get(env, argv[0], KIND_UDP);
  if (udp == NULL || !udp_target(env, udp, argv[1], &target) || !arg_bytes(env, argv[2], "bytes", &buffer)) return NULL;
  if (!arg_piece(env, &buffer, argv[3], argv[4], "bytes", MAX_UDP_PAYLOAD, &bytes)) return NULL;
  if (bytes.length == 0) {
    throw_range(env, "bytes must not be empty");
    return NULL;
  }
  memcpy(stage_reserve(udp, bytes.length), bytes.data, bytes.length);
  stage_commit(udp, &target, bytes.length);
  return js_undefined(env);
}

// Whoever has it open still may close it, and then closes what is there now.
napi_value descriptor_vacate(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  size_t argc = 1;
  int64_t descriptor;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  if (!arg_int(env, argv[0], "descriptor", 0, INT32_MAX, &descriptor)) return NULL;
  int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (nothing < 0) {
    throw_errno(env, errno, "open", NULL);
    return NULL;
  }
  int error = dup3(nothing, (int)descriptor, O_CLOEXEC) < 0 ? errno : 0;
  close(nothing);
  if (error != 0) {
    throw_errno(env, error, "dup3", NULL);
    return NULL;
  }
  return js_undefined(env);
}
