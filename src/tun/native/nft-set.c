// Is an element in a set of nftables? One request and its answer over netlink, in the call: the kernel answers such a question before send returns.
#include "nft-set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// After <sys/socket.h>, whose types they use.
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include "handle.h"

#define MAX_NAME_BYTES 256
// NFT_DATA_VALUE_MAXLEN: what a key may have.
#define MAX_KEY_BYTES 64
// The request with two names and a key.
#define REQUEST_BYTES 1024
// An answer repeats names and key, and a refusal the request.
#define ANSWER_BYTES 4096
// Answers to earlier questions that are thrown away at most.
#define MAX_STALE 16

typedef struct {
  Handle handle;
  int fd;
  uint32_t sequence;
} NftQuery;

typedef union {
  struct nlmsghdr header;
  uint8_t bytes[REQUEST_BYTES];
} Request;

static void dispose(Handle *handle) {
  NftQuery *query = (NftQuery *)handle;
  if (query->fd >= 0) close(query->fd);
}

napi_value nft_open(napi_env env, napi_callback_info info) {
  (void)info;
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
  if (fd < 0) {
    throw_errno(env, -errno, "socket", "NETLINK_NETFILTER");
    return NULL;
  }
  NftQuery *query = calloc(1, sizeof *query);
  if (query == NULL) {
    close(fd);
    throw_errno(env, -ENOMEM, "calloc", "NETLINK_NETFILTER");
    return NULL;
  }
  query->fd = fd;
  return handle_wrap(env, &query->handle, KIND_NFT, dispose);
}

napi_value nft_close(napi_env env, napi_callback_info info) { return handle_close_only(env, info, KIND_NFT); }

// Every caller's lengths are bounded, so that all attributes fit.
static struct nlattr *put(Request *request, uint16_t type, const void *value, size_t length) {
  struct nlattr *attribute = (struct nlattr *)(request->bytes + NLMSG_ALIGN(request->header.nlmsg_len));
  attribute->nla_type = type;
  attribute->nla_len = (uint16_t)(NLA_HDRLEN + length);
  if (length > 0) memcpy((uint8_t *)attribute + NLA_HDRLEN, value, length);
  request->header.nlmsg_len = (uint32_t)(NLMSG_ALIGN(request->header.nlmsg_len) + NLA_ALIGN(attribute->nla_len));
  return attribute;
}

static struct nlattr *begin_nest(Request *request, uint16_t type) { return put(request, type | NLA_F_NESTED, NULL, 0); }

static void end_nest(Request *request, struct nlattr *nest) {
  nest->nla_len = (uint16_t)(request->bytes + request->header.nlmsg_len - (uint8_t *)nest);
}

static void compose(Request *request, uint32_t sequence, uint8_t family, const char *table, const char *set, const Bytes *key) {
  memset(request, 0, sizeof *request);
  request->header.nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETSETELEM;
  request->header.nlmsg_flags = NLM_F_REQUEST;
  request->header.nlmsg_seq = sequence;
  request->header.nlmsg_len = NLMSG_LENGTH(sizeof(struct nfgenmsg));
  struct nfgenmsg *message = NLMSG_DATA(&request->header);
  message->nfgen_family = family;
  message->version = NFNETLINK_V0;
  put(request, NFTA_SET_ELEM_LIST_TABLE, table, strlen(table) + 1);
  put(request, NFTA_SET_ELEM_LIST_SET, set, strlen(set) + 1);
  struct nlattr *elements = begin_nest(request, NFTA_SET_ELEM_LIST_ELEMENTS);
  struct nlattr *element = begin_nest(request, NFTA_LIST_ELEM);
  struct nlattr *keyNest = begin_nest(request, NFTA_SET_ELEM_KEY);
  put(request, NFTA_DATA_VALUE, key->data, key->length);
  end_nest(request, keyNest);
  end_nest(request, element);
  end_nest(request, elements);
}

// 1: there, 0: not there, or -errno.
static int answer(int fd, uint32_t sequence) {
  union {
    struct nlmsghdr header;
    uint8_t bytes[ANSWER_BYTES];
  } reply;
  for (int i = 0; i < MAX_STALE; i++) {
    ssize_t n;
    do n = recv(fd, &reply, sizeof reply, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0) return -errno;
    if ((size_t)n < sizeof reply.header || reply.header.nlmsg_seq != sequence) continue;
    if (reply.header.nlmsg_type != NLMSG_ERROR) return 1;
    if ((size_t)n < NLMSG_LENGTH(sizeof(struct nlmsgerr))) return -EPROTO;
    int error = ((struct nlmsgerr *)NLMSG_DATA(&reply.header))->error;
    return error == -ENOENT ? 0 : error < 0 ? error : -EPROTO;
  }
  return -EAGAIN;
}

napi_value nft_has_element(napi_env env, napi_callback_info info) {
  napi_value argv[5];
  size_t argc = 5;
  int64_t family;
  char table[MAX_NAME_BYTES], set[MAX_NAME_BYTES];
  Bytes key;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  NftQuery *query = handle_get(env, argv[0], KIND_NFT);
  if (query == NULL || !arg_int(env, argv[1], "family", 0, 255, &family) || !arg_text(env, argv[2], "table", table, sizeof table) ||
      !arg_text(env, argv[3], "set", set, sizeof set) || !arg_bytes(env, argv[4], "key", &key)) {
    return NULL;
  }
  if (key.length == 0 || key.length > MAX_KEY_BYTES) {
    throw_range(env, "key must have 1 to %d bytes", MAX_KEY_BYTES);
    return NULL;
  }
  Request request;
  uint32_t sequence = ++query->sequence;
  compose(&request, sequence, (uint8_t)family, table, set, &key);
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  ssize_t n;
  do n = sendto(query->fd, &request, request.header.nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof kernel);
  while (n < 0 && errno == EINTR);
  return js_number(env, n < 0 ? -errno : answer(query->fd, sequence));
}
