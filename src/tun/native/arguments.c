#include "arguments.h"

#include <stdarg.h>
#include <stdio.h>
#include <uv.h>

bool throw_type(napi_env env, const char *format, ...) {
  char text[200];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  napi_throw_type_error(env, NULL, text);
  return false;
}

bool throw_range(napi_env env, const char *format, ...) {
  char text[200];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  napi_throw_range_error(env, NULL, text);
  return false;
}

bool throw_errno(napi_env env, int error, const char *syscall, const char *what) {
  char text[256], name[32], reason[96];
  uv_err_name_r(-error, name, sizeof name);
  uv_strerror_r(-error, reason, sizeof reason);
  snprintf(text, sizeof text, "%s: %s, %s (%s)", name, reason, syscall, what);
  napi_value code, message, object, value;
  napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &code);
  napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &message);
  napi_create_error(env, code, message, &object);
  napi_create_string_utf8(env, syscall, NAPI_AUTO_LENGTH, &value);
  napi_set_named_property(env, object, "syscall", value);
  napi_create_int32(env, error, &value);
  napi_set_named_property(env, object, "errno", value);
  napi_throw(env, object);
  return false;
}

bool arg_int(napi_env env, napi_value value, const char *name, int64_t min, int64_t max, int64_t *out) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok) return throw_type(env, "%s must be a number", name);
  // The comparison is written so that NaN fails it.
  if (!(number >= (double)min && number <= (double)max) || number != (double)(int64_t)number) {
    return throw_range(env, "%s must be an integer from %lld to %lld", name, (long long)min, (long long)max);
  }
  *out = (int64_t)number;
  return true;
}

bool arg_bool(napi_env env, napi_value value, const char *name, bool *out) {
  if (napi_get_value_bool(env, value, out) != napi_ok) return throw_type(env, "%s must be a boolean", name);
  return true;
}

static bool typed_array(napi_env env, napi_value value, napi_typedarray_type wanted, void **data, size_t *length) {
  napi_typedarray_type type;
  if (napi_get_typedarray_info(env, value, &type, length, data, NULL, NULL) != napi_ok) return false;
  return type == wanted;
}

bool arg_bytes(napi_env env, napi_value value, const char *name, Bytes *out) {
  void *data = NULL;
  if (!typed_array(env, value, napi_uint8_array, &data, &out->length)) return throw_type(env, "%s must be a Uint8Array", name);
  out->data = data;
  return true;
}

bool arg_ints(napi_env env, napi_value value, const char *name, Ints *out) {
  void *data = NULL;
  if (!typed_array(env, value, napi_int32_array, &data, &out->length)) return throw_type(env, "%s must be an Int32Array", name);
  out->data = data;
  return true;
}

bool arg_piece(napi_env env, const Bytes *buffer, napi_value offset, napi_value length, const char *name, size_t max, Bytes *out) {
  double at, bytes;
  if (napi_get_value_double(env, offset, &at) != napi_ok || napi_get_value_double(env, length, &bytes) != napi_ok) {
    return throw_type(env, "offset and length of %s must be numbers", name);
  }
  double size = (double)buffer->length;
  if (!(at >= 0 && at <= size && bytes >= 0 && bytes <= size - at) || at != (double)(int64_t)at || bytes != (double)(int64_t)bytes) {
    return throw_range(env, "offset and length of %s are outside of its %zu bytes", name, buffer->length);
  }
  if (bytes > (double)max) return throw_range(env, "length of %s must not exceed %zu", name, max);
  // An empty typed array may have no address; adding to NULL is undefined.
  static uint8_t nothing;
  out->data = buffer->data == NULL ? &nothing : buffer->data + (size_t)at;
  out->length = (size_t)bytes;
  return true;
}

bool arg_text(napi_env env, napi_value value, const char *name, char *out, size_t capacity) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok) return throw_type(env, "%s must be a string", name);
  if (length >= capacity) return throw_range(env, "%s must be shorter than %zu bytes", name, capacity);
  napi_get_value_string_utf8(env, value, out, capacity, &length);
  for (size_t i = 0; i < length; i++) {
    if (out[i] == 0) return throw_range(env, "%s holds a NUL", name);
  }
  return true;
}

bool arg_function(napi_env env, napi_value value, const char *name) {
  napi_valuetype type;
  if (napi_typeof(env, value, &type) != napi_ok || type != napi_function) return throw_type(env, "%s must be a function", name);
  return true;
}

bool arg_property(napi_env env, napi_value object, const char *name, napi_value *out) {
  napi_valuetype type;
  if (napi_typeof(env, object, &type) != napi_ok || type != napi_object) return throw_type(env, "options must be an object");
  if (napi_get_named_property(env, object, name, out) != napi_ok) return throw_type(env, "options.%s cannot be read", name);
  if (napi_typeof(env, *out, &type) == napi_ok && type == napi_undefined) *out = NULL;
  return true;
}

napi_value js_number(napi_env env, double value) {
  napi_value result = NULL;
  napi_create_double(env, value, &result);
  return result;
}

napi_value js_undefined(napi_env env) {
  napi_value result = NULL;
  napi_get_undefined(env, &result);
  return result;
}
