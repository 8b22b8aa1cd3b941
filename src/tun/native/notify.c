// Tells a service manager how we are: one datagram to the unix socket that it gave us (sd_notify(3)), with a descriptor for it to keep, or without.
#include "notify.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "arguments.h"

enum { STATE_MAX_BYTES = 4096 };

static int send_state(const struct sockaddr_un *address, socklen_t address_length, char *state, int descriptor) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec part = {.iov_base = state, .iov_len = strlen(state)};
  struct msghdr message = {.msg_name = (void *)address, .msg_namelen = address_length, .msg_iov = &part, .msg_iovlen = 1};
  if (descriptor >= 0) {
    memset(&control, 0, sizeof control);
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  }
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
  int result = sent < 0 ? -errno : 0;
  close(fd);
  return result;
}

napi_value notify_service(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  size_t argc = 3;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  char path[sizeof address.sun_path + 1], state[STATE_MAX_BYTES];
  int64_t descriptor;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  if (!arg_text(env, argv[0], "socket", path, sizeof path) || !arg_text(env, argv[1], "state", state, sizeof state) ||
      !arg_int(env, argv[2], "descriptor", -1, INT32_MAX, &descriptor))
    return NULL;
  size_t length = strlen(path);
  if (length == 0 || length > sizeof address.sun_path || (path[0] != '/' && path[0] != '@')) return js_number(env, -EINVAL);
  memcpy(address.sun_path, path, length);
  // The abstract namespace: its names begin with NUL, and are as long as they are said to be.
  if (path[0] == '@') address.sun_path[0] = 0;
  return js_number(env, send_state(&address, offsetof(struct sockaddr_un, sun_path) + length, state, (int)descriptor));
}
