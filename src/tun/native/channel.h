// What TUNs and UDP sockets have in common: a handle around a file descriptor that a watcher may watch.
#ifndef MPTUNNEL_CHANNEL_H
#define MPTUNNEL_CHANNEL_H

#include "handle.h"

typedef struct {
  Handle handle;
  int fd;
  struct Watcher *watcher;
} Channel;

// A zeroed struct whose first member is a Channel, not open yet.
void *channel_new(size_t bytes);
// Hands it to JavaScript. When `failed` names the system call that just failed, it throws with errno and `what` instead, and gives all back.
napi_value channel_open(napi_env env, Channel *channel, HandleKind kind, void (*dispose)(Handle *), const char *failed, const char *what);
// The descriptor that it has came from another process: non-blocking, and not for programs that we start. -1 with errno.
int channel_adopt(const Channel *channel);
// For its `dispose`.
void channel_dispose(Channel *channel);
// The descriptor of the only argument.
napi_value channel_fd(napi_env env, napi_callback_info info, HandleKind kind);

#endif
