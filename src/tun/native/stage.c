// The staging area of a socket: sealed datagrams wait here as runs of equal length and leave with one sendmmsg.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "udp.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
// What kernels before 6.8 take at most.
#define OLD_MAX_SEGMENTS 64
// What newer ones take. A run may be longer than the socket's own limit: message_count cuts it.
#define MAX_RUN_SEGMENTS 128
#define BATCH_MESSAGES 64

void stage_free(Stage *stage) {
  free(stage->bytes);
  free(stage->runs);
  memset(stage, 0, sizeof *stage);
}

uint8_t *stage_reserve(Udp *udp, size_t bytes) {
  Stage *stage = &udp->stage;
  if (stage->bytes == NULL) {
    stage->bytes = malloc(STAGE_BYTES);
    stage->runs = malloc(STAGE_RUNS * sizeof *stage->runs);
    if (stage->bytes == NULL || stage->runs == NULL) abort();
  }
  if (stage->used + bytes > STAGE_BYTES || stage->runCount == STAGE_RUNS) stage_flush(udp);
  return stage->bytes + stage->used;
}

// INVARIANT: every datagram of a run but the last has segmentBytes, and the last is not longer.
static bool extends(const StageRun *run, const Target *target, size_t bytes) {
  return !run->ended && bytes <= run->segmentBytes && run->count < MAX_RUN_SEGMENTS && run->length + bytes <= MAX_UDP_PAYLOAD &&
         memcmp(&run->target, target, sizeof *target) == 0;
}

void stage_commit(Udp *udp, const Target *target, size_t bytes) {
  Stage *stage = &udp->stage;
  StageRun *run = stage->runCount > 0 ? &stage->runs[stage->runCount - 1] : NULL;
  if (run != NULL && extends(run, target, bytes)) {
    run->length += (uint32_t)bytes;
    run->count++;
    run->ended = bytes < run->segmentBytes;
  } else {
    run = &stage->runs[stage->runCount++];
    run->offset = stage->used;
    run->length = (uint32_t)bytes;
    run->segmentBytes = (uint16_t)bytes;
    run->count = 1;
    run->ended = false;
    run->target = *target;
  }
  stage->used += bytes;
}

typedef union {
  struct cmsghdr align;
  uint8_t bytes[sizeof(Target) + CMSG_SPACE(sizeof(uint16_t))];
} ControlBuffer;

// Datagrams [first, first + count) of a run as one message.
static void build_message(Udp *udp, StageRun *run, uint32_t first, uint32_t count, struct msghdr *message, struct iovec *piece,
                          ControlBuffer *control) {
  size_t begin = (size_t)first * run->segmentBytes, end = (size_t)(first + count) * run->segmentBytes;
  if (end > run->length) end = run->length;
  *piece = (struct iovec){udp->stage.bytes + run->offset + begin, end - begin};
  *message = (struct msghdr){&run->target.name, run->target.nameBytes, piece, 1, NULL, 0, 0};
  size_t controlBytes = run->target.controlBytes;
  memcpy(control->bytes, &run->target.control, controlBytes);
  if (count > 1) {
    struct cmsghdr *header = (struct cmsghdr *)(control->bytes + controlBytes);
    uint16_t segmentBytes = run->segmentBytes;
    header->cmsg_level = IPPROTO_UDP;
    header->cmsg_type = UDP_SEGMENT;
    header->cmsg_len = CMSG_LEN(sizeof segmentBytes);
    memcpy(CMSG_DATA(header), &segmentBytes, sizeof segmentBytes);
    controlBytes += CMSG_SPACE(sizeof segmentBytes);
  }
  if (controlBytes > 0) {
    message->msg_control = control;
    message->msg_controllen = controlBytes;
  }
}

// The next datagram to send: in run `run`, number `first`.
typedef struct {
  size_t run;
  uint32_t first;
} Cursor;

static uint32_t message_count(const Udp *udp, const Cursor *at) {
  uint32_t left = udp->stage.runs[at->run].count - at->first;
  return left < udp->maxSegments ? left : udp->maxSegments;
}

static void advance(const Udp *udp, Cursor *at, uint32_t datagrams) {
  at->first += datagrams;
  if (at->first < udp->stage.runs[at->run].count) return;
  at->run++;
  at->first = 0;
}

static int send_batch(Udp *udp, Cursor at) {
  struct mmsghdr messages[BATCH_MESSAGES];
  struct iovec pieces[BATCH_MESSAGES];
  ControlBuffer controls[BATCH_MESSAGES];
  unsigned count = 0;
  while (count < BATCH_MESSAGES && at.run < udp->stage.runCount) {
    uint32_t datagrams = message_count(udp, &at);
    messages[count].msg_len = 0;
    build_message(udp, &udp->stage.runs[at.run], at.first, datagrams, &messages[count].msg_hdr, &pieces[count], &controls[count]);
    advance(udp, &at, datagrams);
    count++;
  }
  int sent;
  do sent = sendmmsg(udp->channel.fd, messages, count, 0);
  while (sent < 0 && errno == EINTR);
  return sent;
}

static void count_sent(Udp *udp, Cursor *at, uint32_t datagrams) {
  udp->sentMessages++;
  udp->sentDatagrams += datagrams;
  advance(udp, at, datagrams);
}

// The message at the cursor failed. Is UDP_SEGMENT the reason (no checksum offload on the device before Linux 6.11, fewer segments allowed)? If its first
// datagram goes alone, it is, and the socket does without from now on. Otherwise the rest of the run is dropped.
static void handle_failure(Udp *udp, Cursor *at, int error) {
  uint32_t datagrams = message_count(udp, at);
  StageRun *run = &udp->stage.runs[at->run];
  if (datagrams > 1 && (error == EINVAL || error == EIO || error == EOPNOTSUPP)) {
    if (error == EINVAL && datagrams > OLD_MAX_SEGMENTS) {
      udp->maxSegments = OLD_MAX_SEGMENTS;
      return;
    }
    struct msghdr message;
    struct iovec piece;
    ControlBuffer control;
    build_message(udp, run, at->first, 1, &message, &piece, &control);
    if (sendmsg(udp->channel.fd, &message, 0) >= 0) {
      udp->maxSegments = 1;
      udp->segmentationFallbacks++;
      count_sent(udp, at, 1);
      return;
    }
    error = errno;
  }
  uint32_t left = run->count - at->first;
  udp_refused(udp, left, error);
  advance(udp, at, left);
}

void stage_flush(Udp *udp) {
  Stage *stage = &udp->stage;
  Cursor at = {0, 0};
  if (udp->memory != NULL) {
    memory_flush(udp);
    return;
  }
  while (at.run < stage->runCount) {
    int sent = send_batch(udp, at);
    if (sent <= 0) handle_failure(udp, &at, sent < 0 ? errno : EIO);
    for (int i = 0; i < sent; i++) count_sent(udp, &at, message_count(udp, &at));
  }
  stage->used = 0;
  stage->runCount = 0;
}
