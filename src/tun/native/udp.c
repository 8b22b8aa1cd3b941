// UDP sockets: opening, addresses, raw sends. Batches are in stage.c (out) and open.c (in).
#include "udp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"
#include "socket-name.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#define DEFAULT_MAX_SEGMENTS 128

typedef struct {
  int64_t family, port, mark, receiveBufferBytes, sendBufferBytes, descriptor;
  bool hasMark, ipv6Only, reusePort, adopted;
  char address[80];
  char device[IFNAMSIZ];
} OpenOptions;

static void dispose(Handle *handle) {
  Udp *udp = (Udp *)handle;
  channel_dispose(&udp->channel);
  udp_free(udp);
}

void udp_free(Udp *udp) {
  stage_free(&udp->stage);
  inbox_free(udp->inbox);
  udp->inbox = NULL;
  memory_free(udp->memory);
  udp->memory = NULL;
}

static bool optional_int(napi_env env, napi_value options, const char *name, int64_t min, int64_t max, int64_t *out, bool *given) {
  napi_value value;
  if (!arg_property(env, options, name, &value)) return false;
  *given = value != NULL;
  return value == NULL || arg_int(env, value, name, min, max, out);
}

static bool optional_bool(napi_env env, napi_value options, const char *name, bool *out) {
  napi_value value;
  if (!arg_property(env, options, name, &value)) return false;
  return value == NULL || arg_bool(env, value, name, out);
}

static bool optional_text(napi_env env, napi_value options, const char *name, char *out, size_t capacity) {
  napi_value value;
  if (!arg_property(env, options, name, &value)) return false;
  return value == NULL || arg_text(env, value, name, out, capacity);
}

static bool read_options(napi_env env, napi_value options, OpenOptions *out) {
  napi_value value;
  if (!arg_property(env, options, "family", &value) || !arg_int(env, value, "family", 4, 6, &out->family)) return false;
  if (out->family == 5) return throw_range(env, "family must be 4 or 6");
  if (!arg_property(env, options, "port", &value) || !arg_int(env, value, "port", 0, 65535, &out->port)) return false;
  if (!arg_property(env, options, "receiveBufferBytes", &value)) return false;
  if (!arg_int(env, value, "receiveBufferBytes", 1, INT32_MAX / 2, &out->receiveBufferBytes)) return false;
  if (!arg_property(env, options, "sendBufferBytes", &value)) return false;
  if (!arg_int(env, value, "sendBufferBytes", 1, INT32_MAX / 2, &out->sendBufferBytes)) return false;
  if (!optional_int(env, options, "mark", 0, UINT32_MAX, &out->mark, &out->hasMark)) return false;
  if (!optional_int(env, options, "descriptor", 0, INT32_MAX, &out->descriptor, &out->adopted)) return false;
  if (!optional_bool(env, options, "ipv6Only", &out->ipv6Only) || !optional_bool(env, options, "reusePort", &out->reusePort)) return false;
  if (!optional_text(env, options, "device", out->device, sizeof out->device)) return false;
  return optional_text(env, options, "address", out->address, sizeof out->address);
}

static int set_int(int fd, int level, int option, int value) { return setsockopt(fd, level, option, &value, sizeof value); }

static void set_buffer(int fd, int force, int plain, int64_t bytes) {
  if (set_int(fd, SOL_SOCKET, force, (int)bytes) < 0) set_int(fd, SOL_SOCKET, plain, (int)bytes);
}

static const char *set_family_options(int fd, const OpenOptions *options) {
  if (options->family == 6) {
    // Of one that is bound it cannot be set any more.
    if (!options->adopted && set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, options->ipv6Only) < 0) return "IPV6_V6ONLY";
    if (set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) < 0) return "IPV6_RECVPKTINFO";
    if (set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE) < 0) return "IPV6_MTU_DISCOVER";
  } else if (set_int(fd, IPPROTO_IP, IP_PKTINFO, 1) < 0) {
    return "IP_PKTINFO";
  }
  // On a dual-stack socket too: it sends IPv4 as well.
  if (!(options->family == 6 && options->ipv6Only) && set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE) < 0) {
    return "IP_MTU_DISCOVER";
  }
  return NULL;
}

// A descriptor from elsewhere: it must be a UDP socket of that family, bound to that port.
static const char *adopt(const Channel *channel, const OpenOptions *options) {
  int type = 0;
  socklen_t bytes = sizeof type;
  struct sockaddr_in6 name = {0};
  socklen_t nameBytes = sizeof name;
  if (channel_adopt(channel) < 0) return "fcntl";
  if (getsockopt(channel->fd, SOL_SOCKET, SO_TYPE, &type, &bytes) < 0) return "SO_TYPE";
  if (getsockname(channel->fd, (struct sockaddr *)&name, &nameBytes) < 0) return "getsockname";
  int family = options->family == 4 ? AF_INET : AF_INET6;
  if (type == SOCK_DGRAM && name.sin6_family == family && ntohs(name.sin6_port) == options->port) return NULL;
  errno = EINVAL;
  return "getsockname";
}

static const char *configure(Udp *udp, const OpenOptions *options, const struct sockaddr_in6 *name, socklen_t nameBytes) {
  const char *failed = NULL;
  if (options->adopted) {
    udp->channel.fd = (int)options->descriptor;
    failed = adopt(&udp->channel, options);
  } else {
    udp->channel.fd = socket(options->family == 4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (udp->channel.fd < 0) failed = "socket";
  }
  if (failed == NULL) failed = set_family_options(udp->channel.fd, options);
  if (failed != NULL) return failed;
  if (options->reusePort && set_int(udp->channel.fd, SOL_SOCKET, SO_REUSEPORT, 1) < 0) return "SO_REUSEPORT";
  size_t deviceBytes = strlen(options->device);
  if (deviceBytes > 0 && setsockopt(udp->channel.fd, SOL_SOCKET, SO_BINDTODEVICE, options->device, (socklen_t)deviceBytes) < 0) return "SO_BINDTODEVICE";
  if (options->hasMark && set_int(udp->channel.fd, SOL_SOCKET, SO_MARK, (int)(uint32_t)options->mark) < 0) return "SO_MARK";
  // An adopted one may have another configuration's.
  if (!options->hasMark && options->adopted) set_int(udp->channel.fd, SOL_SOCKET, SO_MARK, 0);
  set_buffer(udp->channel.fd, SO_RCVBUFFORCE, SO_RCVBUF, options->receiveBufferBytes);
  set_buffer(udp->channel.fd, SO_SNDBUFFORCE, SO_SNDBUF, options->sendBufferBytes);
  // Kernels before 5.0 lack it: then every datagram comes alone.
  set_int(udp->channel.fd, IPPROTO_UDP, UDP_GRO, 1);
  return !options->adopted && bind(udp->channel.fd, (const struct sockaddr *)name, nameBytes) < 0 ? "bind" : NULL;
}

napi_value udp_open(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  size_t argc = 1;
  OpenOptions options = {0};
  struct sockaddr_in6 name;
  socklen_t nameBytes;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  if (!read_options(env, argv[0], &options)) return NULL;
  if (!socket_name((int)options.family, options.address, (uint16_t)options.port, &name, &nameBytes)) {
    throw_range(env, "address is not an IPv%d address", (int)options.family);
    return NULL;
  }
  Udp *udp = channel_new(sizeof *udp);
  udp->family = (int)options.family;
  udp->maxSegments = DEFAULT_MAX_SEGMENTS;
  const char *failed = configure(udp, &options, &name, nameBytes);
  return channel_open(env, &udp->channel, KIND_UDP, dispose, failed, options.device[0] != 0 ? options.device : options.address);
}

napi_value udp_port(napi_env env, napi_callback_info info) {
  Udp *udp = handle_only(env, info, KIND_UDP);
  if (udp == NULL) return NULL;
  if (udp->memory != NULL) return js_number(env, memory_port(udp->memory));
  struct sockaddr_in6 name;
  socklen_t bytes = sizeof name;
  if (getsockname(udp->channel.fd, (struct sockaddr *)&name, &bytes) < 0) {
    throw_errno(env, errno, "getsockname", "udp");
    return NULL;
  }
  // The port lies at the same place in both kinds of name.
  return js_number(env, ntohs(name.sin6_port));
}

napi_value udp_fd(napi_env env, napi_callback_info info) { return channel_fd(env, info, KIND_UDP); }

napi_value udp_close(napi_env env, napi_callback_info info) { return handle_close_only(env, info, KIND_UDP); }

static void target_control(Target *out, int level, int type, const void *data, size_t bytes) {
  struct cmsghdr *control = &out->control.align;
  control->cmsg_level = level;
  control->cmsg_type = type;
  control->cmsg_len = CMSG_LEN(bytes);
  memcpy(CMSG_DATA(control), data, bytes);
  out->controlBytes = (uint32_t)CMSG_SPACE(bytes);
}

static void map_v4(struct in6_addr *out, const uint8_t *v4) {
  memset(out->s6_addr, 0, 10);
  out->s6_addr[10] = out->s6_addr[11] = 0xff;
  memcpy(out->s6_addr + 12, v4, 4);
}

static bool all_zero(const uint8_t *bytes, size_t length) {
  for (size_t i = 0; i < length; i++) {
    if (bytes[i] != 0) return false;
  }
  return true;
}

static void target_v4(const uint8_t *record, Target *out) {
  out->name.v4.sin_family = AF_INET;
  memcpy(&out->name.v4.sin_port, record + 2, 2);
  memcpy(&out->name.v4.sin_addr, record + 4, 4);
  out->nameBytes = sizeof out->name.v4;
  if (all_zero(record + 20, 4)) return;
  struct in_pktinfo source = {0};
  memcpy(&source.ipi_spec_dst, record + 20, 4);
  target_control(out, IPPROTO_IP, IP_PKTINFO, &source, sizeof source);
}

static void target_v6(const uint8_t *record, Target *out) {
  bool v4 = record[0] == 4;
  out->name.v6.sin6_family = AF_INET6;
  memcpy(&out->name.v6.sin6_port, record + 2, 2);
  if (v4) map_v4(&out->name.v6.sin6_addr, record + 4);
  else memcpy(&out->name.v6.sin6_addr, record + 4, 16);
  out->nameBytes = sizeof out->name.v6;
  // Only a link-local address needs its link; elsewhere the routing table decides.
  if (IN6_IS_ADDR_LINKLOCAL(&out->name.v6.sin6_addr)) {
    out->name.v6.sin6_scope_id =
        (uint32_t)record[36] | (uint32_t)record[37] << 8 | (uint32_t)record[38] << 16 | (uint32_t)record[39] << 24;
  }
  if (all_zero(record + 20, v4 ? 4 : 16)) return;
  struct in6_pktinfo source = {0};
  if (v4) map_v4(&source.ipi6_addr, record + 20);
  else memcpy(&source.ipi6_addr, record + 20, 16);
  target_control(out, IPPROTO_IPV6, IPV6_PKTINFO, &source, sizeof source);
}

bool udp_target(napi_env env, const Udp *udp, napi_value address, Target *out) {
  Bytes record;
  if (!arg_bytes(env, address, "address", &record)) return false;
  if (record.length < ADDRESS_BYTES) return throw_range(env, "address must have %d bytes", ADDRESS_BYTES);
  if (record.data[0] != 4 && record.data[0] != 6) return throw_range(env, "address: family must be 4 or 6");
  if (record.data[0] == 6 && udp->family == 4) return throw_range(env, "address: an IPv4 socket cannot send to IPv6");
  memset(out, 0, sizeof *out);
  if (udp->family == 4) target_v4(record.data, out);
  else target_v6(record.data, out);
  return true;
}

void udp_refused(Udp *udp, uint32_t datagrams, int error) {
  udp->lastError = error;
  udp->refusedSinceFlush += datagrams;
  udp->refusedDatagrams += datagrams;
}

napi_value udp_send_raw(napi_env env, napi_callback_info info) {
  napi_value argv[5];
  size_t argc = 5;
  Bytes buffer, bytes;
  Target target;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Udp *udp = handle_get(env, argv[0], KIND_UDP);
  if (udp == NULL || !udp_target(env, udp, argv[1], &target) || !arg_bytes(env, argv[2], "bytes", &buffer)) return NULL;
  if (!arg_piece(env, &buffer, argv[3], argv[4], "bytes", MAX_UDP_PAYLOAD, &bytes)) return NULL;
  struct iovec piece = {bytes.data, bytes.length};
  struct msghdr message = {&target.name, target.nameBytes, &piece, 1, NULL, 0, 0};
  if (target.controlBytes > 0) {
    message.msg_control = &target.control;
    message.msg_controllen = target.controlBytes;
  }
  ssize_t n = sendmsg(udp->channel.fd, &message, 0);
  if (n >= 0) {
    udp->sentDatagrams++;
    udp->sentMessages++;
    return js_number(env, (double)n);
  }
  // The caller learns it here, so it is not in the next flush's number.
  int error = errno;
  udp->lastError = error;
  udp->refusedDatagrams++;
  return js_number(env, -error);
}

napi_value udp_flush(napi_env env, napi_callback_info info) {
  Udp *udp = handle_only(env, info, KIND_UDP);
  if (udp == NULL) return NULL;
  stage_flush(udp);
  uint32_t refused = udp->refusedSinceFlush;
  udp->refusedSinceFlush = 0;
  return js_number(env, refused);
}

napi_value udp_last_error(napi_env env, napi_callback_info info) {
  Udp *udp = handle_only(env, info, KIND_UDP);
  if (udp == NULL) return NULL;
  int error = udp->lastError;
  udp->lastError = 0;
  return js_number(env, error);
}

napi_value udp_counters(napi_env env, napi_callback_info info) {
  Udp *udp = handle_only(env, info, KIND_UDP);
  napi_value result = NULL;
  if (udp == NULL || napi_create_object(env, &result) != napi_ok) return NULL;
  napi_set_named_property(env, result, "sentDatagrams", js_number(env, (double)udp->sentDatagrams));
  napi_set_named_property(env, result, "sentMessages", js_number(env, (double)udp->sentMessages));
  napi_set_named_property(env, result, "refusedDatagrams", js_number(env, (double)udp->refusedDatagrams));
  napi_set_named_property(env, result, "segmentationFallbacks", js_number(env, (double)udp->segmentationFallbacks));
  napi_set_named_property(env, result, "maxSegments", js_number(env, udp->maxSegments));
  return result;
}
