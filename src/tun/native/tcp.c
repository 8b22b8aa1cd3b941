// TCP sockets with what node:net cannot set: a device, a mark, and how little unsent data the kernel holds. They are Node's from then on.
#include "tcp.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "arguments.h"
#include "socket-name.h"

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

typedef struct {
  int64_t family, port, mark, notSentLowatBytes;
  bool hasMark, dualStack;
  char address[80];
  char device[IFNAMSIZ];
} OpenOptions;

static bool read_options(napi_env env, napi_value options, OpenOptions *out) {
  napi_value value;
  if (!arg_property(env, options, "family", &value) || !arg_int(env, value, "family", 4, 6, &out->family)) return false;
  if (out->family == 5) return throw_range(env, "family must be 4 or 6");
  if (!arg_property(env, options, "port", &value) || !arg_int(env, value, "port", 0, 65535, &out->port)) return false;
  if (!arg_property(env, options, "notSentLowatBytes", &value)) return false;
  if (!arg_int(env, value, "notSentLowatBytes", 1, INT32_MAX, &out->notSentLowatBytes)) return false;
  if (!arg_property(env, options, "dualStack", &value)) return false;
  if (value != NULL && !arg_bool(env, value, "dualStack", &out->dualStack)) return false;
  if (!arg_property(env, options, "mark", &value)) return false;
  out->hasMark = value != NULL;
  if (out->hasMark && !arg_int(env, value, "mark", 0, UINT32_MAX, &out->mark)) return false;
  if (!arg_property(env, options, "device", &value)) return false;
  if (value != NULL && !arg_text(env, value, "device", out->device, sizeof out->device)) return false;
  if (!arg_property(env, options, "address", &value)) return false;
  return value == NULL || arg_text(env, value, "address", out->address, sizeof out->address);
}

static int set_int(int fd, int level, int option, int value) { return setsockopt(fd, level, option, &value, sizeof value); }

// What failed, with errno; NULL: all is set.
static const char *configure(int fd, const OpenOptions *options, const struct sockaddr_in6 *name, socklen_t nameBytes) {
  size_t deviceBytes = strlen(options->device);
  if (options->family == 6 && set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, !options->dualStack) < 0) return "IPV6_V6ONLY";
  if (deviceBytes > 0 && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, options->device, (socklen_t)deviceBytes) < 0) return "SO_BINDTODEVICE";
  if (options->hasMark && set_int(fd, SOL_SOCKET, SO_MARK, (int)(uint32_t)options->mark) < 0) return "SO_MARK";
  // Accepted sockets have it from the one that listens.
  if (set_int(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, (int)options->notSentLowatBytes) < 0) return "TCP_NOTSENT_LOWAT";
  if (options->port != 0) {
    if (set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1) < 0) return "SO_REUSEADDR";
  } else if (options->address[0] != 0) {
    // The port is chosen by connect, so that many sockets may have the same one towards different hosts. Where it is not known, bind chooses.
    set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
  } else if (!options->dualStack) {
    return NULL;
  }
  return bind(fd, (const struct sockaddr *)name, nameBytes) < 0 ? "bind" : NULL;
}

napi_value tcp_open(napi_env env, napi_callback_info info) {
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
  int fd = socket(options.family == 4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const char *failed = fd < 0 ? "socket" : configure(fd, &options, &name, nameBytes);
  if (failed == NULL) return js_number(env, fd);
  int error = errno;
  if (fd >= 0) close(fd);
  throw_errno(env, error, failed, options.device[0] != 0 ? options.device : options.address);
  return NULL;
}

napi_value tcp_not_sent_lowat(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  size_t argc = 2;
  int64_t fd, bytes;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  if (!arg_int(env, argv[0], "fd", 0, INT32_MAX, &fd) || !arg_int(env, argv[1], "bytes", 1, INT32_MAX, &bytes)) return NULL;
  return js_number(env, set_int((int)fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, (int)bytes) < 0 ? -errno : 0);
}
