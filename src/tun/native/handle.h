// Handles: N-API externals with a type tag, reference-counted here: a sender holds its sealer and its socket, a watcher what it watches.
#ifndef MPTUNNEL_HANDLE_H
#define MPTUNNEL_HANDLE_H

#include "arguments.h"

typedef enum { KIND_TUN, KIND_UDP, KIND_SEALER, KIND_SENDER, KIND_OPEN_TABLE, KIND_NFT, KIND_RELAY, KIND_COUNT } HandleKind;

typedef struct Handle Handle;
struct Handle {
  HandleKind kind;
  uint32_t references;
  bool closed;
  // Gives back what the handle holds (descriptors, keys); called once, by close or with the last reference.
  void (*dispose)(Handle *handle);
};

// `handle` is the first member of its struct, zeroed, from calloc. Takes it over: on failure it is disposed and NULL returned.
napi_value handle_wrap(napi_env env, Handle *handle, HandleKind kind, void (*dispose)(Handle *));
// NULL with TypeError pending when `value` is not a live handle of that kind.
void *handle_get(napi_env env, napi_value value, HandleKind kind);
// The only argument of a call, likewise.
void *handle_only(napi_env env, napi_callback_info info, HandleKind kind);
void handle_close(Handle *handle);
// A whole call: closes its only argument.
napi_value handle_close_only(napi_env env, napi_callback_info info, HandleKind kind);
void handle_retain(Handle *handle);
void handle_release(Handle *handle);

#endif
