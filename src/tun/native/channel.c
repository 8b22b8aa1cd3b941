#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "loop.h"

void *channel_new(size_t bytes) {
  Channel *channel = calloc(1, bytes);
  if (channel == NULL) abort();
  channel->fd = -1;
  return channel;
}

napi_value channel_open(napi_env env, Channel *channel, HandleKind kind, void (*dispose)(Handle *), const char *failed, const char *what) {
  if (failed == NULL) return handle_wrap(env, &channel->handle, kind, dispose);
  throw_errno(env, errno, failed, what);
  dispose(&channel->handle);
  free(channel);
  return NULL;
}

int channel_adopt(const Channel *channel) {
  int flags = fcntl(channel->fd, F_GETFL);
  if (flags < 0 || fcntl(channel->fd, F_SETFL, flags | O_NONBLOCK) < 0) return -1;
  return fcntl(channel->fd, F_SETFD, FD_CLOEXEC);
}

void channel_dispose(Channel *channel) {
  if (channel->watcher != NULL) watcher_detach(channel->watcher);
  if (channel->fd >= 0) close(channel->fd);
  channel->fd = -1;
}

napi_value channel_fd(napi_env env, napi_callback_info info, HandleKind kind) {
  const Channel *channel = handle_only(env, info, kind);
  return channel == NULL ? NULL : js_number(env, channel->fd);
}
