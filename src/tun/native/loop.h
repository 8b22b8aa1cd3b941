// Readiness: uv_poll on sockets and devices, and a timerfd for delays below the event loop's millisecond.
#ifndef MPTUNNEL_LOOP_H
#define MPTUNNEL_LOOP_H

#include "handle.h"

typedef struct Watcher Watcher;

// The subject is being closed: the watcher stops for good and forgets it.
void watcher_detach(Watcher *watcher);
// Whether the subject holds data that poll() cannot see: then the watcher fires on every turn of the loop while it is not paused.
void watcher_set_pending(Watcher *watcher, bool pending);

napi_value loop_watch_readable(napi_env env, napi_callback_info info);
napi_value loop_create_fine_timer(napi_env env, napi_callback_info info);

#endif
