// Reading and checking what JavaScript passes. Every function returns false with a JavaScript exception pending.
#ifndef MPTUNNEL_ARGUMENTS_H
#define MPTUNNEL_ARGUMENTS_H

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
  uint8_t *data;
  size_t length;
} Bytes;

typedef struct {
  int32_t *data;
  size_t length;
} Ints;

bool throw_type(napi_env env, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool throw_range(napi_env env, const char *format, ...) __attribute__((format(printf, 2, 3)));
// An Error with `code` (errno name), `errno` and `syscall`.
bool throw_errno(napi_env env, int error, const char *syscall, const char *what);

bool arg_int(napi_env env, napi_value value, const char *name, int64_t min, int64_t max, int64_t *out);
bool arg_bool(napi_env env, napi_value value, const char *name, bool *out);
bool arg_bytes(napi_env env, napi_value value, const char *name, Bytes *out);
bool arg_ints(napi_env env, napi_value value, const char *name, Ints *out);
// A piece of `buffer` given by two numbers; `max` bounds its length.
bool arg_piece(napi_env env, const Bytes *buffer, napi_value offset, napi_value length, const char *name, size_t max, Bytes *out);
bool arg_text(napi_env env, napi_value value, const char *name, char *out, size_t capacity);
bool arg_function(napi_env env, napi_value value, const char *name);
// Property of an options object; *out is NULL when it is undefined.
bool arg_property(napi_env env, napi_value object, const char *name, napi_value *out);

napi_value js_number(napi_env env, double value);
napi_value js_undefined(napi_env env);

#endif
