#ifndef MPTUNNEL_RELAY_H
#define MPTUNNEL_RELAY_H

#include <node_api.h>

napi_value relay_create(napi_env env, napi_callback_info info);
napi_value relay_connect(napi_env env, napi_callback_info info);
napi_value relay_disconnect(napi_env env, napi_callback_info info);
napi_value relay_forward(napi_env env, napi_callback_info info);
napi_value relay_counters(napi_env env, napi_callback_info info);
napi_value relay_close(napi_env env, napi_callback_info info);

#endif
