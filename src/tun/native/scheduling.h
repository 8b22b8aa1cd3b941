#ifndef MPTUNNEL_SCHEDULING_H
#define MPTUNNEL_SCHEDULING_H

#include <node_api.h>

napi_value scheduling_request_slice(napi_env env, napi_callback_info info);

#endif
