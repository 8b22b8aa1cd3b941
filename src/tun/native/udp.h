#ifndef MPTUNNEL_UDP_H
#define MPTUNNEL_UDP_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "channel.h"

#define ADDRESS_BYTES 48
#define MAX_UDP_PAYLOAD 65507

// Where a datagram goes: the name and, when the source address is given, a PKTINFO control message. Unused bytes are zero: compared by memcmp.
typedef struct {
  union {
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
  } name;
  uint32_t nameBytes;
  uint32_t controlBytes;
  union {
    struct cmsghdr align;
    uint8_t bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
  } control;
} Target;

// Consecutive datagrams to one target, all of segmentBytes but the last: one UDP_SEGMENT message.
typedef struct {
  size_t offset;
  uint32_t length;
  uint16_t segmentBytes;
  uint16_t count;
  bool ended;
  Target target;
} StageRun;

#define STAGE_BYTES (256 * 1024)
#define STAGE_RUNS 256

typedef struct {
  uint8_t *bytes;
  StageRun *runs;
  size_t used;
  size_t runCount;
} Stage;

#define INBOX_MESSAGES 16
// Of messages that are nearly full: what lies in the inbox is opened while it is still in the CPU's cache.
#define INBOX_FULL_MESSAGES 2
#define INBOX_FULL_BYTES (16 * 1024)
#define INBOX_SLOT_BYTES 65536

// What recvmmsg brought and nobody has taken yet: message `next` from byte `offset` on.
typedef struct {
  uint8_t *bytes;
  struct mmsghdr messages[INBOX_MESSAGES];
  struct iovec pieces[INBOX_MESSAGES];
  struct sockaddr_in6 names[INBOX_MESSAGES];
  union {
    struct cmsghdr align;
    uint8_t bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(struct in_pktinfo)) + CMSG_SPACE(sizeof(int))];
  } controls[INBOX_MESSAGES];
  size_t count;
  size_t next;
  size_t offset;
  // Met after datagrams were received in the same call: told in the next one.
  int error;
  bool fullMessages;
} Inbox;

typedef struct MemoryPort MemoryPort;

typedef struct {
  Channel channel;
  int family;
  Stage stage;
  Inbox *inbox;
  // UDP_SEGMENT: how many segments the kernel takes, 1 when it does not work on this socket.
  uint32_t maxSegments;
  int lastError;
  uint32_t refusedSinceFlush;
  uint64_t sentDatagrams, sentMessages, refusedDatagrams, segmentationFallbacks;
  // memory.c: there is no socket, but these queues.
  MemoryPort *memory;
} Udp;

// Reads an address record for this socket. False with RangeError pending.
bool udp_target(napi_env env, const Udp *udp, napi_value address, Target *out);
void udp_refused(Udp *udp, uint32_t datagrams, int error);
// What is not the socket itself.
void udp_free(Udp *udp);


static inline bool udp_has_pending(const Udp *udp) {
  return udp->inbox != NULL && (udp->inbox->next != udp->inbox->count || udp->inbox->error != 0);
}

// inbox.c. How many messages the next inbox_fill asks for, by how large the last ones were.
Inbox *inbox_create(void);
void inbox_free(Inbox *inbox);
int inbox_wanted(const Inbox *inbox);
// Fills the empty inbox. Messages received, or -errno.
int inbox_fill(const Udp *udp, Inbox *inbox);
// Fills the zeroed address record of the next message; the result is the size of its datagrams, of which the last may be shorter.
size_t inbox_describe(Inbox *inbox, uint8_t *record);

static inline bool inbox_empty(const Inbox *inbox) { return inbox->next == inbox->count; }

// stage.c: room for a datagram of up to `bytes` (flushes when there is none), then what was written there is added to a run.
uint8_t *stage_reserve(Udp *udp, size_t bytes);
void stage_commit(Udp *udp, const Target *target, size_t bytes);
void stage_flush(Udp *udp);
void stage_free(Stage *stage);

napi_value udp_open(napi_env env, napi_callback_info info);
napi_value udp_port(napi_env env, napi_callback_info info);
napi_value udp_fd(napi_env env, napi_callback_info info);
napi_value udp_close(napi_env env, napi_callback_info info);
napi_value udp_send_raw(napi_env env, napi_callback_info info);
napi_value udp_flush(napi_env env, napi_callback_info info);
napi_value udp_last_error(napi_env env, napi_callback_info info);
napi_value udp_counters(napi_env env, napi_callback_info info);

#endif
