#include "handle.h"

#include <stdlib.h>

static const napi_type_tag TAGS[KIND_COUNT] = {
    {0x6d7074756e6e656cULL, 0x1f6a0c3d5b7e4a01ULL}, {0x6d7074756e6e656cULL, 0x1f6a0c3d5b7e4a02ULL},
    {0x6d7074756e6e656cULL, 0x1f6a0c3d5b7e4a03ULL}, {0x6d7074756e6e656cULL, 0x1f6a0c3d5b7e4a04ULL},
    {0x6d7074756e6e656cULL, 0x1f6a0c3d5b7e4a05ULL}, {0x6d7074756e6e656cULL, 0x1f6a0c3d5b7e4a06ULL},
    {0x6d7074756e6e656cULL, 0x1f6a0c3d5b7e4a07ULL},
};
static const char *const NAMES[KIND_COUNT] = {"tun", "udp", "sealer", "sender", "open table", "nftables socket", "relay"};

void handle_retain(Handle *handle) { handle->references++; }

void handle_close(Handle *handle) {
  if (handle->closed) return;
  handle->closed = true;
  handle->dispose(handle);
}

// A handle that JavaScript has forgotten lives on while another needs it: a sender's sealer and socket, a watcher's subject.
void handle_release(Handle *handle) {
  if (--handle->references > 0) return;
  handle_close(handle);
  free(handle);
}

static void finalize(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  handle_release(data);
}

napi_value handle_wrap(napi_env env, Handle *handle, HandleKind kind, void (*dispose)(Handle *)) {
  handle->kind = kind;
  handle->references = 1;
  handle->dispose = dispose;
  napi_value external = NULL;
  if (napi_create_external(env, handle, finalize, NULL, &external) != napi_ok) {
    finalize(env, handle, NULL);
    return NULL;
  }
  if (napi_type_tag_object(env, external, &TAGS[kind]) != napi_ok) {
    throw_type(env, "this Node.js cannot tag externals: 20.12 or newer is needed");
    return NULL;
  }
  return external;
}

void *handle_get(napi_env env, napi_value value, HandleKind kind) {
  void *data = NULL;
  bool tagged = false;
  if (napi_get_value_external(env, value, &data) != napi_ok || napi_check_object_type_tag(env, value, &TAGS[kind], &tagged) != napi_ok ||
      !tagged) {
    throw_type(env, "not a handle of kind %s", NAMES[kind]);
    return NULL;
  }
  Handle *handle = data;
  if (handle->closed) {
    throw_type(env, "the %s is closed", NAMES[kind]);
    return NULL;
  }
  return handle;
}

void *handle_only(napi_env env, napi_callback_info info, HandleKind kind) {
  napi_value argv[1];
  size_t argc = 1;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  return handle_get(env, argv[0], kind);
}

napi_value handle_close_only(napi_env env, napi_callback_info info, HandleKind kind) {
  Handle *handle = handle_only(env, info, kind);
  if (handle != NULL) handle_close(handle);
  return NULL;
}
