#include "loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <uv.h>

#include "udp.h"

static const napi_type_tag WATCHER_TAG = {0x6d7074756e6e656cULL, 0x1f6a0c3d5b7e4a06ULL};
static const napi_type_tag TIMER_TAG = {0x6d7074756e6e656cULL, 0x1f6a0c3d5b7e4a07ULL};

// A watcher of a TUN or UDP handle, or (subject NULL, timerFd >= 0) a fine timer. Freed when JavaScript's object is gone and both uv handles are closed.
struct Watcher {
  uv_poll_t poll;
  // Runs while the subject holds data that poll() cannot see.
  uv_idle_t idle;
  napi_env env;
  napi_ref callback;
  // Keeps the object alive until close(): an open watcher works without anyone holding it.
  napi_ref self;
  napi_async_context context;
  napi_async_cleanup_hook_handle hook;
  Channel *subject;
  int timerFd;
  int references;
  int openHandles;
  bool active;
  bool pending;
  bool closed;
  bool tearingDown;
};

static void release(Watcher *watcher) {
  if (--watcher->references == 0) free(watcher);
}

static void on_closed(uv_handle_t *handle) {
  Watcher *watcher = handle->data;
  // The last of the two lets the environment go on with its end.
  if (--watcher->openHandles == 0 && watcher->tearingDown) napi_remove_async_cleanup_hook(watcher->hook);
  release(watcher);
}

static void forget_subject(Watcher *watcher) {
  if (watcher->subject == NULL) return;
  watcher->subject->watcher = NULL;
  handle_release(&watcher->subject->handle);
  watcher->subject = NULL;
}

static void close_watcher(Watcher *watcher) {
  if (watcher->closed) return;
  watcher->closed = true;
  watcher->active = false;
  forget_subject(watcher);
  uv_close((uv_handle_t *)&watcher->poll, on_closed);
  uv_close((uv_handle_t *)&watcher->idle, on_closed);
  if (watcher->timerFd >= 0) close(watcher->timerFd);
  watcher->timerFd = -1;
  if (watcher->tearingDown) return;
  napi_remove_async_cleanup_hook(watcher->hook);
  napi_async_destroy(watcher->env, watcher->context);
  napi_delete_reference(watcher->env, watcher->callback);
  napi_delete_reference(watcher->env, watcher->self);
}

static void on_teardown(napi_async_cleanup_hook_handle hook, void *data) {
  Watcher *watcher = data;
  (void)hook;
  watcher->tearingDown = true;
  close_watcher(watcher);
}

static void call_back(Watcher *watcher) {
  napi_env env = watcher->env;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value receiver, callback, error;
  watcher->references++;
  napi_get_reference_value(env, watcher->self, &receiver);
  napi_get_reference_value(env, watcher->callback, &callback);
  if (napi_make_callback(env, watcher->context, receiver, callback, 0, NULL, NULL) == napi_pending_exception) {
    napi_get_and_clear_last_exception(env, &error);
    napi_fatal_exception(env, error);
  }
  napi_close_handle_scope(env, scope);
  release(watcher);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  Watcher *watcher = poll->data;
  (void)events;
  if (!watcher->active) return;
  if (status < 0) {
    // libuv has stopped polling. A socket's error is gone once it is read; a device's stays, and polling on would spin: it waits for resume().
    if (watcher->subject->handle.kind == KIND_UDP) uv_poll_start(poll, UV_READABLE, on_poll);
    else watcher->active = false;
  }
  call_back(watcher);
}

static void on_idle(uv_idle_t *idle) {
  Watcher *watcher = idle->data;
  if (watcher->active) call_back(watcher);
}

static void on_expire(uv_poll_t *poll, int status, int events) {
  Watcher *watcher = poll->data;
  uint64_t expirations;
  (void)status;
  (void)events;
  // Armed anew or disarmed since poll() returned.
  if (read(watcher->timerFd, &expirations, sizeof expirations) != sizeof expirations) return;
  watcher->active = false;
  uv_unref((uv_handle_t *)poll);
  call_back(watcher);
}

static void update_idle(Watcher *watcher) {
  if (watcher->closed) return;
  if (watcher->active && watcher->pending) uv_idle_start(&watcher->idle, on_idle);
  else uv_idle_stop(&watcher->idle);
}

void watcher_set_pending(Watcher *watcher, bool pending) {
  if (watcher->pending == pending) return;
  watcher->pending = pending;
  update_idle(watcher);
}

void watcher_detach(Watcher *watcher) { close_watcher(watcher); }

static Watcher *this_watcher(napi_env env, napi_callback_info info, const napi_type_tag *tag, size_t argc, napi_value *argv) {
  napi_value self;
  Watcher *watcher = NULL;
  bool tagged = false;
  napi_get_cb_info(env, info, &argc, argv, &self, NULL);
  if (napi_check_object_type_tag(env, self, tag, &tagged) != napi_ok || !tagged || napi_unwrap(env, self, (void **)&watcher) != napi_ok) {
    throw_type(env, "not called on a watcher or timer");
    return NULL;
  }
  return watcher;
}

static Watcher *open_watcher(napi_env env, napi_callback_info info) {
  Watcher *watcher = this_watcher(env, info, &WATCHER_TAG, 0, NULL);
  if (watcher != NULL && watcher->closed) {
    throw_type(env, "the watcher is closed");
    return NULL;
  }
  return watcher;
}

static napi_value watcher_pause(napi_env env, napi_callback_info info) {
  Watcher *watcher = open_watcher(env, info);
  if (watcher == NULL || !watcher->active) return NULL;
  watcher->active = false;
  uv_poll_stop(&watcher->poll);
  update_idle(watcher);
  return NULL;
}

static napi_value watcher_resume(napi_env env, napi_callback_info info) {
  Watcher *watcher = open_watcher(env, info);
  if (watcher == NULL || watcher->active) return NULL;
  watcher->active = true;
  uv_poll_start(&watcher->poll, UV_READABLE, on_poll);
  update_idle(watcher);
  return NULL;
}

static napi_value watcher_close(napi_env env, napi_callback_info info) {
  Watcher *watcher = this_watcher(env, info, &WATCHER_TAG, 0, NULL);
  if (watcher != NULL) close_watcher(watcher);
  return NULL;
}

static Watcher *this_timer(napi_env env, napi_callback_info info, size_t argc, napi_value *argv) {
  Watcher *timer = this_watcher(env, info, &TIMER_TAG, argc, argv);
  if (timer != NULL && timer->closed) {
    throw_type(env, "the timer is closed");
    return NULL;
  }
  return timer;
}

// The poll handle stays on the timerfd; only its hold on the event loop comes and goes.
static void set_timer(Watcher *timer, int64_t nanoseconds) {
  struct itimerspec when = {.it_value = {nanoseconds / 1000000000, nanoseconds % 1000000000}};
  timerfd_settime(timer->timerFd, 0, &when, NULL);
  timer->active = nanoseconds > 0;
  if (timer->active) uv_ref((uv_handle_t *)&timer->poll);
  else uv_unref((uv_handle_t *)&timer->poll);
}

static napi_value timer_arm(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  double microseconds;
  Watcher *timer = this_timer(env, info, 1, argv);
  if (timer == NULL) return NULL;
  if (napi_get_value_double(env, argv[0], &microseconds) != napi_ok) {
    throw_type(env, "delayMicroseconds must be a number");
  } else if (!(microseconds >= 0 && microseconds <= 1e12)) {
    throw_range(env, "delayMicroseconds must be from 0 to 1e12");
  } else {
    // Zero would disarm a timerfd.
    int64_t nanoseconds = (int64_t)(microseconds * 1000);
    set_timer(timer, nanoseconds > 0 ? nanoseconds : 1);
  }
  return NULL;
}

static napi_value timer_disarm(napi_env env, napi_callback_info info) {
  Watcher *timer = this_timer(env, info, 0, NULL);
  if (timer != NULL) set_timer(timer, 0);
  return NULL;
}

static napi_value timer_close(napi_env env, napi_callback_info info) {
  Watcher *timer = this_watcher(env, info, &TIMER_TAG, 0, NULL);
  if (timer != NULL) close_watcher(timer);
  return NULL;
}

static void on_collected(napi_env env, void *data, void *hint) {
  Watcher *watcher = data;
  (void)env;
  (void)hint;
  release(watcher);
}

// The uv handles of a watcher on `fd`. False with an exception pending; then nothing is left.
static bool start_handles(napi_env env, Watcher *watcher, int fd) {
  uv_loop_t *loop;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) return throw_type(env, "no event loop");
  int failed = uv_poll_init(loop, &watcher->poll, fd);
  if (failed < 0) return throw_errno(env, -failed, "uv_poll_init", "another watcher, perhaps");
  uv_idle_init(loop, &watcher->idle);
  watcher->poll.data = watcher->idle.data = watcher;
  watcher->openHandles = 2;
  // The JavaScript object's one, and one for each uv handle.
  watcher->references = 3;
  uv_unref((uv_handle_t *)&watcher->idle);
  return true;
}

// The JavaScript side of a watcher whose uv handles are open.
static napi_value wrap_watcher(napi_env env, Watcher *watcher, napi_value callback, const napi_property_descriptor *methods, size_t count,
                               const napi_type_tag *tag) {
  napi_value object, name;
  watcher->env = env;
  napi_create_object(env, &object);
  napi_define_properties(env, object, count, methods);
  napi_wrap(env, object, watcher, on_collected, NULL, NULL);
  napi_type_tag_object(env, object, tag);
  napi_create_reference(env, callback, 1, &watcher->callback);
  napi_create_reference(env, object, 1, &watcher->self);
  napi_create_string_utf8(env, "mptunnel", NAPI_AUTO_LENGTH, &name);
  napi_async_init(env, NULL, name, &watcher->context);
  napi_add_async_cleanup_hook(env, on_teardown, watcher, &watcher->hook);
  return object;
}

#define METHOD(name, function) {name, NULL, function, NULL, NULL, NULL, napi_default_method, NULL}

// A TUN or a UDP socket.
static Channel *watchable(napi_env env, napi_value value) {
  Channel *tun = handle_get(env, value, KIND_TUN);
  if (tun != NULL) return tun;
  napi_value error;
  napi_get_and_clear_last_exception(env, &error);
  return handle_get(env, value, KIND_UDP);
}

napi_value loop_watch_readable(napi_env env, napi_callback_info info) {
  static const napi_property_descriptor METHODS[] = {
      METHOD("pause", watcher_pause), METHOD("resume", watcher_resume), METHOD("close", watcher_close)};
  napi_value argv[2];
  size_t argc = 2;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  Channel *subject = watchable(env, argv[0]);
  if (subject == NULL || !arg_function(env, argv[1], "onReadable")) return NULL;
  if (subject->watcher != NULL) {
    throw_errno(env, EEXIST, "watchReadable", "the handle has a watcher already");
    return NULL;
  }
  Watcher *watcher = calloc(1, sizeof *watcher);
  if (watcher == NULL) abort();
  watcher->timerFd = -1;
  if (!start_handles(env, watcher, subject->fd)) {
    free(watcher);
    return NULL;
  }
  handle_retain(&subject->handle);
  watcher->subject = subject;
  subject->watcher = watcher;
  watcher->active = true;
  uv_poll_start(&watcher->poll, UV_READABLE, on_poll);
  if (subject->handle.kind == KIND_UDP) watcher_set_pending(watcher, udp_has_pending((Udp *)subject));
  return wrap_watcher(env, watcher, argv[1], METHODS, 3, &WATCHER_TAG);
}

napi_value loop_create_fine_timer(napi_env env, napi_callback_info info) {
  static const napi_property_descriptor METHODS[] = {METHOD("arm", timer_arm), METHOD("disarm", timer_disarm), METHOD("close", timer_close)};
  napi_value argv[1];
  size_t argc = 1;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  if (!arg_function(env, argv[0], "onExpire")) return NULL;
  Watcher *timer = calloc(1, sizeof *timer);
  if (timer == NULL) abort();
  timer->timerFd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (timer->timerFd < 0 || !start_handles(env, timer, timer->timerFd)) {
    if (timer->timerFd < 0) throw_errno(env, errno, "timerfd_create", "fine timer");
    else close(timer->timerFd);
    free(timer);
    return NULL;
  }
  uv_poll_start(&timer->poll, UV_READABLE, on_expire);
  uv_unref((uv_handle_t *)&timer->poll);
  return wrap_watcher(env, timer, argv[0], METHODS, 3, &TIMER_TAG);
}
